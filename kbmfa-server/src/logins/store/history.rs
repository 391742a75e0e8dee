//! What went before a login: what waits, what was asked, what was decided. Policy looks at these.

use kbmfa_proto::login::OpenLogin;
use kbmfa_proto::names::UserName;
use std::time::Duration;

use super::super::state::State;
use crate::clock::Time;
use crate::db::{Error, Tx, Value};
use crate::policy::Before;

/// For how long after an approval was collected the same connection needs no other: sshd goes from one
/// phase to the next at once.
const SAME_CONNECTION: Duration = Duration::from_secs(300);

/// How many logins of a machine wait: (of this user from this source, of all).
pub(in crate::logins) fn pending(
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
pub(in crate::logins) fn asks_since(
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
pub(in crate::logins) fn before(
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
