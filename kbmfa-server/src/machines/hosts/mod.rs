//! Detects that a machine's credential is used on several computers. A machine that was cloned together with
//! `/etc/kbmfa` sends the same requests as the original, except for the id of its computer.

pub mod store;

use kbmfa_proto::machine::Host;
use std::time::Duration;

use crate::clock::Time;
use crate::db::{Error, Tx};
use crate::secret::SecretHash;

/// Maximum number of computers that are stored for one credential: enough for a week of daily boots. Those
/// seen last are kept.
const REMEMBERED_MAX: usize = 8;

/// Time for which a computer counts as alive after it was seen. `kbmfa-host refresh` reports it every 15
/// minutes.
const ALIVE: Duration = Duration::from_secs(7 * 86_400);

/// Precision of "last seen". A write for each login would cost too much.
const SEEN_GRAIN: Duration = Duration::from_secs(60);

/// One computer on which a credential was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The computer, and which boot of it.
    pub host: Host,
    /// When it was seen last, to the minute.
    pub last_seen_at: Time,
    /// When it was seen again after another computer was seen.
    pub returned_at: Option<Time>,
}

/// Why one credential seems to be used on two computers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twin {
    /// Two machine ids were seen within a week: a clone, or a new machine id.
    TwoMachineIds,
    /// A boot was seen again after a later one: a clone, or a restored snapshot.
    BootsAlternate,
}

impl Twin {
    /// The name in events and JSON, which never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TwoMachineIds => "two-machine-ids",
            Self::BootsAlternate => "boots-alternate",
        }
    }

    /// A sentence for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::TwoMachineIds => "its credential is used on two computers",
            Self::BootsAlternate => "its credential is used by two running copies of one computer",
        }
    }
}

/// Judges one more use of the credential. A boot never comes back, so a computer that is seen again after
/// another one proves that both are alive.
///
/// `known` is ordered, the one seen last first.
pub fn look(known: &[Sighting], told: &Host, now: Time) -> Option<Twin> {
    let (last, earlier) = known.split_first()?;
    if last.host == *told {
        return None;
    }
    let returned = earlier.iter().find(|seen| seen.host == *told);
    match returned {
        Some(_) if last.host.machine == told.machine => Some(Twin::BootsAlternate),
        Some(_) => Some(Twin::TwoMachineIds),
        None => known
            .iter()
            .any(|seen| seen.host.machine != told.machine && is_alive(seen.last_seen_at, now))
            .then_some(Twin::TwoMachineIds),
    }
}

/// Whether the credential is used on two computers, for `machine list` and `doctor`.
pub fn twin(known: &[Sighting], now: Time) -> Option<Twin> {
    let lately: Vec<_> = known.iter().filter(|seen| is_alive(seen.last_seen_at, now)).collect();
    let first = lately.first()?;
    if lately.iter().any(|seen| seen.host.machine != first.host.machine) {
        return Some(Twin::TwoMachineIds);
    }
    let alternates = lately.iter().any(|seen| seen.returned_at.is_some_and(|at| is_alive(at, now)));
    alternates.then_some(Twin::BootsAlternate)
}

fn is_alive(seen: Time, now: Time) -> bool {
    now.since(seen) < ALIVE
}

/// Records on which computer a credential was used. Returns the reason if it seems to be used on two.
pub fn note(tx: &Tx<'_>, credential: &SecretHash, told: &Host) -> Result<Option<Twin>, Error> {
    let known = store::sightings(tx, credential)?;
    let found = look(&known, told, tx.now);
    let is_current = |seen: &Sighting| seen.host == *told && tx.now.since(seen.last_seen_at) < SEEN_GRAIN;
    if found.is_none() && known.first().is_some_and(is_current) {
        return Ok(None);
    }
    store::saw(tx, credential, told, found.is_some())?;
    if known.len() >= REMEMBERED_MAX {
        store::forget(tx, credential, REMEMBERED_MAX)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::fixture;
    use crate::usecases::testing::joined;
    use kbmfa_proto::names::HostHash;

    fn host(machine: u8, boot: u8) -> Host {
        Host { machine: HostHash::from_bytes([machine; 16]), boot: HostHash::from_bytes([boot; 16]) }
    }

    /// Uses the credential on these computers in turn. Returns the result of each use, and that of [`twin`]
    /// at the end.
    fn uses(computers: &[(u8, u8)], apart: Duration) -> (Vec<Option<Twin>>, Option<Twin>) {
        let fixture = fixture();
        let credential = joined(&fixture.db, "web1");
        let mut said = Vec::new();
        for (machine, boot) in computers {
            let (told, credential) = (host(*machine, *boot), credential.clone());
            let noted = fixture.db.write_blocking("test", move |tx| note(tx, &credential, &told));
            said.push(noted.unwrap());
            fixture.clock.advance(apart);
        }
        let left = fixture
            .db
            .read_blocking(|tx| Ok::<_, Error>(twin(&store::sightings(tx, &credential)?, tx.now)))
            .unwrap();
        (said, left)
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_machine_that_is_booted_again_and_again_is_no_clone() {
        let boots: Vec<_> = (1..40).flat_map(|boot| [(1, boot), (1, boot)]).collect();
        for apart in [SECOND, HOUR] {
            let (said, left) = uses(&boots, apart);
            assert!(said.iter().all(Option::is_none), "{said:?}");
            assert_eq!(left, None);
        }
    }

    #[test]
    fn two_machine_ids_for_one_credential_are_told_at_once_and_until_one_of_them_is_silent() {
        for apart in [SECOND, HOUR] {
            let (said, left) = uses(&[(1, 1), (2, 2), (2, 2), (1, 1)], apart);
            let two = Some(Twin::TwoMachineIds);
            assert_eq!((said.as_slice(), left), ([None, two, None, two].as_slice(), two));
        }
        let (said, left) = uses(&[(1, 1), (2, 2)], ALIVE);
        assert_eq!((said.as_slice(), left), ([None, None].as_slice(), None), "installed anew");
    }

    #[test]
    fn two_boots_that_alternate_are_two_running_copies() {
        for apart in [SECOND, HOUR] {
            let (said, left) = uses(&[(1, 1), (1, 2), (1, 1), (1, 2)], apart);
            let both = Some(Twin::BootsAlternate);
            assert_eq!((said.as_slice(), left), ([None, None, both, both].as_slice(), both));
        }
    }

    #[test]
    fn only_so_many_computers_are_remembered() {
        let fixture = fixture();
        let credential = joined(&fixture.db, "web1");
        for boot in 0..30 {
            let credential = credential.clone();
            let noted = move |tx: &Tx<'_>| note(tx, &credential, &host(1, boot));
            fixture.db.write_blocking("test", noted).unwrap();
        }
        let known = fixture.db.read_blocking(|tx| store::sightings(tx, &credential)).unwrap();
        assert_eq!(known.len(), REMEMBERED_MAX);
        assert_eq!(known[0].host, host(1, 29));
    }
}
