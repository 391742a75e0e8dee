//! Other languages: sshd and su where letters, numbers, times and errors are written otherwise.

use kbmfa_tests::syslog::severity;
use kbmfa_tests::world::World;
use std::collections::BTreeSet;
use std::fs;

use super::{NOT_SET_UP, su, with_su};
use crate::story::LET_IN;

/// Where `i` has no dot when it is small, where a comma stands in numbers, and where text is not UTF-8.
const LOCALES: [(&str, &str); 3] =
    [("tr_TR.UTF-8", "tr_TR.utf8"), ("de_DE.UTF-8", "de_DE.utf8"), ("ja_JP.EUC-JP", "ja_JP.eucjp")];

/// Has the machine made them. None of them is Debian 13's, which has no sources for them.
const MAKE_LOCALES: &str = "
for locale in tr_TR.UTF-8 de_DE.UTF-8 ja_JP.EUC-JP; do
  localedef --no-archive -i ${locale%.*} -f ${locale#*.} $locale &
done
wait
export LC_ALL=tr_TR.UTF-8
";

/// The locales that a process has taken up: libc then has their files in its memory.
fn in_force(pid: u32) -> BTreeSet<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let of_locale = |line: &str| Some(line.split_once("/usr/lib/locale/")?.1.split('/').next()?.to_owned());
    maps.lines().filter_map(of_locale).collect()
}

#[test]
fn no_language_of_the_caller_changes_anything() {
    let world = World::new();
    let machine = with_su(world.machine().before_sshd(MAKE_LOCALES));
    for (locale, name) in LOCALES.into_iter().chain([("C", "")]) {
        let expected: BTreeSet<String> =
            [name.to_owned()].into_iter().filter(|name| !name.is_empty()).collect();
        let before = format!("export LC_ALL={locale}");
        let login = su(&machine, &before);
        let id = world.admin.pending();
        assert_eq!(in_force(machine.asking()), expected);
        world.admin.approve(&id);
        let finished = login.wait();
        assert!(finished.stdout.ends_with("bob\n"), "{finished:?}");
        world.admin.assert_story(&id, &LET_IN);

        // The system words the error in its own language; the number is the same in all.
        let (credential, gone) = (machine.path("/etc/kbmfa/credential"), machine.path("/etc/kbmfa/gone"));
        fs::rename(&credential, &gone).unwrap();
        let finished = su(&machine, &before).wait();
        assert!(finished.code == 1 && finished.stderr.contains(NOT_SET_UP), "{finished:?}");
        fs::rename(&gone, &credential).unwrap();
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
    let machine = world.machine().before_sshd(MAKE_LOCALES).start();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    assert_eq!(in_force(machine.asking()), BTreeSet::new());
    world.admin.approve(&id);
    assert_eq!(login.wait().transcript(), "in\nexit 0\n");
    machine.assert_nothing_left();
}
