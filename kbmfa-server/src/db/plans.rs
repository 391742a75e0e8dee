//! Reads every SQL statement out of the sources and holds it to a plan: whatever looks into a table that grows with use
//! finds its rows by an index and in the index's order, so that no statement costs more because there is more.

use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{FILE, connect, testing};

/// Tables that grow with every login, report or message.
const GROWING: &[&str] = &[
    "login",
    "ask",
    "ask_copy",
    "answer",
    "event",
    "session",
    "report",
    "notice",
    "event_words",
    "event_words_docsize",
];

/// What a statement is put together from besides constants: the file, the name, and all that it can be.
const PARTS: &[(&str, &str, &[&str])] = &[
    ("roster/employee/store.rs", "which", &["", "WHERE state <> 'removed'"]),
    ("sessions/store.rs", "lacks", &["opened_at IS NULL", "closed_at IS NULL"]),
];

/// Statements that look at much on purpose: the file, a piece of the statement, and why that is no harm.
const MEANT: &[(&str, &str, &str)] = &[
    ("logins/store.rs", "count(*) AS n FROM login WHERE state = 'pending'", "by an index of those that wait"),
    ("audit/store/index.rs", "DELETE FROM event_words WHERE rowid <= ?1", "it goes by the rows' numbers"),
    (
        "logins/store.rs",
        "UNION ALL SELECT login_id",
        "an archive is made, in a reader: all that is unfinished",
    ),
    ("restore/store.rs", "GROUP BY kind", "a restore is made: the backup's rest of the record, read once"),
    ("sessions/store.rs", "WHERE ?1 = '' OR user = ?1", "the operator's list, in a reader, newest first"),
    ("sessions/store.rs", "own.connection = login.connection", "the operator's list, in a reader"),
    (
        "sessions/store.rs",
        "FROM session WHERE opened_at IS NOT NULL AND closed_at IS NULL",
        "by the index of open ones",
    ),
];

/// Their statements depend on what was asked for; each of these files has a test of its own that reads the plans.
const WITH_OWN_TEST: &[&str] = &["audit/store/search.rs"];

/// A string literal, and the constant that it is the value of.
struct Literal {
    constant: Option<String>,
    text: String,
}

/// The string literals of a source text, with escapes resolved.
fn literals(source: &str) -> Vec<Literal> {
    let (mut found, mut rest) = (Vec::new(), source);
    let mut before = String::new();
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (head, tail) = rest.split_at(at);
        before.push_str(head);
        if let Some(comment) = tail.strip_prefix("//") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(after) = tail.strip_prefix("'\"'").or_else(|| tail.strip_prefix("'\\\"'")) {
            rest = after;
        } else if let Some(literal) = tail.strip_prefix('"') {
            let (text, after) = unescaped(literal, before.trim_end_matches('#').ends_with('r'));
            found.push(Literal { constant: constant(&before), text });
            before.clear();
            rest = after;
        } else {
            rest = &tail[1..];
        }
    }
    found
}

/// A literal's text and what follows it.
fn unescaped(literal: &str, is_raw: bool) -> (String, &str) {
    let (mut text, mut chars) = (String::new(), literal.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &literal[at + 1..]),
            '\\' if !is_raw => match chars.next() {
                Some((_, '\n')) => {
                    let rest = chars.as_str();
                    let skipped = rest.len() - rest.trim_start().len();
                    chars.by_ref().take(rest[..skipped].chars().count()).for_each(drop);
                }
                Some((_, escaped)) => text.push(escaped),
                None => break,
            },
            _ => text.push(c),
        }
    }
    panic!("a string literal does not end: {literal:.60}");
}

/// `NAME` of `const NAME: &str =` right before a literal.
fn constant(before: &str) -> Option<String> {
    let declared = before.trim_end().strip_suffix("&str =")?.trim_end().strip_suffix(':')?;
    declared.rsplit_once("const ").map(|(_, name)| name.to_owned())
}

/// Every way in which the placeholders of a text can be filled in.
fn filled_in(file: &str, text: &str, constants: &BTreeMap<String, String>) -> Vec<String> {
    let Some((head, tail)) = text.split_once('{') else { return vec![text.to_owned()] };
    let (name, rest) = tail.split_once('}').unwrap_or_else(|| panic!("{file}: {text}"));
    let parts = PARTS.iter().find(|(of, part, _)| *of == file && *part == name);
    let values: Vec<String> = match (constants.get(name), parts) {
        (Some(value), _) => vec![value.clone()],
        (None, Some((_, _, values))) => values.iter().map(|&value| value.to_owned()).collect(),
        (None, None) => panic!("{file}: say in PARTS what {{{name}}} can be in {text:?}"),
    };
    values.iter().flat_map(|value| filled_in(file, &format!("{head}{value}{rest}"), constants)).collect()
}

fn is_statement(text: &str) -> bool {
    ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "WITH "].iter().any(|verb| text.starts_with(verb))
}

/// The statements of one file, whole.
fn statements(file: &str, source: &str) -> Vec<String> {
    let shipped = source.split("#[cfg(test)]").next().unwrap();
    let literals = literals(shipped);
    let constants: BTreeMap<String, String> =
        literals.iter().filter_map(|found| Some((found.constant.clone()?, found.text.clone()))).collect();
    let is_used = |name: &str| literals.iter().any(|found| found.text.contains(&format!("{{{name}}}")));
    let whole = literals.iter().filter(|found| found.constant.as_deref().is_none_or(|name| !is_used(name)));
    let begins_with_one = |text: &str| {
        let name = text.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(name, _)| name);
        name.and_then(|name| constants.get(name)).is_some_and(|value| is_statement(value))
    };
    let whole = whole.filter(|found| is_statement(&found.text) || begins_with_one(&found.text));
    whole.flat_map(|found| filled_in(file, &found.text, &constants)).collect()
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut todo, mut found) = (vec![root.clone()], Vec::new());
    while let Some(dir) = todo.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry: Result<fs::DirEntry, _>| entry.unwrap().path()) {
            let name = |path: &PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((name(&path), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The steps of a plan at which a growing table is read from end to end, or sorted.
fn costly_steps(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let words: Vec<&str> =
        sql.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
    let is_growing = |name: &str| {
        let stands_for =
            words.windows(3).find(|three| three[1] == "AS" && three[2] == name).map(|three| three[0]);
        GROWING.contains(&stands_for.unwrap_or(name))
    };
    let touches_growing = words.iter().any(|word| GROWING.contains(word));
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
    let (mut rows, mut steps) = (explain.raw_query(), Vec::new());
    while let Some(row) = rows.next()? {
        steps.push(row.get::<_, String>("detail")?);
    }
    // Without a condition the limit ends the scan.
    let is_limited = !words.contains(&"WHERE") && words.contains(&"LIMIT");
    let scans = |step: &str| {
        step.strip_prefix("SCAN ").is_some_and(|rest| is_growing(rest.split(' ').next().unwrap()))
    };
    Ok(steps
        .into_iter()
        .filter(|step| scans(step) && !is_limited || touches_growing && step.contains("TEMP B-TREE"))
        .collect())
}

#[test]
fn every_statement_finds_what_it_looks_for_by_an_index() {
    let fixture = testing::fixture();
    let connection = connect(&fixture.dir.path().join(FILE), rusqlite::OpenFlags::empty()).unwrap();
    let (mut seen, mut faults, mut meant) = (0, Vec::new(), BTreeSet::new());
    for (file, source) in sources() {
        if file == "db/plans.rs" || WITH_OWN_TEST.contains(&file.as_str()) {
            continue;
        }
        for sql in statements(&file, &source) {
            seen += 1;
            let steps =
                costly_steps(&connection, &sql).unwrap_or_else(|error| panic!("{file}: {sql}: {error}"));
            let excuse = MEANT.iter().position(|(of, piece, _)| *of == file && sql.contains(piece));
            match (steps.is_empty(), excuse) {
                (true, _) => {}
                (false, Some(excuse)) => drop(meant.insert(excuse)),
                (false, None) => faults.push(format!("{file}: {}\n    {sql}", steps.join(", "))),
            }
        }
    }
    let idle = MEANT.iter().enumerate().filter(|(n, _)| !meant.contains(n));
    faults.extend(idle.map(|(_, (file, piece, _))| format!("{file}: {piece:?} needs no excuse any more")));
    assert!(seen > 100, "this test has lost sight of the statements: it sees {seen}");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn this_test_sees_scans_and_sorting_and_statements_in_every_form() {
    let source = "const ASK: &str =\n    \"SELECT id FROM ask\"; // \"SELECT 'a comment'\"\n\
        let c = '\"'; f(&format!(\"{ASK} WHERE state = ?1 \\\n   ORDER BY id\")); g(\"DELETE FROM login\");";
    let found = statements("x.rs", source);
    assert_eq!(found, ["SELECT id FROM ask WHERE state = ?1 ORDER BY id", "DELETE FROM login"]);
    let fixture = testing::fixture();
    let connection = connect(&fixture.dir.path().join(FILE), rusqlite::OpenFlags::empty()).unwrap();
    let costly = |sql: &str| costly_steps(&connection, sql).unwrap().len();
    assert_eq!(costly("SELECT machine_name FROM login WHERE machine_name = ?1"), 1);
    assert_eq!(
        costly("SELECT own.user FROM login AS own WHERE own.reason = ?1 ORDER BY own.reason, own.opened"),
        2
    );
    assert_eq!(costly("SELECT name FROM machine ORDER BY created_at"), 0);
    assert_eq!(costly("SELECT user FROM login WHERE id = ?1"), 0);
}
