//! Paths of the programs under test, as `make build` builds them, and of files that `make setup` makes.

use std::env;
use std::path::{Path, PathBuf};

/// The module that is shipped.
pub fn module() -> PathBuf {
    existing(target().join("module/libpam_kbmfa.so"), "make build")
}

/// The test build of the module, which has the argument `fault=`.
pub fn faulty_module() -> PathBuf {
    existing(target().join("faults/debug/libpam_kbmfa.so"), "make build")
}

/// The test build of the module for AddressSanitizer.
pub fn sanitized_module() -> PathBuf {
    existing(
        target().join(format!("asan/{}-unknown-linux-gnu/debug/libpam_kbmfa.so", env::consts::ARCH)),
        "make sanitize",
    )
}

/// `kbmfa-host`.
pub fn host() -> PathBuf {
    existing(target().join("debug/kbmfa-host"), "make build")
}

/// `kbmfa-server`.
pub fn server() -> PathBuf {
    existing(target().join(profile()).join("kbmfa-server"), "make build")
}

/// `kbmfa-enroll`.
pub fn enroll() -> PathBuf {
    existing(target().join("debug/kbmfa-enroll"), "make build")
}

/// The program of the double of Keybase.
pub fn keybase() -> PathBuf {
    existing(target().join(profile()).join("keybase"), "make build")
}

/// OpenSSH 9.2's sshd, unpacked.
pub fn sshd_9_2() -> PathBuf {
    existing(workspace().join(".cache/sshd-9.2"), "make setup")
}

/// sudo 1.9, unpacked.
pub fn sudo() -> PathBuf {
    existing(workspace().join(".cache/sudo-1.9"), "make setup")
}

/// fail2ban, unpacked.
pub fn fail2ban() -> PathBuf {
    existing(workspace().join(".cache/fail2ban"), "make setup")
}

/// The Debian 13 root.
pub fn trixie() -> PathBuf {
    existing(workspace().join(".cache/roots/trixie"), "make setup")
}

/// The Debian 14 root.
pub fn forky() -> PathBuf {
    existing(workspace().join(".cache/roots/forky"), "make test-matrix")
}

/// Fails without root. Machines need mounts and namespaces, and a test that cannot have them must not pass.
pub fn assert_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "the e2e tests make machines with namespaces and mounts: run them as root, as `make test` does"
    );
}

fn target() -> PathBuf {
    env::var_os("KBMFA_TARGET").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The build profile of the server and the double: that of the tests, unless a bench sets another.
fn profile() -> PathBuf {
    env::var_os("KBMFA_PROFILE").map_or_else(|| "debug".into(), PathBuf::from)
}

/// The root of the repository.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn existing(path: PathBuf, made_by: &str) -> PathBuf {
    assert!(path.exists(), "{} is not there: run `{made_by}` first", path.display());
    path
}
