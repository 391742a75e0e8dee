//! Collects every SQL statement in the sources, for tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Dialect;

/// Parts of statements that are not constants: the file, the placeholder's name, and all its values.
const PARTS: &[(&str, &str, &[&str])] = &[
    ("deliveries/store.rs", "differs", &["coalesce(differs_since, ?3)", "NULL"]),
    ("employees/store.rs", "which", &["", "WHERE state <> 'removed'"]),
    ("sessions/store.rs", "lacks", &["opened_at IS NULL", "closed_at IS NULL"]),
];

/// Tests that quote statements, or pieces of them.
const TESTS: &[&str] = &["db/postgres.rs", "db/statements.rs", "db/sqlite/plans.rs"];

/// Files whose statements depend on the search. Each has a test of its own that checks the plans.
const WITH_OWN_TEST: &[&str] = &["audit/store/search.rs"];

/// A string literal, and the name of the constant whose value it is.
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

/// The literal's text, and the source after it.
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

/// `NAME`, if `const NAME: &str =` is right before a literal.
fn constant(before: &str) -> Option<String> {
    let declared = before.trim_end().strip_suffix("&str =")?.trim_end().strip_suffix(':')?;
    declared.rsplit_once("const ").map(|(_, name)| name.to_owned())
}

/// Every text that the placeholders can produce.
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

/// All complete statements of one file.
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

/// Statements for one engine only: the engine, the file, and a piece of the statement.
const OF_ONE_ENGINE: &[(Dialect, &str, &str)] = &[
    (Dialect::Sqlite, "audit/store/index.rs", "INSERT INTO event_words (rowid, words) VALUES (?1, ?2)"),
    (Dialect::Sqlite, "audit/store/index.rs", "'delete-all'"),
    (Dialect::Sqlite, "audit/store/index.rs", "event_words_docsize"),
    (Dialect::Postgres, "audit/store/index.rs", "array_to_tsvector"),
    (Dialect::Postgres, "audit/store/index.rs", "SELECT rowid FROM event_words"),
    (Dialect::Postgres, "audit/store/index.rs", "DELETE FROM event_words"),
];

/// Every statement that this engine may have to run, with its file.
pub(super) fn all(dialect: Dialect) -> Vec<(String, String)> {
    let read =
        sources().into_iter().filter(|(file, _)| ![TESTS, WITH_OWN_TEST].concat().contains(&file.as_str()));
    let all = read.flat_map(|(file, source)| {
        let found = statements(&file, &source);
        found.into_iter().map(move |sql| (file.clone(), sql))
    });
    let is_others = |file: &str, sql: &str| {
        let mut pieces = OF_ONE_ENGINE.iter().filter(|(engine, of, _)| *engine != dialect && *of == file);
        pieces.any(
            |(_, _, piece)| if piece.starts_with("DELETE") { sql == *piece } else { sql.contains(piece) },
        )
    };
    all.filter(|(file, sql)| !is_others(file, sql)).collect()
}

#[test]
fn statements_are_seen_in_every_form() {
    let source = "const ASK: &str =\n    \"SELECT id FROM ask\"; // \"SELECT 'a comment'\"\n\
        let c = '\"'; f(&format!(\"{ASK} WHERE state = ?1 \\\n   ORDER BY id\")); g(\"DELETE FROM login\");";
    let found = statements("x.rs", source);
    assert_eq!(found, ["SELECT id FROM ask WHERE state = ?1 ORDER BY id", "DELETE FROM login"]);
}
