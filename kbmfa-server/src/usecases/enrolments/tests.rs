//! What an employee's own computer changes, without HTTP and signatures.

use super::*;
use crate::audit::Kind;
use crate::audit::store::search::{Filter, search};
use crate::db::testing::{Fixture, START, fixture};
use crate::enrolment::testing::Signer as TestKey;
use crate::logins::store::notices;
use crate::policy::Channel;
use crate::secret::SecretHash;
use crate::usecases::testing::{employ, rules};

const SECRET: &str = "right";

struct World {
    fixture: Fixture,
    rules: Rules,
}

/// A world in which ann and ben are employees, and ann has an invite.
fn world() -> World {
    let fixture = fixture();
    let employ = |tx: &Tx<'_>| {
        employ(tx, &["ann", "ben"])?;
        let (root, hash) = (Actor::new("console:root"), SecretHash::of(SECRET));
        let ends = Time::from_micros(START + 1_000_000_000);
        invites::make(tx, &root, &"ann@x".parse().unwrap(), ("i", &hash), ends)
    };
    fixture.db.write_blocking("test", employ).unwrap();
    let rules = Rules { chat: Some(Channel::Keybase), ..rules() };
    World { fixture, rules }
}

fn proven(key: &TestKey, device: &str) -> Proven {
    Proven { key: key.key(), device: device.into() }
}

fn signed(nonce: &str) -> Signed {
    (nonce.to_owned(), Time::from_micros(START + 300_000_000))
}

impl World {
    fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>, &Rules) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, String> {
        let rules = self.rules.clone();
        self.fixture.db.write_blocking("test", move |tx| work(tx, &rules)).map_err(|error| error.to_string())
    }

    fn vault(&self) -> Vault {
        Vault::open_or_make(self.fixture.dir.path()).unwrap()
    }

    fn enrol(&self, key: &TestKey, nonce: &str, password: Option<CryptHash>) -> Result<Enrolled, String> {
        let wanted = Enrolment {
            invite: "i".into(),
            secret: SECRET.into(),
            email: "ann@x".parse().unwrap(),
            new: proven(key, "laptop"),
            replaces: None,
            password: password.map(|hash| (self.vault(), hash)),
            challenge: signed(nonce),
        };
        self.write(move |tx, rules| enrol(tx, rules, &wanted))
    }

    fn request(&self, by: &TestKey, nonce: &str, asked: AboutKeys) -> Result<Enrolled, String> {
        let (by, challenge) = (by.fingerprint(), signed(nonce));
        self.write(move |tx, rules| request(tx, rules, (&by, &challenge), asked))
    }

    fn password(&self, by: &TestKey, nonce: &str, hash: Option<CryptHash>) -> Result<Enrolled, String> {
        let (by, challenge) = (by.fingerprint(), signed(nonce));
        let password = hash.map(|hash| (self.vault(), hash));
        self.write(move |tx, rules| change_password(tx, rules, (&by, &challenge), password.as_ref()))
    }

    fn has_password(&self) -> bool {
        !self.fixture.db.read_blocking(employees::sealed_passwords).unwrap().is_empty()
    }

    fn count(&self, kind: Kind) -> usize {
        let filter = Filter { kinds: vec![kind], limit: 100, ..Filter::default() };
        self.fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap().len()
    }

    /// The notices that wait to be posted, each with its destination.
    fn notices(&self) -> Vec<(String, String)> {
        let due = self.fixture.db.read_blocking(|tx| notices::due(tx, Channel::Keybase)).unwrap();
        due.into_iter().map(|notice| (notice.destination, notice.text)).collect()
    }
}

fn hash() -> CryptHash {
    "$y$j9T$abcdefghijklmnopqrstu/$GOBj9MnQX2XXRYb4Fyz9668D5epsKc/lpFQOxVhyXjA".parse().unwrap()
}

#[test]
fn an_invite_enrols_one_key_and_a_repetition_changes_nothing() {
    let (world, key) = (world(), TestKey::new(1));
    let first = world.enrol(&key, "a", None).unwrap();
    let again = world.enrol(&key, "b", None).unwrap();
    assert_eq!(first, again);
    assert_eq!(first.key.map(|key| key.state), Some("active".to_owned()));
    assert_eq!(world.count(Kind::KeyAdded), 1);
    let refused = world.enrol(&TestKey::new(2), "c", None).unwrap_err();
    assert!(refused.contains("the invite is not accepted"), "{refused}");
    let told = world.notices();
    assert_eq!(told.len(), 2, "the channel and the person: {told:?}");
}

#[test]
fn a_challenge_that_was_used_enrols_nothing_and_leaves_the_invite_open() {
    let (world, key) = (world(), TestKey::new(1));
    let use_it = |tx: &Tx<'_>, _: &Rules| use_up(tx, &signed("a"));
    world.write(use_it).unwrap();
    assert!(world.enrol(&key, "a", None).unwrap_err().contains("challenge has expired"));
    assert_eq!(world.count(Kind::KeyAdded), 0);
    world.enrol(&key, "b", None).unwrap();
}

#[test]
fn a_key_that_an_enrolled_key_adds_waits_and_a_repetition_changes_nothing() {
    let (world, old, new) = (world(), TestKey::new(1), TestKey::new(2));
    world.enrol(&old, "a", None).unwrap();
    let add = || AboutKeys::Add { new: proven(&new, "phone"), replaces: None };
    let first = world.request(&old, "b", add()).unwrap();
    assert_eq!(first.key.as_ref().map(|key| key.state.as_str()), Some("pending"));
    assert_eq!(world.request(&old, "c", add()).unwrap(), first);
    assert_eq!(world.count(Kind::KeyAdded), 2);
    let refused = world.request(&new, "d", AboutKeys::Status).unwrap_err();
    assert!(refused.contains("no enrolled key made this signature"), "{refused}");
}

#[test]
fn a_key_speaks_for_its_owner_alone_and_each_challenge_once() {
    let (world, ann, ben) = (world(), TestKey::new(1), TestKey::new(2));
    world.enrol(&ann, "a", None).unwrap();
    let of_ben = New {
        email: "ben@x".parse().unwrap(),
        key: ben.key(),
        device: "desk".into(),
        origin: Origin::Operator,
        replaces: None,
    };
    world.write(move |tx, rules| usecase::add(tx, rules, &Actor::new("console:root"), &of_ben)).unwrap();
    let revoke = || AboutKeys::Revoke { fingerprint: ben.fingerprint(), lost: true };
    assert!(world.request(&ann, "b", revoke()).unwrap_err().contains("you have no such key"));
    assert_eq!(world.count(Kind::KeyRevoked), 0);
    world.request(&ben, "c", revoke()).unwrap();
    assert!(world.request(&ann, "c", AboutKeys::Status).unwrap_err().contains("challenge has expired"));
    let gone = world.request(&ben, "d", AboutKeys::Status).unwrap_err();
    assert!(gone.contains("no enrolled key"), "{gone}");
}

#[test]
fn an_enrolled_key_sets_and_removes_the_password_and_both_are_told() {
    let (world, key) = (world(), TestKey::new(1));
    world.enrol(&key, "a", None).unwrap();
    let before = world.notices().len();
    let shown = world.password(&key, "b", Some(hash())).unwrap();
    assert!(shown.person.password_set_us.is_some() && world.has_password());
    let told = world.notices().split_off(before);
    let destinations: Vec<&str> = told.iter().map(|(destination, _)| destination.as_str()).collect();
    assert_eq!(destinations, [world.rules.policy.default.destination.as_str(), "@ann"]);
    for (_, text) in &told {
        assert!(text.contains("has set the password") && text.contains(&key.fingerprint()), "{text}");
        assert!(!text.contains("$y$"), "{text}");
    }
    assert!(world.password(&key, "b", None).unwrap_err().contains("challenge has expired"));
    assert_eq!(world.password(&key, "c", None).unwrap().person.password_set_us, None);
    assert!(!world.has_password());
    assert_eq!(world.notices().len(), before + 4);
    world.password(&key, "d", None).unwrap();
    assert_eq!(world.notices().len(), before + 4, "there was nothing to remove");
    assert_eq!((world.count(Kind::EmployeePasswordSet), world.count(Kind::EmployeePasswordRemoved)), (1, 1));
}

#[test]
fn a_password_that_was_chosen_with_a_stolen_key_does_not_outlive_it() {
    let (world, key) = (world(), TestKey::new(1));
    world.enrol(&key, "a", None).unwrap();
    let revoke = |why| {
        let fingerprint = key.fingerprint();
        world.write(move |tx, rules| {
            usecase::revoke(tx, rules, &Actor::new("console:root"), &fingerprint, why).map(drop)
        })
    };
    world.password(&key, "b", Some(hash())).unwrap();
    revoke(Reason::Lost).unwrap();
    assert!(!world.has_password());
    assert_eq!(world.count(Kind::EmployeePasswordRemoved), 1);
    let refused = world.password(&key, "c", Some(hash())).unwrap_err();
    assert!(refused.contains("no enrolled key"), "{refused}");
}

#[test]
fn a_key_that_is_merely_retired_leaves_the_password() {
    let (world, key) = (world(), TestKey::new(1));
    world.enrol(&key, "a", Some(hash())).unwrap();
    let retire = AboutKeys::Revoke { fingerprint: key.fingerprint(), lost: false };
    world.request(&key, "b", retire).unwrap();
    assert!(world.has_password());
}
