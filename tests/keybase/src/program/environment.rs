//! The only reader of the environment.

use std::path::PathBuf;

/// The variable with the path of the cloud's socket.
pub(crate) const CLOUD: &str = "KEYBASE_DOUBLE_CLOUD";

/// A variable's value; none when it is empty, too.
#[expect(clippy::disallowed_methods, reason = "the real client is configured by these variables")]
pub(crate) fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a variable says yes.
pub(crate) fn is_on(name: &str) -> bool {
    get(name).is_some_and(|value| value != "0" && value != "false")
}

/// Where the cloud's socket lies: beside this program as it was called (be that a link), unless said otherwise.
pub(crate) fn cloud_socket() -> PathBuf {
    let called =
        || std::env::args_os().next().map(PathBuf::from).filter(|path| path.components().count() > 1);
    let program = || called().or_else(|| std::env::current_exe().ok());
    let beside = || Some(program()?.parent()?.join("cloud.sock"));
    get(CLOUD).map(PathBuf::from).or_else(beside).unwrap_or_default()
}
