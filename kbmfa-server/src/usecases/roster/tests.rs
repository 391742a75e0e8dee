//! Tests of what an apply does to a database.

use proptest::prelude::*;

use super::*;
use crate::audit::store::search::{Filter, search};
use crate::clock::Time;
use crate::db::testing::{Fixture, START, fixture};
use crate::roster_file::diff::Current;
use crate::roster_file::testing::{any_roster, key};
use crate::roster_file::{Pool, read, write};
use crate::usecases::testing::rules;

fn wanted(roster: &Roster) -> Wanted {
    let (roster, manages) = (roster.clone(), Part::ALL.to_vec());
    Wanted { server: None, manages, roster, mode: Mode::Whole, confirmed: None, dry_run: false }
}

fn apply_to(fixture: &Fixture, wanted: Wanted) -> Result<Applied, NotApplied> {
    let actor = Actor::new("console:root");
    fixture.db.write_blocking("test", move |tx| apply(tx, Uids::default(), &rules(), &actor, &wanted))
}

/// Applies a roster, with the number of removals that a dry run tells.
fn confirmed(fixture: &Fixture, roster: &Roster) -> Result<Applied, NotApplied> {
    let would = apply_to(fixture, Wanted { dry_run: true, ..wanted(roster) });
    let Err(NotApplied::DryRun(would)) = would else { return would };
    let applied = apply_to(fixture, Wanted { confirmed: Some(would.removals), ..wanted(roster) })?;
    assert_eq!((&applied.changes, applied.removals), (&would.changes, would.removals));
    Ok(applied)
}

fn current(fixture: &Fixture) -> Current {
    fixture.db.read_blocking(service::current).unwrap()
}

fn events(fixture: &Fixture) -> Vec<String> {
    let filter = Filter { limit: 9999, ..Filter::default() };
    let found = fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
    let kind = |body: &str| {
        serde_json::from_str::<serde_json::Value>(body).unwrap()["kind"].as_str().unwrap().to_owned()
    };
    found.iter().map(|event| kind(&event.body)).collect()
}

fn file(text: &str) -> Roster {
    let text = format!(
        "[roster]\nformat = 1\nmanages = [\"pools\", \"machines\", \"employees\", \"grants\", \"keys\"]\n{text}\n[end]\n"
    );
    read::parse(&text).unwrap_or_else(|faults| panic!("{faults:?}")).roster
}

const TWO: &str = r#"
[[employee]]
email = "ann@x"
name = "Ann"
unix_name = "ann"
keybase_name = "anna"
[[employee]]
email = "ben@x"
name = "Ben"
unix_name = "ben"
"#;

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn an_export_that_is_applied_elsewhere_gives_the_same_roster_and_a_second_time_nothing(roster in any_roster()) {
        let (first, second) = (fixture(), fixture());
        confirmed(&first, &roster).unwrap();
        prop_assert_eq!(&current(&first).roster, &roster);
        let text = write::text("0", &Part::ALL, &current(&first).roster);
        let exported = read::parse(&text).unwrap_or_else(|faults| panic!("{faults:?}")).roster;
        confirmed(&second, &exported).unwrap();
        prop_assert_eq!(&current(&second).roster, &roster);
        let before = events(&second);
        for again in [&exported, &roster] {
            prop_assert_eq!(confirmed(&second, again).unwrap().changes, Vec::new());
        }
        prop_assert_eq!(events(&second), before, "nothing was done, so nothing is recorded");
    }

    #[test]
    fn any_roster_becomes_any_other(one in any_roster(), other in any_roster()) {
        let fixture = fixture();
        confirmed(&fixture, &one).unwrap();
        confirmed(&fixture, &other).unwrap();
        prop_assert_eq!(current(&fixture).roster, other);
    }
}

#[test]
fn nothing_is_changed_if_one_entry_has_a_fault_and_each_fault_is_told_once() {
    let fixture = fixture();
    let roster = file(
        r#"
[[pool]]
name = "web"
[[employee]]
email = "root@x"
name = "Root"
unix_name = "root"
[[employee]]
email = "ann@x"
name = "Ann"
unix_name = "ann"
uid = 7
[[grant]]
employee = "ann@x"
pool = "web"
[[grant]]
employee = "root@x"
pool = "web"
"#,
    );
    for dry_run in [true, false] {
        let Err(NotApplied::Faulty(faults)) = apply_to(&fixture, Wanted { dry_run, ..wanted(&roster) })
        else {
            panic!()
        };
        let told: Vec<_> = faults.iter().map(|(id, what)| format!("{id}: {what}")).collect();
        assert_eq!(faults.len(), 2, "{told:?}");
        assert!(told[0].starts_with("employee ann@x: uid 7 is not for people"), "{told:?}");
        assert!(told[1].starts_with("employee root@x: root is an account of the system"), "{told:?}");
    }
    assert_eq!((current(&fixture).roster, events(&fixture)), (Roster::default(), Vec::new()));
}

#[test]
fn what_one_entry_gives_up_another_one_takes_in_the_same_file() {
    let fixture = fixture();
    apply_to(&fixture, wanted(&file(TWO))).unwrap();
    let handed_on = TWO.replace("keybase_name = \"anna\"\n", "") + "keybase_name = \"anna\"\n";
    let changes = apply_to(&fixture, wanted(&file(&handed_on))).unwrap().changes;
    assert_eq!(changes.len(), 2);
    assert_eq!(current(&fixture).roster.employees[1].keybase_name.as_ref().unwrap().as_str(), "anna");
    let back = apply_to(&fixture, wanted(&file(TWO))).unwrap().changes;
    assert_eq!(back.len(), 2, "also in the other order");
}

#[test]
fn another_servers_file_and_unconfirmed_removals_change_nothing() {
    let fixture = fixture();
    apply_to(&fixture, wanted(&file(TWO))).unwrap();
    let id = fixture.db.write_blocking("test", name_server).unwrap();
    assert_eq!(fixture.db.write_blocking("test", name_server).unwrap(), id);
    let other = apply_to(&fixture, Wanted { server: Some("0123".into()), ..wanted(&file("")) });
    assert!(matches!(other, Err(NotApplied::OtherServer(other)) if other == "0123"));
    let own = Wanted { server: Some(id), ..wanted(&file("")) };
    for confirmed in [None, Some(1), Some(3)] {
        let refused = apply_to(&fixture, Wanted { confirmed, ..own.clone() });
        assert!(matches!(refused, Err(NotApplied::Unconfirmed(2))), "{confirmed:?}");
    }
    assert_eq!(current(&fixture).roster.employees.len(), 2);
    apply_to(&fixture, Wanted { confirmed: Some(2), ..own }).unwrap();
    assert_eq!(current(&fixture).roster.employees.len(), 0);
}

#[test]
fn parts_that_the_file_does_not_manage_are_left_alone_except_by_what_takes_them_along() {
    let fixture = fixture();
    let grants = "[[pool]]\nname = \"web\"\n[[grant]]\nemployee = \"ann@x\"\npool = \"web\"\n";
    let mut roster = file(&format!("{TWO}{grants}"));
    roster.keys.push(Key { email: "ann@x".parse().unwrap(), ..key(1, 0) });
    apply_to(&fixture, wanted(&roster)).unwrap();
    let people = |roster: Roster| Wanted { manages: vec![Part::Employees], ..wanted(&roster) };
    assert_eq!(apply_to(&fixture, people(file(TWO))).unwrap().changes, Vec::new());
    let only_ben = file(&TWO.replace("ann", "ann2").replace("email = \"ann2@x\"", "email = \"ann@x\""));
    assert!(
        matches!(apply_to(&fixture, people(only_ben)), Err(NotApplied::Faulty(_))),
        "a Unix name never changes"
    );
    let mut only_ben = file(TWO);
    only_ben.employees.remove(0);
    let applied = apply_to(&fixture, people(only_ben)).unwrap();
    assert_eq!(
        (applied.removals, applied.changes.len()),
        (3, 3),
        "with the grant and the key: {:?}",
        applied.changes
    );
    let left = current(&fixture).roster;
    assert_eq!((left.grants, left.keys, left.pools.len()), (Vec::new(), Vec::new(), 1));
}

#[test]
fn a_grant_is_put_off_or_replaced_and_one_that_ended_counts_for_nothing() {
    let fixture = fixture();
    let with = |terms: &str| {
        file(&format!(
            "{TWO}[[pool]]\nname = \"web\"\n[[grant]]\nemployee = \"ann@x\"\npool = \"web\"\n{terms}"
        ))
    };
    let kinds = |roster: &Roster| {
        let before = events(&fixture).len();
        apply_to(&fixture, wanted(roster)).unwrap();
        let all = events(&fixture);
        all[before..].to_vec()
    };
    apply_to(&fixture, wanted(&with("until = \"2027-01-01\""))).unwrap();
    assert_eq!(kinds(&with("until = \"2027-02-01\"")), ["grant.extended"]);
    assert_eq!(kinds(&with("until = \"2027-01-01\"")), ["grant.removed", "grant.added"]);
    assert_eq!(kinds(&with("sudo = \"ops\"")), ["grant.removed", "grant.added"]);
    let past = with("until = \"2020-01-01\"");
    assert_eq!(kinds(&past), ["grant.removed"]);
    assert_eq!(kinds(&past), Vec::<String>::new());
    assert!(Time::from_micros(START).to_string().as_str() < "2027");
}

#[test]
fn what_is_only_added_leaves_all_else_and_finds_a_machine_by_its_address() {
    let fixture = fixture();
    apply_to(
        &fixture,
        wanted(&file(&format!("{TWO}[[machine]]\nname = \"web1\"\naddress = \"192.0.2.7\"\n"))),
    )
    .unwrap();
    let more = file(
        "[[pool]]\nname = \"web\"\n[[machine]]\nname = \"192.0.2.7\"\naddress = \"192.0.2.7\"\npools = [\"web\"]\n[[employee]]\n\
         email = \"ann@x\"\nname = \"ann\"\nunix_name = \"ann\"\n",
    );
    let add = || Wanted { mode: Mode::Add, ..wanted(&more) };
    let changes = apply_to(&fixture, add()).unwrap().changes;
    assert_eq!(changes.len(), 2, "{changes:?}");
    let now = current(&fixture).roster;
    assert_eq!(now.employees[0].name.as_str(), "Ann");
    assert_eq!(now.machines.len(), 1);
    assert_eq!(now.machines[0].pools, [now.pools[0].name.clone()]);
    assert_eq!(now.pools, [Pool { name: "web".parse().unwrap(), label: None }]);
    assert_eq!(apply_to(&fixture, add()).unwrap().changes, Vec::new());
}

#[test]
fn a_key_that_waits_is_approved_by_a_file_that_has_it_and_left_alone_by_one_that_has_not() {
    let fixture = fixture();
    let mut roster = file(TWO);
    let own = |number| Key { email: "ann@x".parse().unwrap(), ..key(1, number) };
    roster.keys.push(own(0));
    apply_to(&fixture, wanted(&roster)).unwrap();
    let second = own(1);
    let waits = second.clone();
    let added = fixture.db.write_blocking("test", move |tx| {
        let parent = crate::keys::service::find(tx, &own(0).fingerprint)?.id;
        let key = PublicKey::parse(&waits.line).unwrap();
        let (email, device, origin) = (waits.email, waits.device, Origin::Key { parent });
        let new = keys::New { email, key, device, origin, replaces: None };
        keys::add(tx, &rules(), &Actor::new("key:SHA256:0"), &new)
    });
    added.unwrap();
    let now = current(&fixture);
    assert_eq!((now.roster.keys.len(), now.pending.len()), (1, 1));
    assert_eq!(apply_to(&fixture, wanted(&roster)).unwrap().changes, Vec::new());
    roster.keys.push(second.clone());
    roster.sort();
    assert_eq!(apply_to(&fixture, wanted(&roster)).unwrap().changes, [Change::ApproveKey(second)]);
    assert_eq!(current(&fixture), Current { roster: current(&fixture).roster, ..Current::default() });
    assert_eq!(current(&fixture).roster.keys, roster.keys);
}
