//! What went before a login: what waits, what was asked, what was decided. Policy looks at these.

use kbmfa_proto::login::OpenLogin;
use kbmfa_proto::names::UserName;
use std::time::Duration;

use super::super::state::State;
use crate::clock::Time;
use crate::db::{Error, Tx, Value};
use crate::policy::Before;
use crate::source::Origin;

/// For how long after an approval was collected the same connection needs no other: sshd goes from one
/// phase to the next at once.
const SAME_CONNECTION: Duration = Duration::from_secs(300);

/// The machine that a cap is about. Those that go by `AUTH_TOKEN` share one: any name can be claimed with it.
#[derive(Clone, Copy)]
pub(in crate::logins) struct At<'a> {
    pub(in crate::logins) machine_id: &'a str,
    pub(in crate::logins) claimed: bool,
}

/// Where a login comes from, as the limits compare it.
#[derive(Clone, Copy)]
pub(in crate::logins) struct From<'a>(pub(in crate::logins) Option<&'a Origin>);

impl From<'_> {
    /// The values for `source_key IN (?, ?)`: its key, and its exact address as logins have it that are older than keys.
    fn keys(self) -> [Value; 2] {
        let Some(origin) = self.0 else { return ["".into(), "".into()] };
        [origin.key.as_str().into(), origin.shown.as_str().into()]
    }
}

/// The machines under the same cap, where ?1 is the machine and ?2 whether its name is claimed.
const CAPPED: &str =
    "machine_id IN (SELECT ?1 UNION SELECT id FROM machine WHERE ?2 AND substr(name, 1, 8) = 'claimed:')";

/// How many logins wait: (at this machine, of this user from this source; under the machine's cap).
pub(in crate::logins) fn pending(
    tx: &Tx<'_>,
    at: At<'_>,
    (user, from): (&UserName, From<'_>),
) -> Result<(u64, u64), Error> {
    let [key, exact] = from.keys();
    let counts = tx.query_one(
        &format!(
            "SELECT count(*) FILTER (WHERE machine_id = ?1 AND user = ?3 AND source_key IN (?4, ?5))
                        AS same_user,
                    count(*) AS all_users
             FROM login WHERE {CAPPED} AND state = 'pending'"
        ),
        &[at.machine_id.into(), i64::from(at.claimed).into(), user.as_str().into(), key, exact],
        |row| Ok((row.integer("same_user")?, row.integer("all_users")?)),
    )?;
    let (same_user, all_users) = counts.unwrap_or_default();
    Ok((same_user.unsigned_abs(), all_users.unsigned_abs()))
}

/// How many asks there were since then: (for this user from this source, under the machine's cap). What was opened ahead
/// of now, before somebody set the clock right, does not count until it is that time again.
pub(in crate::logins) fn asks_since(
    tx: &Tx<'_>,
    since: Time,
    at: At<'_>,
    (user, from): (&UserName, From<'_>),
) -> Result<(u64, u64), Error> {
    let count = |sql: &str, values: &[Value]| {
        Ok::<_, Error>(tx.query_one(sql, values, |row| row.integer("n"))?.unwrap_or(0).unsigned_abs())
    };
    let of_user = "SELECT count(*) AS n FROM login WHERE verdict = 'ask' AND user = ?1
                       AND source_key IN (?4, ?5) AND opened_at > ?2 AND opened_at <= ?3";
    let of_machine = format!(
        "SELECT count(*) AS n FROM login WHERE verdict = 'ask' AND {CAPPED} AND opened_at > ?3 AND opened_at <= ?4"
    );
    let (now, [key, exact]) = (tx.now, from.keys());
    Ok((
        count(of_user, &[user.as_str().into(), since.into(), now.into(), key, exact])?,
        count(&of_machine, &[at.machine_id.into(), i64::from(at.claimed).into(), since.into(), now.into()])?,
    ))
}

/// What was decided before: on the same ssh connection, or by a person about the same user from the same
/// source on this machine since `denied_since`, and not ahead of now.
pub(in crate::logins) fn before(
    tx: &Tx<'_>,
    machine_id: &str,
    opened: &OpenLogin,
    (from, denied_since): (From<'_>, Time),
) -> Result<Before, Error> {
    let on_connection = before_on_connection(tx, machine_id, opened)?;
    if on_connection != Before::Nothing {
        return Ok(on_connection);
    }
    let (user, [key, exact]) = (opened.user.as_str(), from.keys());
    let denied = tx.query_one(
        "SELECT 1 FROM login WHERE state = 'denied' AND reason = 'denied' AND machine_id = ?1 AND user = ?2
             AND source_key IN (?5, ?6) AND decided_at > ?3 AND decided_at <= ?4 LIMIT 1",
        &[machine_id.into(), user.into(), denied_since.into(), tx.now.into(), key, exact],
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
