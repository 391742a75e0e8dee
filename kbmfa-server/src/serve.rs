//! The composition root: builds everything, starts every loop, and ends the process when one of them ends.

mod certificate;

use sd_notify::NotifyState;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::audit::{Actor, Event, Kind, store as audit};
use crate::clock::Time;
use crate::config::{self, Config};
use crate::db::{self, Db, lease};
use crate::http::connections::Limits;
use crate::http::gate::Gate;
use crate::http::listen::{self, Listener};
use crate::http::strangers::{self, Strangers};
use crate::http::{self, status, tls};
use crate::logins::{self, Logins, Rules, feed, inbox, sweep};
use crate::poke;
use crate::relay;
use crate::relay::console::Console;
use crate::relay::keybase::{Fault, Keybase, Settings};
use crate::retention;
use crate::sessions::Sessions;
use certificate::{InForce, Keeper};

/// Connections that the loopback listener holds. None ever proves anything, so whoever only sits there is evicted.
const STATUS_LIMITS: Limits = Limits {
    proven: 0,
    proven_per_source: 0,
    unproven: 64,
    unproven_per_source: 64,
    unproven_time: Duration::from_secs(5),
};

/// How often is looked whether a restore was confirmed.
const CONFIRMATION_INTERVAL: Duration = Duration::from_millis(500);

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// Others could touch the server's own files.
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
    /// The relay cannot be used as it is set up.
    #[error("{}", .0.found)]
    Relay(#[from] Fault),
    /// Something has changed that only a restart can bring into force.
    #[error("{0} have changed, which takes a restart; all else stays as it was, too")]
    Restart(&'static str),
    /// A loop ended that must not end.
    #[error("{0} has ended; a server without it would not be one")]
    Ended(&'static str),
}

impl Error {
    /// What the operator does about it, where that is known.
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
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config_path, config))
}

/// The configuration, unless somebody else could have written it, or could touch what it names.
fn read(config_path: &Path) -> Result<Config, Error> {
    let config = Config::read(config_path)?;
    let faults = config.file_faults(config_path);
    if faults.is_empty() {
        return Ok(config);
    }
    let told: Vec<_> = faults.iter().map(|fault| format!("{fault}\nfix: {}", fault.fix)).collect();
    Err(Error::Files(told.join("\n")))
}

async fn serve(config_path: PathBuf, config: Config) -> Result<(), Error> {
    let signals = Signals::hook()?;
    let db = Db::open_and_migrate(&config.state_dir)?;
    let (settings, settings_in_force) = watch::channel(config.http.clone());
    let (keeper, in_force) = Keeper::begin(db.clone(), settings_in_force.clone()).await?;
    let door = listen::bind(config.http.listen)?;
    let status_door = listen::bind(config.http.status_listen)?;
    for fault in db.read_blocking(|tx| config.policy_faults(tx))? {
        log::warn!("{}: {fault}", config_path.display());
    }
    if config.auth_token.is_some() {
        log::warn!("the AUTH_TOKEN is accepted: worth less than a credential for each machine");
    }
    let (open, opened) = watch::channel(record_start(&db).await?);
    let (close, closing) = watch::channel(false);
    let (broken_polls, broken) = mpsc::unbounded_channel();
    let rules = config.rules(*opened.borrow());
    let logins = Logins::new(db.clone(), rules, broken_polls, closing.clone());
    let sessions = Sessions::new(db.clone(), logins.clone());
    let (strangers, heard) = Strangers::new();
    let (holder, bell) = (lease::Holder::this_process(), Arc::new(Notify::new()));

    let mut loops = Loops(JoinSet::new());
    let shared = Shared { db: db.clone(), logins: logins.clone(), sessions, strangers };
    let (door, status_door) = doors(&config.http, shared, (door, status_door), (settings_in_force, in_force));
    loops.start("the accept loop", forever(door.serve(closing.clone())));
    loops.start("the loopback listener", forever(status_door.serve(closing)));
    loops.start("the record of strangers", forever(strangers::run(db.clone(), heard)));
    let sweep = sweep::run(logins.clone(), broken, holder.clone());
    loops.start("the sweep", forever(once_open(opened.clone(), sweep)));
    let pruning = retention::run(logins.clone(), holder.clone());
    loops.start("the pruning of old logins", forever(once_open(opened.clone(), pruning)));
    let keybase = start_relay(&mut loops, &config, &logins, holder, &opened);
    loops.start("the certificate's keeper", forever(keeper.run()));
    loops.start("the opening", failing(open_in_time(db.clone(), logins.clone(), open)));
    loops.start("the feed", failing(feed::run(logins.clone(), Arc::clone(&bell))));
    loops.start("the admin socket", failing(poke::listen(config.state_dir.clone(), bell)));
    loops.start("the database's writer", forever(writer_ends(db.clone())));
    loops.start("the index of words", failing(once_open(opened.clone(), index(db.clone()))));
    loops.start("the watchdog", forever(watchdog(db)));

    let live = Reloadable { config_path, settings, logins, opened, config };
    // Before a restore is confirmed nobody can be asked anyway.
    let begins = keybase.clone().filter(|_| live.opened.borrow().is_some());
    let outcome = until_told_to_end(&mut loops, live, signals, begins).await;
    notify(&[NotifyState::Stopping]);
    let _ = close.send(true);
    if let Some(keybase) = &keybase {
        keybase.end().await;
    }
    loops.drain().await;
    log::info!("ended");
    outcome
}

/// Starts the loop that carries asks, and whatever its relay needs beside it.
fn start_relay(
    loops: &mut Loops,
    config: &Config,
    logins: &Logins,
    holder: lease::Holder,
    opened: &watch::Receiver<Option<Time>>,
) -> Option<Keybase> {
    let (logins, opened) = (logins.clone(), opened.clone());
    let relay::Settings::Keybase(settings) = &config.relay else {
        loops.start("the relay loop", forever(once_open(opened, inbox::run(logins, Console, holder))));
        return None;
    };
    let keybase = Keybase::new(Settings::clone(settings), config.destinations());
    let carried = keybase.clone();
    loops.start("the relay loop", forever(once_open(opened, inbox::run(logins, carried, holder))));
    let attended = keybase.clone();
    loops.start("the watch over Keybase", forever(async move { attended.attend().await }));
    Some(keybase)
}

/// What both doors lead to.
struct Shared {
    db: Db,
    logins: Logins,
    sessions: Sessions,
    strangers: Strangers,
}

/// The door for machines, and the one for the operator's own tools.
fn doors(
    http: &http::Settings,
    shared: Shared,
    (machines, own): (TcpListener, TcpListener),
    (settings, in_force): (watch::Receiver<http::Settings>, InForce),
) -> (Listener, Listener) {
    let Shared { db, logins, sessions, strangers } = shared;
    let seen = Arc::default();
    let gate = Gate::new(db.clone(), logins.clone(), strangers.clone(), http.requests_per_machine);
    let door = Listener {
        socket: machines,
        tls: Some(in_force.certificate),
        routes: http::routes(&logins, &sessions, &db, settings, &strangers),
        gate: Some(Arc::new(gate)),
        limits: http.limits,
        seen: Arc::clone(&seen),
    };
    let status_door = Listener {
        socket: own,
        tls: None,
        routes: status::routes(db, logins, sessions, (seen, strangers), in_force.dates),
        gate: None,
        limits: STATUS_LIMITS,
        seen: Arc::default(),
    };
    (door, status_door)
}

/// Everything that a SIGHUP renews.
struct Reloadable {
    config_path: PathBuf,
    settings: watch::Sender<http::Settings>,
    logins: Logins,
    opened: watch::Receiver<Option<Time>>,
    config: Config,
}

impl Reloadable {
    /// A faulty configuration changes nothing.
    fn reload(&mut self) -> Result<(), Error> {
        let config = read(&self.config_path)?;
        tls::load(&config.http)?;
        let (now, then) = (&config, &self.config);
        if now.relay != then.relay {
            return Err(Error::Restart("[relay] and min_role"));
        }
        let fixed = (now.http.listen, now.http.status_listen, now.http.limits, &now.state_dir);
        if fixed != (then.http.listen, then.http.status_listen, then.http.limits, &then.state_dir) {
            log::warn!("listeners, limits and state_dir change only with a restart");
        }
        self.logins.set_rules(config.rules(*self.opened.borrow()));
        self.settings.send_replace(config.http);
        Ok(())
    }
}

/// What the server is told from outside. Hooked before anybody can believe that it serves.
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

async fn until_told_to_end(
    loops: &mut Loops,
    mut live: Reloadable,
    mut signals: Signals,
    begins: Option<Keybase>,
) -> Result<(), Error> {
    let mut begun = pin!(async { if let Some(relay) = begins { relay.begun().await } else { Ok(()) } });
    let mut is_ready = false;
    loop {
        tokio::select! {
            begun = &mut begun, if !is_ready => {
                begun?;
                is_ready = true;
                log::info!("serving on {}", live.config.http.listen);
                notify(&[NotifyState::Ready]);
            }
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            _ = signals.hang_up.recv() => match live.reload() {
                Ok(()) => log::info!("configuration and certificate read again"),
                Err(error) => log::error!("nothing was reloaded: {error}"),
            },
            ended = loops.next_end() => return Err(ended),
        }
    }
}

/// The loops that make the server.
struct Loops(JoinSet<Error>);

impl Loops {
    fn start(&mut self, name: &'static str, run: impl Future<Output = Result<(), Error>> + Send + 'static) {
        self.0.spawn(async move { run.await.err().unwrap_or(Error::Ended(name)) });
    }

    async fn next_end(&mut self) -> Error {
        match self.0.join_next().await {
            Some(Ok(error)) => error,
            Some(Err(panic)) => Error::Io(io::Error::other(format!("a loop died: {panic}"))),
            None => Error::Ended("everything"),
        }
    }

    /// The listeners end by themselves once they are told; the rest has nothing to finish.
    async fn drain(mut self) {
        for _listener in 0..2 {
            self.0.join_next().await;
        }
        self.0.shutdown().await;
    }
}

async fn forever(run: impl Future<Output = ()>) -> Result<(), Error> {
    run.await;
    Ok(())
}

async fn failing<E: Into<Error>>(run: impl Future<Output = Result<(), E>>) -> Result<(), Error> {
    run.await.map_err(Into::into)
}

/// The start goes into the record: a machine's silence counts only from here. None while the database is
/// read-only.
async fn record_start(db: &Db) -> Result<Option<Time>, db::Error> {
    let started = db.write("server.started", |tx| {
        let event = Event::new(Kind::ServerStarted, Actor::new("server"));
        audit::append(tx, &event.detail("version", env!("CARGO_PKG_VERSION")))?;
        Ok(Some(tx.now))
    });
    match started.await {
        Err(db::Error::ReadOnly) => Ok(None),
        started => started,
    }
}

/// After a restore nothing is judged until that is confirmed: waits for it, then lets the loops begin.
async fn open_in_time(db: Db, logins: Logins, open: watch::Sender<Option<Time>>) -> Result<(), db::Error> {
    if open.borrow().is_none() {
        log::warn!("{}: every login is refused", db::Error::ReadOnly);
    }
    while open.borrow().is_none() {
        tokio::time::sleep(CONFIRMATION_INTERVAL).await;
        if let Some(now) = record_start(&db).await? {
            open.send_replace(Some(now));
            let mut rules = Rules::clone(&logins.rules());
            rules.grace.listening_since = Some(now);
            logins.set_rules(rules);
            log::info!("the restore is confirmed; logins are judged from now on");
        }
    }
    std::future::pending().await
}

async fn once_open<T>(mut opened: watch::Receiver<Option<Time>>, run: impl Future<Output = T>) -> T {
    match opened.wait_for(Option::is_some).await.map(drop) {
        Ok(()) => run.await,
        // The opening has ended, and with it the server.
        Err(_) => std::future::pending().await,
    }
}

async fn writer_ends(db: Db) {
    db.writer_ends().await;
}

/// Makes the words of events that were there before the index was, and then has nothing more to do.
async fn index(db: Db) -> Result<(), db::Error> {
    while db.write_bulk("audit.index", audit::index::complete_some).await? {}
    std::future::pending().await
}

/// Tells systemd that we are alive, as long as the database takes writes or is read-only on purpose.
async fn watchdog(db: Db) {
    let Some(period) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        match status::probe(&db).await {
            Ok(_) | Err(logins::Error::Db(db::Error::ReadOnly)) => notify(&[NotifyState::Watchdog]),
            Err(error) => log::error!("watchdog: {error}"),
        }
        tokio::time::sleep(period / 3).await;
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("systemd could not be notified: {error}");
    }
}

/// Each waiting login is a connection: takes as many file descriptors as the system grants.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        log::warn!("the limit on open files stays as it is: {error}");
    }
}
