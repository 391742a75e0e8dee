//! Checks that only modules above the use cases begin write transactions, and that these run only use cases.

use std::collections::BTreeSet;

use crate::{ARROWS, files, is_test, none, shipped};

/// Calls that begin a write transaction: methods of the database, and the command line's own. A file's own
/// functions that take such work are added to these.
const BEGINS: &[&str] =
    &[".write(", ".write_blocking(", ".write_in_turns(", "admin.change(", "admin.attempt("];

/// What a transaction may run besides use cases. Each is no write of an operator's, for the reason given.
const OTHERS: &[(&str, &str, &str)] = &[
    (
        "kbmfa-server/src/admin/doctor/relay.rs",
        "lease::hold",
        "doctor keeps a server from starting Keybase meanwhile",
    ),
    ("kbmfa-server/src/outbox/lease_token.rs", "lease::hold", "a lease is not an operator's"),
    ("kbmfa-server/src/outbox.rs", "lease::hold", "answers count only while the lease is held"),
    ("kbmfa-server/src/provision/worker.rs", "lease::hold", "one of several servers works on machines"),
    ("kbmfa-server/src/serve/sweep.rs", "lease::hold", "one of several servers sweeps"),
    ("kbmfa-server/src/serve/pruning.rs", "lease::hold", "one of several servers prunes"),
    ("kbmfa-server/src/http/machines.rs", "of_machine", "reads the machine's pools, for the reply"),
    ("kbmfa-server/src/admin/machine/token.rs", "pools::service::find", "reads which machines get a token"),
    ("kbmfa-server/src/admin/machine/token.rs", "store::machines", "reads which machines get a token"),
];

#[test]
fn write_transactions_run_use_cases_alone() {
    let rank = |module: &str| ARROWS.iter().position(|line| line.contains(&module));
    let (mut faults, mut seen, mut excused) = (Vec::new(), 0, BTreeSet::new());
    for (file, text) in files("kbmfa-server/src", "rs") {
        let module = file.trim_start_matches("kbmfa-server/src/").split(['/', '.']).next().unwrap();
        // `db` itself begins the transactions. Its own writes are not an operator's.
        if is_test(&file) || module == "db" {
            continue;
        }
        let text = shipped(&text);
        let works = works(text);
        if rank(module) >= rank("usecases") && !works.is_empty() {
            faults.push(format!("{file}: begins a write transaction; only what is above usecases may"));
        }
        seen += works.len();
        for call in works.iter().flat_map(|work| foreign(text, work)) {
            match OTHERS.iter().position(|(of, known, _)| *of == file && call == *known) {
                Some(other) => drop(excused.insert(other)),
                None => faults.push(format!("{file}: a transaction runs {call}")),
            }
        }
    }
    let unused = OTHERS.iter().enumerate().filter(|(other, _)| !excused.contains(other));
    faults.extend(unused.map(|(_, (file, call, _))| format!("{file}: no transaction runs {call} any more")));
    assert!(seen > 40, "this test has lost sight of the transactions: it sees {seen}");
    none(&faults);
}

/// The work of each write transaction in a file: the last argument of the call that begins it.
fn works(text: &str) -> Vec<String> {
    let own = text.split("fn ").skip(1).filter_map(|function| {
        let (head, _) = function.split_once("{\n")?;
        let takes_work = head.contains("FnOnce(&Tx<'_>");
        takes_work.then(|| head.split(['(', '<']).next().unwrap())
    });
    let begins = BEGINS.iter().map(|begin| (*begin).to_owned()).chain(own.map(|name| format!("{name}(")));
    let begins: BTreeSet<String> = begins.collect();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let found = begins.iter().flat_map(|begin| {
        let at = text.match_indices(begin.as_str()).map(|(at, _)| at);
        at.filter(move |at| {
            let before = &text[..*at];
            begin.starts_with('.') || !before.ends_with("fn ") && !before.ends_with(is_name)
        })
        .map(move |at| balanced(&text[at + begin.len()..]))
    });
    // `OpenOptions::write(true)` and `io::Write::write(bytes)` have one argument, and begin no transaction.
    found.filter_map(|arguments| Some(arguments.split_once(',')?.1.trim().to_owned())).collect()
}

/// The text before the parenthesis that closes one opened earlier.
fn balanced(text: &str) -> String {
    let mut depth = 1;
    let inside = text.chars().take_while(|c| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth > 0
    });
    inside.collect()
}

/// The functions that `work` runs with the transaction and that are not use cases. Functions of the same file
/// are followed.
fn foreign(text: &str, work: &str) -> BTreeSet<String> {
    let by_use_case = named_by_use_cases(text);
    let (mut foreign, mut known, mut todo) = (BTreeSet::new(), BTreeSet::new(), vec![work.to_owned()]);
    while let Some(code) = todo.pop() {
        for call in runs(&code) {
            let first = call.split("::").next().unwrap();
            if by_use_case.contains(first) || !known.insert(call.clone()) {
                continue;
            }
            let is_argument =
                [": impl FnOnce", ": fn("].iter().any(|kind| text.contains(&format!("{call}{kind}")));
            let bound = text.split_once(&format!("let {call} = ")).map(|(_, rest)| rest.split(";\n").next());
            let own = text.split_once(&format!("fn {call}(")).map(|(_, rest)| rest.split("\n}\n").next());
            match bound.or(own).flatten() {
                Some(body) => todo.push(body.to_owned()),
                // Calls inside the argument are checked separately.
                None if is_argument => {}
                None => drop(foreign.insert(call)),
            }
        }
    }
    foreign
}

/// Names that a file imports from `crate::usecases`, and `usecases` itself.
fn named_by_use_cases(text: &str) -> BTreeSet<&str> {
    let imports = text.split("use crate::usecases").skip(1).filter_map(|rest| rest.split_once(';'));
    let words = imports.flat_map(|(import, _)| import.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.chain(["usecases"]).filter(|word| !word.is_empty()).collect()
}

/// The functions that are called with the transaction, `f(tx, ..)`, `a::f(tx, ..)` and `a.f(tx, ..)`, or named to be called:
/// `a::f`, or all of `code`.
fn runs(code: &str) -> BTreeSet<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let begins_low = |name: &str| name.starts_with(char::is_lowercase);
    if begins_low(code) && code.chars().all(is_path) {
        return [code.to_owned()].into();
    }
    let named = code.match_indices("::").map(|(at, _)| at);
    let called = code.match_indices("(tx").filter(|(at, _)| !code[at + 3..].starts_with(is_path));
    let mut found = BTreeSet::new();
    for at in named.chain(called.map(|(at, _)| at)) {
        let begin = code[..at].rfind(|c| !is_path(c)).map_or(0, |before| before + 1);
        let path: String = code[begin..].chars().take_while(|c| is_path(*c)).collect();
        let after = &code[begin + path.len()..];
        let is_function = begins_low(&path) && path.rsplit("::").next().is_some_and(begins_low);
        if is_function && (after.starts_with("(tx") || !after.starts_with('(')) {
            found.insert(path);
        }
    }
    found
}

#[test]
fn that_test_sees_what_a_transaction_runs() {
    let text = "use crate::usecases::{self, pools as usecase};\nuse crate::pools::put;\nfn f() {\n\
        admin.change(\"a\", move |tx, _, actor| { usecase::add(tx, actor)?; store::insert(tx, (1))?; own(tx) });\n\
        db.write(\"b\", index::reset);\n    let work = move |tx: &Tx<'_>| put(tx, 1);\n    db.write(\"c\", work);\n\
        act(\"d\", usecase::put_in);\n    act(\"e\", walk::step);\n    file.write(bytes); opened.write(true);\n\
        db.write_in_turns(\"f\", move |tx| row.save(tx))\n}\n\
        fn own(tx: &Tx<'_>) {\n    service::enter(tx)\n}\n\
        fn act(name: &str, given: impl FnOnce(&Tx<'_>) -> bool) {\n    db.write(name, move |tx| given(tx))\n}\n";
    assert!(["usecase", "pools"].iter().all(|name| named_by_use_cases(text).contains(name)));
    let found: BTreeSet<_> = works(text).iter().flat_map(|work| foreign(text, work)).collect();
    let expected = ["index::reset", "put", "save", "service::enter", "store::insert", "walk::step"];
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
}
