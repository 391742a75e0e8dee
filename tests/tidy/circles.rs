//! Checks that the files of a crate use each other in one direction: following `use` from a file never leads
//! back to it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{files, is_test, none, shipped};

const CRATES: [&str; 6] =
    ["kbmfa-enroll", "kbmfa-finding", "kbmfa-host", "kbmfa-proto", "kbmfa-server", "pam_kbmfa"];

/// The path of a file's module, such as `["logins", "store", "asks"]`; empty for the crate's root.
fn module(file: &str) -> Vec<String> {
    let path = file.split_once("/src/").unwrap().1.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').filter(|part| !["lib", "main"].contains(part)).map(str::to_owned).collect()
}

/// Every path in `use` lines that begins with `crate`, `self` or `super`, with braces expanded.
fn used(text: &str) -> Vec<String> {
    let begins = ["use crate::", "use self::", "use super::"];
    let statements = text.split(";\n").filter_map(|code| {
        let at = begins.iter().filter_map(|begin| code.find(begin)).min()?;
        Some(code.get(at + "use ".len()..)?.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    statements.flat_map(|statement| take_apart("", &statement)).collect()
}

/// `a::{b, c::{d, e}}` becomes `a::b`, `a::c::d` and `a::c::e`.
fn take_apart(before: &str, path: &str) -> Vec<String> {
    let Some((head, body)) = path.split_once('{') else { return vec![format!("{before}{}", path.trim())] };
    let body = body.trim().trim_end_matches('}').to_owned() + &"}".repeat(body.matches('{').count());
    let (mut depth, mut parts, mut part) = (0_usize, Vec::new(), String::new());
    for c in body.chars().chain([',']) {
        match c {
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c != ',' || depth > 0 {
            part.push(c);
        }
    }
    let before = format!("{before}{}", head.trim());
    parts
        .iter()
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| take_apart(&before, part.trim()))
        .collect()
}

/// The module to which a path leads from `base`; if it names an item, the module that has the item.
fn target<'m>(base: &[String], path: &str, modules: &'m BTreeSet<Vec<String>>) -> Option<&'m Vec<String>> {
    let mut at = base.to_vec();
    for part in path.split("::") {
        match part {
            "crate" => at.clear(),
            "super" => drop(at.pop()),
            "self" => {}
            part => at.push(part.to_owned()),
        }
    }
    (0..=at.len()).rev().find_map(|length| modules.get(&at[..length]))
}

type Arrows = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

fn arrows(name: &str) -> Arrows {
    let sources: Vec<_> = files(&format!("{name}/src"), "rs")
        .into_iter()
        .filter(|(file, _)| !is_test(file) && !file.contains("fuzz"))
        .map(|(file, text)| (module(&file), text))
        .collect();
    let modules: BTreeSet<_> = sources.iter().map(|(module, _)| module.clone()).collect();
    let of = |(module, text): &(Vec<String>, String)| {
        let found = used(shipped(text));
        let found = found.iter().filter_map(|path| target(module, path, &modules));
        (module.clone(), found.filter(|other| *other != module).cloned().collect())
    };
    sources.iter().map(of).collect()
}

/// A path of `use`s from `from` back to it, if there is one.
fn circle(arrows: &Arrows, from: &Vec<String>) -> Option<Vec<String>> {
    let mut came: BTreeMap<&Vec<String>, &Vec<String>> = BTreeMap::new();
    let mut todo = vec![from];
    while let Some(at) = todo.pop() {
        for next in arrows.get(at).into_iter().flatten() {
            if next == from {
                let mut way = vec![from.join("::"), at.join("::")];
                let mut back = at;
                while let Some(before) = came.get(back) {
                    way.push(before.join("::"));
                    back = before;
                }
                way.reverse();
                return Some(way);
            }
            if !came.contains_key(next) {
                came.insert(next, at);
                todo.push(next);
            }
        }
    }
    None
}

#[test]
fn no_file_is_used_by_what_it_uses() {
    let mut faults = Vec::new();
    for name in CRATES {
        let arrows = arrows(name);
        let circles = arrows.keys().filter_map(|module| circle(&arrows, module));
        faults.extend(circles.map(|way| format!("{name}: {}", way.join(" -> "))));
    }
    none(&faults);
}

#[test]
fn that_test_sees_what_files_use() {
    let text = "//! x\nuse crate::a::{b, c::{d, e}};\npub use self::f;\nuse super::{\n    g,\n    h::I,\n};\nuse std::fs;\n";
    let expected = ["crate::a::b", "crate::a::c::d", "crate::a::c::e", "self::f", "super::g", "super::h::I"];
    assert_eq!(used(text), expected);
    let server = arrows("kbmfa-server");
    assert!(server.len() > 150, "it has lost sight of the files: {}", server.len());
    let module = |path: &str| path.split("::").map(str::to_owned).collect::<Vec<_>>();
    assert!(server[&module("logins::service")].contains(&module("logins::facts")));
    let (a, b) = (module("a"), module("b"));
    let circular = Arrows::from([(a.clone(), [b.clone()].into()), (b, [a.clone()].into())]);
    assert_eq!(circle(&circular, &a).unwrap(), ["a", "b", "a"]);
}
