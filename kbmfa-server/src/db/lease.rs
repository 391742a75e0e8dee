//! Leases. If several servers share one state, some loops may run on only one of them. Such a loop runs while
//! its server holds the lease row.

use std::fs;
use std::time::Duration;

use super::{Error, Tx};

/// Term of a lease that is not renewed. It limits how long a server that hangs blocks the others; a dead
/// server is noticed at once.
const TERM: Duration = Duration::from_secs(10);

/// Minimum time for which a lease lasts after [`hold`] has returned true.
pub const LEAST: Duration = Duration::from_secs(TERM.as_secs() / 2);

/// Unique name of a process: boot id, pid namespace, pid and start time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder(String);

impl Holder {
    /// This process.
    pub fn this_process() -> Self {
        Self(identity(std::process::id()).unwrap_or_else(|| format!("unknown {}", std::process::id())))
    }

    /// A process on another host, for tests.
    #[cfg(test)]
    pub(crate) fn elsewhere() -> Self {
        Self("another-host".to_owned())
    }

    /// False only if the process is certainly dead. Processes on other hosts or in other pid namespaces are
    /// not visible here. The initial pid namespace has the same number on every host, so the boot id is
    /// compared first.
    fn may_be_alive(&self) -> bool {
        let words: Vec<&str> = self.0.split(' ').collect();
        let [boot, namespace, pid, _] = words.as_slice() else { return true };
        if boot_id().as_deref() != Some(*boot) || pid_namespace().as_deref() != Some(*namespace) {
            return true;
        }
        let now = pid.parse().ok().and_then(identity);
        now.is_some_and(|now| now == self.0)
    }
}

/// Takes or renews the lease; false while another process holds it.
pub fn hold(tx: &Tx<'_>, name: &str, me: &Holder) -> Result<bool, Error> {
    let found =
        tx.query_one("SELECT holder, held_until FROM lease WHERE name = ?1", &[name.into()], |row| {
            Ok((Holder(row.text("holder")?), row.time("held_until")?))
        })?;
    let renew_from = tx.now + LEAST;
    match found {
        Some((holder, until)) if holder == *me && until > renew_from => return Ok(true),
        Some((holder, until)) if holder != *me && tx.now < until && holder.may_be_alive() => {
            return Ok(false);
        }
        _ => {}
    }
    tx.execute(
        "INSERT INTO lease (name, holder, held_until) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until",
        &[name.into(), me.0.as_str().into(), (tx.now + TERM).into()],
    )?;
    Ok(true)
}

/// `boot-id pid-namespace pid start-time`. The start time is field 22 of `/proc/PID/stat` (proc(5)).
fn identity(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name, in parentheses, may contain any character.
    let (_, after_name) = stat.rsplit_once(')')?;
    let started = after_name.split_ascii_whitespace().nth(19)?;
    Some(format!("{} {} {pid} {started}", boot_id()?, pid_namespace()?))
}

fn boot_id() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

fn pid_namespace() -> Option<String> {
    Some(fs::read_link("/proc/self/ns/pid").ok()?.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::{Fixture, fixture};

    fn holds(fixture: &Fixture, holder: &Holder) -> bool {
        let holder = holder.clone();
        fixture.db.write_blocking("lease", move |tx| hold(tx, "relay", &holder)).unwrap()
    }

    #[test]
    fn a_living_holder_keeps_the_lease_for_its_term() {
        let fixture = fixture();
        let (me, other) = (Holder::this_process(), Holder("x".into()));
        assert!(holds(&fixture, &me));
        assert!(!holds(&fixture, &other));
        fixture.clock.advance(TERM / 2);
        assert!(holds(&fixture, &me));
        fixture.clock.advance(TERM / 2);
        assert!(!holds(&fixture, &other));
        fixture.clock.advance(TERM / 2);
        assert!(holds(&fixture, &other));
    }

    #[test]
    fn the_lease_of_a_dead_process_is_free_at_once() {
        let fixture = fixture();
        let mine = Holder::this_process();
        let dead = Holder(mine.0.replace(&format!(" {} ", std::process::id()), " 4194305 "));
        assert!(holds(&fixture, &dead));
        assert!(holds(&fixture, &mine));
    }

    #[test]
    fn a_holder_on_another_host_keeps_the_lease_though_no_such_process_is_here() {
        let fixture = fixture();
        let mine = Holder::this_process();
        let gone = mine.0.replace(&format!(" {} ", std::process::id()), " 4194305 ");
        let elsewhere = Holder(gone.replace(&boot_id().unwrap(), "00000000-0000-4000-8000-000000000000"));
        assert!(holds(&fixture, &elsewhere));
        assert!(!holds(&fixture, &mine), "it may be alive on its own host");
        fixture.clock.advance(TERM);
        assert!(holds(&fixture, &mine));
    }
}
