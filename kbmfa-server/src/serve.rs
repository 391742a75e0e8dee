//! The composition root: builds everything, starts every loop, and ends the process when one of them ends.

mod certificate;
mod loops;
mod pruning;
mod reload;
mod supervision;
pub(crate) mod sweep;
mod systemd;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};

use crate::admin_socket::{self, Server, listener as admin_listener};
use crate::channels::keybase::{Fault, Keybase, SUPERVISOR_BOUND, Settings};
use crate::clock::Time;
use crate::config::{self, Config};
use crate::db::probe::Probe;
use crate::db::{self, Db, lease};
use crate::fault_log::FaultLog;
use crate::http::call::Api;
use crate::http::connections::Limits;
use crate::http::enrolment::Enrolments;
use crate::http::gate::Gate;
use crate::http::intake::Intake;
use crate::http::listen::{self, Listener};
use crate::http::open_files;
use crate::http::rejected_callers::{self, RejectedCallers};
use crate::http::routes::routes;
use crate::http::session_reports::Sessions;
use crate::http::status::{self, Readiness};
use crate::http::{self, tls};
use crate::logins::{self, Rules};
use crate::long_poll::{BrokenPoll, Logins, change_watcher};
use crate::outbox;
use crate::progress::{Progress, Registry};
use crate::provision;
use crate::provision::provisioner::Provisioner;
use crate::usecases;
use certificate::{InForce, Keeper};
use loops::{Loops, failing, forever};
use reload::Reloadable;
use supervision::IsWell;
use systemd::Systemd;

/// Limits of the loopback listener. No connection there ever proves a credential, so idle ones are evicted.
const STATUS_LIMITS: Limits = Limits {
    proven: 0,
    proven_per_source: 0,
    unproven: 64,
    unproven_per_source: 64,
    unproven_time: Duration::from_secs(5),
    enrolment: 0,
    enrolment_per_source: 0,
};

/// Interval at which the server checks whether a restore was confirmed.
const CONFIRMATION_INTERVAL: Duration = Duration::from_millis(500);

/// Pause before work is retried after a database failure.
const RETRY: Duration = Duration::from_secs(2);

/// Longest time for a round of a loop that uses the database at most twice. Each time it may have to wait for
/// another program's lock.
const BOUND: Duration = Duration::from_secs(20);

/// Maximum number of reloads that wait.
const RELOADS_MAX: usize = 4;

/// Longest time that the shutdown waits for work on other threads.
const SHUTDOWN_TIME: Duration = Duration::from_secs(5);

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// Others can write to the server's own files, or read its keys.
    #[error("{0}")]
    Files(String),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// A listener or a signal failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A loop failed.
    #[error(transparent)]
    Logins(#[from] logins::Error),
    /// The relay cannot be used with this configuration.
    #[error("{}", .0.found)]
    Relay(#[from] Fault),
    /// A setting has changed that needs a restart.
    #[error("{0} have changed, which needs a restart; nothing was reloaded")]
    Restart(&'static str),
    /// A loop ended unexpectedly.
    #[error("the loop {0:?} stopped unexpectedly; the server shuts down")]
    Ended(&'static str),
}

impl Error {
    /// The fix, if one is known.
    pub fn fix(&self) -> Option<&str> {
        match self {
            Self::Relay(fault) => fault.fix.as_deref(),
            _ => None,
        }
    }
}

/// Serves until SIGTERM or SIGINT. SIGHUP reads the configuration and the certificate again.
///
/// # Errors
/// [`Error`], when it cannot begin or go on.
pub fn run(config_path: PathBuf) -> Result<(), Error> {
    let config = read(&config_path)?;
    open_files::raise_limit(config.http.files_needed());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(config_path, config));
    // A name-service look-up that hangs must not keep the process alive.
    runtime.shutdown_timeout(SHUTDOWN_TIME);
    served
}

/// Reads the configuration. An error if others could have written it, or could write or read the files that
/// it names.
fn read(config_path: &Path) -> Result<Config, Error> {
    let config = Config::read(config_path)?;
    let faults = config.file_faults(config_path);
    if faults.is_empty() {
        return Ok(config);
    }
    let told: Vec<_> = faults.iter().map(|fault| format!("{fault}\nfix: {}", fault.fix)).collect();
    Err(Error::Files(told.join("\n")))
}

/// Logs warnings about a valid configuration.
fn warn(db: &Db, config_path: &Path, config: &Config) -> Result<(), Error> {
    for fault in db.read_blocking(|tx| config.policy_faults(tx))? {
        log::warn!("{}: {fault}", config_path.display());
    }
    if config.auth_token.is_some() {
        log::warn!("the AUTH_TOKEN is accepted: it is weaker than a credential for each machine");
    }
    Ok(())
}

async fn serve(config_path: PathBuf, config: Config) -> Result<(), Error> {
    let signals = Signals::hook()?;
    let db = Db::open_and_migrate(&config.state_dir)?;
    let (settings, settings_in_force) = watch::channel(config.http.clone());
    let (keeper, in_force) = Keeper::begin(db.clone(), settings_in_force.clone()).await?;
    let door = listen::bind(config.http.listen)?;
    let status_door = listen::bind(config.http.status_listen)?;
    warn(&db, &config_path, &config)?;
    let (open, opened) = watch::channel(record_start(&db).await?);
    let (close, closing) = watch::channel(false);
    let (broken_polls, broken) = mpsc::unbounded_channel();
    let rules = config.rules(*opened.borrow());
    let logins = Logins::new(db.clone(), rules, broken_polls, closing.clone());
    let sessions = Sessions::new(db.clone(), logins.clone());
    let (strangers, heard) = RejectedCallers::new();
    let holder = lease::Holder::this_process();

    let systemd = Systemd::start()?;
    let registry = Registry::default();
    let probe = Probe::new(db.clone());
    let readiness =
        Readiness { logins: logins.clone(), dates: in_force.dates.clone(), probe, loops: registry.clone() };
    let mut loops = Loops::new(registry.clone());
    let enrolments = Enrolments::new(&config.state_dir).map_err(io::Error::other)?;
    let shared = Shared { readiness: readiness.clone(), sessions, enrolments, strangers };
    let (door, status_door) = doors(&config.http, shared, (door, status_door), (settings_in_force, in_force));
    let closed = closing.clone();
    loops.start("machine listener", BOUND, |progress| forever(door.serve(closing, progress)));
    loops.start("status listener", BOUND, |progress| forever(status_door.serve(closed, progress)));
    let log_db = db.clone();
    loops
        .start("rejected callers", BOUND, |progress| forever(rejected_callers::run(log_db, heard, progress)));
    start_cleaning(&mut loops, &logins, broken, (&holder, &opened));
    let provisioner = start_provisioning(&mut loops, &config, &logins, (holder.clone(), opened.clone()));
    let keybase = start_chat(&mut loops, &config, &logins, holder, &opened);
    loops.start("certificate renewal", BOUND * 2, |progress| forever(keeper.run(progress)));
    let (confirmed, judged) = (db.clone(), logins.clone());
    loops.start("restore confirmation", BOUND, |progress| {
        forever(open_in_time(confirmed, judged, open, progress))
    });
    let reloads = start_hearing(&mut loops, &config, (&logins, &provisioner), keybase.clone());
    start_upkeep(&mut loops, &config, (db, readiness), (&registry, opened.clone()), &systemd)?;

    let live = Reloadable { config_path, settings, logins, provisioner, opened, config };
    // Until a restore is confirmed nobody can be asked anyway.
    let begins = keybase.clone().filter(|_| live.opened.borrow().is_some());
    let progress = registry.register("signals", BOUND);
    let told = Told { signals, reloads, progress, systemd: systemd.clone() };
    let outcome = until_told_to_end(&mut loops, live, told, begins).await;
    systemd.stopping();
    let _ = close.send(true);
    if let Some(keybase) = &keybase {
        keybase.end().await;
    }
    loops.drain().await;
    log::info!("ended");
    outcome
}

/// Starts the loops that end overdue logins and remove old rows.
fn start_cleaning(
    loops: &mut Loops,
    logins: &Logins,
    broken: mpsc::UnboundedReceiver<BrokenPoll>,
    (holder, opened): (&lease::Holder, &watch::Receiver<Option<Time>>),
) {
    let (swept, swept_by, open_first) = (logins.clone(), holder.clone(), opened.clone());
    loops.start("sweep", BOUND, |progress| {
        forever(once_open(open_first, progress, |progress| sweep::run(swept, broken, swept_by, progress)))
    });
    let (pruned, pruned_by, open_first) = (logins.clone(), holder.clone(), opened.clone());
    loops.start("pruning", BOUND, |progress| {
        forever(once_open(open_first, progress, |progress| pruning::run(pruned, pruned_by, progress)))
    });
}

/// Starts the loop that gives machines their accounts and keys.
fn start_provisioning(
    loops: &mut Loops,
    config: &Config,
    logins: &Logins,
    (holder, opened): (lease::Holder, watch::Receiver<Option<Time>>),
) -> Provisioner {
    let provisioner = Provisioner::new(logins.clone(), config.state_dir.clone(), config.provision.clone());
    let running = provisioner.clone();
    loops.start("provision", provision::worker::BOUND, |progress| {
        forever(once_open(opened, progress, |progress| provision::worker::run(running, holder, progress)))
    });
    provisioner
}

/// Starts the admin sockets and the loop that watches for changes. Passes reloads on.
fn start_hearing(
    loops: &mut Loops,
    config: &Config,
    (logins, provisioner): (&Logins, &Provisioner),
    chat: Option<Keybase>,
) -> mpsc::Receiver<admin_socket::Reload> {
    let changed = Arc::new(Notify::new());
    let (asking, reloads) = mpsc::channel(RELOADS_MAX);
    let (group, provisioner) = (config.admin.group.clone(), provisioner.clone());
    let server = Server::new(logins.clone(), provisioner, Arc::clone(&changed), asking, group, chat);
    let (logins, state_dir) = (logins.clone(), config.state_dir.clone());
    loops.start("change feed", BOUND, |progress| failing(change_watcher::run(logins, changed, progress)));
    let of_state = server.clone();
    loops.start("admin socket", BOUND, |progress| {
        failing(admin_listener::serve_state(state_dir, of_state, progress))
    });
    let of_process = server.clone();
    loops.start("admin socket of the process", BOUND, |progress| {
        failing(admin_listener::serve_process(of_process, progress))
    });
    if config.admin.group.is_some() {
        let settings = config.admin.clone();
        loops.start("admin socket for the group", BOUND, |progress| {
            failing(admin_listener::serve_group(settings, server, progress))
        });
    }
    reloads
}

/// Starts the maintenance loops, and the thread that watches all loops.
fn start_upkeep(
    loops: &mut Loops,
    config: &Config,
    (db, readiness): (Db, Readiness),
    (registry, opened): (&Registry, watch::Receiver<Option<Time>>),
    systemd: &Systemd,
) -> io::Result<()> {
    let indexed = db.clone();
    loops.start("word index", BOUND, |progress| {
        forever(once_open(opened, progress, |progress| index(indexed, progress)))
    });
    let (listen, shown, told) = (config.http.listen, readiness.clone(), systemd.clone());
    loops.start("status line", BOUND * 2, |progress| {
        forever(systemd::status_line(listen, shown, told, progress))
    });
    let is_well: IsWell = Arc::new(true.into());
    let well = Arc::clone(&is_well);
    loops.start("database writer", BOUND, |progress| {
        forever(supervision::writer(db, readiness, well, progress))
    });
    supervision::start(registry.clone(), is_well, systemd.clone())
}

/// Starts the loop that posts asks in the chat and reads the answers, and everything else that the chat
/// needs. The console needs no loop: its asks are in the database, and its answers decide at once.
fn start_chat(
    loops: &mut Loops,
    config: &Config,
    logins: &Logins,
    holder: lease::Holder,
    opened: &watch::Receiver<Option<Time>>,
) -> Option<Keybase> {
    let settings = config.chat.as_ref()?;
    let (logins, opened) = (logins.clone(), opened.clone());
    let keybase = Keybase::new(Settings::clone(settings), config.destinations());
    let carried = keybase.clone();
    loops.start("relay worker", outbox::BOUND, |progress| {
        forever(once_open(opened, progress, |progress| outbox::run(logins, carried, holder, progress)))
    });
    let attended = keybase.clone();
    loops.start("keybase supervisor", SUPERVISOR_BOUND, |progress| {
        forever(async move { attended.supervise(progress).await })
    });
    Some(keybase)
}

/// What the two listeners have in common.
struct Shared {
    readiness: Readiness,
    sessions: Sessions,
    enrolments: Enrolments,
    strangers: RejectedCallers,
}

/// The listener for machines, and the one for the operator's own tools.
fn doors(
    http: &http::Settings,
    shared: Shared,
    (machines, own): (TcpListener, TcpListener),
    (settings, in_force): (watch::Receiver<http::Settings>, InForce),
) -> (Listener, Listener) {
    let Shared { readiness, sessions, enrolments, strangers } = shared;
    let (logins, db) = (readiness.logins.clone(), readiness.logins.db().clone());
    let seen = Arc::default();
    let gate = Gate::new(db.clone(), logins.clone(), strangers.clone(), http.requests_per_machine);
    let intake = Intake::new(sessions.clone(), http.requests_per_machine);
    let api = Api { logins, db, intake, settings, enrolments, rejected: strangers.clone() };
    let door = Listener {
        socket: machines,
        tls: Some(in_force.certificate),
        routes: routes(api),
        gate: Some(Arc::new(gate)),
        limits: http.limits,
        seen: Arc::clone(&seen),
    };
    let status_door = Listener {
        socket: own,
        tls: None,
        routes: status::routes(readiness, sessions, (seen, strangers)),
        gate: None,
        limits: STATUS_LIMITS,
        seen: Arc::default(),
    };
    (door, status_door)
}

/// The signals that the server handles. They are hooked before the server reports that it is ready.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn hook() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

/// What a signal or a reload request asks for.
struct Told {
    signals: Signals,
    reloads: mpsc::Receiver<admin_socket::Reload>,
    progress: Progress,
    systemd: Systemd,
}

async fn until_told_to_end(
    loops: &mut Loops,
    mut live: Reloadable,
    told: Told,
    begins: Option<Keybase>,
) -> Result<(), Error> {
    let Told { mut signals, mut reloads, progress, systemd } = told;
    let mut begun = pin!(async { if let Some(relay) = begins { relay.started().await } else { Ok(()) } });
    let mut is_ready = false;
    loop {
        tokio::select! {
            begun = &mut begun, if !is_ready => {
                begun?;
                is_ready = true;
                log::info!("serving on {}", live.config.http.listen);
                systemd.ready();
            }
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            _ = signals.hang_up.recv() => drop(live.reload()),
            Some(caller) = reloads.recv() => {
                let _ = caller.send(live.reload());
            }
            ended = loops.next_end() => return Err(ended),
            never = progress.waiting(std::future::pending()) => never,
        }
    }
}

/// Records the start in the audit log. A machine's silence counts only from this moment on. `None` while the
/// database is read-only.
async fn record_start(db: &Db) -> Result<Option<Time>, db::Error> {
    let started = db.write("server.started", |tx| usecases::server::started(tx).map(Some));
    match started.await {
        Err(db::Error::ReadOnly) => Ok(None),
        started => started,
    }
}

/// Waits until a restore is confirmed, and then lets the other loops start. No login is judged before that.
async fn open_in_time(db: Db, logins: Logins, open: watch::Sender<Option<Time>>, progress: Progress) {
    let mut faults = FaultLog::new("the confirmation of a restore cannot be recorded");
    if open.borrow().is_none() {
        log::warn!("{}: every login is refused", db::Error::ReadOnly);
    }
    while open.borrow().is_none() {
        progress.round().await;
        tokio::time::sleep(CONFIRMATION_INTERVAL).await;
        if let Some(Some(now)) = faults.note(record_start(&db).await) {
            open.send_replace(Some(now));
            let mut rules = Rules::clone(&logins.rules());
            rules.grace.listening_since = Some(now);
            logins.set_rules(rules);
            log::info!("the restore is confirmed; logins are judged from now on");
        }
    }
    progress.finish();
    std::future::pending::<()>().await;
}

async fn once_open<T, F: Future<Output = T>>(
    mut opened: watch::Receiver<Option<Time>>,
    progress: Progress,
    run: impl FnOnce(Progress) -> F,
) -> T {
    match progress.waiting(opened.wait_for(Option::is_some)).await.map(drop) {
        Ok(()) => run(progress).await,
        // The sender is gone, so the server is shutting down.
        Err(_) => std::future::pending().await,
    }
}

/// Indexes the events that the word index does not have yet. Then it waits forever, because the server ends
/// when a loop ends.
async fn index(db: Db, progress: Progress) {
    let mut faults = FaultLog::new("word index");
    loop {
        progress.round().await;
        match faults.note(db.for_bulk().write("audit.index", usecases::audit::index_some).await) {
            Some(true) => {}
            Some(false) => break,
            None => tokio::time::sleep(RETRY).await,
        }
    }
    progress.finish();
    std::future::pending::<()>().await;
}
