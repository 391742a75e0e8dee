//! The shipped library from outside: its exports, flags and size, and that it contains no code of the test
//! builds.

use kbmfa_tests::built;
use kbmfa_tests::process::{brief, run};
use std::fs;

/// Maximum size of the library in bytes. If it grows beyond this, find out why.
const SIZE_MAX: u64 = 1_800_000;

/// The newest version of the C library that it may need. Debian 12, Ubuntu 22.04 and RHEL 9 have this one or
/// a newer one.
const GLIBC_MAX: (u32, u32) = (2, 34);

#[test]
fn it_needs_no_newer_c_library_than_the_oldest_supported_system_has() {
    let needed = run(brief("readelf").args(["--version-info", "--wide"]).arg(built::module()));
    let version = |word: &str| {
        let (major, rest) = word.strip_prefix("GLIBC_")?.split_once('.')?;
        Some((major.parse::<u32>().ok()?, rest.split('.').next()?.parse::<u32>().ok()?))
    };
    let newest = needed.split_whitespace().filter_map(version).max();
    assert!(newest.is_some_and(|newest| newest <= GLIBC_MAX), "{newest:?} in\n{needed}");
}

#[test]
fn it_exports_the_six_entry_points_and_nothing_else() {
    let symbols =
        run(brief("nm").args(["--dynamic", "--defined-only", "--format=posix"]).arg(built::module()));
    let mut names: Vec<&str> = symbols.lines().filter_map(|line| line.split(' ').next()).collect();
    names.sort_unstable();
    let expected = [
        "pam_sm_acct_mgmt",
        "pam_sm_authenticate",
        "pam_sm_chauthtok",
        "pam_sm_close_session",
        "pam_sm_open_session",
        "pam_sm_setcred",
    ];
    assert_eq!(names, expected);
}

#[test]
fn it_stays_loaded_is_bound_at_once_and_brings_no_search_path() {
    let dynamic = run(brief("readelf").args(["--dynamic", "--wide"]).arg(built::module()));
    for flag in ["NODELETE", "NOW"] {
        assert!(dynamic.contains(flag), "no {flag} in\n{dynamic}");
    }
    for bad in ["RPATH", "RUNPATH", "TEXTREL"] {
        assert!(!dynamic.contains(bad), "{bad} in\n{dynamic}");
    }
}

#[test]
fn its_stack_is_not_executable_and_its_relocations_become_read_only() {
    let headers = run(brief("readelf").args(["--program-headers", "--wide"]).arg(built::module()));
    let stack = headers.lines().find(|line| line.contains("GNU_STACK")).unwrap();
    assert!(!stack.contains("RWE"), "{stack}");
    assert!(headers.contains("GNU_RELRO"), "{headers}");
}

#[test]
fn it_is_small_and_cannot_be_told_to_break() {
    let library = fs::read(built::module()).unwrap();
    assert!(library.len() as u64 <= SIZE_MAX, "{} bytes", library.len());
    let holds = |library: &[u8], word: &[u8]| library.windows(word.len()).any(|part| part == word);
    assert!(!holds(&library, b"a fault on purpose"));
    assert!(
        holds(&fs::read(built::faulty_module()).unwrap(), b"a fault on purpose"),
        "the test looks for nothing"
    );
}
