//! The SQL of logins. The submodules have the SQL of asks, notices, the chat's state, and the history that
//! policy needs.

pub mod asks;
pub mod notices;
pub mod reach;

pub(super) mod history;

use kbmfa_proto::login::{FirstFactor, OpenLogin};
use kbmfa_proto::names::{LoginId, MachineName, UserName};
use std::collections::BTreeSet;
use std::time::Duration;

use super::key::{self, Certificate};
use super::state::{Life, State};
use crate::clock::Time;
use crate::db::at_restore::Table;
use crate::db::{Error, Row, Tx};
use crate::secret::SecretHash;

/// What a restore does to the tables of logins.
pub const TABLES: &[Table] = &[
    Table::ends("login"),
    Table::ends("ask"),
    Table::ends("ask_copy"),
    Table::ends("answer"),
    Table::grants_nothing("notice", "a message to people; at worst it is posted twice"),
    Table::grants_nothing("relay_state", "what was said half a minute ago does not count"),
    Table::grants_nothing("relay_member", "what was said half a minute ago does not count"),
];

/// Longest time between an approval and its collection: far more than the grace and a restart of the server.
const COLLECTED_WITHIN: Duration = Duration::from_secs(86_400);

/// A row of `login`.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// The id, chosen by the module.
    pub id: LoginId,
    /// Opaque id of the machine.
    pub machine_id: String,
    /// The machine's name at the time of the opening.
    pub machine: MachineName,
    /// The machine's report.
    pub opened: OpenLogin,
    /// Hash of the login's secret, for a machine that uses the `AUTH_TOKEN`.
    pub secret: Option<SecretHash>,
    /// The ssh client's address, or `PAM_RHOST`.
    pub source: Option<String>,
    /// The text by which limits and the cool-down compare sources ([`crate::source::Origin::key`]). Empty if
    /// the source is unknown.
    pub source_key: String,
    /// Fingerprint of the key that was used, if the module reported one.
    pub key: Option<String>,
    /// The verdict of policy when it was opened.
    pub verdict: String,
    /// The part that changes.
    pub life: Life,
    /// Code of the reason for its end.
    pub reason: Option<String>,
    /// Who decided it: a person, `policy`, `clock`, or the machine.
    pub decided_by: Option<String>,
    /// When it was opened.
    pub opened_at: Time,
    /// Number of the last poll that was written.
    pub poll: i64,
}

impl Login {
    /// The certificate that was used, if any.
    pub fn certificate(&self) -> Option<Certificate> {
        let FirstFactor::Publickey { key } = &self.opened.first_factor else { return None };
        key::read(key)?.certificate
    }

    /// The Unix account.
    pub fn user(&self) -> &UserName {
        &self.opened.user
    }
}

const LOGIN: &str =
    "SELECT id, machine_id, machine_name, opened, secret_hash, source, source_key, key_fingerprint, verdict, state, reason,
    opened_at, expires_at, lapses_at, poll, decided_at, decided_by, collected_at, lapsed_at FROM login";

const UNCOLLECTED: &str = "state = 'approved' AND collected_at IS NULL AND lapsed_at IS NULL";

fn login(row: &Row<'_>) -> Result<Login, Error> {
    let opened = row.text("opened")?;
    Ok(Login {
        id: row.parsed("id")?,
        machine_id: row.text("machine_id")?,
        machine: row.parsed("machine_name")?,
        opened: serde_json::from_str(&opened).map_err(|e| Error::BadValue(format!("login.opened: {e}")))?,
        secret: row.blob_or_null("secret_hash")?.map(SecretHash::from_bytes),
        source: row.text_or_null("source")?,
        source_key: row.text("source_key")?,
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

/// Logins whose id begins with `prefix`; at most two, which is enough to see that it is ambiguous.
///
/// # Errors
/// What the database says.
pub fn by_prefix(tx: &Tx<'_>, prefix: &str) -> Result<Vec<Login>, Error> {
    let sql = format!("{LOGIN} WHERE id >= ?1 AND id < ?1 || 'g' ORDER BY id LIMIT 2");
    tx.query(&sql, &[prefix.into()], login)
}

/// A filter for [`newest`]; an empty or `None` field matches all logins.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In one of these states.
    pub states: Vec<State>,
    /// To this Unix account.
    pub user: Option<UserName>,
    /// On the machine that had this name at the time.
    pub machine: Option<MachineName>,
    /// Opened at or after this moment.
    pub since: Option<Time>,
}

/// At most `limit` logins, the newest first.
///
/// # Errors
/// What the database says.
pub fn newest(tx: &Tx<'_>, filter: &Filter, limit: i64) -> Result<Vec<Login>, Error> {
    let sql = format!(
        "{LOGIN} WHERE opened_at >= ?1 AND (?2 = '' OR ?2 LIKE '%,' || state || ',%')
         AND (?3 = '' OR account = ?3) AND (?4 = '' OR machine_name = ?4) ORDER BY opened_at DESC, id DESC LIMIT ?5"
    );
    let states = filter.states.iter().fold(String::new(), |list, state| list + "," + state.as_str());
    let states = if states.is_empty() { states } else { states + "," };
    let values = [
        filter.since.map_or(0, Time::micros).into(),
        states.into(),
        filter.user.as_ref().map_or("", UserName::as_str).into(),
        filter.machine.as_ref().map_or("", MachineName::as_str).into(),
        limit.into(),
    ];
    tx.query(&sql, &values, login)
}

/// Overdue logins: the window has ended, the machine is silent, or the approval was not collected. At most
/// `limit` of each kind, the most overdue first.
pub(super) fn due(tx: &Tx<'_>, grace: Duration, limit: i64) -> Result<Vec<Login>, Error> {
    let expired =
        format!("{LOGIN} WHERE state = 'pending' AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2");
    let silent = format!("{LOGIN} WHERE state = 'pending' AND lapses_at <= ?1 ORDER BY lapses_at LIMIT ?2");
    let uncollected =
        format!("{LOGIN} WHERE {UNCOLLECTED} AND decided_at <= ?1 ORDER BY decided_at LIMIT ?2");
    let mut found = tx.query(&expired, &[tx.now.into(), limit.into()], login)?;
    found.extend(tx.query(&silent, &[tx.now.into(), limit.into()], login)?);
    found.extend(tx.query(&uncollected, &[tx.now.minus(grace).into(), limit.into()], login)?);
    let mut seen = BTreeSet::new();
    found.retain(|login| seen.insert(login.id.clone()));
    Ok(found)
}

/// Unfinished logins of a machine: pending, or approved and not collected.
pub(super) fn unfinished_of(tx: &Tx<'_>, machine_id: &str) -> Result<Vec<Login>, Error> {
    let mut found = tx.query(
        &format!("{LOGIN} WHERE machine_id = ?1 AND state = 'pending'"),
        &[machine_id.into()],
        login,
    )?;
    let uncollected = format!("{LOGIN} WHERE machine_id = ?1 AND {UNCOLLECTED}");
    found.extend(tx.query(&uncollected, &[machine_id.into()], login)?);
    Ok(found)
}

/// Pending logins that were opened since then and have no posted ask. A limited number, the oldest first.
pub(super) fn unasked(tx: &Tx<'_>, since: Time) -> Result<Vec<Login>, Error> {
    let sql = format!(
        "{LOGIN} WHERE state = 'pending' AND opened_at >= ?1
             AND NOT EXISTS (SELECT 1 FROM ask WHERE login_id = login.id AND message IS NOT NULL)
         ORDER BY opened_at LIMIT 200"
    );
    tx.query(&sql, &[since.into()], login)
}

/// Unfinished logins of all machines: pending (limited by policy), or approved recently and not collected.
pub(super) fn unfinished(tx: &Tx<'_>) -> Result<Vec<Login>, Error> {
    let pending = format!("{LOGIN} WHERE state = 'pending' AND expires_at > ?1");
    let mut found = tx.query(&pending, &[tx.now.into()], login)?;
    let uncollected = format!("{LOGIN} WHERE {UNCOLLECTED} AND decided_at > ?1");
    found.extend(tx.query(&uncollected, &[tx.now.minus(COLLECTED_WITHIN).into()], login)?);
    Ok(found)
}

/// The first event of any unfinished login: pending, approved and not collected, or with an ask that is not
/// closed. An archive must end before it.
///
/// # Errors
/// What the database says.
pub fn first_unfinished_event(tx: &Tx<'_>) -> Result<Option<i64>, Error> {
    let sql = format!(
        "SELECT min(seq) AS seq FROM event WHERE login IN (
             SELECT id FROM login WHERE state = 'pending'
             UNION ALL SELECT id FROM login WHERE {UNCOLLECTED}
             UNION ALL SELECT login_id FROM ask WHERE state = 'wanted'
             UNION ALL SELECT login_id FROM ask WHERE state = 'ended'
             UNION ALL SELECT login_id FROM ask WHERE state = 'posted')"
    );
    Ok(tx.query_one(&sql, &[], |row| row.integer_or_null("seq"))?.flatten())
}

/// The login for this user on this connection whose approval was collected last.
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
        "SELECT id FROM login WHERE connection = ?1 AND machine_id = ?2 AND account = ?3 AND collected_at IS NOT NULL
         ORDER BY collected_at DESC, id DESC LIMIT 1",
        &[connection.into(), machine_id.into(), user.as_str().into()],
        |row| row.parsed("id"),
    )
}

/// Number of pending logins.
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
        "INSERT INTO login (id, machine_id, machine_name, opened, account, service, source, connection,
             key_fingerprint, verdict, state, reason, opened_at, expires_at, lapses_at, poll, decided_at, decided_by,
             secret_hash, source_key, quota)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, 0, ?16, ?17, ?18, ?19, ?20)",
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
            login.secret.as_ref().map(SecretHash::as_bytes).into(),
            login.source_key.as_str().into(),
            history::quota(&login.machine_id, &login.machine).into(),
        ],
    )?;
    Ok(())
}

/// Updates the columns that change.
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

/// Shortens the time until a pending login lapses, unless a newer poll waits.
pub(super) fn shorten(tx: &Tx<'_>, id: &LoginId, poll: i64, lapses_at: Time) -> Result<(), Error> {
    tx.execute(
        "UPDATE login SET lapses_at = CASE WHEN lapses_at < ?3 THEN lapses_at ELSE ?3 END
         WHERE id = ?1 AND poll = ?2 AND state = 'pending'",
        &[id.as_str().into(), poll.into(), lapses_at.into()],
    )?;
    Ok(())
}

/// Number and seal of the newest event about this login, for the decision that is posted in the chat.
pub fn last_event(tx: &Tx<'_>, login: &LoginId) -> Result<Option<(i64, Vec<u8>)>, Error> {
    tx.query_one(
        "SELECT seq, seal FROM event WHERE login = ?1 ORDER BY seq DESC LIMIT 1",
        &[login.as_str().into()],
        |row| Ok((row.integer("seq")?, row.blob("seal")?)),
    )
}

/// For tests: rows as older versions left them, and large numbers of rows.
#[cfg(test)]
pub(super) mod testing {
    use super::{Error, Tx};

    /// Makes every login look as migration 8 left older ones.
    pub(in crate::logins) fn forget_source_keys(tx: &Tx<'_>) -> Result<(), Error> {
        tx.execute("UPDATE login SET source_key = coalesce(source, '')", &[]).map(drop)
    }

    /// Copies the first login this many times: at this machine, on this connection, ended in this state.
    pub(in crate::logins) fn fill(
        tx: &Tx<'_>,
        machine_id: &str,
        (connection, state): (&str, &str),
        count: i64,
    ) -> Result<(), Error> {
        tx.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             INSERT INTO login (id, machine_id, machine_name, opened, account, service, source, connection, verdict, state,
                 reason, opened_at, expires_at, lapses_at, poll, decided_at, collected_at, source_key, quota)
             SELECT ?4 || i, ?2, machine_name, opened, account, service, source, ?3, 'refuse', ?4, 'x', opened_at + i, 0, 0,
                 0, opened_at + i, CASE WHEN ?4 = 'approved' THEN opened_at + i END, source_key, ?2
             FROM n, (SELECT * FROM login ORDER BY opened_at, id LIMIT 1) AS first",
            &[count.into(), machine_id.into(), connection.into(), state.into()],
        )?;
        Ok(())
    }
}
