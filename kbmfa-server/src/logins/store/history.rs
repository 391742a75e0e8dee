//! The SQL of the history that policy needs: pending logins, recent asks, earlier decisions. Every look-back
//! is bounded: a count stops at its limit, and everything else stops at the first row that an index finds.

use kbmfa_proto::login::OpenLogin;
use kbmfa_proto::names::{MachineName, UserName};
use std::time::Duration;

use crate::clock::Time;
use crate::db::{Error, Tx, Value};
use crate::policy::{Before, Counts, Limits};
use crate::source::Origin;

/// Time after the collection of an approval during which the same connection needs no other one. sshd begins
/// the next PAM phase at once.
const SAME_CONNECTION: Duration = Duration::from_secs(300);

/// Period of the limits on asks.
const MINUTE: Duration = Duration::from_secs(60);

/// The quota that all machines with the `AUTH_TOKEN` share, because any name can be claimed with it.
const CLAIMED: &str = "claimed";

/// What limits and the cool-down compare. All of it is reported by one machine, so every count except
/// [`Counts::asks_everywhere`] is per machine.
#[derive(Clone, Copy)]
pub(in crate::logins) struct Key<'a> {
    pub(in crate::logins) machine_id: &'a str,
    pub(in crate::logins) quota: &'a str,
    pub(in crate::logins) user: &'a UserName,
    /// The source, if the machine reported one.
    pub(in crate::logins) origin: Option<&'a Origin>,
}

/// The quota to which a login belongs: its machine's own, or the one that all claimed machines share.
pub(in crate::logins) fn quota<'a>(machine_id: &'a str, machine: &MachineName) -> &'a str {
    if machine.is_claimed() { CLAIMED } else { machine_id }
}

impl Key<'_> {
    /// The values for `source_key IN (?, ?)`: the key, and the exact address, which rows from before
    /// migration 8 have.
    fn sources(self) -> [Value; 2] {
        let Some(origin) = self.origin else { return ["".into(), "".into()] };
        [origin.key.as_str().into(), origin.shown.as_str().into()]
    }
}

/// Counts pending logins, and asks in the last minute, each up to its limit. Ignores rows with a future
/// timestamp, which exist if the clock was set back.
pub(in crate::logins) fn counts(tx: &Tx<'_>, key: Key<'_>, limits: &Limits) -> Result<Counts, Error> {
    let [source, exact] = key.sources();
    let (machine, quota, user) = (key.machine_id, key.quota, key.user.as_str());
    let (since, now) = (tx.now.minus(MINUTE), tx.now);
    Ok(Counts {
        pending_same_user: count(
            tx,
            "SELECT count(*) AS n FROM (SELECT 1 FROM login WHERE state = 'pending' AND machine_id = ?2
                 AND account = ?3 AND source_key IN (?4, ?5) LIMIT ?1) AS found",
            limits.pending_per_user,
            &[machine.into(), user.into(), source.clone(), exact.clone()],
        )?,
        pending_on_machine: count(
            tx,
            "SELECT count(*) AS n FROM (SELECT 1 FROM login WHERE state = 'pending' AND quota = ?2 LIMIT ?1) AS found",
            limits.pending_per_machine,
            &[quota.into()],
        )?,
        asks_same_user: count(
            tx,
            "SELECT count(*) AS n FROM (SELECT 1 FROM login WHERE verdict = 'ask' AND quota = ?2 AND opened_at > ?3
                 AND opened_at <= ?4 AND account = ?5 AND source_key IN (?6, ?7) LIMIT ?1) AS found",
            limits.asks_per_user,
            &[quota.into(), since.into(), now.into(), user.into(), source.clone(), exact.clone()],
        )?,
        asks_on_machine: count(
            tx,
            "SELECT count(*) AS n FROM (SELECT 1 FROM login WHERE verdict = 'ask' AND quota = ?2 AND opened_at > ?3
                 AND opened_at <= ?4 LIMIT ?1) AS found",
            limits.asks_per_machine,
            &[quota.into(), since.into(), now.into()],
        )?,
        asks_everywhere: count(
            tx,
            "SELECT count(*) AS n FROM (SELECT 1 FROM login WHERE verdict = 'ask' AND account = ?2
                 AND source_key IN (?3, ?4) AND opened_at > ?5 AND opened_at <= ?6 LIMIT ?1) AS found",
            limits.asks_per_user_everywhere,
            &[user.into(), source, exact, since.into(), now.into()],
        )?,
    })
}

fn count(tx: &Tx<'_>, sql: &str, limit: u64, values: &[Value]) -> Result<u64, Error> {
    let limit = Value::from(i64::try_from(limit).unwrap_or(i64::MAX));
    let values: Vec<Value> = [&[limit], values].concat();
    Ok(tx.query_one(sql, &values, |row| row.integer("n"))?.unwrap_or(0).unsigned_abs())
}

/// Finds earlier decisions: on the same ssh connection, or a denial by a person since `denied_since` of the
/// same user from the same source on this machine. Ignores rows with a future timestamp.
pub(in crate::logins) fn before(
    tx: &Tx<'_>,
    key: Key<'_>,
    opened: &OpenLogin,
    denied_since: Time,
) -> Result<Before, Error> {
    if opened.connection.ssh.is_some() {
        if denied_on_connection(tx, key, opened)? {
            return Ok(Before::Denied);
        }
        if approved_on_connection(tx, key, opened)? {
            return Ok(Before::Approved);
        }
    }
    let (machine, user, [source, exact]) = (key.machine_id, key.user.as_str(), key.sources());
    let denied = exists(
        tx,
        "SELECT 1 FROM login WHERE state = 'denied' AND reason = 'denied' AND machine_id = ?1 AND account = ?2
             AND source_key IN (?5, ?6) AND decided_at > ?3 AND decided_at <= ?4 LIMIT 1",
        &[machine.into(), user.into(), denied_since.into(), tx.now.into(), source, exact],
    )?;
    Ok(if denied { Before::DeniedRecently } else { Before::Nothing })
}

/// True if any login of the connection was denied.
fn denied_on_connection(tx: &Tx<'_>, key: Key<'_>, opened: &OpenLogin) -> Result<bool, Error> {
    exists(
        tx,
        "SELECT 1 FROM login WHERE state = 'denied' AND machine_id = ?1 AND connection = ?2 LIMIT 1",
        &[key.machine_id.into(), opened.connection.id.as_str().into()],
    )
}

/// True if a person approved a login of this connection. That counts for the next phase, too, if user and
/// service are the same.
fn approved_on_connection(tx: &Tx<'_>, key: Key<'_>, opened: &OpenLogin) -> Result<bool, Error> {
    exists(
        tx,
        "SELECT 1 FROM login WHERE state = 'approved' AND verdict = 'ask' AND machine_id = ?1 AND connection = ?2
             AND account = ?3 AND service = ?4 AND collected_at > ?5 LIMIT 1",
        &[
            key.machine_id.into(),
            opened.connection.id.as_str().into(),
            key.user.as_str().into(),
            opened.service.as_str().into(),
            tx.now.minus(SAME_CONNECTION).into(),
        ],
    )
}

fn exists(tx: &Tx<'_>, sql: &str, values: &[Value]) -> Result<bool, Error> {
    Ok(tx.query_one(sql, values, |_| Ok(()))?.is_some())
}
