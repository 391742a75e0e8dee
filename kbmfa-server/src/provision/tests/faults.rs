//! Accounts that cannot be served, keys that cannot be taken away, and records that are damaged: what still happens.

use super::*;

#[test]
fn one_account_that_cannot_be_served_fails_nobody_else() {
    let (roster, grants) = crowd(3);
    let desired = render(&roster, &grants, &admin(), NOW);
    for (step, word) in [
        ("create p1", "failed uid-taken"),
        ("home p1", "failed write"),
        ("home p1", "failed no-home"),
        ("sudo p1", "failed no-visudo"),
        ("sudo p1", "failed sudoers-syntax"),
    ] {
        let mut model = Model {
            fails: [(step.to_owned(), word)].into(),
            allowed: [("ops".to_owned(), OPS.to_owned())].into(),
            ..Model::default()
        };
        let passed = pass_over(&mut model, &desired, Place::Home, &mut 0).unwrap();
        assert_eq!(passed.failure(), None, "{step}");
        let [hindrance] = passed.hindrances().try_into().unwrap();
        assert_eq!(hindrance.undone(), Some(&name(1)), "{step}");
        assert!(!hindrance.is_loss(), "{hindrance:?}");
        for number in [2, 3] {
            let home = model.accounts[&name(number)].home.clone().unwrap_or_default();
            assert_eq!(files::block_of(&home), desired.accounts[&name(number)].lines);
        }
    }
}

#[test]
fn a_full_disk_is_a_failure_of_the_machine() {
    let (roster, grants) = alice(&[1]);
    let desired = render(&roster, &grants, &admin(), NOW);
    for word in ["failed write", "failed unlinked"] {
        let mut model = Model { fails: [("keys".to_owned(), word)].into(), ..Model::default() };
        let failure = pass_over(&mut model, &desired, Place::System, &mut 0).unwrap().failure().unwrap();
        assert_eq!(failure.kind, Kind::Disk, "{failure}");
    }
}

#[test]
fn a_user_who_writes_at_the_same_moment_delays_themselves_alone() {
    let (roster, grants) = crowd(3);
    let desired = render(&roster, &grants, &admin(), NOW);
    let mut counter = 0;
    let mut model = Model {
        fails: [("home p1".to_owned(), "failed changed-meanwhile")].into(),
        allowed: [("ops".to_owned(), OPS.to_owned())].into(),
        ..Model::default()
    };
    let passed = pass_over(&mut model, &desired, Place::Home, &mut counter).unwrap();
    assert_eq!(passed.failure(), None);
    assert_eq!(passed.hindrances().iter().filter_map(Hindrance::undone).collect::<Vec<_>>(), [&name(1)]);
    // Until the user stops: then the same pass writes the file.
    model.fails.clear();
    let passed = pass_over(&mut model, &desired, Place::Home, &mut counter).unwrap();
    assert_eq!(passed.hindrances(), []);
}

/// People 1 to `count`, each with a key, an account and the sudo profile "ops".
fn crowd(count: u32) -> (Roster, Vec<Access>) {
    let person = |number: u32| Person {
        employee_id: format!("e{number}"),
        unix_name: name(number),
        uid: Some(20_000 + number),
        active: true,
        keys: vec![key(u8::try_from(number).unwrap())],
    };
    let grant = |number: u32| Access {
        employee_id: format!("e{number}"),
        sudo: Some("ops".parse().unwrap()),
        ends_at: None,
    };
    let people = (1..=count).map(|number| (format!("e{number}"), person(number))).collect();
    (Roster { people, ..Roster::default() }, (1..=count).map(grant).collect())
}

fn keys_of(desired: &Desired) -> Keys {
    desired.accounts.iter().map(|(name, account)| (name.clone(), account.fingerprints.clone())).collect()
}

#[test]
fn a_key_that_could_not_be_taken_away_is_remembered_and_counts() {
    let (mut roster, mut grants) = alice(&[1]);
    let mut model = Model::default();
    let desired = render(&roster, &grants, &admin(), NOW);
    pass_over(&mut model, &desired, Place::Home, &mut 0).unwrap();
    let before = keys_of(&desired);
    roster.people.get_mut("e").unwrap().keys = vec![key(2)];
    roster.revoked = revoked_keys([1]);
    // While the file cannot be written, its owner has both keys.
    model.fails = [("home p1".to_owned(), "failed write")].into();
    let desired = render(&roster, &grants, &admin(), NOW);
    let passed = pass_with(&mut model, &desired, Place::Home, &mut 1, (&before, None)).unwrap();
    assert!(passed.failure().is_none() && passed.hindrances().iter().any(Hindrance::is_loss));
    let given = passed.given(&desired, &before, Place::Home);
    assert_eq!(given[&name(1)], [key(1).fingerprint, key(2).fingerprint].into());
    assert!(desired.has_to_lose(&given));
    // Read back, only the new one is left.
    model.fails.clear();
    let passed = pass_with(&mut model, &desired, Place::Home, &mut 2, (&given, None)).unwrap();
    let given = passed.given(&desired, &given, Place::Home);
    assert_eq!(given[&name(1)], [key(2).fingerprint].into());
    assert!(!desired.has_to_lose(&given) && passed.hindrances().is_empty());
    // Behind a link nothing is read, so what was known of it stays.
    model.accounts.get_mut(&name(1)).unwrap().home = None;
    model.odd_homes.insert(name(1));
    grants.clear();
    let desired = render(&roster, &grants, &admin(), NOW);
    let passed = pass_with(&mut model, &desired, Place::Home, &mut 3, (&given, None)).unwrap();
    assert_eq!(passed.hindrances(), [Hindrance::OddHome(name(1))]);
    assert!(desired.has_to_lose(&passed.given(&desired, &given, Place::Home)));
}

#[test]
fn a_revoked_key_beside_our_block_is_taken_out_and_other_lines_stay() {
    let (mut roster, grants) = alice(&[1]);
    let desired = render(&roster, &grants, &admin(), NOW);
    let lost = key(9).line;
    let mine = format!(
        "# mine: {lost}\n{other} me\n{lost}\n  {lost} old laptop\nrestrict,command=\"echo \\\"x y\\\"\" {lost} c\n{open}",
        other = key(8).line,
        open = lost.trim_end_matches('='),
    );
    let mut model = Model::default();
    pass_over(&mut model, &desired, Place::Home, &mut 0).unwrap();
    let home = &mut model.accounts.get_mut(&name(1)).unwrap().home;
    home.as_mut().unwrap().extend_from_slice(mine.as_bytes());
    roster.revoked = revoked_keys([9]);
    let desired = render(&roster, &grants, &admin(), NOW);
    let passed = pass_over(&mut model, &desired, Place::Home, &mut 1).unwrap();
    assert!(passed.plan.steps.iter().any(|step| matches!(step, Step::SetHome { loses: true, .. })));
    let home = String::from_utf8(model.accounts[&name(1)].home.clone().unwrap()).unwrap();
    let beside = format!("# mine: {lost}\n{} me\n", key(8).line);
    assert!(home.ends_with(&beside) && home.matches(&lost).count() == 1, "{home}");
    assert_eq!(files::block_of(home.as_bytes()), desired.accounts[&name(1)].lines);
    assert!(pass_over(&mut model, &desired, Place::Home, &mut 2).unwrap().plan.is_empty());
}

#[test]
fn a_plan_that_takes_away_too_much_still_takes_away_revoked_keys_and_nothing_else() {
    let (mut roster, mut grants) = crowd(8);
    let mut model = Model { allowed: [("ops".to_owned(), OPS.to_owned())].into(), ..Model::default() };
    let desired = render(&roster, &grants, &admin(), NOW);
    pass_over(&mut model, &desired, Place::System, &mut 0).unwrap();
    let (given, before) = (keys_of(&desired), model.clone());
    // Six people have lost their grants; the seventh has lost a laptop; there is an eighth, and one who comes.
    grants.retain(|grant| ["e7", "e8"].contains(&grant.employee_id.as_str()));
    roster.people.get_mut("e7").unwrap().keys.clear();
    roster.revoked = revoked_keys([7]);
    let (new, mut coming) = alice(&[100]);
    roster.people.extend(new.people);
    let person = roster.people.get_mut("e").unwrap();
    (person.unix_name, person.uid) = (name(9), Some(20_009));
    grants.append(&mut coming);
    let desired = render(&roster, &grants, &admin(), NOW);
    let passed = pass_with(&mut model, &desired, Place::System, &mut 1, (&given, None)).unwrap();
    assert_eq!(passed.failure().unwrap().kind, Kind::Guard);
    assert!(model.revoked.contains(&key(7).line) && !model.keys.contains_key(&name(7)));
    assert_eq!(model.accounts, before.accounts);
    assert_eq!(model.sudo, before.sudo);
    let kept: Vec<_> = model.keys.keys().cloned().collect();
    assert_eq!(kept, [1, 2, 3, 4, 5, 6, 8].map(name));
    let given = passed.given(&desired, &given, Place::System);
    assert!(!given.contains_key(&name(7)) && given.len() == 7 && desired.has_to_lose(&given));
    // Confirmed, the rest follows.
    let passed = pass_with(&mut model, &desired, Place::System, &mut 2, (&given, Some(6))).unwrap();
    assert_eq!(passed.failure(), None);
    assert_eq!(model.keys.keys().cloned().collect::<Vec<_>>(), [name(8), name(9)]);
}

#[test]
fn a_damaged_record_delays_no_revoked_key() {
    for place in [Place::System, Place::Home] {
        let (mut roster, grants) = alice(&[1, 2]);
        let mut model = Model::default();
        let desired = render(&roster, &grants, &admin(), NOW);
        pass_over(&mut model, &desired, place, &mut 0).unwrap();
        let given = keys_of(&desired);
        let person = roster.people.get_mut("e").unwrap();
        person.keys = vec![Key { line: "ssh-ed25519 AAAA".to_owned(), ..key(2) }];
        roster.revoked = revoked_keys([1]);
        let desired = render(&roster, &grants, &admin(), NOW);
        assert!(desired.has_to_lose(&given));
        let passed = pass_with(&mut model, &desired, place, &mut 1, (&given, None)).unwrap();
        let home = model.accounts[&name(1)].home.clone().unwrap_or_default();
        let file = model.keys.get(&name(1)).cloned().unwrap_or_default() + &String::from_utf8(home).unwrap();
        assert!(!file.contains(&key(1).line) && file.contains(&key(2).line), "{file}");
        assert!(!model.accounts[&name(1)].is_off);
        assert!(matches!(passed.hindrances().as_slice(), [Hindrance::Record(..)]));
        let given = passed.given(&desired, &given, place);
        assert_eq!(given[&name(1)], [key(2).fingerprint].into());
        assert!(!desired.has_to_lose(&given) && passed.failure().is_none());
    }
}

#[test]
fn an_account_that_is_no_longer_ours_loses_its_revoked_keys() {
    let (mut roster, grants) = alice(&[1, 2]);
    let mut model = Model::default();
    let desired = render(&roster, &grants, &admin(), NOW);
    pass_over(&mut model, &desired, Place::System, &mut 0).unwrap();
    let given = keys_of(&desired);
    model.accounts.get_mut(&name(1)).unwrap().is_ours = false;
    roster.people.get_mut("e").unwrap().keys.remove(0);
    roster.revoked = revoked_keys([1]);
    let desired = render(&roster, &grants, &admin(), NOW);
    let passed = pass_with(&mut model, &desired, Place::System, &mut 1, (&given, None)).unwrap();
    assert_eq!(passed.hindrances(), [Hindrance::NotOurs(name(1))]);
    assert!(!model.keys[&name(1)].contains(&key(1).line) && model.keys[&name(1)].contains(&key(2).line));
    assert!(!desired.has_to_lose(&passed.given(&desired, &given, Place::System)));
}

#[test]
fn a_damaged_record_of_a_state_is_named_as_that() {
    let (roster, grants) = alice(&[1]);
    let desired = render(&roster, &grants, &admin(), NOW);
    for state in ["ab 1 99999999999999999999999", "odd 0 0", "ab 999999999999999999 999999999999999999"] {
        let mut model = Model { state_line: Some(state.to_owned()), ..Model::default() };
        let failure = pass_over(&mut model, &desired, Place::System, &mut 5).unwrap_err();
        assert_eq!(failure.kind, Kind::Generation, "{state}");
        assert!(model.accounts.is_empty());
    }
}
