//! Compares the model with the real libpam. The stacks consist of `pam_debug`, which returns the results that
//! its arguments name.

use super::super::stack::{self, Group};
use super::*;
use crate::doctor::application;
use proptest::prelude::*;
use std::ffi::CString;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;

const RESULTS: [Returned; 6] = [
    Returned::Success,
    Returned::NewPassword,
    Returned::Ignore,
    Returned::Failure("perm_denied"),
    Returned::Failure("auth_err"),
    Returned::Failure("maxtries"),
];

/// libpam's text for an expired password.
const EXPIRED: &str = "no longer valid; new one required";

/// A stack in three files, of which `a` and `b` may be included.
#[derive(Debug, Clone)]
struct Files([Vec<Item>; 3]);

#[derive(Debug, Clone)]
enum Item {
    Module(String, Returned),
    Include(&'static str, usize),
}

fn control() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec!["required", "requisite", "sufficient", "optional"]);
    let action = prop::sample::select(vec!["ok", "done", "bad", "die", "ignore", "reset", "1", "2", "3"]);
    let result =
        prop::sample::select(vec!["success", "new_authtok_reqd", "ignore", "perm_denied", "default"]);
    let pairs = prop::collection::vec((result, action), 1..4);
    let bracket = pairs.prop_map(|pairs| {
        let pairs: Vec<String> = pairs.iter().map(|(result, action)| format!("{result}={action}")).collect();
        format!("[{}]", pairs.join(" "))
    });
    prop_oneof![word.prop_map(str::to_owned), bracket]
}

/// A file may include only later files, so that no loop is possible.
fn items(deepest: usize) -> impl Strategy<Value = Vec<Item>> {
    let module = (control(), prop::sample::select(RESULTS.to_vec()));
    let module = module.prop_map(|(control, returned)| Item::Module(control, returned)).boxed();
    let how = prop::sample::select(vec!["include", "substack"]);
    let item = if deepest < 2 {
        let include = (how, deepest + 1..=2usize).prop_map(|(how, file)| Item::Include(how, file));
        prop_oneof![4 => module, 1 => include].boxed()
    } else {
        module
    };
    prop::collection::vec(item, if deepest == 0 { 1..7 } else { 0..4 })
}

fn files() -> impl Strategy<Value = Files> {
    (items(0), items(1), items(2)).prop_map(|(top, a, b)| Files([top, a, b]))
}

impl Files {
    /// Writes the files where libpam reads them.
    fn write(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (items, name) in self.0.iter().zip(NAMES) {
            let mut text = String::new();
            for item in items {
                match item {
                    Item::Module(control, returned) => {
                        writeln!(text, "account {control} pam_debug.so acct={}", returned.name()).unwrap();
                    }
                    // An absolute path, because libpam 1.5 looks for a bare name only in /etc/pam.d.
                    Item::Include(how, file) => {
                        writeln!(text, "account {how} {}", dir.path().join(NAMES[*file]).display()).unwrap();
                    }
                }
            }
            fs::write(dir.path().join(name), text).unwrap();
        }
        fs::write(dir.path().join("other"), "account required pam_deny.so\n").unwrap();
        dir
    }
}

const NAMES: [&str; 3] = ["top", "a", "b"];

fn as_libpam_has_it(dir: &std::path::Path) -> End {
    let dir = CString::new(dir.as_os_str().as_bytes()).unwrap();
    let told = application::account(c"top", c"root", c"192.0.2.1", &dir);
    match told {
        told if told.success => End::Success,
        told if told.meaning.contains(EXPIRED) => End::NewPassword,
        _ => End::Failure,
    }
}

fn as_the_walk_has_it(dir: &std::path::Path) -> Vec<End> {
    let stack = stack::read(&[dir.to_owned()], "top").unwrap();
    let lines: Vec<_> = stack.iter().filter(|line| line.group == Group::Account).collect();
    let returns = |at: usize| {
        let says = |returned: &&Returned| lines[at].args == [format!("acct={}", returned.name())];
        vec![*RESULTS.iter().find(says).unwrap()]
    };
    paths(&lines, (), returns, |(), _, _| ()).into_iter().map(|way| way.end).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_model_ends_as_libpam_does(files in files()) {
        let dir = files.write();
        let stack = stack::read(&[dir.path().to_owned()], "top").unwrap();
        // For a service without any module libpam uses the stack of another service.
        prop_assume!(stack.iter().any(|line| !line.is_substack()));
        prop_assert_eq!(as_the_walk_has_it(dir.path()), [as_libpam_has_it(dir.path())]);
    }
}
