//! Properties of a pass, on a machine in memory.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kbmfa_proto::key::PublicKey;
use kbmfa_proto::names::UserName;
use proptest::prelude::*;
use proptest::sample::select;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::desired::{Access, Desired, Key, Keys, Person, Roster, render};
use super::files;
use super::guard::Limit;
use super::hindrance::Hindrance;
use super::model::{Account, Model};
use super::orders::{Authority, Stamp};
use super::pass::{Order, Passed, run};
use super::plan::{Plan, Settings, Step};
use super::report::{Done, Report};
use super::revoked::Revoked;
use crate::clock::Time;
use crate::deliveries::failure::{Failure, Kind};
use crate::deliveries::{Generation, Place};
use crate::grants::SudoProfile;

mod adopted;
mod faults;
mod sessions;

const NOW: Time = Time::from_micros(1_800_000_000_000_000);

fn key(seed: u8) -> Key {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let mut blob = Vec::new();
    for field in [&b"ssh-ed25519"[..], pair.public_key().as_ref()] {
        blob.extend_from_slice(&u32::try_from(field.len()).unwrap().to_be_bytes());
        blob.extend_from_slice(field);
    }
    let parsed = PublicKey::parse(&format!("ssh-ed25519 {}", STANDARD.encode(blob))).unwrap();
    Key {
        id: format!("k{seed}"),
        line: parsed.line().to_owned(),
        fingerprint: parsed.fingerprint().to_owned(),
    }
}

/// The text of the profile that the server knows.
const OPS: &str = "ALL=(ALL) ALL\n";

fn revoked_keys(seeds: impl IntoIterator<Item = u8>) -> Arc<Revoked> {
    Arc::new(seeds.into_iter().map(key).map(|key| (key.line, key.fingerprint)).collect())
}

fn name(number: u32) -> UserName {
    format!("p{number}").parse().unwrap()
}

fn admin() -> UserName {
    "ssh-admin".parse().unwrap()
}

fn settings(place: Place) -> Settings {
    let profiles = BTreeMap::from([("ops".parse().unwrap(), OPS.to_owned())]);
    Settings { place, shell: "/bin/bash".to_owned(), profiles, keeps_sessions: BTreeSet::new() }
}

fn generation(counter: u64) -> Generation {
    Generation { installation: "ab".to_owned(), epoch: 1, counter }
}

/// Numbers orders from the counter on.
struct Counted<'a>(&'a mut u64);

impl Authority for Counted<'_> {
    fn stamp(&mut self) -> Result<Stamp, Failure> {
        *self.0 += 1;
        Ok(Stamp { generation: generation(*self.0), not_after: NOW })
    }

    fn sign(&self, _order: &str) -> Result<String, Failure> {
        Ok("signature".to_owned())
    }
}

/// A pass; `counter` is that of the last state that was written.
fn pass_over(
    model: &mut Model,
    desired: &Desired,
    place: Place,
    counter: &mut u64,
) -> Result<Passed, Failure> {
    pass_with(model, desired, place, counter, (&Keys::new(), Some(1000)))
}

/// A pass over a machine that was given these keys, with this number of confirmed removals.
fn pass_with(
    model: &mut Model,
    desired: &Desired,
    place: Place,
    counter: &mut u64,
    (given, confirmed): (&Keys, Option<usize>),
) -> Result<Passed, Failure> {
    let (settings, admin, last) = (settings(place), admin(), generation(*counter));
    let other_hosts = BTreeMap::new();
    let order = Order {
        desired,
        given,
        settings: &settings,
        admin: &admin,
        host_id: None,
        other_hosts: &other_hosts,
        last: &last,
        limit: Limit::default(),
        confirmed,
    };
    run(model, &order, &mut Counted(counter))
}

fn rosters() -> impl Strategy<Value = (Roster, Vec<Access>)> {
    let person = (any::<bool>(), proptest::collection::btree_set(0_u8..4, 0..4), 0_u8..10);
    let grant =
        (0_u32..6, proptest::option::of(select(vec!["ops", "other"])), proptest::option::of(-2_i64..3));
    let revoked = proptest::collection::btree_set(200_u8..204, 0..4);
    (proptest::collection::vec(person, 0..6), proptest::collection::vec(grant, 0..8), revoked).prop_map(
        |(people, grants, revoked)| {
            let person = |(number, (active, keys, uid)): (u32, (bool, BTreeSet<u8>, u8))| {
                let keys = keys.into_iter().map(|one| key(u8::try_from(number * 8).unwrap() + one)).collect();
                let uid = (uid > 0).then_some(20_000 + number);
                let employee_id = format!("e{number}");
                (employee_id.clone(), Person { employee_id, unix_name: name(number), uid, active, keys })
            };
            let people = (0..).zip(people).map(person).collect();
            let revoked = revoked_keys(revoked);
            let access = |(number, sudo, end): (u32, Option<&str>, Option<i64>)| Access {
                employee_id: format!("e{number}"),
                sudo: sudo.map(|sudo| sudo.parse().unwrap()),
                ends_at: end.map(|days| Time::from_micros(NOW.micros() + days * 86_400_000_000)),
            };
            (Roster { people, revoked, ..Roster::default() }, grants.into_iter().map(access).collect())
        },
    )
}

fn machines() -> impl Strategy<Value = Model> {
    let home = proptest::option::of(select(vec![
        &b""[..],
        b"ssh-ed25519 AAAA foreign",
        b"ssh-ed25519 AAAA foreign\n# kbmfa begin: what others change up to \"kbmfa end\" is undone at the next check\nx\n",
        b"# kbmfa begin: what others change up to \"kbmfa end\" is undone at the next check\nx\n# kbmfa end\nssh-rsa BBBB y\n",
    ]));
    let account = (any::<bool>(), any::<bool>(), any::<bool>(), home);
    let keys = proptest::collection::btree_map(0_u32..9, select(vec!["", "a\n", "b"]), 0..5);
    let sudo = proptest::collection::btree_set((0_u32..9, select(vec!["ops", "old"])), 0..3);
    let revoked = proptest::collection::btree_set(200_u8..206, 0..4);
    let accounts = proptest::collection::btree_map(0_u32..9, account, 0..9);
    (accounts, keys, sudo, revoked, any::<bool>()).prop_map(|(accounts, keys, sudo, revoked, allows)| Model {
        accounts: accounts
            .into_iter()
            .map(|(number, (is_ours, is_off, is_right, home))| {
                let uid = if is_right { 20_000 + number } else { 30_000 + number };
                (name(number), Account { uid, is_ours, is_off, home: home.map(<[u8]>::to_vec) })
            })
            .collect(),
        keys: keys.into_iter().map(|(number, text)| (name(number), text.to_owned())).collect(),
        sudo: sudo
            .into_iter()
            .map(|(number, profile)| ((name(number), profile.to_owned()), "old".to_owned()))
            .collect(),
        revoked: revoked.into_iter().map(|seed| key(seed).line).collect(),
        allowed: allows.then(|| ("ops".to_owned(), OPS.to_owned())).into_iter().collect(),
        ..Model::default()
    })
}

fn places() -> impl Strategy<Value = Place> {
    select(vec![Place::System, Place::Home])
}

/// The machine after a pass, and after a pass that broke and the next one.
fn with_a_break(model: Model, desired: &Desired, place: Place, breaks_after: usize) -> (Model, Model) {
    let (mut whole, mut broken) = (model.clone(), Model { breaks_after: Some(breaks_after), ..model });
    pass_over(&mut whole, desired, place, &mut 0).unwrap();
    let mut counter = 0;
    let first = pass_over(&mut broken, desired, place, &mut counter);
    assert!(first.is_ok() || first.unwrap_err().kind == Kind::Unreachable);
    broken.breaks_after = None;
    pass_over(&mut broken, desired, place, &mut counter).unwrap();
    (whole, broken)
}

proptest! {
    #[test]
    fn a_pass_reaches_the_desired_state_and_a_second_one_writes_nothing(
        (roster, grants) in rosters(),
        mut model in machines(),
        place in places(),
    ) {
        let desired = render(&roster, &grants, &admin(), NOW);
        let mut counter = 0;
        let passed = pass_over(&mut model, &desired, place, &mut counter).unwrap();
        prop_assert!(passed.failure().is_none(), "{:?}", passed.failure());
        let hindrances = passed.hindrances();
        prop_assert!(hindrances.iter().all(|one| one.undone().is_none()), "{hindrances:?}");
        for (account, wanted) in &desired.accounts {
            let is_hindered = hindrances.iter().any(|one| one.left_alone() == Some(account));
            let Some(found) = model.accounts.get(account).filter(|_| !is_hindered) else { continue };
            prop_assert!(!found.is_off && found.uid == wanted.uid);
            match place {
                Place::System if wanted.lines.is_empty() => prop_assert!(!model.keys.contains_key(account)),
                Place::System => prop_assert_eq!(&model.keys[account], &files::system_file(&wanted.lines)),
                Place::Home => {
                    prop_assert_eq!(&files::block_of(found.home.as_deref().unwrap_or_default()), &wanted.lines);
                }
            }
        }
        let is_wanted = |name: &UserName| desired.accounts.contains_key(name) || desired.faults.contains_key(name);
        for (account, found) in model.accounts.iter().filter(|(name, found)| found.is_ours && !is_wanted(name)) {
            prop_assert!(found.is_off && !model.keys.contains_key(account), "{account} is not switched off");
            prop_assert!(!model.sudo.keys().any(|(owner, _)| owner == account));
        }
        prop_assert!(desired.revoked.lines().all(|line| model.revoked.contains(line)));
        let once = model.clone();
        let again = pass_over(&mut model, &desired, place, &mut counter).unwrap();
        prop_assert!(again.plan.steps.is_empty(), "{:?}", again.plan.steps);
        prop_assert_eq!(Model { state: None, writes: 0, ..model }, Model { state: None, writes: 0, ..once });
    }

    #[test]
    fn no_pass_touches_an_account_without_our_mark(
        (roster, grants) in rosters(),
        mut model in machines(),
        place in places(),
    ) {
        let before = model.clone();
        pass_over(&mut model, &render(&roster, &grants, &admin(), NOW), place, &mut 0).unwrap();
        for (account, was) in before.accounts.iter().filter(|(_, account)| !account.is_ours) {
            prop_assert_eq!(&model.accounts[account], was);
        }
        prop_assert!(before.revoked.is_subset(&model.revoked), "a revoked key was taken out");
    }

    #[test]
    fn a_pass_that_broke_anywhere_is_finished_by_the_next_one(
        (roster, grants) in rosters(),
        model in machines(),
        place in places(),
        breaks_after in 0_usize..12,
    ) {
        let desired = render(&roster, &grants, &admin(), NOW);
        let (whole, broken) = with_a_break(model, &desired, place, breaks_after);
        prop_assert_eq!(Model { state: None, writes: 0, breaks_after: None, ..broken }, Model { state: None, writes: 0, ..whole });
    }

    #[test]
    fn the_same_roster_gives_the_same_bytes((roster, grants) in rosters(), place in places()) {
        let (once, profiles) = (render(&roster, &grants, &admin(), NOW), settings(place).profiles);
        let reversed: Vec<_> = grants.iter().rev().cloned().collect();
        prop_assert_eq!(once.hash(place, &profiles), render(&roster, &reversed, &admin(), NOW).hash(place, &profiles));
    }
}

fn alice(keys: &[u8]) -> (Roster, Vec<Access>) {
    let person = Person {
        employee_id: "e".to_owned(),
        unix_name: name(1),
        uid: Some(20_001),
        active: true,
        keys: keys.iter().map(|seed| key(*seed)).collect(),
    };
    let grant = Access { employee_id: "e".to_owned(), sudo: None, ends_at: None };
    (Roster { people: [("e".to_owned(), person)].into(), ..Roster::default() }, vec![grant])
}

#[test]
fn a_key_that_a_machine_holds_as_revoked_is_held_back() {
    let (roster, grants) = alice(&[1, 2]);
    let mut model = Model { revoked: [key(1).line].into(), ..Model::default() };
    let passed =
        pass_over(&mut model, &render(&roster, &grants, &admin(), NOW), Place::System, &mut 0).unwrap();
    assert_eq!(passed.left.hindrances, [Hindrance::HeldBack(name(1), "kbmfa:k1".to_owned())]);
    assert!(!model.keys[&name(1)].contains(&key(1).line) && model.keys[&name(1)].contains(&key(2).line));
}

#[test]
fn a_machine_refuses_a_state_that_is_older_than_the_one_it_has() {
    let (roster, grants) = alice(&[1]);
    let mut model = Model { state: Some(("ab".to_owned(), 1, 7)), ..Model::default() };
    let desired = render(&roster, &grants, &admin(), NOW);
    let failure = pass_over(&mut model, &desired, Place::System, &mut 5).unwrap_err();
    assert_eq!(failure.kind, Kind::Generation);
    assert!(model.accounts.is_empty());
    assert!(pass_over(&mut model, &desired, Place::System, &mut 7).unwrap().failure().is_none());
}

#[test]
fn a_machine_that_takes_its_orders_from_another_installation_is_left_alone() {
    let (roster, grants) = alice(&[1]);
    let mut model = Model { state: Some(("cd".to_owned(), 0, 0)), ..Model::default() };
    let failure =
        pass_over(&mut model, &render(&roster, &grants, &admin(), NOW), Place::System, &mut 5).unwrap_err();
    assert_eq!(failure.kind, Kind::Generation);
    assert!(model.accounts.is_empty());
}

#[test]
fn a_damaged_record_is_left_out_and_is_never_a_removal() {
    let (mut roster, grants) = alice(&[1]);
    let mut model = Model::default();
    let mut counter = 0;
    pass_over(&mut model, &render(&roster, &grants, &admin(), NOW), Place::System, &mut counter).unwrap();
    let before = model.clone();
    roster.people.get_mut("e").unwrap().keys[0].line = "ssh-ed25519 AAAA".to_owned();
    let passed =
        pass_over(&mut model, &render(&roster, &grants, &admin(), NOW), Place::System, &mut counter).unwrap();
    assert!(
        matches!(passed.left.hindrances.as_slice(), [Hindrance::Record(account, _)] if *account == name(1))
    );
    assert_eq!(model, before);
}

#[test]
fn an_employee_without_a_key_gets_no_account_and_keeps_one_that_is_there() {
    let (mut roster, grants) = alice(&[]);
    let mut model = Model::default();
    let mut counter = 0;
    pass_over(&mut model, &render(&roster, &grants, &admin(), NOW), Place::System, &mut counter).unwrap();
    assert!(model.accounts.is_empty());
    roster.people.get_mut("e").unwrap().keys = vec![key(1)];
    pass_over(&mut model, &render(&roster, &grants, &admin(), NOW), Place::System, &mut counter).unwrap();
    assert!(model.keys.contains_key(&name(1)));
    roster.people.get_mut("e").unwrap().keys.clear();
    pass_over(&mut model, &render(&roster, &grants, &admin(), NOW), Place::System, &mut counter).unwrap();
    assert!(!model.keys.contains_key(&name(1)) && !model.accounts[&name(1)].is_off);
}

#[test]
fn the_end_of_a_grant_is_in_the_line_of_the_key() {
    let (roster, mut grants) = alice(&[1]);
    grants[0].ends_at = Some(Time::from_micros(NOW.micros() + 1_000_000));
    let desired = render(&roster, &grants, &admin(), NOW);
    let line = &desired.accounts[&name(1)].lines[0];
    assert!(line.starts_with("expiry-time=\"20270115080001Z\" ssh-ed25519 "), "{line}");
    assert!(
        render(&roster, &grants, &admin(), Time::from_micros(NOW.micros() + 1_000_000)).accounts.is_empty()
    );
}

#[test]
fn a_grant_of_a_profile_that_the_machine_forbids_is_a_named_state() {
    let (roster, mut grants) = alice(&[1]);
    grants[0].sudo = Some("ops".parse::<SudoProfile>().unwrap());
    let desired = render(&roster, &grants, &admin(), NOW);
    let mut model = Model::default();
    let passed = pass_over(&mut model, &desired, Place::System, &mut 0).unwrap();
    assert_eq!(passed.hindrances(), [Hindrance::Forbidden(name(1), "ops".parse().unwrap())]);
    assert!(passed.failure().is_none() && model.keys.contains_key(&name(1)), "the keys were not written");
}

#[test]
fn a_profile_that_the_machine_allows_no_longer_is_taken_away_and_named() {
    let (roster, mut grants) = alice(&[1]);
    grants[0].sudo = Some("ops".parse::<SudoProfile>().unwrap());
    let desired = render(&roster, &grants, &admin(), NOW);
    let mut model = Model { allowed: [("ops".to_owned(), OPS.to_owned())].into(), ..Model::default() };
    pass_over(&mut model, &desired, Place::System, &mut 0).unwrap();
    assert_eq!(model.sudo.len(), 1);
    // The line was taken out, or stands there for an older text.
    for allowed in [BTreeMap::new(), [("ops".to_owned(), "ALL=(ALL) /bin/true\n".to_owned())].into()] {
        let mut model = Model { allowed, ..model.clone() };
        let passed = pass_over(&mut model, &desired, Place::System, &mut 1).unwrap();
        assert!(model.sudo.is_empty() && model.keys.contains_key(&name(1)));
        assert_eq!(passed.hindrances(), [Hindrance::Forbidden(name(1), "ops".parse().unwrap())]);
    }
}

#[test]
fn a_changed_text_of_a_sudo_profile_is_another_state() {
    let (roster, mut grants) = alice(&[1]);
    let hash = |grants: &[Access], text: &str| {
        let profiles = [("ops".parse().unwrap(), text.to_owned())].into();
        render(&roster, grants, &admin(), NOW).hash(Place::System, &profiles)
    };
    assert_eq!(hash(&grants, OPS), hash(&grants, "other\n"), "nobody has it");
    grants[0].sudo = Some("ops".parse().unwrap());
    assert_ne!(hash(&grants, OPS), hash(&grants, "other\n"));
}

#[test]
fn the_program_fits_into_one_request() {
    // libssh2 sends no longer packet than 35,000 bytes.
    assert!(super::REMOTE.len() < 34_000, "{}", super::REMOTE.len());
}
