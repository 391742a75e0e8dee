//! The only reader of environment variables.

use std::path::PathBuf;

/// The variable with the path of the cloud's socket.
pub(crate) const CLOUD: &str = "KEYBASE_DOUBLE_CLOUD";

/// The value of a variable; `None` if it is unset or empty.
#[expect(clippy::disallowed_methods, reason = "the real client is configured by these variables")]
pub(crate) fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a variable is set to a value that means yes.
pub(crate) fn is_on(name: &str) -> bool {
    get(name).is_some_and(|value| value != "0" && value != "false")
}

/// Path of the cloud's socket: from the variable, or beside this program's path as it was called, which may
/// be a link.
pub(crate) fn cloud_socket() -> PathBuf {
    let called =
        || std::env::args_os().next().map(PathBuf::from).filter(|path| path.components().count() > 1);
    let program = || called().or_else(|| std::env::current_exe().ok());
    let beside = || Some(program()?.parent()?.join("cloud.sock"));
    get(CLOUD).map(PathBuf::from).or_else(beside).unwrap_or_default()
}
