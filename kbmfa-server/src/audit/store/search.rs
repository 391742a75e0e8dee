//! Searches for events. A search is one statement, or a few of the same form. The most selective criterion
//! drives each, so that the newest matches among millions of events are found without sorting.

use std::fmt::Write as _;

use super::index;
use super::{Error, Tx};
use crate::audit::event::Kind;
use crate::audit::words::{self, Wanted};
use crate::clock::Time;
use crate::db::{Dialect, Value};

/// Prefixes of actors that are persons. The person's name follows.
const PERSON_PREFIXES: &[&str] = &["console", "keybase"];

/// Search criteria; all given ones must match.
#[derive(Debug, Default, Clone)]
pub struct Filter {
    /// About this login (its id, or the beginning of it).
    pub login: Option<String>,
    /// About this machine.
    pub machine: Option<String>,
    /// About this Unix account.
    pub user: Option<String>,
    /// By this person: an actor such as `console:root`, or a plain name, which also matches a claim.
    pub person: Option<String>,
    /// Of one of these kinds; of any, if there are none.
    pub kinds: Vec<Kind>,
    /// Not before this moment.
    pub since: Option<Time>,
    /// Before this moment, exclusive.
    pub until: Option<Time>,
    /// With all these words.
    pub text: Option<String>,
    /// Maximum number of events. The newest are returned.
    pub limit: i64,
}

/// An event as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub seq: i64,
    /// Its canonical JSON.
    pub body: String,
    /// Its seal.
    pub seal: String,
}

impl Found {
    /// The sealed body, with its seal and a readable time.
    pub fn row(&self) -> serde_json::Value {
        let unreadable = |_| serde_json::json!({ "unreadable": self.body });
        let mut body = serde_json::from_str(&self.body).unwrap_or_else(unreadable);
        if let Some(fields) = body.as_object_mut() {
            let at = fields.get("at").and_then(serde_json::Value::as_i64).map(Time::from_micros);
            fields.insert("seal".into(), self.seal.clone().into());
            fields.insert("time".into(), at.map(|at| at.to_string()).into());
        }
        body
    }
}

/// Finds events, oldest first.
pub fn search(tx: &Tx<'_>, filter: &Filter) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    for (sql, values) in statements(tx.dialect(), filter) {
        found.extend(tx.query(&sql, &values, |row| {
            let seal = crate::random::to_hex(&row.blob("seal")?);
            Ok(Found { seq: row.integer("seq")?, body: row.text("body")?, seal })
        })?);
    }
    found.sort_unstable_by_key(|event| event.seq);
    found.dedup_by_key(|event| event.seq);
    let surplus = found.len().saturating_sub(usize::try_from(filter.limit).unwrap_or(usize::MAX));
    found.drain(..surplus);
    Ok(found)
}

/// The newest matches, and whether there are more.
#[derive(Debug)]
pub struct Newest {
    /// At most the filter's limit, oldest first.
    pub events: Vec<Found>,
    /// Whether the limit cut off older ones.
    pub is_cut: bool,
}

/// Finds the newest events.
pub fn newest(tx: &Tx<'_>, filter: Filter) -> Result<Newest, Error> {
    let wanted = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let mut events = search(tx, &Filter { limit: filter.limit.saturating_add(1), ..filter })?;
    // They are sorted oldest first, so the one too many is the first.
    let surplus = events.len().saturating_sub(wanted);
    events.drain(..surplus);
    Ok(Newest { events, is_cut: surplus > 0 })
}

/// The criterion that drives a statement: the first of these that is given. The others filter its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Driver {
    Words,
    Login,
    User,
    Person,
    Machine,
    Kind,
    Time,
}

/// One condition: its column, the comparison and the value.
struct Condition<'a> {
    of: Driver,
    column: &'static str,
    comparison: &'static str,
    value: Value,
    /// The word to look up in the index, if any, and whether it is a prefix.
    word: Option<(&'a str, bool)>,
}

/// One statement for each kind and each form of the person: for an OR the database would sort all matches
/// before it knows the newest.
fn statements(dialect: Dialect, filter: &Filter) -> Vec<(String, Vec<Value>)> {
    let kinds: Vec<_> = if filter.kinds.is_empty() {
        vec![None]
    } else {
        filter.kinds.iter().map(|kind| Some(kind.as_str())).collect()
    };
    let people = match &filter.person {
        None => vec![None],
        Some(actor) if actor.contains(':') => vec![Some(("actor", actor.clone()))],
        Some(name) => {
            let prefixed = PERSON_PREFIXES.iter().map(|prefix| Some(("actor", format!("{prefix}:{name}"))));
            prefixed.chain([Some(("claim", name.clone())), Some(("actor", name.clone()))]).collect()
        }
    };
    let pairs = kinds.iter().flat_map(|kind| people.iter().map(move |person| (*kind, person.as_ref())));
    pairs.map(|(kind, person)| statement(dialect, filter, &conditions(filter, kind, person))).collect()
}

fn conditions<'a>(
    filter: &'a Filter,
    kind: Option<&'a str>,
    person: Option<&'a (&'static str, String)>,
) -> Vec<Condition<'a>> {
    let mut conditions = Vec::new();
    let mut is = |of, column, value: Option<&'a str>| {
        let word = value.map(|value| (value, false));
        let found = value.map(|value| Condition { of, column, comparison: "=", value: value.into(), word });
        conditions.extend(found);
    };
    is(Driver::User, "account", filter.user.as_deref());
    if let Some((column, value)) = person {
        is(Driver::Person, column, Some(value));
    }
    is(Driver::Machine, "machine", filter.machine.as_deref());
    is(Driver::Kind, "kind", kind);
    if let Some(id) = &filter.login {
        let mut bound = |comparison, value: Value| {
            let word = Some((id.as_str(), true));
            conditions.push(Condition { of: Driver::Login, column: "login", comparison, value, word });
        };
        bound(">=", id.as_str().into());
        // `g` follows the last hexadecimal digit.
        bound("<", format!("{id}g").into());
    }
    let mut time = |comparison, at: Option<Time>| {
        let value = at.map(Value::from);
        let of = Driver::Time;
        conditions.extend(value.map(|value| Condition { of, column: "at", comparison, value, word: None }));
    };
    time(">=", filter.since);
    time("<", filter.until);
    conditions
}

fn statement(dialect: Dialect, filter: &Filter, conditions: &[Condition<'_>]) -> (String, Vec<Value>) {
    let mut values = Vec::new();
    let wanted = filter.text.as_deref().map(words::of_search).filter(|wanted| !wanted.is_empty());
    let driver = match &wanted {
        Some(_) => Driver::Words,
        None => conditions.iter().map(|condition| condition.of).min().unwrap_or(Driver::Time),
    };
    let mut sql = String::from("SELECT seq, body, seal FROM event");
    if let Some(wanted) = wanted {
        let (condition, expression) = index::matching(dialect, &all_words(wanted, conditions));
        let _ = write!(sql, " JOIN event_words ON event_words.rowid = seq AND {condition}");
        values.push(expression.into());
    }
    // A plus keeps SQLite from using the column's index (sqlite.org/optoverview.html).
    let unindexed = if dialect == Dialect::Sqlite { "+" } else { "" };
    // Archived rows may still be in the table until they are deleted.
    let _ = write!(sql, " WHERE {unindexed}seq > (SELECT coalesce(max(seq), 0) FROM checkpoint)");
    for condition in conditions {
        // In most indexes the time follows the criterion's column, so the index is used for it.
        let by_time = condition.of == Driver::Time && driver > Driver::Login;
        let plus = if condition.of == driver || by_time { "" } else { unindexed };
        values.push(condition.value.clone());
        let _ = write!(sql, " AND {plus}{} {} ?{}", condition.column, condition.comparison, values.len());
    }
    let order = match driver {
        Driver::Words => "event_words.rowid DESC",
        Driver::Login => "seq DESC",
        _ => "at DESC, seq DESC",
    };
    values.push(filter.limit.into());
    let _ = write!(sql, " ORDER BY {order} LIMIT ?{}", values.len());
    (sql, values)
}

/// The words of the search, and those of the other criteria: to intersect words in the index is faster than
/// to read rows.
fn all_words(mut wanted: Vec<Wanted>, conditions: &[Condition<'_>]) -> Vec<Wanted> {
    for (value, beginning) in conditions.iter().filter_map(|condition| condition.word) {
        let mut more = words::of_search(value);
        for word in &mut more {
            word.beginning = beginning;
        }
        wanted.extend(more);
    }
    wanted.dedup();
    wanted
}

#[cfg(test)]
mod tests {
    use super::super::append;
    use super::*;
    use crate::audit::event::{Actor, Event};
    use crate::db::testing::{Fixture, START, fixture, sqlite_fixture};
    use kbmfa_proto::text::SafeText;
    use proptest::prelude::*;
    use std::time::Duration;

    const LOGIN: &str = "3f9a2c1e00000000000000000000000f";

    /// Four events, one an hour.
    fn with_events() -> Fixture {
        let fixture = fixture();
        let root = || Actor::new("console:root");
        let added = |name: &str| Event::new(Kind::MachineAdded, root()).machine(&name.parse().unwrap());
        let claimed = Actor { claim: Some("alice".into()), ..root() };
        let opened = Event {
            login: Some(LOGIN.parse().unwrap()),
            user: Some("alice".parse().unwrap()),
            ..Event::new(Kind::LoginOpened, Actor::new("machine:web2")).machine(&"web2".parse().unwrap())
        };
        let events = [
            added("web1").detail("note", "for Zoë"),
            added("web2"),
            Event::new(Kind::PoolAdded, claimed).detail("pool", "databases"),
            opened.detail("source", "192.0.2.7").detail("key", "SHA256:ab+cd/ef"),
        ];
        for event in events {
            fixture.db.write_blocking("event", move |tx| append(tx, &event)).unwrap();
            fixture.clock.advance(Duration::from_secs(3600));
        }
        fixture
    }

    fn check(filter: Filter, expected: &[i64]) {
        let fixture = with_events();
        let limit = if filter.limit == 0 { 10 } else { filter.limit };
        let filter = Filter { limit, ..filter };
        let found = fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
        assert_eq!(found.iter().map(|event| event.seq).collect::<Vec<_>>(), expected, "{filter:?}");
    }

    #[test]
    fn events_are_found_by_each_thing_that_they_have() {
        let some = |text: &str| Some(text.to_owned());
        let none = Filter::default;
        check(none(), &[1, 2, 3, 4]);
        check(Filter { limit: 2, ..none() }, &[3, 4]);
        check(Filter { machine: some("web2"), ..none() }, &[2, 4]);
        check(Filter { user: some("alice"), ..none() }, &[4]);
        check(Filter { person: some("console:root"), ..none() }, &[1, 2, 3]);
        check(Filter { person: some("root"), ..none() }, &[1, 2, 3]);
        check(Filter { person: some("alice"), ..none() }, &[3]);
        check(Filter { person: some("eve"), ..none() }, &[]);
        check(Filter { login: some("3f9a"), ..none() }, &[4]);
        check(Filter { login: some(LOGIN), ..none() }, &[4]);
        check(Filter { kinds: vec![Kind::MachineRemoved], ..none() }, &[]);
        check(Filter { kinds: vec![Kind::PoolAdded, Kind::LoginOpened], ..none() }, &[3, 4]);
        check(Filter { since: Some(Time::from_micros(i64::MAX)), ..none() }, &[]);
        let second = Some(Time::from_micros(START) + Duration::from_secs(3600));
        check(Filter { since: second, ..none() }, &[2, 3, 4]);
        check(Filter { until: second, ..none() }, &[1]);
        check(
            Filter { machine: some("web2"), since: second, kinds: vec![Kind::LoginOpened], ..none() },
            &[4],
        );
    }

    #[test]
    fn a_search_that_is_cut_finds_the_newest_and_says_so() {
        let fixture = with_events();
        let check = |limit, expected: &[i64], is_cut| {
            let filter = Filter { limit, ..Filter::default() };
            let found = fixture.db.read_blocking(|tx| newest(tx, filter)).unwrap();
            assert_eq!(found.events.iter().map(|event| event.seq).collect::<Vec<_>>(), expected);
            assert_eq!(found.is_cut, is_cut, "{limit}");
        };
        check(1, &[4], true);
        check(3, &[2, 3, 4], true);
        check(4, &[1, 2, 3, 4], false);
        check(i64::MAX, &[1, 2, 3, 4], false);
    }

    #[test]
    fn events_are_found_by_their_words() {
        let text = |typed: &str, expected: &[i64]| {
            check(Filter { text: Some(typed.into()), ..Filter::default() }, expected);
        };
        text("web1", &[1]);
        text("web*", &[1, 2, 4]);
        text("FOR zoë", &[1]);
        text("root", &[1, 2, 3]);
        text("console:root databases", &[3]);
        text("192.0.2.7", &[4]);
        text("192.0.*", &[4]);
        text("3f9a2c1e", &[4]);
        text("SHA256:ab+cd/ef", &[4]);
        text("nothing web1", &[]);
    }

    #[test]
    fn a_search_is_never_an_expression_of_the_index() {
        for typed in [
            "%' OR 1=1 --",
            "web1 OR web2",
            "NEAR(web1 web2)",
            "words:web1",
            "-web1",
            "^web1",
            "\"web1",
            "a*b",
        ] {
            check(
                Filter { text: Some(typed.into()), ..Filter::default() },
                if typed == "\"web1" { &[1] } else { &[] },
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_recorded_text_is_found_by_a_search(note in "\\PC{0,30}|[ -~]{0,30}", user in "[ -~]{1,9}") {
            let note = SafeText::new(&note);
            let fixture = fixture();
            let by = Event::new(Kind::AnswerGiven, Actor::new("console:root"));
            let event = Event { user: Some(user.parse().unwrap()), ..by.detail("note", &note) };
            fixture.db.write_blocking("event", move |tx| append(tx, &event)).unwrap();
            let filter = Filter { text: Some(note.to_string()), user: Some(user), limit: 1, ..Filter::default() };
            let found = fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
            prop_assert_eq!(found.len(), 1, "{:?}", filter);
        }
    }

    #[test]
    fn words_and_other_criteria_must_all_match() {
        let some = |text: &str| Some(text.to_owned());
        let filter = |text: &str| Filter { text: some(text), ..Filter::default() };
        check(Filter { user: some("alice"), ..filter("web2") }, &[4]);
        check(Filter { login: some("3f"), kinds: vec![Kind::LoginOpened], ..filter("192.0.2.7") }, &[4]);
        check(Filter { person: some("root"), machine: some("web1"), ..filter("machine.added") }, &[1]);
        check(Filter { until: Some(Time::from_micros(START + 1)), ..filter("web*") }, &[1]);
    }

    #[test]
    fn no_search_reads_or_sorts_the_whole_audit_log() {
        let some = |text: &str| Some(text.to_owned());
        let fixture = sqlite_fixture();
        let plan = |filter: Filter, expected: &str| {
            let filter = Filter { limit: 10, ..filter };
            for (sql, values) in statements(Dialect::Sqlite, &filter) {
                let sql = format!("EXPLAIN QUERY PLAN {sql}");
                let plan = fixture.db.read_blocking(|tx| tx.query(&sql, &values, |row| row.text("detail")));
                let plan = plan.unwrap().join("; ");
                assert!(plan.contains(expected), "{plan}\n{sql}");
                assert!(!plan.replace("SCAN event USING INDEX", "").contains("SCAN event "), "{plan}\n{sql}");
                let sorts = plan.contains("TEMP B-TREE");
                assert!(
                    !sorts || filter.login.is_some(),
                    "one login has few events, all else does not: {plan}"
                );
            }
        };
        let none = Filter::default;
        let since = Some(Time::from_micros(0));
        plan(none(), "SCAN event USING INDEX event_at");
        plan(Filter { since, ..none() }, "event_at (at>?)");
        plan(Filter { since, until: since, ..none() }, "event_at (at>? AND at<?)");
        plan(Filter { user: some("a"), ..none() }, "event_user (account=?)");
        plan(Filter { user: some("a"), since, ..none() }, "event_user (account=? AND at>?)");
        plan(Filter { user: some("a"), machine: some("b"), ..none() }, "event_user (account=?)");
        plan(Filter { machine: some("a"), kinds: Kind::ALL.to_vec(), ..none() }, "event_machine (machine=?)");
        plan(Filter { person: some("console:a"), ..none() }, "event_actor (actor=?)");
        plan(Filter { kinds: Kind::ALL.to_vec(), until: since, ..none() }, "event_kind (kind=? AND at<?)");
        plan(Filter { login: some("3f"), since, ..none() }, "event_login (login>? AND login<?)");
        plan(Filter { text: some("a"), user: some("b"), since, ..none() }, "event_words VIRTUAL TABLE INDEX");
    }
}
