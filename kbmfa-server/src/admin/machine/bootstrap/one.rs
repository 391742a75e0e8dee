//! One machine: connect, plan, carry out, record.

use kbmfa_proto::names::MachineName;
use serde::Serialize;
use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::Duration;
use zeroize::Zeroizing;

use super::super::super::{Failure, print};
use super::{Job, host_key, question};
use crate::admin_socket::client;
use crate::deliveries::failure::{Failure as Cause, Kind};
use crate::machines::host_keys::{HostKey, Reach};
use crate::provision::connection::{self, Credential};
use crate::provision::ssh::{self, Program, Root};
use crate::provision::transport::Conversation as _;
use crate::provision::{REMOTE, admin_key, sudo_password, wire};
use crate::random;
use crate::setup::run::{self, Looked};
use crate::setup::step::{Done, Step};
use crate::setup::{PROGRAM, Password, SudoLevel, Wanted};
use crate::usecases::setup::{self as usecase, SetUp};

/// How often a new connection is tried after sshd was told to read its files: it does not listen for a moment.
const TRIES: u32 = 10;

/// How it went.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Ended {
    /// What a run without `--dry-run` would change.
    Would {
        /// The steps.
        would: Vec<String>,
        /// What the operator should know.
        notes: Vec<String>,
    },
    /// The machine is set up.
    Done {
        /// The steps that changed something.
        changed: Vec<String>,
        /// What the operator should know.
        notes: Vec<String>,
    },
}

/// Sets a machine up, and prints each step.
pub(super) fn set_up(job: &Job<'_>, name: &MachineName) -> Result<Ended, Failure> {
    let target = host_key::find(job, name)?;
    let source = Cell::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let started = |stream: &TcpStream| {
        source.set(stream.local_addr().map_err(|error| Cause::new(Kind::Unreachable, error))?.ip());
        Ok(())
    };
    let account = job.args.user.as_str();
    let session = connection::connect(&target.reach, account, &job.credential.login(), &started, None)
        .map_err(|cause| failed(&cause))?;
    let shown =
        connection::host_key(&session).ok_or_else(|| Failure::new("the machine shows no host key"))?;
    let root = if account == "root" { Root::Already } else { Root::Sudo(job.credential.password()) };
    let mut ssh = ssh::start(session, Program::Text(PROGRAM), root).map_err(|cause| failed(&cause))?;
    let wanted = wanted(job, target.machine_id.as_deref(), source.get())?;
    let Looked { steps, notes } = run::look(&mut ssh, &wanted).map_err(|cause| failed(&cause))?;
    if job.args.dry_run || !confirmed(job, name, &wanted, (&steps, &notes))? {
        ssh.close();
        return would(job, name, &wanted, (steps, notes));
    }
    let machine_id = record_reach(job, name, &shown)?;
    if let Some(password) = &wanted.password {
        let set = sudo_password::set(&job.config.state_dir, &machine_id, &password.text);
        set.map_err(|error| Failure::new(format!("cannot keep the password for sudo: {error}")))?;
    }
    let reach = Reach { host_keys: vec![shown.clone()], ..target.reach };
    let check = || again(job, &wanted, &reach);
    let mut told = |step: &Step, done: &Done| {
        progress(job, &format!("{name}: {}: {done}", first_line(&step.words(&wanted))))
            .map_err(|error| Cause::new(Kind::Script, error))
    };
    let changed = run::run(&mut ssh, &wanted, steps, &mut told, &check).map_err(|cause| failed(&cause))?;
    ssh.close();
    let changed: Vec<_> = changed.iter().map(|step| first_line(&step.words(&wanted))).collect();
    record(job, name, (&shown, source.get()), &changed)?;
    progress(job, &format!("{name}: set up; a new connection as {} has worked", wanted.admin))?;
    for note in &notes {
        progress(job, &format!("{name}: note: {note}"))?;
    }
    Ok(Ended::Done { changed, notes })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end_matches(':').to_owned()
}

fn progress(job: &Job<'_>, line: &str) -> Result<(), Failure> {
    if job.admin.json { Ok(()) } else { print::say(line) }
}

/// What helps against a failure here.
fn failed(cause: &Cause) -> Failure {
    let failure = Failure::new(cause);
    match cause.kind {
        Kind::Authentication => failure.hint("check --user, and --identity, --agent or --ask-password"),
        Kind::Sudo => {
            failure.hint("give the password that sudo asks for with --ask-password, or log in as root")
        }
        Kind::HostKey | Kind::Disk => failure.hint(cause.kind.fix()),
        Kind::Unreachable => {
            failure.hint("check the machine, its address and port, and firewalls; then repeat the command")
        }
        Kind::Busy | Kind::Generation | Kind::Guard | Kind::Signature | Kind::Clock | Kind::Script => failure,
    }
}

fn wanted(job: &Job<'_>, machine_id: Option<&str>, source: IpAddr) -> Result<Wanted, Failure> {
    let (args, settings) = (job.args, &job.config.provision);
    let profiles = settings.profiles.iter().filter(|(name, _)| args.allow_sudo.contains(name));
    let password = match args.sudo_level {
        SudoLevel::Password => Some(password(job, machine_id)?),
        SudoLevel::Nopasswd | SudoLevel::Helper => None,
    };
    Ok(Wanted {
        admin: settings.admin.clone(),
        key_line: job.key_line.clone(),
        signers_line: job.signers_line.clone(),
        place: args.keys,
        sudo: args.sudo_level,
        profiles: profiles.map(|(name, rules)| (name.clone(), rules.clone())).collect(),
        password,
        source,
        undo_after: args.undo_after,
    })
}

/// The password of ssh-admin: the one that is given, else the stored one, else a new one.
fn password(job: &Job<'_>, machine_id: Option<&str>) -> Result<Password, Failure> {
    if let Some(text) = job.credential.password().filter(|_| job.args.user == job.config.provision.admin) {
        return Ok(Password { text: text.clone(), is_known: true });
    }
    let stored = machine_id.map(|id| sudo_password::read(&job.config.state_dir, id)).transpose();
    if let Some(text) = stored.map_err(Failure::new)?.flatten() {
        return Ok(Password { text, is_known: true });
    }
    let text = Zeroizing::new(random::hex::<16>().map_err(Failure::new)?);
    Ok(Password { text, is_known: false })
}

/// Prints the steps, and asks whether to go on. False if nobody can be asked.
fn confirmed(
    job: &Job<'_>,
    name: &MachineName,
    wanted: &Wanted,
    (steps, notes): (&[Step], &[String]),
) -> Result<bool, Failure> {
    if job.args.yes {
        return Ok(true);
    }
    if job.admin.json || !io::stdin().is_terminal() {
        return Ok(false);
    }
    print::say(&text(name, wanted, steps, notes))?;
    if question::ask("Do this?")? { Ok(true) } else { Err(Failure::new("stopped; nothing was changed")) }
}

fn text(name: &MachineName, wanted: &Wanted, steps: &[Step], notes: &[String]) -> String {
    let mut text = match steps {
        [] => format!("{name}: everything is there already"),
        _ => format!("{name}:"),
    };
    for (number, step) in (1..).zip(steps) {
        let _ = write!(text, "\n  {number}. {}", step.words(wanted));
    }
    for note in notes {
        let _ = write!(text, "\n  note: {note}");
    }
    text
}

fn would(
    job: &Job<'_>,
    name: &MachineName,
    wanted: &Wanted,
    (steps, notes): (Vec<Step>, Vec<String>),
) -> Result<Ended, Failure> {
    progress(job, &text(name, wanted, &steps, &notes))?;
    if !job.args.dry_run {
        progress(job, "hint: repeat the command with --yes")?;
    }
    Ok(Ended::Would { would: steps.iter().map(|step| step.words(wanted)).collect(), notes })
}

fn record_reach(job: &Job<'_>, name: &MachineName, shown: &HostKey) -> Result<String, Failure> {
    let (machine, mut change) = (name.clone(), host_key::change(job.args));
    let known = job.db.read_blocking(|tx| host_key::reach(tx, name)).map_err(Failure::new)?;
    if known.is_none_or(|(_, reach)| reach.host_keys.is_empty()) {
        change.host_keys = vec![shown.clone()];
    }
    let actor = job.admin.actor.clone();
    let pinned =
        job.db.write_blocking("machine.bootstrap", move |tx| usecase::pin(tx, &actor, &machine, &change));
    pinned.map_err(Failure::new)
}

fn record(
    job: &Job<'_>,
    name: &MachineName,
    (shown, source): (&HostKey, IpAddr),
    changed: &[String],
) -> Result<(), Failure> {
    let set_up = SetUp {
        place: job.args.keys,
        by_helper: job.args.sudo_level == SudoLevel::Helper,
        sudo: job.args.sudo_level.to_string(),
        account: job.args.user.to_string(),
        source: source.to_string(),
        host_key: shown.clone(),
        changed: changed.to_vec(),
    };
    let (machine, actor) = (name.clone(), job.admin.actor.clone());
    let recorded =
        job.db.write_blocking("machine.bootstrap", move |tx| usecase::record(tx, &actor, &machine, &set_up));
    recorded.map_err(Failure::new)?;
    client::notify_server(&job.config.state_dir);
    Ok(())
}

/// Connects as the server will from then on, and has the program report.
fn again(job: &Job<'_>, wanted: &Wanted, reach: &Reach) -> Result<(), Cause> {
    let key = admin_key::read(&job.config.state_dir)
        .map_err(|error| Cause::new(Kind::Authentication, format!("the server's own key: {error}")))?;
    let program = if wanted.sudo == SudoLevel::Helper { Program::Helper } else { Program::Text(REMOTE) };
    let password = wanted.password.as_ref().map(|password| &password.text);
    let connect = || {
        let (account, key) = (wanted.admin.as_str(), Credential::Key(&key));
        let session = connection::connect(reach, account, &key, &|_| Ok(()), None)?;
        let mut ssh = ssh::start(session, program, Root::Sudo(password))?;
        ssh.ask(&wire::look(&wanted.admin, wanted.place, std::iter::empty()))?;
        ssh.close();
        Ok(())
    };
    let mut tries = 1;
    loop {
        match connect() {
            Err(Cause { kind: Kind::Unreachable | Kind::Busy, .. }) if tries < TRIES => {
                tries += 1;
                wait();
            }
            ended => {
                return ended.map_err(|cause| {
                    Cause::new(cause.kind, format!("a new connection as {} failed: {cause}", wanted.admin))
                });
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "sshd on another machine tells nobody that it listens again")]
fn wait() {
    std::thread::sleep(Duration::from_millis(500));
}
