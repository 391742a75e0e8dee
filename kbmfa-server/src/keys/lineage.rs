//! Which keys vouched for which. Pure.

use std::collections::BTreeSet;

use super::Reason;
use super::State;
use super::store::Key;

/// The keys for which this one vouched, those for which these vouched, and so on, in the order of `all`; also through
/// keys that are revoked by now. Never the key itself.
pub fn descendants<'a>(all: &'a [Key], id: &str) -> Vec<&'a Key> {
    let mut found = BTreeSet::from([id]);
    // Each round but the last finds a key, so there are at most as many rounds as keys.
    loop {
        let known = found.len();
        let is_child = |key: &&Key| key.parent_id.as_deref().is_some_and(|parent| found.contains(parent));
        let children: Vec<&str> = all.iter().filter(is_child).map(|key| key.id.as_str()).collect();
        found.extend(children);
        if found.len() == known {
            break;
        }
    }
    all.iter().filter(|key| key.id != id && found.contains(key.id.as_str())).collect()
}

/// What a revocation for this reason takes along: the keys that a lost one vouched for and that are not revoked.
pub fn taken_along<'a>(all: &'a [Key], id: &str, why: Reason) -> Vec<&'a Key> {
    match why {
        Reason::Lost => descendants(all, id).into_iter().filter(|key| key.state != State::Revoked).collect(),
        Reason::Replaced | Reason::Retired | Reason::Rejected | Reason::Removed => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use proptest::prelude::*;

    fn key(id: usize, parent: Option<usize>, state: State) -> Key {
        Key {
            id: id.to_string(),
            employee_id: "e".into(),
            fingerprint: format!("SHA256:{id}"),
            line: String::new(),
            device: "laptop".into(),
            state,
            parent_id: parent.map(|parent| parent.to_string()),
            replaces_id: None,
            added_at: Time::from_micros(0),
            active_at: None,
            revoked_at: None,
            revoked_for: None,
        }
    }

    fn ids(keys: &[&Key]) -> Vec<usize> {
        keys.iter().map(|key| key.id.parse().unwrap()).collect()
    }

    #[test]
    fn a_lost_key_takes_its_descendants_along_also_through_a_revoked_one() {
        let all = [
            key(0, None, State::Active),
            key(1, Some(0), State::Revoked),
            key(2, Some(1), State::Active),
            key(3, Some(2), State::Pending),
            key(4, None, State::Active),
            key(5, Some(4), State::Active),
        ];
        assert_eq!(ids(&descendants(&all, "0")), [1, 2, 3]);
        assert_eq!(ids(&taken_along(&all, "0", Reason::Lost)), [2, 3]);
        assert_eq!(ids(&taken_along(&all, "0", Reason::Retired)), [0; 0]);
    }

    proptest! {
        #[test]
        fn descendants_end_on_any_graph_and_are_those_that_lead_up_to_the_key(
            parents in prop::collection::vec(prop::option::of(0_usize..12), 0..12),
            root in 0_usize..12,
        ) {
            let all: Vec<Key> =
                parents.iter().enumerate().map(|(id, parent)| key(id, *parent, State::Active)).collect();
            let leads_up = |id: usize| {
                let mut at = Some(id);
                (0..=parents.len()).any(|_| {
                    at = at.and_then(|id| parents.get(id).copied().flatten());
                    at == Some(root)
                })
            };
            let expected: Vec<usize> = (0..parents.len()).filter(|id| *id != root && leads_up(*id)).collect();
            prop_assert_eq!(ids(&descendants(&all, &root.to_string())), expected);
        }
    }
}
