//! Reports to the server what happened after a login: a session was opened or closed, or somebody was let in
//! without the server.
//!
//! A report takes at most [`REPORT_TIME`], displays nothing and decides nothing. If it cannot be sent in that
//! time, it goes into the spool, and a later login sends it.

use kbmfa_proto::client::Error;
use kbmfa_proto::login::{Connection, OpenLogin, SshConnection};
use kbmfa_proto::names::{ReportId, UserName};
use kbmfa_proto::session::{SessionEvent, SessionReport, Taken};
use kbmfa_proto::text::SafeText;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::account::{self, Resolved};
use crate::args::Args;
use crate::clock::{Clock, Monotonic, wall_us};
use crate::config::Config;
use crate::config::access::Access;
use crate::connection;
use crate::facts::Facts;
use crate::outcome::{OnUnreachable, Outcome};
use crate::pam::{Level, Pam};
use crate::panics;
use crate::peer;
use crate::procfs::Proc;
use crate::random::{self, NoRandomness};
use crate::server::{Https, Post, ReportBatch};
use crate::spool::Spool;
use crate::ssh::{Origin, Publickey};

/// Longest time for reports during one call by PAM.
pub(crate) const REPORT_TIME: Duration = Duration::from_millis(300);

/// Sends reports: the addresses, most likely first, and the deadline.
pub(crate) struct ReportSender<'a, A, C> {
    pub(crate) addresses: Vec<&'a A>,
    pub(crate) clock: &'a C,
    pub(crate) until: Instant,
}

impl<A: Post, C: Clock> ReportSender<'_, A, C> {
    /// Each address gets an equal share of the time that is left.
    fn hand_in(&self, handover: ReportBatch<'_>) -> Result<Taken, Error> {
        let count = self.addresses.len();
        let mut why = Error::Timeout;
        for (turn, address) in self.addresses.iter().enumerate() {
            let left = self.clock.left(self.until);
            if left.is_zero() {
                break;
            }
            match address.post(handover, left / u32::try_from(count - turn).unwrap_or(u32::MAX)) {
                Ok(taken) => return Ok(taken),
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

/// PAM's facts about a session. People can set `SSH_CONNECTION` (`pam_env` reads their files), so the value
/// at the first call about this login counts.
pub(crate) fn facts(pam: &mut impl Pam, event: SessionEvent) -> Facts {
    let mut facts = Facts::gather(pam);
    guarded(pam, |pam| facts.ssh = origin(pam, event, (facts.ssh, facts.ssh_is_malformed)));
    facts
}

fn origin(
    pam: &mut impl Pam,
    event: SessionEvent,
    (told, malformed): (Option<SshConnection>, bool),
) -> Option<SshConnection> {
    if let Some(Origin(known)) = pam.recall() {
        return known;
    }
    if malformed {
        pam.log(Level::Warning, "SSH_CONNECTION has a value that sshd never writes");
    }
    let leads_there = |ssh: &SshConnection| matches!(peer::find(&Proc::default(), ssh.client), Ok(Some(_)));
    // When a session closes, the socket's peer may be gone.
    let found = told.filter(|ssh| event == SessionEvent::Closed || leads_there(ssh));
    if let (Some(ssh), None) = (told, found) {
        let client = ssh.client;
        pam.log(
            Level::Warning,
            &format!("SSH_CONNECTION names {client}, but no socket of this process is connected to it"),
        );
    }
    pam.remember(Origin(found));
    found
}

/// `log_only` in the session phase: reports that a session was opened or closed.
pub(crate) fn session(pam: &mut impl Pam, event: SessionEvent, args: &Args, facts: &Facts, start: Instant) {
    guarded(pam, |pam| match try_session(pam, event, args, facts, start + REPORT_TIME) {
        Ok(()) => {}
        Err(why) => pam.log(Level::Warning, &format!("the session is not reported: {why}")),
    });
}

fn try_session(
    pam: &mut impl Pam,
    event: SessionEvent,
    args: &Args,
    facts: &Facts,
    until: Instant,
) -> Result<(), String> {
    let config = Config::load(&args.config).map_err(|faults| join(&faults))?;
    if config.claims.is_some() {
        return Err(
            "this machine uses AUTH_TOKEN; a server only takes reports from machines that have joined".into(),
        );
    }
    let report = of_facts(pam, event, facts)?;
    match connect(&config) {
        Ok(addresses) => {
            let desk =
                ReportSender { addresses: addresses.iter().collect(), clock: &Monotonic::default(), until };
            deliver(pam, &desk, &config.spool, report);
        }
        Err(why) => keep(pam, &config.spool, report, &why),
    }
    Ok(())
}

/// Connects without watching for a hang-up: when a session closes the ssh client is gone, and the report must
/// still be sent.
fn connect(config: &Config) -> Result<Vec<Https>, String> {
    let access = Rc::new(Access::read(config).map_err(|faults| join(&faults))?);
    let targets = config.targets.iter().cloned();
    let addresses: Result<_, _> =
        targets.map(|target| Https::new(target, Rc::clone(&access), None)).collect();
    addresses.map_err(|error| error.to_string())
}

fn join<T: ToString>(faults: &[T]) -> String {
    faults.iter().map(T::to_string).collect::<Vec<_>>().join("; ")
}

/// Sends a report, and then those in the spool. Spools the report if it cannot be sent.
fn deliver<A: Post, C: Clock>(
    pam: &impl Pam,
    desk: &ReportSender<'_, A, C>,
    spool: &Path,
    report: SessionReport,
) {
    match desk.hand_in(ReportBatch::One(&report)) {
        Ok(_) => empty(pam, desk, spool),
        Err(error) => keep(pam, spool, report, &error.to_string()),
    }
}

/// After a login: sends spooled reports if a server has just answered, and spools the alarm if somebody was
/// let in without a server.
pub(crate) fn after_login<A: Post, C: Clock>(
    pam: &mut impl Pam,
    addresses: Vec<&A>,
    clock: &C,
    spool: &Path,
    (open, outcome): (&OpenLogin, Outcome),
) {
    guarded(pam, |pam| match outcome {
        Outcome::Approved | Outcome::Denied | Outcome::Expired | Outcome::Cancelled => {
            empty(pam, &ReportSender { addresses, clock, until: clock.now() + REPORT_TIME }, spool);
        }
        Outcome::Unreachable(OnUnreachable::Allow) => match of_login(SessionEvent::LetInUnreachable, open) {
            Ok(report) => keep(pam, spool, report, "no server can be reached"),
            Err(error) => pam.log(Level::Warning, &format!("the alarm cannot be reported: {error}")),
        },
        _ => {}
    });
}

/// Catches panics, because a failing report must not change the result of the call.
fn guarded<P: Pam>(pam: &mut P, work: impl FnOnce(&mut P)) {
    if let Err(panic) = panics::catch(|| work(&mut *pam)) {
        pam.log(Level::Critical, &format!("a report failed after a fault: {panic}"));
    }
}

/// Sends reports from the spool until it is empty or the time is up.
fn empty<A: Post, C: Clock>(pam: &impl Pam, desk: &ReportSender<'_, A, C>, path: &Path) {
    let spool = match Spool::open(path) {
        Ok(Some(spool)) => spool,
        Ok(None) => return,
        Err(error) => return pam.log(Level::Warning, &format!("spool {}: {error}", path.display())),
    };
    let mut complaints = Vec::new();
    while !desk.clock.left(desk.until).is_zero() {
        match spool.batch(&mut complaints) {
            Ok(batch) if batch.reports.reports.is_empty() => break,
            Ok(batch) => match desk.hand_in(ReportBatch::Kept(&batch.reports)) {
                Ok(taken) => {
                    spool.handed_in(&batch);
                    let Taken { taken, refused } = taken;
                    let level = if refused == 0 { Level::Info } else { Level::Warning };
                    pam.log(level, &format!("late reports: the server took {taken}, refused {refused}"));
                }
                Err(error) => {
                    pam.log(Level::Debug, &format!("reports stay in the spool: {error}"));
                    break;
                }
            },
            Err(error) => {
                complaints.push(error.to_string());
                break;
            }
        }
    }
    for complaint in complaints {
        pam.log(Level::Warning, &format!("spool {}: {complaint}", path.display()));
    }
}

fn keep(pam: &impl Pam, path: &Path, report: SessionReport, why: &str) {
    let kept = Spool::make(path).and_then(|spool| spool.keep(report));
    let (level, line) = match kept {
        Ok(0) => (Level::Info, format!("a report is kept for later: {why}")),
        Ok(lost) => (Level::Warning, format!("the spool is full: {lost} older reports were dropped ({why})")),
        Err(error) => {
            (Level::Warning, format!("a report is lost ({why}); spool {}: {error}", path.display()))
        }
    };
    pam.log(level, &line);
}

fn of_facts(pam: &mut impl Pam, event: SessionEvent, facts: &Facts) -> Result<SessionReport, String> {
    let user = UserName::try_from(facts.user.clone().unwrap_or_default()).map_err(|bad| bad.to_string())?;
    let Resolved { user, typed, uid, .. } = account::resolve(pam, user).map_err(|bad| bad.to_string())?;
    let proc = Proc::default();
    // When a session closes, the socket's peer may be gone. The process that opens and closes sessions
    // belongs to the connection alone, so the id stays the same.
    let inode = facts.ssh.and_then(|ssh| peer::find(&proc, ssh.client).ok().flatten()).map(|peer| peer.inode);
    let (connection, _) = connection::identify(&proc, std::process::id(), facts.ssh, inode);
    let key = match &facts.publickey {
        Some(Publickey::Told(key)) => Some(key.clone()),
        Some(Publickey::Unsupported) | None => None,
    };
    let (service, rhost, tty) = (facts.service.clone(), facts.rhost.clone(), facts.tty.clone());
    let blank = blank(event, user, connection).map_err(|error| error.to_string())?;
    Ok(SessionReport { typed, uid, service, rhost, tty, key, ..blank }.canonical())
}

fn of_login(event: SessionEvent, open: &OpenLogin) -> Result<SessionReport, NoRandomness> {
    let (service, rhost, tty) = (open.service.clone(), open.rhost.clone(), open.tty.clone());
    let (typed, uid) = (open.typed.clone(), open.uid);
    let blank = blank(event, open.user.clone(), open.connection.clone())?;
    Ok(SessionReport { typed, uid, service, rhost, tty, ..blank })
}

fn blank(event: SessionEvent, user: UserName, connection: Connection) -> Result<SessionReport, NoRandomness> {
    Ok(SessionReport {
        id: ReportId::from_random(random::bytes()?),
        event,
        service: SafeText::default(),
        user,
        typed: None,
        uid: None,
        rhost: None,
        tty: None,
        connection,
        key: None,
        at_us: wall_us(),
        lost: 0,
        module_version: SafeText::new(env!("CARGO_PKG_VERSION")),
    })
}

#[cfg(test)]
pub(crate) mod tests;
