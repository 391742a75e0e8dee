//! Fuzz entry point for `server.toml`. An accepted file never lets anybody in by accident, and each fault of
//! a rejected file names its line.
//!
//! The unit tests run the corpus, too.
#![expect(clippy::missing_panics_doc, reason = "a fuzz target fails by a loud panic")]

use std::path::Path;
use std::time::Duration;

use super::Config;
use super::rules::{MODULE_SERVER_TIMEOUT, WINDOW};
use crate::policy::{Rule, Says};

/// Parses the text of a file. If it sets `auth_token_file`, that file is read, too.
pub fn server_toml(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let config = match Config::parse(Path::new("server.toml"), text) {
        Ok(config) => config,
        Err(faults) => {
            let faults = faults.to_string();
            let lines = 1 + text.matches('\n').count();
            // A fault may quote several lines, but its first line begins with a place in the file.
            let at =
                faults.strip_prefix("server.toml:").and_then(|rest| rest.split(':').next()?.parse().ok());
            return assert!(at.is_some_and(|at: usize| (1..=lines).contains(&at)), "{faults}");
        }
    };
    assert!(config.http.status_listen.ip().is_loopback(), "{}", config.http.status_listen);
    assert!(config.poll_grace > MODULE_SERVER_TIMEOUT, "{:?}", config.poll_grace);
    assert!(
        config.auth_token.as_ref().is_none_or(|token| !token.from.is_empty()),
        "a token for all the world"
    );
    let default = &config.policy.default;
    let windows = config.policy.rules.iter().filter_map(window).chain([default.window]);
    for window in windows {
        assert!(window > config.poll_grace && (WINDOW.0..=WINDOW.1).contains(&window), "{window:?}");
    }
    for Rule { scope, says, line } in &config.policy.rules {
        let is_wide = scope.from.is_empty() || (scope.machines.is_empty() && scope.pools.is_empty());
        assert!(!is_wide || *says != Says::Exempt, "line {line} lets in everybody");
        assert!(!scope.machines.iter().any(kbmfa_proto::names::MachineName::is_claimed), "line {line}");
    }
}

fn window(rule: &Rule) -> Option<Duration> {
    match &rule.says {
        Says::Ask(terms) => Some(terms.window),
        Says::Exempt => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_corpus_passes_in_the_configuration() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/server_toml");
        let files: Vec<_> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty());
        for file in files {
            server_toml(&fs::read(file).unwrap());
        }
    }
}
