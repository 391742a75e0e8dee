//! The SQL of sessions, and of the ids of reports that were recorded.

use kbmfa_proto::names::{LoginId, MachineName, ReportId, UserName};
use kbmfa_proto::session::SessionReport;
use kbmfa_proto::text::SafeText;
use std::time::Duration;

use crate::clock::Time;
use crate::db::at_restore::Table;
use crate::db::{Error, Row, Tx};
use crate::logins::store::Login;

/// What a restore does to these tables.
pub const TABLES: &[Table] = &[
    Table::grants_nothing("session", "what machines reported"),
    Table::grants_nothing("report", "which reports are known; at worst one is taken twice"),
];

/// Time after the collection of an approval within which a session must open. Later the session counts as
/// missing.
pub const OPENS_WITHIN: Duration = Duration::from_secs(60);

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Opaque id.
    pub id: String,
    /// Opaque id of the machine.
    pub machine_id: String,
    /// The machine's name at that time.
    pub machine: MachineName,
    /// The login that let the person in, if one did.
    pub login: Option<LoginId>,
    /// Opaque id of the connection.
    pub connection: String,
    /// The Unix account.
    pub user: UserName,
    /// The account as the person typed it, if that differs and the session's first report had it.
    pub typed: Option<UserName>,
    /// The PAM service.
    pub service: SafeText,
    /// The ssh client's address, or what `PAM_RHOST` said.
    pub source: Option<String>,
    /// `PAM_TTY`.
    pub tty: Option<SafeText>,
    /// Fingerprint of the key that was used, if sshd reported it.
    pub key: Option<String>,
    /// When its first report arrived.
    pub heard_at: Time,
    /// When it was opened, by the server's clock and by the machine's.
    pub opened: Option<(Time, Time)>,
    /// When it was closed, by both clocks.
    pub closed: Option<(Time, Time)>,
}

impl Session {
    /// True while the session is not known to be closed.
    pub fn is_open(&self) -> bool {
        self.opened.is_some() && self.closed.is_none()
    }
}

/// The opening or the close of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Open,
    Close,
}

const SESSION: &str =
    "SELECT id, machine_id, machine_name, login_id, connection, account, typed, service, source, tty,
    key_fingerprint, heard_at, opened_at, opened_reported_at, closed_at, closed_reported_at FROM session";

/// Repeats the condition of the partial index of open sessions.
const OPEN: &str = "opened_at IS NOT NULL AND closed_at IS NULL";

fn session(row: &Row<'_>) -> Result<Session, Error> {
    let both = |at: &str, reported_at: &str| {
        let reported = row.time_or_null(reported_at)?;
        Ok::<_, Error>(row.time_or_null(at)?.map(|at| (at, reported.unwrap_or(at))))
    };
    Ok(Session {
        id: row.text("id")?,
        machine_id: row.text("machine_id")?,
        machine: row.parsed("machine_name")?,
        login: row.parsed_or_null("login_id")?,
        connection: row.text("connection")?,
        user: row.parsed("account")?,
        typed: row.parsed_or_null("typed")?,
        service: row.text("service")?.into(),
        source: row.text_or_null("source")?,
        tty: row.text_or_null("tty")?.map(SafeText::from),
        key: row.text_or_null("key_fingerprint")?,
        heard_at: row.time("heard_at")?,
        opened: both("opened_at", "opened_reported_at")?,
        closed: both("closed_at", "closed_reported_at")?,
    })
}

/// Records the id of a report; false if it is known already.
pub(super) fn is_news(tx: &Tx<'_>, machine_id: &str, id: &ReportId) -> Result<bool, Error> {
    let sql = "INSERT INTO report (machine_id, id, taken_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, &[machine_id.into(), id.as_str().into(), tx.now.into()])? == 1)
}

/// The newest session of the report's connection and account for which this end is not recorded yet.
pub(super) fn without(
    tx: &Tx<'_>,
    machine_id: &str,
    report: &SessionReport,
    end: Moment,
) -> Result<Option<Session>, Error> {
    let lacks = match end {
        Moment::Open => "opened_at IS NULL",
        Moment::Close => "closed_at IS NULL",
    };
    let sql = format!(
        "{SESSION} WHERE connection = ?1 AND machine_id = ?2 AND account = ?3 AND service = ?4 AND {lacks}
         ORDER BY heard_at DESC LIMIT 1"
    );
    let values = [
        report.connection.id.as_str().into(),
        machine_id.into(),
        report.user.as_str().into(),
        report.service.as_str().into(),
    ];
    tx.query_one(&sql, &values, session)
}

pub(super) fn insert(tx: &Tx<'_>, session: &Session) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO session (id, machine_id, machine_name, connection, account, service, source, tty, key_fingerprint,
             heard_at, typed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        &[
            session.id.as_str().into(),
            session.machine_id.as_str().into(),
            session.machine.as_str().into(),
            session.connection.as_str().into(),
            session.user.as_str().into(),
            session.service.as_str().into(),
            session.source.clone().into(),
            session.tty.as_ref().map(SafeText::as_str).into(),
            session.key.clone().into(),
            session.heard_at.into(),
            session.typed.as_ref().map(UserName::as_str).into(),
        ],
    )?;
    update(tx, session)
}

/// Updates the columns that change.
pub(super) fn update(tx: &Tx<'_>, session: &Session) -> Result<(), Error> {
    tx.execute(
        "UPDATE session SET login_id = ?2, opened_at = ?3, opened_reported_at = ?4, closed_at = ?5,
             closed_reported_at = ?6 WHERE id = ?1",
        &[
            session.id.as_str().into(),
            session.login.as_ref().map(LoginId::as_str).into(),
            session.opened.map(|(at, _)| at).into(),
            session.opened.map(|(_, reported_at)| reported_at).into(),
            session.closed.map(|(at, _)| at).into(),
            session.closed.map(|(_, reported_at)| reported_at).into(),
        ],
    )?;
    Ok(())
}

/// Sessions, newest first: all or only open ones, of everybody or of one Unix account.
pub fn newest(
    tx: &Tx<'_>,
    only_open: bool,
    account: Option<&UserName>,
    limit: i64,
) -> Result<Vec<Session>, Error> {
    let sql = if only_open {
        format!(
            "{SESSION} WHERE {OPEN} AND (?1 = '' OR account = ?1) ORDER BY heard_at DESC, id DESC LIMIT ?2"
        )
    } else {
        format!("{SESSION} WHERE ?1 = '' OR account = ?1 ORDER BY heard_at DESC, id DESC LIMIT ?2")
    };
    tx.query(&sql, &[account.map_or("", UserName::as_str).into(), limit.into()], session)
}

/// The sessions of a login's connection and user, oldest first. One session may belong to several logins: one
/// for each phase that asks.
pub fn of(tx: &Tx<'_>, login: &Login) -> Result<Vec<Session>, Error> {
    let sql = format!(
        "{SESSION} WHERE connection = ?1 AND machine_id = ?2 AND account = ?3 ORDER BY heard_at, id LIMIT 100"
    );
    let connection = login.opened.connection.id.as_str();
    tx.query(
        &sql,
        &[connection.into(), login.machine_id.as_str().into(), login.user().as_str().into()],
        session,
    )
}

/// Logins that were let in and never opened a session, newest first. Only of machines that have reported a
/// session of the same service before.
pub fn unopened(tx: &Tx<'_>, limit: i64) -> Result<Vec<LoginId>, Error> {
    tx.query(
        "SELECT id FROM login WHERE collected_at <= ?1
             AND NOT EXISTS (SELECT 1 FROM session AS own WHERE own.connection = login.connection
                 AND own.machine_id = login.machine_id AND own.account = login.account)
             AND EXISTS (SELECT 1 FROM session AS any_one WHERE any_one.machine_id = login.machine_id
                 AND any_one.service = login.service AND any_one.heard_at <= login.collected_at)
         ORDER BY opened_at DESC, id DESC LIMIT ?2",
        &[tx.now.minus(OPENS_WITHIN).into(), limit.into()],
        |row| row.parsed("id"),
    )
}

/// Number of sessions that are not known to be closed.
pub fn count_open(tx: &Tx<'_>) -> Result<u64, Error> {
    let sql = format!("SELECT count(*) AS n FROM session WHERE {OPEN}");
    Ok(tx.query_one(&sql, &[], |row| row.integer("n"))?.unwrap_or(0).unsigned_abs())
}
