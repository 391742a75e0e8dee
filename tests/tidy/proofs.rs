//! Checks that every row of docs/threat-model.md names at least one test, and that each of those tests
//! exists.

use std::fs;
use std::path::PathBuf;

use crate::{none, root};

const PAGE: &str = "docs/threat-model.md";

/// The attribute of a test that runs on tokio's own clock.
const PAUSED: &str = "#[tokio::test(start_paused = true)]";

/// The crates with unit tests, and their directories.
const CRATES: [(&str, &str); 5] = [
    ("kbmfa_enroll", "kbmfa-enroll/src"),
    ("kbmfa_host", "kbmfa-host/src"),
    ("pam_kbmfa", "pam_kbmfa/src"),
    ("kbmfa_proto", "kbmfa-proto/src"),
    ("kbmfa_server", "kbmfa-server/src"),
];

/// The files in which the test `module::..::name` may be. The name of a unit test begins with its crate; all
/// other tests are in `tests/e2e`.
fn places(modules: &[&str]) -> Vec<PathBuf> {
    let [first, rest @ ..] = modules else { return vec![] };
    let of_crate = CRATES.iter().find(|(name, _)| name == first);
    let (dir, rest) = of_crate.map_or(("tests/e2e", modules), |(_, dir)| (*dir, rest));
    let path = root().join(dir).join(rest.join("/"));
    vec![path.with_extension("rs"), path.join("tests.rs"), path.join("mod.rs")]
}

fn stands(test: &str) -> bool {
    let parts: Vec<&str> = test.split("::").collect();
    let Some((name, modules)) = parts.split_last() else { return false };
    let texts = places(modules).into_iter().filter_map(|place| fs::read_to_string(place).ok());
    texts.into_iter().any(|text| {
        let text = text.replace("#[tokio::test]", "#[test]").replace(PAUSED, "#[test]");
        let mut tests = text.split("#[test]").skip(1);
        tests.any(|after| after.split("fn ").nth(1).is_some_and(|found| called(found, name)))
            || text.contains("\nstories!(CASE);") && stories().iter().any(|story| story == name)
    })
}

/// The tests that the macro `stories!` generates.
fn stories() -> Vec<String> {
    let text = fs::read_to_string(root().join("tests/e2e/story.rs")).unwrap();
    let body = text.split("macro_rules! stories").nth(1).unwrap().split("\n}\n").next().unwrap();
    body.split("tell!(").skip(1).filter_map(|test| Some(test.split_once(',')?.0.to_owned())).collect()
}

/// Whether the function that begins with this text has this name.
fn called(function: &str, name: &str) -> bool {
    function.strip_prefix(name).is_some_and(|rest| rest.starts_with('('))
}

/// The rows of all tables on a page, without their headings, each as its cells.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let mut rows = Vec::new();
    let mut in_body = false;
    for line in page.lines() {
        if !line.starts_with('|') {
            in_body = false;
        } else if line.starts_with("|-") {
            in_body = true;
        } else if in_body {
            rows.push(line.trim_matches('|').split(" | ").map(str::trim).collect());
        }
    }
    rows
}

#[test]
fn every_row_of_the_threat_model_names_an_existing_test() {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let rows = rows(&page);
    let mut faults = Vec::new();
    for row in &rows {
        let tests: Vec<&str> = row.last().unwrap().split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            faults.push(format!("{PAGE}: no test is named for {:?}", row[0]));
        }
        let gone = tests.iter().filter(|test| !stands(test));
        faults.extend(gone.map(|test| format!("{PAGE}: there is no test {test}")));
    }
    assert!(!rows.is_empty(), "this test has lost sight of the tables");
    none(&faults);
}

#[test]
fn every_story_of_a_fault_is_in_the_threat_model() {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let mut faults = Vec::new();
    for (file, text) in crate::files("tests/e2e/faults", "rs") {
        let module = file.trim_start_matches("tests/e2e/").trim_end_matches(".rs").replace('/', "::");
        for after in text.split("#[test]").skip(1) {
            let name = after.split("fn ").nth(1).unwrap().split('(').next().unwrap();
            if !page.contains(&format!("`{module}::{name}`")) {
                faults.push(format!("{PAGE} does not name {module}::{name}"));
            }
        }
    }
    none(&faults);
}
