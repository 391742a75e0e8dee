//! Settings of a run of the tests, which `make` and people hand over in environment variables.

use std::env;

/// Whether to take the time for all that can be tried, as `make soak` does.
pub fn is_thorough() -> bool {
    env::var_os("KBMFA_THOROUGH").is_some()
}

/// The number in this variable, if it is set.
pub fn number<N: std::str::FromStr>(name: &str) -> Option<N> {
    let text = env::var_os(name)?.into_string().unwrap();
    Some(text.parse().unwrap_or_else(|_| panic!("a number in {name}")))
}
