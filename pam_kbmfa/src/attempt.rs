//! One call by PAM: reads arguments and files, runs the login, and logs one line about it.

use kbmfa_proto::client::Watch;
use kbmfa_proto::login::{Capabilities, FirstFactor, OpenLogin, Phase};
use kbmfa_proto::names::{LoginId, UserName};
use kbmfa_proto::session::SessionEvent;
use kbmfa_proto::text::SafeText;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::account::{self, Resolved};
use crate::args::{Args, BadArg, Purpose};
use crate::clock::{Clock, Monotonic};
use crate::config::Config;
use crate::config::access::Access;
use crate::connection;
use crate::facts::Facts;
use crate::flow::{self, Ask};
use crate::host_id;
use crate::outcome::{End, OnUnreachable, Outcome};
use crate::pam::{Level, Pam, Tone};
use crate::peer::{self, Peer};
use crate::presence::Local;
use crate::procfs::Proc;
use crate::random;
use crate::report;
use crate::server::{CANCEL_TIME, Failover, Https};
use crate::ssh::Origin;
use crate::sys::HeldSignals;

/// Longest user name in the log, in characters. Every valid name fits.
const USER_SHOWN_MAX: usize = 256;

/// Longest source in the log, in characters. Every address fits.
const SOURCE_SHOWN_MAX: usize = 64;

/// Decides one login, logs how it ended and tells the person.
pub(crate) fn run(pam: &mut impl Pam, phase: Phase, args: Result<Args, BadArg>) -> Outcome {
    let start = Monotonic::default().now();
    let reports = phase == Phase::Session && args.as_ref().is_ok_and(|args| args.purpose == Purpose::LogOnly);
    let facts = if reports { report::facts(pam, SessionEvent::Opened) } else { Facts::gather(pam) };
    // Signals are blocked until everything is displayed and logged, because su and other programs end as soon
    // as one arrives.
    let held = (facts.ssh.is_none() && !reports).then(HeldSignals::hold);
    let end = attempt(pam, phase, args, &facts, (start, held.as_ref())).unwrap_or_else(|end| end);
    pam.log(level(end.outcome), &line(phase, &facts, &end));
    if let (true, Some(text)) = (phase != Phase::Session, user_message(&end)) {
        pam.tell(Tone::Error, &text);
    }
    end.outcome
}

/// Handles the end of a session, on a line that reports sessions.
pub(crate) fn close(pam: &mut impl Pam, args: &Args) {
    let start = Monotonic::default().now();
    let facts = report::facts(pam, SessionEvent::Closed);
    pam.log(Level::Notice, &session_line("closed", &facts));
    report::session(pam, SessionEvent::Closed, args, &facts, start);
}

fn attempt(
    pam: &mut impl Pam,
    phase: Phase,
    args: Result<Args, BadArg>,
    facts: &Facts,
    (start, held): (Instant, Option<&HeldSignals>),
) -> Result<End, End> {
    let args = args.map_err(|bad| misconfigured(pam, Level::Error, &[bad]))?;
    #[cfg(feature = "faults")]
    if let Some(fault) = args.fault {
        fault.strike();
    }
    if args.purpose == Purpose::LogOnly {
        if phase == Phase::Session {
            report::session(pam, SessionEvent::Opened, &args, facts, start);
        }
        return Ok(End::new(Outcome::Ignored, ""));
    }
    let user = user_name(facts)?;
    if facts.ssh_is_malformed {
        return Err(End::new(Outcome::OriginUnverified, "SSH_CONNECTION has a value that sshd never writes"));
    }
    let first_factor = facts.first_factor(phase, args.first_factor)?;
    let config = Config::load(&args.config).map_err(|faults| misconfigured(pam, Level::Alert, &faults))?;
    let access = Access::read(&config).map_err(|faults| misconfigured(pam, Level::Alert, &faults))?;

    let proc = Proc::default();
    let peer = find_peer(&proc, facts)?;
    let rehearsal = args.purpose == Purpose::DryRun;
    let on_unreachable = if rehearsal { OnUnreachable::Deny } else { config.on_unreachable };
    pam.remember(Origin(facts.ssh));
    let account = account::resolve(pam, user).map_err(|bad| End::new(Outcome::BadUser, bad))?;
    let ask = Ask {
        id: LoginId::from_random(random::bytes().map_err(|error| End::new(Outcome::Fault, error))?),
        open: OpenLogin {
            rehearsal,
            ..open_login(pam, phase, facts, (account, first_factor), (&proc, peer.as_ref()))
        },
        until: start + config.deadline.saturating_sub(CANCEL_TIME),
        on_unreachable,
    };
    let local = held.map(|held| -> Watch { Arc::new(Local::find(&proc, held)) });
    hold(pam, config, access, peer.map(|peer| peer.watch).or(local), &ask)
}

/// Runs the login with the real clock and server, and watches the person who waits.
fn hold(
    pam: &mut impl Pam,
    config: Config,
    access: Access,
    watch: Option<Watch>,
    ask: &Ask,
) -> Result<End, End> {
    let access = Rc::new(access);
    let clock = Monotonic { watch };
    let address = |target| Https::new(target, Rc::clone(&access), clock.watch.clone());
    let addresses: Result<Vec<_>, _> = config.targets.into_iter().map(address).collect();
    let addresses = addresses.map_err(|error| End::new(Outcome::Misconfigured, error))?;
    let mut server = Failover::new(addresses, clock.clone(), &ask.id);
    let end = flow::await_decision(pam, &mut server, &clock, ask);
    // A server accepts no reports from a machine that has not joined.
    if config.claims.is_none() {
        report::after_login(pam, server.addresses(), &clock, &config.spool, (&ask.open, end.outcome));
    }
    Ok(flow::look_again(pam, &mut server, &clock, ask, end))
}

fn misconfigured<F: std::fmt::Display>(pam: &impl Pam, level: Level, faults: &[F]) -> End {
    for fault in faults {
        pam.log(level, &fault.to_string());
    }
    End::new(Outcome::Misconfigured, "")
}

fn user_name(facts: &Facts) -> Result<UserName, End> {
    let user =
        facts.user.clone().ok_or_else(|| End::new(Outcome::BadUser, "PAM has no user name in UTF-8"))?;
    UserName::try_from(user).map_err(|bad| End::new(Outcome::BadUser, bad))
}

/// Finds the ssh client's socket. `SSH_CONNECTION` is only a text, and people can set it (`pam_env` reads
/// their files). So a login is refused if no socket of this process matches it.
fn find_peer(proc: &Proc, facts: &Facts) -> Result<Option<Peer>, End> {
    let Some(client) = facts.ssh.map(|ssh| ssh.client) else { return Ok(None) };
    let doubtful = |why: &dyn std::fmt::Display| End::new(Outcome::OriginUnverified, why);
    let found = peer::find(proc, client);
    let found =
        found.map_err(|error| doubtful(&format_args!("cannot look for the ssh client's socket: {error}")))?;
    let none = || {
        doubtful(&format_args!(
            "SSH_CONNECTION names {client}, but no socket of this process is connected to it"
        ))
    };
    found.map(Some).ok_or_else(none)
}

fn open_login(
    pam: &mut impl Pam,
    phase: Phase,
    facts: &Facts,
    (account, first_factor): (Resolved, FirstFactor),
    (proc, peer): (&Proc, Option<&Peer>),
) -> OpenLogin {
    let inode = peer.map(|peer| peer.inode);
    let (connection, warning) = connection::identify(proc, std::process::id(), facts.ssh, inode);
    if let Some(warning) = warning {
        pam.log(Level::Warning, &warning);
    }
    let Resolved { user, typed, account, uid, uid_user } = account;
    // Session reports do not look the account up: there a failing name service must refuse nobody.
    let expires_day = uid.and_then(|_| pam.expiry_day(user.as_str()));
    let open = OpenLogin {
        phase,
        service: facts.service.clone(),
        user,
        typed,
        account,
        uid,
        uid_user,
        expires_day,
        caller: account::caller(pam, proc, facts.ssh),
        rhost: facts.rhost.clone(),
        tty: facts.tty.clone(),
        connection,
        first_factor,
        capabilities: Capabilities { text: pam.shows_text() && phase != Phase::Session, prompt: false },
        rehearsal: false,
        module_version: SafeText::new(env!("CARGO_PKG_VERSION")),
        host: host_id::read(Path::new(host_id::MACHINE_ID), proc),
    };
    // Older servers do not treat uid 0 as root, so the module does it, too.
    open.canonical()
}

fn level(outcome: Outcome) -> Level {
    match outcome {
        Outcome::Approved => Level::Info,
        Outcome::Unreachable(OnUnreachable::Allow) => Level::Alert,
        _ => Level::Notice,
    }
}

/// User and source for the log line. Both are cut, so that the outcome always fits in the line.
fn who(facts: &Facts) -> String {
    let user = cut(facts.user.as_deref().unwrap_or("(none)"), USER_SHOWN_MAX);
    format!("user {user} from {}", cut(&facts.source(), SOURCE_SHOWN_MAX))
}

fn cut(text: &str, chars_max: usize) -> String {
    let clean = SafeText::new(text);
    match clean.as_str().char_indices().nth(chars_max) {
        Some((end, _)) => clean.as_str().get(..end).unwrap_or_default().to_owned() + "…",
        None => clean.to_string(),
    }
}

fn session_line(what: &str, facts: &Facts) -> String {
    format!("session {what} for {}", who(facts))
}

fn line(phase: Phase, facts: &Facts, end: &End) -> String {
    if end.outcome == Outcome::Ignored {
        if phase == Phase::Session {
            return session_line("opened", facts);
        }
        return format!("log_only: would have asked for {}", who(facts));
    }
    let login = end.login.as_ref().map(|id| format!("login {}: ", id.short())).unwrap_or_default();
    let why = if end.why.is_empty() { String::new() } else { format!(" ({})", end.why) };
    format!("{login}{}: {}{why}", who(facts), end.outcome)
}

/// The last sentence for the person: the server's, or else ours. None on success, because git, rsync and scp
/// must see no extra output.
fn user_message(end: &End) -> Option<SafeText> {
    let ours = end.outcome.sentence()?;
    Some(end.say.clone().unwrap_or_else(|| SafeText::new(ours)))
}

#[cfg(test)]
pub(crate) mod tests;
