//! Tests of the file alone: what is read, what is refused, and what a difference says.

use proptest::prelude::*;

use super::change::{Change, Verb};
use super::diff::{Current, Mode, changes};
use super::testing::{any_roster, key};
use super::*;
use crate::db::testing::START;

fn now() -> Time {
    Time::from_micros(START)
}

fn difference(current: Roster, wanted: &Roster, mode: Mode) -> Result<Vec<Change>, Vec<(Id, String)>> {
    let current = Current { roster: current, pending: BTreeMap::new() };
    changes(&current, wanted, (&Part::ALL, mode), now())
}

proptest! {
    #[test]
    fn a_roster_that_is_written_reads_as_the_same_roster(roster in any_roster()) {
        let text = write::text("0011", &Part::ALL, &roster);
        let file = read::parse(&text).unwrap_or_else(|faults| panic!("{faults:?}\n{text}"));
        prop_assert_eq!(file.server.as_deref(), Some("0011"));
        prop_assert_eq!(file.lines.len(), roster.ids().len());
        // The port of ssh is not written.
        let mut roster = roster;
        roster.machines.iter_mut().for_each(|machine| machine.port = machine.port.filter(|port| *port != 22));
        prop_assert_eq!(file.roster, roster);
    }

    #[test]
    fn no_part_of_a_file_is_taken_for_the_whole(roster in any_roster(), cut in any::<prop::sample::Index>()) {
        let text = write::text("0011", &Part::ALL, &roster);
        let whole = text.trim_end().len();
        let mut end = cut.index(whole);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        prop_assert!(read::parse(&text[..end]).is_err(), "{}", &text[..end]);
    }

    #[test]
    fn a_roster_does_not_differ_from_itself(roster in any_roster()) {
        for mode in [Mode::Whole, Mode::Add] {
            prop_assert_eq!(difference(roster.clone(), &roster, mode), Ok(Vec::new()));
        }
    }

    #[test]
    fn what_only_adds_removes_and_changes_nothing(one in any_roster(), other in any_roster()) {
        if let Ok(changes) = difference(one, &other, Mode::Add) {
            prop_assert!(changes.iter().all(|change| change.verb() == Verb::Add), "{changes:?}");
        }
    }
}

fn faults(text: &str) -> Vec<String> {
    let faults = read::parse(text).map(drop).unwrap_err();
    faults.into_iter().map(|(line, what)| format!("{line}: {what}")).collect()
}

const FAULTY: &str = r#"[roster]
format = 1
manages = ["pools", "machines", "employees", "grants"]
[[pool]]
name = "web"
[[pool]]
name = "web"
[[machine]]
name = "Web1"
address = "not an address"
pools = ["wbe"]
[[machine]]
name = "web2"
port = 22
pools = ["wbe"]
host_keys = ["SHA256:x"]
[[employee]]
email = "alice@example.com"
name = ""
unix_name = "alice"
uid = "many"
[[employee]]
email = "bob@example.com"
name = "Bob"
unix_name = "bob"
uid = 20001
state = "removed"
[[employee]]
email = "carol@example.com"
name = "Carol"
unix_name = "bob"
uid = 20001
[[grant]]
employee = "alcie@example.com"
pool = "web"
[[grant]]
employee = "alice@example.com"
pool = "web"
until = "8h"
colour = "red"
[[key]]
employee = "bob@example.com"
device = "laptop"
key = "ssh-dss AAAA"
[end]
"#;

#[test]
fn every_fault_is_told_with_its_line_and_the_near_name() {
    insta::assert_snapshot!(faults(FAULTY).join("\n"), @r#"
    6: pool web is on line 4 already
    9: machine.name: machine name "Web1" is not valid: use 1 to 63 of a-z, 0-9, dot and hyphen, starting with a letter or digit
    10: machine.address: "not an address" is no address of a machine; write an IP address or a DNS name, such as web1.example.com
    12: the file has no pool wbe; did you mean web?
    14: machine.port: there is no address that the port could belong to
    16: machine.host_keys: "SHA256:x" is no fingerprint; write it as ssh-keygen -l prints it: SHA256: and 43 characters
    19: employee.name: is missing or empty
    21: employee.uid: write a whole number
    27: employee.state: write active or suspended; somebody who is removed has no entry
    28: Unix name bob is that of the entry on line 22 already
    28: uid 20001 is that of the entry on line 22 already
    33: the file has no employee alcie@example.com; did you mean alice@example.com?
    39: grant.until: write 2026-12-24T18:00:00Z, or 2026-12-24 (with that day, in UTC)
    40: unknown key "colour" in [grant]; known: employee, pool, sudo, until
    41: there is a key, but `manages` does not name keys
    44: key.key: DSA keys are too weak; make a new key with: ssh-keygen -t ed25519
    "#);
}

#[test]
fn a_file_that_lost_a_part_is_a_fault() {
    for (text, expected) in [
        ("", "1: roster.format: is missing"),
        ("[roster]\nformat = 1\nmanages = [\"pools\"]\n", "3: the file ends without [end]"),
        ("[roster]\nformat = 1\nmanages = []\n[end]\n", "3: roster.manages: an empty list"),
        (
            "[roster]\nformat = 2\nmanages = [\"pools\"]\n[end]\n",
            "2: roster.format: write a whole number from 1 to 1",
        ),
        ("[roster]\nformat = 1\n[end]\n", "1: roster.manages: is missing"),
        ("[roster]\nformat = 1\nmanages = [\"pool\"]\n[end]\n", "did you mean pools?"),
        (
            "[roster]\nformat = 1\nmanages = [\"pools\"]\n[end]\n[[pool]]\nname = \"web\"\n",
            "nothing may follow [end]",
        ),
        ("[roster]\nformat = 1\nmanages = [\"pools\"]\n[[key]]\n[end]\n", "`manages` does not name keys"),
        (
            "[roster]\nformat = 1\nmanages = [\"pools\"]\n[[pools]]\n[end]\n",
            "unknown section or key \"pools\"",
        ),
        ("email,name\n", "1: "),
    ] {
        let faults = faults(text);
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:?}");
    }
}

fn person(number: u32) -> Employee {
    Employee {
        email: testing::email(number).parse().unwrap(),
        name: "Somebody".into(),
        unix_name: format!("p{number}").parse().unwrap(),
        uid: Some(30_000 + number),
        keybase_name: None,
        state: State::Active,
    }
}

fn told(changes: &[Change]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Two rosters with every kind of difference.
fn two_rosters() -> (Roster, Roster) {
    let pool = |name: &str, label: Option<&str>| Pool {
        name: name.parse().unwrap(),
        label: label.map(SafeText::new),
    };
    let grant = |number: u32, pool: &str, until: Option<i64>| Grant {
        email: testing::email(number).parse().unwrap(),
        pool: pool.parse().unwrap(),
        sudo: None,
        until: until.map(|more| Time::from_micros(START + more)),
    };
    let machine = |name: &str, address: &str, pools: &[&str]| Machine {
        name: name.parse().unwrap(),
        address: Some(address.parse().unwrap()),
        port: None,
        pools: pools.iter().map(|pool| pool.parse().unwrap()).collect(),
        host_keys: Vec::new(),
    };
    let mut before = Roster {
        pools: vec![pool("db", None), pool("old", None), pool("web", Some("Web"))],
        machines: vec![machine("web1", "192.0.2.1", &["web"]), machine("web2", "192.0.2.2", &["old"])],
        employees: vec![person(1), person(2), person(3)],
        grants: vec![grant(1, "web", Some(9_000_000)), grant(2, "web", None), grant(3, "old", None)],
        keys: vec![key(1, 0), key(2, 0)],
    };
    let renamed = Employee { email: "new@example.com".parse().unwrap(), ..person(3) };
    let mut after = Roster {
        pools: vec![pool("db", None), pool("web", Some("Web servers")), pool("new", None)],
        machines: vec![machine("web1", "web1.example.com", &["db"]), machine("web3", "192.0.2.3", &["new"])],
        employees: vec![
            Employee { state: State::Suspended, name: "Ann".into(), ..person(1) },
            person(4),
            renamed,
        ],
        grants: vec![grant(1, "web", None), grant(4, "db", Some(1)), grant(4, "web", Some(0))],
        keys: vec![key(1, 1), key(4, 0)],
    };
    before.sort();
    after.sort();
    (before, after)
}

#[test]
fn a_difference_is_one_readable_line_for_each_change() {
    let (before, after) = two_rosters();
    let changes = difference(before.clone(), &after, Mode::Whole).unwrap();
    insta::assert_snapshot!(told(&changes), @r"
    ~ employee p3@example.com: address p3@example.com -> new@example.com
    + pool new
    ~ pool web: label Web -> Web servers
    + machine web3, address 192.0.2.3, pools new: a record only, until it joins
    ~ machine web1: address 192.0.2.1 -> web1.example.com
    + machine web1 in pool db
    + employee p4@example.com: Somebody, p4, uid 30004
    ~ employee p1@example.com: name Somebody -> Ann
    ~ employee p1@example.com: suspended
    + grant of pool db to p4@example.com until 2026-11-21T12:00:00.000001Z
    ~ grant of pool web to p1@example.com: until 2026-11-21T12:00:09Z -> without sudo and without an end
    + key SHA256:f9rjTJYEwI4rmT9ZnE68Tq0hOh3X2KD/qVESkNk1Xhg of p1@example.com (device 1)
    + key SHA256:alqSOwOjA/6tPZpnewcIlR8u+ZUnZsa6oc4Pd6okmS8 of p4@example.com (device 0)
    - grant of pool web to p2@example.com, with employee p2@example.com
    - grant of pool old to new@example.com, with pool old
    - key SHA256:WAVCV9wPBQQvKzihGyDFz6pctQvBOHzXXfPObhBS0T0 of p1@example.com (device 0): revoked for ever
    - key SHA256:vybK/xzGTitJWKBp3byH5LtCFQQS9w9LK+qKUWmoVLs of p2@example.com (device 0): revoked for ever, with employee p2@example.com
    - employee p2@example.com
    - machine web1 in pool web
    - machine web2: its credential ends, and its logins are refused
    - pool old
    ");
    assert!(guard::must_confirm(&before, &changes));
}

#[test]
fn what_never_changes_is_a_fault_of_the_entry() {
    let before = Roster { employees: vec![person(1)], keys: vec![key(1, 0)], ..Roster::default() };
    let check = |after: Employee, key: Key, expected: &str| {
        let after = Roster { employees: vec![after], keys: vec![key], ..Roster::default() };
        let faults = difference(before.clone(), &after, Mode::Whole).unwrap_err();
        assert!(faults.len() == 1 && faults[0].1.contains(expected), "{expected}: {faults:?}");
    };
    check(
        Employee { unix_name: "other".parse().unwrap(), ..person(1) },
        key(1, 0),
        "a Unix name never changes",
    );
    check(Employee { uid: Some(9999), ..person(1) }, key(1, 0), "has uid 30001, which never changes");
    check(
        person(1),
        Key { device: "phone".into(), ..key(1, 0) },
        "is recorded for device 0, and that name stays",
    );
    check(
        person(1),
        Key { email: "p2@example.com".parse().unwrap(), ..key(1, 0) },
        "belongs to p1@example.com",
    );
}

#[test]
fn many_removals_must_be_confirmed_and_one_need_not() {
    let people =
        |range: std::ops::Range<u32>| Roster { employees: range.map(person).collect(), ..Roster::default() };
    let check = |before: std::ops::Range<u32>, after: std::ops::Range<u32>, expected: bool| {
        let before = people(before);
        let changes = difference(before.clone(), &people(after.clone()), Mode::Whole).unwrap();
        assert_eq!(guard::must_confirm(&before, &changes), expected, "{after:?}");
    };
    check(0..1, 0..0, false);
    check(0..2, 0..0, true);
    check(0..6, 0..4, false);
    check(0..6, 0..3, true);
    check(0..99, 0..89, false);
    check(0..99, 0..88, true);
    check(0..3, 0..9, false);
}
