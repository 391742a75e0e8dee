//! Settings of a test run, which `make` and people pass in environment variables.

use std::env;

/// Whether to try everything, however long that takes, as `make soak` does.
pub fn is_thorough() -> bool {
    env::var_os("KBMFA_THOROUGH").is_some()
}

/// The number in this variable, if it is set.
pub fn number<N: std::str::FromStr>(name: &str) -> Option<N> {
    let text = env::var_os(name)?.into_string().unwrap();
    Some(text.parse().unwrap_or_else(|_| panic!("a number in {name}")))
}
