//! Other languages: sshd and su in locales that write letters, numbers, times and errors differently.

use kbmfa_tests::syslog::severity;
use kbmfa_tests::world::World;
use std::collections::BTreeSet;
use std::fs;

use super::{NOT_SET_UP, su, with_su};
use crate::story::LET_IN;

/// Locales with a dotless upper-case `i`, with a decimal comma, and without UTF-8; and what libc calls them.
const LOCALES: [(&str, &str); 3] =
    [("tr_TR.UTF-8", "tr_TR.utf8"), ("de_DE.UTF-8", "de_DE.utf8"), ("ja_JP.EUC-JP", "ja_JP.eucjp")];

/// Shell lines that generate these locales and set the first one for sshd. Debian 13's files cannot generate
/// any.
fn under(locales: &[(&str, &str)]) -> String {
    let make = |(locale, _): &(&str, &str)| {
        let (name, charset) = locale.split_once('.').unwrap();
        format!("localedef --no-archive -i {name} -f {charset} {locale} &\n")
    };
    let make: String = locales.iter().map(make).collect();
    format!("{make}wait\nexport LC_ALL={}\n", locales[0].0)
}

/// The locales that a process uses, by the files that libc has mapped.
fn in_force(pid: u32) -> BTreeSet<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let of_locale = |line: &str| Some(line.split_once("/usr/lib/locale/")?.1.split('/').next()?.to_owned());
    maps.lines().filter_map(of_locale).collect()
}

#[test]
fn no_locale_of_the_caller_changes_anything() {
    let world = World::new();
    let machine = with_su(world.machine().before_sshd(&under(&LOCALES)));
    let all = LOCALES.into_iter().chain([("C", "")]);
    for (locale, name) in all.clone() {
        let login = su(&machine, &format!("export LC_ALL={locale}"));
        let id = world.admin.pending();
        let expected: BTreeSet<String> =
            [name.to_owned()].into_iter().filter(|name| !name.is_empty()).collect();
        assert_eq!(in_force(machine.asking()), expected);
        world.admin.approve(&id);
        let finished = login.wait();
        assert!(finished.stdout.ends_with("bob\n"), "{finished:?}");
        world.admin.assert_story(&id, &LET_IN);
    }

    // If libc's translations are installed the error texts are in that language, but the numbers are the
    // same.
    fs::remove_file(machine.path("/etc/kbmfa/credential")).unwrap();
    let logins: Vec<_> = all.map(|(locale, _)| su(&machine, &format!("export LC_ALL={locale}"))).collect();
    for login in logins {
        let finished = login.wait();
        assert!(finished.code == 1 && finished.stderr.contains(NOT_SET_UP), "{finished:?}");
    }
    let faults = machine.syslog.so_many_with(LOCALES.len() + 1, "/etc/kbmfa/credential: ");
    for fault in faults {
        assert!(fault.text.ends_with(" (os error 2)") && fault.severity == severity::ALERT, "{fault:?}");
        assert!(!fault.text.contains(char::is_control), "{fault:?}");
    }
    machine.assert_nothing_left();
}

#[test]
fn sshd_under_another_language_is_the_same_sshd() {
    let world = World::new();
    let machine = world.machine().before_sshd(&under(&LOCALES[..1])).start();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    assert_eq!(in_force(machine.asking()), BTreeSet::new());
    world.admin.approve(&id);
    assert_eq!(login.wait().transcript(), "in\nexit 0\n");
    machine.assert_nothing_left();
}
