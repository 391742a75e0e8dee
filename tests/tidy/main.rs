//! Checks rules of the repository that clippy cannot check. The tests only read files.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a loud panic"
)]

mod circles;
mod proofs;
mod writes;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The server's modules from top to bottom, as in docs/architecture.md. Each line may use the lines below it.
const ARROWS: &[&[&str]] = &[
    &["cli"],
    &["serve", "admin"],
    &["config"],
    &["admin_socket", "http", "outbox"],
    &["export", "setup"],
    &["provision"],
    &["long_poll"],
    &["usecases"],
    &["restore", "retention", "roster_file"],
    &["ca"],
    &["sessions"],
    &["enrolment", "logins"],
    &["adoption"],
    &["deliveries", "grants", "keys"],
    &["employees", "pools", "channels"],
    &["machines"],
    &["policy"],
    &["audit"],
    &["db"],
    &["fault_log", "progress"],
    &["clock", "near", "random", "secret", "settings", "shared", "source"],
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files below `dir` with this extension: their paths from the root, and their texts.
fn files(dir: &str, extension: &str) -> BTreeMap<String, String> {
    let (root, mut found) = (root(), BTreeMap::new());
    let mut todo = vec![root.join(dir)];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir()
                && !name.contains("target")
                && !entry.file_name().to_str().unwrap().starts_with('.')
            {
                todo.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// The text of a file without its unit tests. Those in a file of their own (`mod tests;`) leave nothing to remove.
fn shipped(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

#[test]
fn what_follows_the_name_of_a_file_of_tests_is_shipped() {
    let text = "#[cfg(test)]\nmod tests;\nfn a() {}\n#[cfg(test)]\nmod tests {\n";
    assert_eq!(shipped(text), "#[cfg(test)]\nmod tests;\nfn a() {}\n");
}

fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.ends_with("/testing.rs") || file.contains("/tests/")
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn arrows_in_the_server_point_downward() {
    let rank = |module: &str| ARROWS.iter().position(|line| line.contains(&module));
    let mut faults = Vec::new();
    for (file, text) in files("kbmfa-server/src", "rs") {
        if is_test(&file) {
            continue; // a test may set up what it needs by the use cases
        }
        let module = file.trim_start_matches("kbmfa-server/src/").split(['/', '.']).next().unwrap();
        let Some(own) = rank(module) else {
            assert!(["main", "lib"].contains(&module), "{file}: {module} is not in the list of arrows");
            continue;
        };
        for used in shipped(&text).split("crate::").skip(1) {
            // The test would not find the modules in `use crate::{a, b};`.
            let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if used != module && rank(&used).is_none_or(|other| other <= own) {
                faults.push(format!("{file} uses crate::{used}"));
            }
        }
    }
    none(&faults);
}

#[test]
fn the_architecture_page_has_these_arrows() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let drawn: Vec<String> = ARROWS.iter().map(|line| line.join("  ")).collect();
    assert!(page.contains(&drawn.join("\n")), "docs/architecture.md draws other arrows");
}

#[test]
fn sql_is_only_in_stores_and_in_db() {
    let is_sql = |line: &&str| {
        ["\"SELECT ", "\"INSERT INTO ", "\"UPDATE ", "\"DELETE FROM "].iter().any(|sql| line.contains(sql))
    };
    let mut faults = Vec::new();
    for (file, text) in files("kbmfa-server/src", "rs") {
        if !file.ends_with("/store.rs") && !file.contains("/store/") && !file.contains("/db/") {
            faults
                .extend(shipped(&text).lines().filter(is_sql).map(|line| format!("{file}: {}", line.trim())));
        }
        if !file.contains("/db/") && text.contains("rusqlite") {
            faults.push(format!("{file} names rusqlite"));
        }
    }
    none(&faults);
}

/// The files that may contain unsafe code.
const UNSAFE: &[&str] =
    &["pam_kbmfa/src/sys.rs", "pam_kbmfa/src/sys/allocator.rs", "kbmfa-host/src/doctor/application.rs"];

#[test]
fn unsafe_code_is_only_in_the_listed_files() {
    let mut faults = Vec::new();
    for dir in
        ["kbmfa-enroll", "kbmfa-finding", "kbmfa-host", "kbmfa-proto", "kbmfa-server", "pam_kbmfa", "tests"]
    {
        for (file, text) in files(dir, "rs") {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let is_unsafe =
                code.into_iter().any(|line| line.contains("unsafe {") || line.contains("unsafe extern"));
            if is_unsafe && !UNSAFE.contains(&file.as_str()) && file != "tests/tidy/main.rs" {
                faults.push(file);
            }
        }
    }
    none(&faults);
}

/// A guard that lives across another call can lead to a wait for itself; see `kbmfa-server/src/shared.rs`.
#[test]
fn locks_are_only_in_one_file() {
    // The other kinds: requests to one child process wait for each other, and a panic hook never waits.
    let allowed = [
        "kbmfa-server/src/shared.rs",
        "kbmfa-server/src/channels/keybase/process/api.rs",
        "pam_kbmfa/src/panics.rs",
    ];
    let mut faults = Vec::new();
    for dir in ["kbmfa-enroll/src", "kbmfa-host/src", "kbmfa-proto/src", "kbmfa-server/src", "pam_kbmfa/src"]
    {
        for (file, text) in files(dir, "rs") {
            let has_lock = ["Mutex", "RwLock", "parking_lot"].iter().any(|lock| text.contains(lock));
            if has_lock && !allowed.contains(&file.as_str()) {
                faults.push(file);
            }
        }
    }
    none(&faults);
}

#[test]
fn every_fuzz_target_has_a_corpus_that_a_unit_test_replays() {
    let sources = ["kbmfa-host/src", "kbmfa-proto/src", "kbmfa-server/src", "pam_kbmfa/src"]
        .map(|dir| files(dir, "rs"));
    let sources: Vec<&String> = sources.iter().flat_map(BTreeMap::values).collect();
    let manifest = fs::read_to_string(root().join("tests/fuzz/Cargo.toml")).unwrap();
    let mut faults = Vec::new();
    for (file, _) in files("tests/fuzz/targets", "rs") {
        let target = Path::new(&file).file_stem().unwrap().to_str().unwrap();
        let corpus = root().join("tests/fuzz/corpus").join(target);
        let seeds = fs::read_dir(corpus).map_or(0, Iterator::count);
        let replayed = [format!("corpus/{target}\""), format!("replay(\"{target}\"")];
        let is_replayed = sources.iter().any(|text| replayed.iter().any(|words| text.contains(words)));
        if seeds == 0 || !is_replayed || !manifest.contains(&format!("name = \"{target}\"")) {
            faults.push(file);
        }
    }
    none(&faults);
}

#[test]
fn every_file_opens_with_what_it_owns() {
    let mut faults = Vec::new();
    for dir in
        ["kbmfa-enroll", "kbmfa-finding", "kbmfa-host", "kbmfa-proto", "kbmfa-server", "pam_kbmfa", "tests"]
    {
        let files = files(dir, "rs").into_iter();
        faults.extend(files.filter(|(_, text)| !text.starts_with("//! ")).map(|(file, _)| file));
    }
    none(&faults);
}

#[test]
fn the_module_decides_pam_codes_in_one_place() {
    let allowed = ["outcome.rs", "lib.rs", "pam.rs", "sys.rs", "application.rs"];
    let mut faults = Vec::new();
    for (file, text) in files("pam_kbmfa/src", "rs") {
        let name = file.rsplit('/').next().unwrap();
        if !allowed.contains(&name) && shipped(&text).contains("PamResultCode") {
            faults.push(file);
        }
    }
    none(&faults);
}

/// The anchor of a heading, by which links lead to it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn has_anchor(text: &str, wanted: &str) -> bool {
    let headings =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings.into_iter().any(|heading| anchor(heading) == wanted)
}

#[test]
fn links_in_markdown_lead_somewhere() {
    let mut pages = files("docs", "md");
    for page in ["README.md", "CHANGELOG.md", "SECURITY.md"] {
        pages.insert(page.into(), fs::read_to_string(root().join(page)).unwrap());
    }
    let mut faults = Vec::new();
    for (page, text) in pages {
        let home = root().join(&page).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            let (file, wanted) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { root().join(&page) } else { home.join(file) };
            let there = file.exists();
            if !there || !wanted.is_empty() && !has_anchor(&fs::read_to_string(file).unwrap(), wanted) {
                faults.push(format!("{page}: {link}"));
            }
        }
    }
    none(&faults);
}

/// Lines that mean something.
fn meaning(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_recipes_are_the_packaged_files_word_for_word() {
    let recipes = fs::read_to_string(root().join("docs/recipes.md")).unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for phase in ["account", "auth", "session"] {
        for file in [format!("packaging/sshd/{phase}.conf"), format!("packaging/pam/sshd-{phase}")] {
            let lines = meaning(&fs::read_to_string(root().join(&file)).unwrap());
            assert!(recipes.contains(&format!("```\n{lines}\n```")), "docs/recipes.md differs from {file}");
        }
    }
    let report = meaning(&fs::read_to_string(root().join("packaging/pam/sshd-report")).unwrap());
    assert!(recipes.contains(&format!("```\n{report}\n```")), "docs/recipes.md has another line for reports");
    let account = meaning(&fs::read_to_string(root().join("packaging/pam/sshd-account")).unwrap());
    assert!(readme.contains(&format!("```\n{account}\n```")), "README.md has another account line");
}

#[test]
fn every_reason_and_code_of_the_server_is_in_the_protocol_page() {
    let page = fs::read_to_string(root().join("docs/protocol.md")).unwrap();
    let service = files("kbmfa-server/src/logins", "rs")["kbmfa-server/src/logins/service.rs"].clone();
    let http = files("kbmfa-server/src/http", "rs");
    let mut words: Vec<String> = Vec::new();
    for line in service.lines().filter(|line| line.contains("Some(\"")) {
        words.extend(line.split("Some(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
    }
    let policy = &files("kbmfa-server/src/policy", "rs")["kbmfa-server/src/policy/mod.rs"];
    words.extend(
        policy
            .split("Self::")
            .filter_map(|rest| rest.split_once(" => \""))
            .map(|(_, rest)| rest.split('"').next().unwrap().to_owned()),
    );
    words.retain(|word| !["refuse", "allow", "ask", "hold", "rehearse"].contains(&word.as_str()));
    words.retain(|word| !["same-connection", "exempt"].contains(&word.as_str()) && !word.contains(' '));
    for (_, text) in http.iter().filter(|(file, _)| !file.ends_with("/status.rs")) {
        let codes = text.split("StatusCode::").skip(1).filter_map(|rest| rest.split('"').nth(1));
        words.extend(codes.filter(|code| !code.contains(' ') && code.len() > 4).map(str::to_owned));
    }
    assert!(words.len() > 20, "this test has lost sight of the codes: {words:?}");
    none(&words.into_iter().filter(|word| !page.contains(&format!("`{word}`"))).collect::<Vec<_>>());
}

#[test]
fn the_page_about_the_audit_log_has_exactly_the_kinds_of_events() {
    let page = fs::read_to_string(root().join("docs/audit.md")).unwrap();
    let code = fs::read_to_string(root().join("kbmfa-server/src/audit/event.rs")).unwrap();
    let declared = code.split("\nkinds! {").nth(1).unwrap().split("\n}").next().unwrap();
    let declared: Vec<&str> =
        declared.split(" = \"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let table = page.split("\n| kind |").nth(1).unwrap();
    let told: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(declared.len() > 20, "this test has lost sight of the kinds: {declared:?}");
    assert_eq!(told, declared, "docs/audit.md has other kinds than audit/event.rs, or another order");
}

#[test]
fn released_migrations_stay_as_they_are() {
    let recorded = include_str!("migrations.sha256");
    for (file, _) in files("kbmfa-server/migrations/sqlite", "sql") {
        assert!(recorded.contains(&file), "{file}: record it with sha256sum in tests/tidy/migrations.sha256");
    }
    for line in recorded.lines() {
        let (sum, file) = line.split_once("  ").unwrap();
        let bytes = fs::read(root().join(file)).unwrap();
        assert_eq!(sha256(&bytes), sum, "{file} was changed; add a new step instead");
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
