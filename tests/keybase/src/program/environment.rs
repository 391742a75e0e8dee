//! The only reader of the environment.

use std::path::PathBuf;

/// A variable's value; none when it is empty, too.
#[expect(clippy::disallowed_methods, reason = "the real client is configured by these variables")]
pub(crate) fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a variable says yes.
pub(crate) fn is_on(name: &str) -> bool {
    get(name).is_some_and(|value| value != "0" && value != "false")
}

/// Where the cloud's socket lies: beside this program, unless said otherwise.
pub(crate) fn cloud_socket() -> PathBuf {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("cloud.sock"));
    get("KEYBASE_DOUBLE_CLOUD").map(PathBuf::from).or_else(beside).unwrap_or_default()
}
