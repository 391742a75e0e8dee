//! Records a report: one action inside the caller's transaction, with its audit event.

use kbmfa_proto::session::{SessionEvent, SessionReport};
use kbmfa_proto::text::SafeText;

use super::store::{self, Moment, Session};
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::clock::Time;
use crate::db::Tx;
use crate::employees::ledger::service as ledger;
use crate::logins::Rules;
use crate::logins::store::notices::{About, Repeated, Worth};
use crate::logins::{Error, key, notice_texts, notifications, own, store as logins};
use crate::machines::caller::Caller;
use crate::random;
use crate::source::Origin;

/// Records a report, unless it is known already, or about a session of the server's own.
pub fn take(tx: &Tx<'_>, rules: &Rules, caller: &Caller, report: &SessionReport) -> Result<(), Error> {
    let report = &report.clone().canonical();
    if own::is_session(tx, caller, report)? {
        return Ok(());
    }
    if !store::is_news(tx, &caller.machine_id, &report.id)? {
        return Ok(());
    }
    let (kind, session) = match report.event {
        SessionEvent::Opened => (Kind::SessionOpened, end(tx, caller, report, Moment::Open)?),
        SessionEvent::Closed => (Kind::SessionClosed, end(tx, caller, report, Moment::Close)?),
        SessionEvent::LetInUnreachable => {
            let (user, at) = (&report.user, reported(report));
            log::error!("machine {} let {user} in without approval at {at}: no server reached", caller.name);
            let text = notice_texts::let_in_unreachable(user.as_str(), caller.name.as_str(), &at.to_string());
            let (subject, quota) =
                (format!("let-in {}", caller.machine_id), Some(caller.machine_id.as_str()));
            let (worth, repeated) = (Worth::Alarm, Repeated::Counted);
            notifications::notice(tx, rules, About { subject: &subject, worth, repeated, quota }, text)?;
            (Kind::LoginLetInUnreachable, heard(tx, caller, report)?)
        }
    };
    if let Some(uid) = rules.uid_of_ledger(caller, report.uid) {
        ledger::note_seen(tx, &caller.machine_id, uid)?;
    }
    audit::append(tx, &event(kind, caller, report, &session))?;
    tell(tx, rules, kind, &session)
}

/// Raises a notice about a session, if notices of sessions are enabled.
fn tell(tx: &Tx<'_>, rules: &Rules, kind: Kind, session: &Session) -> Result<(), Error> {
    let what = match kind {
        Kind::SessionOpened if rules.post.sessions => "opened",
        Kind::SessionClosed if rules.post.sessions => "closed",
        _ => return Ok(()),
    };
    let (user, machine) = (session.user.as_str(), session.machine.as_str());
    let text = notice_texts::session(what, user, machine, session.source.as_deref());
    let (subject, quota) = (format!("session {what} {}", session.id), Some(session.machine_id.as_str()));
    let about = About { subject: &subject, worth: Worth::News, repeated: Repeated::Dropped, quota };
    notifications::notice(tx, rules, about, text).map(drop)
}

/// Records the opening or the close of a session. Either report may arrive first, and the other one then
/// completes the session.
fn end(tx: &Tx<'_>, caller: &Caller, report: &SessionReport, end: Moment) -> Result<Session, Error> {
    let known = store::without(tx, &caller.machine_id, report, end)?;
    let is_new = known.is_none();
    let mut session = known.map_or_else(|| heard(tx, caller, report), Ok)?;
    let at = Some((tx.now, reported(report)));
    match end {
        Moment::Open => session.opened = at,
        Moment::Close => session.closed = at,
    }
    // The login is searched again while it is missing, because in the PAM stack the line that reports may be
    // before the line that asks.
    if session.login.is_none() {
        let Session { machine_id, connection, user, .. } = &session;
        session.login = logins::newest_collected(tx, machine_id, connection, user)?;
    }
    let save = if is_new { store::insert } else { store::update };
    save(tx, &session)?;
    Ok(session)
}

/// A new session with the facts of this report.
fn heard(tx: &Tx<'_>, caller: &Caller, report: &SessionReport) -> Result<Session, Error> {
    let client = report.connection.ssh.map(|ssh| ssh.client.ip());
    let source = Origin::of(client, report.rhost.as_ref().map(SafeText::as_str));
    Ok(Session {
        id: random::hex::<16>()?,
        machine_id: caller.machine_id.clone(),
        machine: caller.name.clone(),
        login: None,
        connection: report.connection.id.to_string(),
        user: report.user.clone(),
        typed: report.typed.clone(),
        service: report.service.clone(),
        source: source.map(|origin| origin.shown),
        tty: report.tty.clone(),
        key: report.key.as_deref().and_then(key::read).map(|key| key.fingerprint),
        heard_at: tx.now,
        opened: None,
        closed: None,
    })
}

fn reported(report: &SessionReport) -> Time {
    Time::from_micros(report.at_us)
}

fn event(kind: Kind, caller: &Caller, report: &SessionReport, session: &Session) -> Event {
    let event = Event::new(kind, Actor::machine(&caller.name))
        .machine(&caller.name)
        .detail("service", &session.service)
        .detail("reported-at", reported(report))
        .maybe("source", session.source.as_ref())
        .maybe("tty", session.tty.as_ref())
        .maybe("key", session.key.as_ref())
        .maybe("typed", report.typed.as_ref())
        .maybe("reports-lost", (report.lost > 0).then_some(report.lost));
    Event { login: session.login.clone(), user: Some(session.user.clone()), ..event }
}
