//! Which removals the operator has to confirm by their number: a file that lost a part, or is another server's,
//! looks like an order to remove people.

use super::change::{Change, Verb};
use super::{Part, Roster};

/// Number of removals up to which none need be confirmed.
const REMOVALS_FREE: usize = 10;

/// A kind of entry of which more than one in so many is removed needs confirmation.
const SHARE: usize = 3;

/// Number of removals.
pub fn removals(changes: &[Change]) -> usize {
    changes.iter().filter(|change| change.verb() == Verb::Remove).count()
}

/// True if the removals must be confirmed by their number: more than ten, or several that are more than a third
/// of the entries of one kind.
pub fn must_confirm(current: &Roster, changes: &[Change]) -> bool {
    let of_part = |part: Part| {
        let removed = |change: &&Change| change.verb() == Verb::Remove && change.id().part() == part;
        let removed = changes.iter().filter(removed).count();
        // Machines are counted with their pools, from which they can be removed, too.
        let memberships = || current.machines.iter().map(|machine| machine.pools.len()).sum::<usize>();
        let present = current.count(part) + if part == Part::Machines { memberships() } else { 0 };
        removed > 1 && removed.saturating_mul(SHARE) > present
    };
    removals(changes) > REMOVALS_FREE || Part::ALL.into_iter().any(of_part)
}
