//! The SQL of logins, asks and answers.

use kbmfa_proto::login::OpenLogin;
use kbmfa_proto::names::{LoginId, MachineName, UserName};
use std::time::Duration;

use super::state::{Life, State};
use crate::clock::Time;
use crate::db::{Error, Row, Tx, Value};
use crate::policy::{Approver, Approvers, Before};
use crate::relay::Answer;

/// For how long after an approval was collected the same connection needs no other: sshd goes from one
/// phase to the next at once.
const SAME_CONNECTION: Duration = Duration::from_secs(300);

/// A login as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// Its id, made by the module.
    pub id: LoginId,
    /// Opaque id of the machine.
    pub machine_id: String,
    /// The machine's name when it was opened.
    pub machine: MachineName,
    /// What the machine reported.
    pub opened: OpenLogin,
    /// The ssh client's address, or what `PAM_RHOST` said.
    pub source: Option<String>,
    /// Fingerprint of the key that was used, where sshd told it.
    pub key: Option<String>,
    /// What policy said.
    pub verdict: String,
    /// The part that changes.
    pub life: Life,
    /// Code for why it ended as it did.
    pub reason: Option<String>,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When it was opened.
    pub opened_at: Time,
    /// Counts the machine's polls.
    pub poll: i64,
}

impl Login {
    /// The Unix account to be entered.
    pub fn user(&self) -> &UserName {
        &self.opened.user
    }
}

const LOGIN: &str =
    "SELECT id, machine_id, machine_name, opened, source, key_fingerprint, verdict, state, reason,
    opened_at, expires_at, lapses_at, poll, decided_at, decided_by, collected_at, lapsed_at FROM login";

const UNCOLLECTED: &str = "state = 'approved' AND collected_at IS NULL AND lapsed_at IS NULL";

fn login(row: &Row<'_, '_>) -> Result<Login, Error> {
    let opened = row.text("opened")?;
    Ok(Login {
        id: row.parsed("id")?,
        machine_id: row.text("machine_id")?,
        machine: row.parsed("machine_name")?,
        opened: serde_json::from_str(&opened).map_err(|e| Error::BadValue(format!("login.opened: {e}")))?,
        source: row.text_or_null("source")?,
        key: row.text_or_null("key_fingerprint")?,
        verdict: row.text("verdict")?,
        life: Life {
            state: row.parsed::<State>("state")?,
            expires_at: row.time("expires_at")?,
            lapses_at: row.time("lapses_at")?,
            decided_at: row.time_or_null("decided_at")?,
            collected_at: row.time_or_null("collected_at")?,
            lapsed_at: row.time_or_null("lapsed_at")?,
        },
        reason: row.text_or_null("reason")?,
        decided_by: row.text_or_null("decided_by")?,
        opened_at: row.time("opened_at")?,
        poll: row.integer("poll")?,
    })
}

/// The login of this id.
///
/// # Errors
/// What the database says.
pub fn by_id(tx: &Tx<'_>, id: &LoginId) -> Result<Option<Login>, Error> {
    tx.query_one(&format!("{LOGIN} WHERE id = ?1"), &[id.as_str().into()], login)
}

/// Logins whose id begins so, two at the most: enough to tell one from several.
///
/// # Errors
/// What the database says.
pub fn by_prefix(tx: &Tx<'_>, prefix: &str) -> Result<Vec<Login>, Error> {
    let sql = format!("{LOGIN} WHERE id >= ?1 AND id < ?1 || 'g' ORDER BY id LIMIT 2");
    tx.query(&sql, &[prefix.into()], login)
}

/// The newest logins first, of one state or of all.
///
/// # Errors
/// What the database says.
pub fn newest(tx: &Tx<'_>, state: Option<State>, limit: i64) -> Result<Vec<Login>, Error> {
    let sql = format!("{LOGIN} WHERE ?1 IS NULL OR state = ?1 ORDER BY opened_at DESC, id LIMIT ?2");
    tx.query(&sql, &[state.map(State::as_str).into(), limit.into()], login)
}

/// Logins for which something may have run out by now: the window, the machine's silence, or the time to
/// collect an approval.
pub(super) fn due(tx: &Tx<'_>, grace: Duration) -> Result<Vec<Login>, Error> {
    let pending = format!("{LOGIN} WHERE state = 'pending' AND (expires_at <= ?1 OR lapses_at <= ?1)");
    let mut found = tx.query(&pending, &[tx.now.into()], login)?;
    let uncollected = format!("{LOGIN} WHERE {UNCOLLECTED} AND decided_at <= ?1");
    found.extend(tx.query(&uncollected, &[tx.now.minus(grace).into()], login)?);
    Ok(found)
}

/// Logins of a machine that it has not got the end of.
pub(super) fn unfinished_of(tx: &Tx<'_>, machine_id: &str) -> Result<Vec<Login>, Error> {
    let sql = format!("{LOGIN} WHERE machine_id = ?1 AND (state = 'pending' OR ({UNCOLLECTED}))");
    tx.query(&sql, &[machine_id.into()], login)
}

/// Logins to a Unix account, on any machine, that have not got the end of.
pub(super) fn unfinished_of_user(tx: &Tx<'_>, user: &UserName) -> Result<Vec<Login>, Error> {
    let sql = format!("{LOGIN} WHERE user = ?1 AND (state = 'pending' OR ({UNCOLLECTED}))");
    tx.query(&sql, &[user.as_str().into()], login)
}

/// The first event about a login that has not ended, was approved and may yet be collected, or whose ask has
/// yet to become the verdict: from there on the record is still being worked with.
///
/// # Errors
/// What the database says.
pub fn first_unfinished_event(tx: &Tx<'_>) -> Result<Option<i64>, Error> {
    let sql = format!(
        "SELECT min(seq) AS seq FROM event WHERE login IN (
             SELECT id FROM login WHERE state = 'pending'
             UNION SELECT id FROM login WHERE {UNCOLLECTED}
             UNION SELECT login_id FROM ask WHERE state IN ('wanted', 'ended')
             UNION SELECT login_id FROM ask WHERE state = 'posted')"
    );
    Ok(tx.query_one(&sql, &[], |row| row.integer_or_null("seq"))?.flatten())
}

/// The login that last let this user in on this connection.
///
/// # Errors
/// What the database says.
pub fn newest_collected(
    tx: &Tx<'_>,
    machine_id: &str,
    connection: &str,
    user: &UserName,
) -> Result<Option<LoginId>, Error> {
    tx.query_one(
        "SELECT id FROM login WHERE connection = ?1 AND machine_id = ?2 AND user = ?3 AND collected_at IS NOT NULL
         ORDER BY collected_at DESC, id LIMIT 1",
        &[connection.into(), machine_id.into(), user.as_str().into()],
        |row| row.parsed("id"),
    )
}

/// How many logins wait for an answer.
///
/// # Errors
/// What the database says.
pub fn count_pending(tx: &Tx<'_>) -> Result<u64, Error> {
    let count =
        tx.query_one("SELECT count(*) AS n FROM login WHERE state = 'pending'", &[], |row| row.integer("n"));
    Ok(count?.unwrap_or(0).unsigned_abs())
}

pub(super) fn insert(tx: &Tx<'_>, login: &Login) -> Result<(), Error> {
    let opened = serde_json::to_string(&login.opened).map_err(|e| Error::BadValue(e.to_string()))?;
    tx.execute(
        "INSERT INTO login (id, machine_id, machine_name, opened, user, service, source, connection,
             key_fingerprint, verdict, state, reason, opened_at, expires_at, lapses_at, poll, decided_at, decided_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, 0, ?16, ?17)",
        &[
            login.id.as_str().into(),
            login.machine_id.as_str().into(),
            login.machine.as_str().into(),
            opened.into(),
            login.user().as_str().into(),
            login.opened.service.as_str().into(),
            login.source.clone().into(),
            login.opened.connection.id.as_str().into(),
            login.key.clone().into(),
            login.verdict.as_str().into(),
            login.life.state.as_str().into(),
            login.reason.clone().into(),
            tx.now.into(),
            login.life.expires_at.into(),
            login.life.lapses_at.into(),
            login.life.decided_at.into(),
            login.decided_by.clone().into(),
        ],
    )?;
    Ok(())
}

/// Writes the part that changes.
pub(super) fn update(tx: &Tx<'_>, login: &Login) -> Result<(), Error> {
    let life = &login.life;
    tx.execute(
        "UPDATE login SET state = ?2, reason = ?3, lapses_at = ?4, poll = ?5, decided_at = ?6, decided_by = ?7,
             collected_at = ?8, lapsed_at = ?9 WHERE id = ?1",
        &[
            login.id.as_str().into(),
            life.state.as_str().into(),
            login.reason.clone().into(),
            life.lapses_at.into(),
            login.poll.into(),
            life.decided_at.into(),
            login.decided_by.clone().into(),
            life.collected_at.into(),
            life.lapsed_at.into(),
        ],
    )?;
    Ok(())
}

/// Brings the end of a pending login's time forward, unless a newer poll is under way.
pub(super) fn shorten(tx: &Tx<'_>, id: &LoginId, poll: i64, lapses_at: Time) -> Result<(), Error> {
    tx.execute(
        "UPDATE login SET lapses_at = min(lapses_at, ?3) WHERE id = ?1 AND poll = ?2 AND state = 'pending'",
        &[id.as_str().into(), poll.into(), lapses_at.into()],
    )?;
    Ok(())
}

/// How many logins of a machine wait: (of this user from this source, of all).
pub(super) fn pending(
    tx: &Tx<'_>,
    machine_id: &str,
    user: &UserName,
    source: Option<&str>,
) -> Result<(u64, u64), Error> {
    let counts = tx.query_one(
        "SELECT count(*) FILTER (WHERE user = ?2 AND source IS NOT DISTINCT FROM ?3) AS same_user,
                count(*) AS all_users
         FROM login WHERE machine_id = ?1 AND state = 'pending'",
        &[machine_id.into(), user.as_str().into(), source.into()],
        |row| Ok((row.integer("same_user")?, row.integer("all_users")?)),
    )?;
    let (same_user, all_users) = counts.unwrap_or_default();
    Ok((same_user.unsigned_abs(), all_users.unsigned_abs()))
}

/// How many asks there were since then: (for this user from this source, about this machine).
pub(super) fn asks_since(
    tx: &Tx<'_>,
    since: Time,
    machine_id: &str,
    (user, source): (&UserName, Option<&str>),
) -> Result<(u64, u64), Error> {
    let count = |sql: &str, values: &[Value]| {
        Ok::<_, Error>(tx.query_one(sql, values, |row| row.integer("n"))?.unwrap_or(0).unsigned_abs())
    };
    let of_user = "SELECT count(*) AS n FROM login WHERE verdict = 'ask' AND user = ?1
                       AND source IS NOT DISTINCT FROM ?2 AND opened_at > ?3";
    let of_machine =
        "SELECT count(*) AS n FROM login WHERE verdict = 'ask' AND machine_id = ?1 AND opened_at > ?2";
    Ok((
        count(of_user, &[user.as_str().into(), source.into(), since.into()])?,
        count(of_machine, &[machine_id.into(), since.into()])?,
    ))
}

/// What was decided before: on the same ssh connection, or by a person about the same user from the same
/// source on this machine since `denied_since`.
pub(super) fn before(
    tx: &Tx<'_>,
    machine_id: &str,
    opened: &OpenLogin,
    (source, denied_since): (Option<&str>, Time),
) -> Result<Before, Error> {
    let on_connection = before_on_connection(tx, machine_id, opened)?;
    if on_connection != Before::Nothing {
        return Ok(on_connection);
    }
    let denied = tx.query_one(
        "SELECT 1 FROM login WHERE state = 'denied' AND reason = 'denied' AND machine_id = ?1 AND user = ?2
             AND source IS NOT DISTINCT FROM ?3 AND decided_at > ?4 LIMIT 1",
        &[machine_id.into(), opened.user.as_str().into(), source.into(), denied_since.into()],
        |_| Ok(()),
    )?;
    Ok(if denied.is_some() { Before::DeniedRecently } else { Before::Nothing })
}

/// An approval carries over only to the same user and service, and only if a person gave it; a denial to
/// all that the connection tries.
fn before_on_connection(tx: &Tx<'_>, machine_id: &str, opened: &OpenLogin) -> Result<Before, Error> {
    if opened.connection.ssh.is_none() {
        return Ok(Before::Nothing);
    }
    let earlier = tx.query(
        "SELECT user, service, verdict, state, collected_at FROM login WHERE connection = ?1 AND machine_id = ?2",
        &[opened.connection.id.as_str().into(), machine_id.into()],
        |row| {
            let same = row.text("user")? == opened.user.as_str()
                && row.text("service")? == opened.service.as_str()
                && row.text("verdict")? == "ask";
            let collected = row.time_or_null("collected_at")?;
            let fresh = collected.is_some_and(|at| tx.now < at + SAME_CONNECTION);
            Ok((row.parsed::<State>("state")?, same && fresh))
        },
    )?;
    if earlier.iter().any(|(state, _)| *state == State::Denied) {
        return Ok(Before::Denied);
    }
    let approved = earlier.iter().any(|(state, carries_over)| *state == State::Approved && *carries_over);
    Ok(if approved { Before::Approved } else { Before::Nothing })
}

/// An ask as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Opaque id.
    pub id: String,
    /// The login that it is about.
    pub login: LoginId,
    /// Which relay, and where in it.
    pub destination: (String, String),
    /// Who may answer.
    pub approvers: Approvers,
    /// The relay's id of the message, once it is posted.
    pub message: Option<String>,
}

const ASK: &str = "SELECT id, login_id, relay, destination, approvers, message FROM ask";

fn ask(row: &Row<'_, '_>) -> Result<Ask, Error> {
    Ok(Ask {
        id: row.text("id")?,
        login: row.parsed("login_id")?,
        destination: (row.text("relay")?, row.text("destination")?),
        approvers: row.parsed("approvers")?,
        message: row.text_or_null("message")?,
    })
}

pub(super) fn insert_ask(tx: &Tx<'_>, ask: &Ask) -> Result<(), Error> {
    let (relay, destination) = &ask.destination;
    tx.execute(
        "INSERT INTO ask (id, login_id, relay, destination, approvers, state) VALUES (?1, ?2, ?3, ?4, ?5, 'wanted')",
        &[
            ask.id.as_str().into(),
            ask.login.as_str().into(),
            relay.as_str().into(),
            destination.as_str().into(),
            ask.approvers.to_string().into(),
        ],
    )?;
    Ok(())
}

/// The asks about a login.
///
/// # Errors
/// What the database says.
pub fn asks_of(tx: &Tx<'_>, login: &LoginId) -> Result<Vec<Ask>, Error> {
    tx.query(&format!("{ASK} WHERE login_id = ?1 ORDER BY id"), &[login.as_str().into()], ask)
}

/// Asks of a relay that need something done: to be posted, or to become the verdict.
pub(super) fn asks_due(tx: &Tx<'_>, relay: &str) -> Result<Vec<(Ask, Login)>, Error> {
    let sql = format!("{ASK} WHERE relay = ?1 AND state IN ('wanted', 'ended')");
    with_logins(tx, tx.query(&sql, &[relay.into()], ask)?)
}

/// Asks of a relay that stand there unanswered; one of them, or all.
pub(super) fn asks_posted(tx: &Tx<'_>, relay: &str, id: Option<&str>) -> Result<Vec<(Ask, Login)>, Error> {
    let sql = format!("{ASK} WHERE relay = ?1 AND state = 'posted' AND (?2 IS NULL OR id = ?2)");
    with_logins(tx, tx.query(&sql, &[relay.into(), id.into()], ask)?)
}

fn with_logins(tx: &Tx<'_>, asks: Vec<Ask>) -> Result<Vec<(Ask, Login)>, Error> {
    let with_login = |ask: Ask| Ok(by_id(tx, &ask.login)?.map(|login| (ask, login)));
    asks.into_iter().filter_map(|ask| with_login(ask).transpose()).collect()
}

/// Records the message; false if that was done before. The login may have ended meanwhile.
pub(super) fn posted(tx: &Tx<'_>, ask: &str, message: &str) -> Result<bool, Error> {
    let sql = "UPDATE ask SET state = CASE state WHEN 'wanted' THEN 'posted' ELSE state END, message = ?2,
                   posted_at = ?3 WHERE id = ?1 AND message IS NULL";
    Ok(tx.execute(sql, &[ask.into(), message.into(), tx.now.into()])? == 1)
}

/// The login has ended: its asks are to become the verdict.
pub(super) fn end_asks(tx: &Tx<'_>, login: &LoginId) -> Result<(), Error> {
    let sql = "UPDATE ask SET state = 'ended' WHERE login_id = ?1 AND state IN ('wanted', 'posted')";
    tx.execute(sql, &[login.as_str().into()])?;
    Ok(())
}

pub(super) fn close_ask(tx: &Tx<'_>, ask: &str) -> Result<(), Error> {
    tx.execute(
        "UPDATE ask SET state = 'closed', closed_at = ?2 WHERE id = ?1",
        &[ask.into(), tx.now.into()],
    )?;
    Ok(())
}

/// An answer that somebody gave.
#[derive(Debug, Clone)]
pub(super) struct Given<'a> {
    pub(super) id: String,
    pub(super) ask: &'a str,
    pub(super) person: &'a Approver,
    pub(super) answer: Answer,
    pub(super) why_not: Option<&'a str>,
    pub(super) note: Option<&'a str>,
}

pub(super) fn insert_answer(tx: &Tx<'_>, given: &Given<'_>) -> Result<(), Error> {
    let counted = i64::from(given.why_not.is_none());
    tx.execute(
        "INSERT INTO answer (id, ask_id, person, answer, counted, why_not, note, answered_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        &[
            given.id.as_str().into(),
            given.ask.into(),
            given.person.to_string().into(),
            given.answer.as_str().into(),
            Value::from(counted),
            given.why_not.into(),
            given.note.into(),
            tx.now.into(),
        ],
    )?;
    Ok(())
}

/// True if this very answer is on record already.
pub(super) fn was_answered(
    tx: &Tx<'_>,
    login: &LoginId,
    person: &Approver,
    answer: Answer,
) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM answer JOIN ask ON ask.id = ask_id
               WHERE login_id = ?1 AND person = ?2 AND answer = ?3 LIMIT 1";
    let values = [login.as_str().into(), person.to_string().into(), answer.as_str().into()];
    Ok(tx.query_one(sql, &values, |_| Ok(()))?.is_some())
}

/// Newest seal over an event about this login: what a posted verdict carries.
pub(super) fn last_event(tx: &Tx<'_>, login: &LoginId) -> Result<Option<(i64, Vec<u8>)>, Error> {
    tx.query_one(
        "SELECT seq, seal FROM event WHERE login = ?1 ORDER BY seq DESC LIMIT 1",
        &[login.as_str().into()],
        |row| Ok((row.integer("seq")?, row.blob("seal")?)),
    )
}

/// Something to tell people once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Opaque id.
    pub id: String,
    /// Which relay, and where in it.
    pub destination: (String, String),
    /// What it says.
    pub text: String,
}

/// Puts a notice down, unless there was one about the same subject since then; true if it is new.
pub(super) fn raise_notice(tx: &Tx<'_>, notice: &Notice, subject: &str, since: Time) -> Result<bool, Error> {
    let (relay, destination) = &notice.destination;
    let added = tx.execute(
        "INSERT INTO notice (id, relay, destination, subject, text, created_at)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6
         WHERE NOT EXISTS (SELECT 1 FROM notice WHERE subject = ?4 AND created_at > ?7)",
        &[
            notice.id.as_str().into(),
            relay.as_str().into(),
            destination.as_str().into(),
            subject.into(),
            notice.text.as_str().into(),
            tx.now.into(),
            since.into(),
        ],
    )?;
    Ok(added == 1)
}

/// Notices of a relay that nobody was told yet.
pub(super) fn notices_due(tx: &Tx<'_>, relay: &str) -> Result<Vec<Notice>, Error> {
    let sql = "SELECT id, relay, destination, text FROM notice WHERE relay = ?1 AND posted_at IS NULL ORDER BY created_at";
    tx.query(sql, &[relay.into()], notice)
}

/// Notices put down after that moment, oldest first, with their moments.
///
/// # Errors
/// What the database says.
pub fn notices_after(tx: &Tx<'_>, after: Time) -> Result<Vec<(Time, Notice)>, Error> {
    let sql = "SELECT id, relay, destination, text, created_at FROM notice WHERE created_at > ?1 ORDER BY created_at";
    tx.query(sql, &[after.into()], |row| Ok((row.time("created_at")?, notice(row)?)))
}

pub(super) fn notice_posted(tx: &Tx<'_>, id: &str) -> Result<(), Error> {
    tx.execute("UPDATE notice SET posted_at = ?2 WHERE id = ?1", &[id.into(), tx.now.into()])?;
    Ok(())
}

fn notice(row: &Row<'_, '_>) -> Result<Notice, Error> {
    let destination = (row.text("relay")?, row.text("destination")?);
    Ok(Notice { id: row.text("id")?, destination, text: row.text("text")? })
}
