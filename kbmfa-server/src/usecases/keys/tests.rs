//! Keys that wait for an approval, and keys that others vouched for.

use std::time::Duration;

use super::*;
use crate::audit::store::search::{Filter, search};
use crate::db::testing::{Fixture, fixture};
use crate::logins::store::notices;
use crate::policy::Channel;
use crate::usecases::testing::{employ, rules};

/// Public keys that `ssh-keygen` made.
const LINES: [&str; 4] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKa29gexiak8PEXo3Cc8eaGqkgu7zOMkkBKv6X5Rn2tm",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOK+11wQdC6UWL2wB1k4eJhXn2qCx/MELxxnM/URDIgZ",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEjxQQLvCyfgfyFvu5s5yUOXId+7UyLS2a2Hh/K8yOaJ",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINb1adCsoC37pmd1vMfXcPCIMuggBvfQ3BaLDJ6YmKSp",
];

struct World {
    fixture: Fixture,
    rules: Rules,
}

/// A world in which ann and ben are employees, and ann has the first key, for her laptop.
fn world() -> World {
    let fixture = fixture();
    fixture.db.write_blocking("test", |tx| employ(tx, &["ann", "ben"])).unwrap();
    let world = World { fixture, rules: rules() };
    world.add("ann", 0, "laptop", None, None).unwrap();
    world
}

fn fingerprint(n: usize) -> String {
    PublicKey::parse(LINES[n]).unwrap().fingerprint().to_owned()
}

impl World {
    fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>, &Rules, &Actor) -> Result<T, AnyError> + Send + 'static,
    ) -> Result<T, String> {
        let rules = self.rules.clone();
        let done =
            self.fixture.db.write_blocking("test", move |tx| work(tx, &rules, &Actor::new("console:root")));
        done.map_err(|error| error.to_string())
    }

    /// Adds a key, by the operator or by another key. Returns the fingerprint of the one that it replaced.
    fn add(
        &self,
        owner: &str,
        n: usize,
        device: &str,
        parent: Option<usize>,
        replaces: Option<usize>,
    ) -> Result<Option<String>, String> {
        // Keys of one moment have no order.
        self.fixture.clock.advance(Duration::from_secs(1));
        let parent = parent.map(|parent| self.key(parent).id);
        let new = New {
            email: format!("{owner}@x").parse().unwrap(),
            key: PublicKey::parse(LINES[n]).unwrap(),
            device: device.into(),
            origin: parent.map_or(Origin::Operator, |parent| Origin::Key { parent }),
            replaces: replaces.map(fingerprint),
        };
        let added = self.write(move |tx, rules, actor| add(tx, rules, actor, &new))?;
        Ok(added.replaced.map(|replaced| replaced.key.fingerprint))
    }

    fn approve(&self, n: usize) -> Result<Option<String>, String> {
        let added = self.write(move |tx, rules, actor| approve(tx, rules, actor, &fingerprint(n)))?;
        Ok(added.replaced.map(|replaced| replaced.key.fingerprint))
    }

    fn reject(&self, n: usize) -> Result<(), String> {
        self.write(move |tx, _, actor| reject(tx, actor, &fingerprint(n)).map(drop))
    }

    fn revoke(&self, n: usize, why: Reason) -> Result<Vec<String>, String> {
        let revoked = self.write(move |tx, rules, actor| revoke(tx, rules, actor, &fingerprint(n), why))?;
        Ok(revoked.into_iter().map(|one| one.key.fingerprint).collect())
    }

    fn key(&self, n: usize) -> Key {
        self.fixture.db.read_blocking(|tx| store::by_fingerprint(tx, &fingerprint(n))).unwrap().unwrap()
    }

    fn states(&self, keys: &[usize]) -> Vec<State> {
        keys.iter().map(|n| self.key(*n).state).collect()
    }

    fn events(&self, kind: Kind) -> Vec<String> {
        let filter = Filter { kinds: vec![kind], limit: 100, ..Filter::default() };
        let found = self.fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
        found.into_iter().map(|event| event.body).collect()
    }

    /// The notices that wait to be posted in the chat, each with its destination.
    fn notices(&self) -> Vec<(String, String)> {
        let due = self.fixture.db.read_blocking(|tx| notices::due(tx, Channel::Keybase)).unwrap();
        due.into_iter().map(|notice| (notice.destination, notice.text)).collect()
    }
}

#[test]
fn a_key_that_a_key_added_waits_for_an_approval_and_then_takes_the_place_of_the_other() {
    let world = world();
    assert_eq!(world.add("ann", 1, "laptop", Some(0), Some(0)), Ok(None), "nothing is replaced yet");
    assert_eq!(world.states(&[0, 1]), [State::Active, State::Pending]);
    assert_eq!(world.key(1).active_at, None);
    assert_eq!(world.approve(1), Ok(Some(fingerprint(0))));
    assert_eq!(world.states(&[0, 1]), [State::Revoked, State::Active]);
    assert_eq!(world.key(0).revoked_for, Some(Reason::Replaced));
    assert!(world.key(1).active_at.is_some());
    assert!(world.approve(1).unwrap_err().contains("is active: only a pending key"));
    let added = world.events(Kind::KeyAdded);
    assert!(added.iter().any(|body| body.contains("vouched-by") && body.contains("\"state\":\"pending\"")));
    assert_eq!(world.events(Kind::KeyApproved).len(), 1);
    assert!(world.events(Kind::KeyRevoked)[0].contains("replaced-by"));
}

#[test]
fn a_rejected_key_is_never_accepted_again_and_the_other_stays() {
    let world = world();
    world.add("ann", 1, "laptop", Some(0), Some(0)).unwrap();
    world.reject(1).unwrap();
    assert_eq!(world.states(&[0, 1]), [State::Active, State::Revoked]);
    assert!(world.reject(1).unwrap_err().contains("is revoked: only a pending key"));
    assert!(world.add("ann", 1, "phone", None, None).unwrap_err().contains("was revoked (rejected)"));
}

#[test]
fn a_key_counts_at_once_by_an_operator_and_where_the_rules_accept_keys_of_keys() {
    let mut world = world();
    assert_eq!(world.add("ann", 1, "laptop", None, Some(0)), Ok(Some(fingerprint(0))));
    world.rules.added_keys = AddedKeys::Accept;
    assert_eq!(world.add("ann", 2, "phone", Some(1), None), Ok(None));
    assert_eq!(world.states(&[0, 1, 2]), [State::Revoked, State::Active, State::Active]);
}

#[test]
fn only_an_active_key_of_the_same_person_vouches_for_a_key_or_is_replaced() {
    let world = world();
    world.add("ben", 1, "desk", None, None).unwrap();
    assert!(world.add("ann", 2, "phone", Some(1), None).unwrap_err().contains("vouches for the new one"));
    assert!(world.add("ann", 2, "phone", None, Some(1)).unwrap_err().contains("has no active key"));
    world.add("ann", 2, "phone", Some(0), None).unwrap();
    assert!(world.add("ann", 3, "watch", Some(2), None).unwrap_err().contains("vouches"), "a pending key");
    assert!(world.add("ann", 3, "watch", None, Some(2)).unwrap_err().contains("has no active key"));
    assert!(world.add("ann", 3, "phone", None, None).unwrap_err().contains("has a key for \"phone\""));
    world.revoke(0, Reason::Retired).unwrap();
    assert!(world.add("ann", 3, "watch", Some(0), None).unwrap_err().contains("vouches"), "a revoked key");
    assert!(world.add("ann", 3, "watch", None, Some(0)).unwrap_err().contains("has no active key"));
}

#[test]
fn a_lost_key_takes_along_what_it_added_also_after_it_was_replaced_by_it() {
    let world = world();
    world.add("ann", 1, "laptop", Some(0), Some(0)).unwrap();
    world.approve(1).unwrap();
    world.add("ann", 2, "phone", Some(1), None).unwrap();
    world.add("ann", 3, "desk", None, None).unwrap();
    assert!(world.revoke(0, Reason::Retired).unwrap_err().contains("is revoked already"));
    let replaced_at = world.key(0).revoked_at;
    world.fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(world.revoke(0, Reason::Lost), Ok(vec![fingerprint(0), fingerprint(1), fingerprint(2)]));
    assert_eq!(world.states(&[0, 1, 2, 3]), [State::Revoked, State::Revoked, State::Revoked, State::Active]);
    assert_eq!((world.key(0).revoked_for, world.key(0).revoked_at), (Some(Reason::Lost), replaced_at));
    assert!(world.revoke(0, Reason::Lost).unwrap_err().contains("is revoked already"));
}

#[test]
fn a_retired_key_leaves_those_that_it_added() {
    let world = world();
    world.add("ann", 1, "phone", Some(0), None).unwrap();
    assert_eq!(world.revoke(0, Reason::Retired), Ok(vec![fingerprint(0)]));
    assert_eq!(world.states(&[0, 1]), [State::Revoked, State::Pending]);
}

#[test]
fn people_are_told_of_a_key_that_a_key_added_with_both_fingerprints() {
    let mut world = world();
    world.rules.chat = Some(Channel::Keybase);
    assert_eq!(world.notices(), []);
    world.add("ann", 1, "phone", Some(0), None).unwrap();
    let told = world.notices();
    let destinations: Vec<&str> = told.iter().map(|(destination, _)| destination.as_str()).collect();
    assert_eq!(destinations, [world.rules.policy.default.destination.as_str(), "@ann"]);
    for (_, text) in &told {
        for part in [&fingerprint(0), &fingerprint(1), "laptop", "phone"] {
            assert!(text.contains(part), "{text}");
        }
    }
    let approve = format!("kbmfa-server key approve {}", fingerprint(1));
    assert!(told[0].1.contains(&approve) && told[0].1.contains("ann@x"), "{}", told[0].1);
    world.add("ann", 2, "desk", None, None).unwrap();
    assert_eq!(world.notices().len(), 2, "an operator knows");
}

#[test]
fn people_are_told_of_a_key_that_an_invite_enrolled() {
    let mut world = world();
    world.rules.chat = Some(Channel::Keybase);
    let new = New {
        email: "ann@x".parse().unwrap(),
        key: PublicKey::parse(LINES[1]).unwrap(),
        device: "phone".into(),
        origin: Origin::Invite,
        replaces: Some(fingerprint(0)),
    };
    world.write(move |tx, rules, actor| add(tx, rules, actor, &new)).unwrap();
    let told = world.notices();
    let destinations: Vec<&str> = told.iter().map(|(destination, _)| destination.as_str()).collect();
    assert_eq!(destinations, [world.rules.policy.default.destination.as_str(), "@ann"]);
    for (_, text) in &told {
        for part in [&fingerprint(0), &fingerprint(1), "laptop", "phone", "invite"] {
            assert!(text.contains(part), "{text}");
        }
    }
    let lost = format!("kbmfa-server key revoke {} --lost", fingerprint(1));
    assert!(told[0].1.contains(&lost) && told[0].1.contains("ann@x"), "{}", told[0].1);
}

#[test]
fn keys_add_ten_keys_a_day_whatever_becomes_of_them() {
    let world = world();
    let parent = world.key(0);
    let earlier = move |tx: &Tx<'_>| {
        for n in 0..ADDED_BY_KEYS_MAX {
            let (id, parent_id) = (n.to_string(), Some(parent.id.clone()));
            let (fingerprint, device) = (format!("SHA256:{n}"), format!("device {n}").as_str().into());
            store::insert(tx, &Key { id, fingerprint, device, parent_id, ..parent.clone() })?;
            store::revoke(tx, &n.to_string(), Reason::Retired)?;
        }
        Ok::<_, AnyError>(())
    };
    world.fixture.db.write_blocking("test", earlier).unwrap();
    assert!(world.add("ann", 1, "phone", Some(0), None).unwrap_err().contains("added 10 keys within a day"));
    world.add("ann", 1, "phone", None, None).unwrap();
    world.fixture.clock.advance(ADDED_BY_KEYS_WITHIN);
    world.add("ann", 2, "watch", Some(0), None).unwrap();
}

#[test]
fn a_suspended_person_adds_no_key_but_an_operator_can_prepare_one() {
    let world = world();
    let suspend =
        |tx: &Tx<'_>| employees::set_state(tx, "ann", people::State::Suspended).map_err(AnyError::from);
    world.fixture.db.write_blocking("test", suspend).unwrap();
    assert!(world.add("ann", 1, "phone", Some(0), None).unwrap_err().contains("is suspended"));
    world.add("ann", 1, "phone", None, None).unwrap();
}

#[test]
fn people_are_told_of_keys_that_a_key_revoked_and_not_of_those_that_an_operator_revoked() {
    let mut world = world();
    world.rules.chat = Some(Channel::Keybase);
    for (n, device) in [(1, "phone"), (2, "desk")] {
        world.add("ann", n, device, None, None).unwrap();
    }
    world.revoke(1, Reason::Retired).unwrap();
    assert_eq!(world.notices(), []);
    let by = Actor::new(format!("key:{}", fingerprint(0)));
    world.write(move |tx, rules, _| revoke(tx, rules, &by, &fingerprint(2), Reason::Retired)).unwrap();
    let told = world.notices();
    assert_eq!(told.len(), 2);
    for (_, text) in &told {
        assert!(
            text.contains(&fingerprint(0)) && text.contains(&fingerprint(2)) && text.contains("desk"),
            "{text}"
        );
    }
    assert_eq!(told[1].0, "@ann");
}

#[test]
fn nobody_can_enrol_a_key_of_the_servers_own() {
    let world = world();
    for _ in 0..2 {
        world.write(|tx, _, _| Ok(remember_servers_own(tx, &[fingerprint(1), fingerprint(2)])?)).unwrap();
    }
    for n in [1, 2] {
        let refused = world.add("ben", n, "laptop", None, None).unwrap_err();
        assert!(refused.contains("a key of kbmfa-server itself"), "{refused}");
    }
    world.add("ben", 3, "laptop", None, None).unwrap();
}
