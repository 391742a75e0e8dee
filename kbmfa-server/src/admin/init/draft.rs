//! The configuration file that `init` writes. From then on only the operator changes it.

use std::collections::BTreeMap;
use toml::Value;

/// Every section and key that the file can have, in the order of the file.
const LAYOUT: [(&str, &[&str]); 5] = [
    ("server", &["listen", "status_listen", "state_dir", "names", "auth_token_file", "auth_token_from"]),
    ("login", &["window", "poll_grace"]),
    ("policy", &["approvers"]),
    ("relay", &["kind"]),
    ("relay.keybase", &["username", "type", "team", "channel", "user", "paperkey_file"]),
];

const HEAD: &str =
    "# kbmfa-server's configuration. `kbmfa-server check` reads it; SIGHUP makes the server read it again.";

/// A key of the file, with its section.
pub(in crate::admin) type Key = (&'static str, &'static str);

/// The values of the file by their keys.
#[derive(Debug, Clone)]
pub(in crate::admin) struct Draft(BTreeMap<Key, Value>);

impl Draft {
    /// A draft with the values of every new server.
    pub(in crate::admin) fn new() -> Self {
        let mut draft = Self(BTreeMap::new());
        draft.set(("login", "window"), "60s");
        draft.set(("login", "poll_grace"), "15s");
        draft.set(("policy", "approvers"), "anyone");
        draft
    }

    pub(in crate::admin) fn set(&mut self, key: Key, value: impl Into<Value>) {
        self.0.insert(key, value.into());
    }

    pub(in crate::admin) fn get(&self, key: Key) -> Option<&Value> {
        self.0.get(&key)
    }

    pub(in crate::admin) fn remove_auth_token(&mut self) {
        self.0.remove(&("server", "auth_token_file"));
        self.0.remove(&("server", "auth_token_from"));
    }

    /// The text of the file.
    pub(in crate::admin) fn toml(&self) -> String {
        let line = |section, key| Some(format!("{key} = {}\n", self.get((section, key))?));
        let sections = LAYOUT.iter().filter_map(|(section, keys)| {
            let lines: String = keys.iter().filter_map(|key| line(section, key)).collect();
            (!lines.is_empty()).then(|| format!("\n[{section}]\n{lines}"))
        });
        format!("{HEAD}\n{}", sections.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    #[test]
    fn any_field_reads_back_as_it_was_written() {
        let (state_dir, names) = ("/srv/k\"b\\m\tf'a", ["kbmfa.example", "2001:db8::1"]);
        let mut draft = Draft::new();
        draft.set(("server", "state_dir"), state_dir);
        draft.set(("server", "names"), names.to_vec());
        draft.set(("relay", "kind"), "console");
        let config = Config::parse(Path::new("server.toml"), &draft.toml()).unwrap();
        assert_eq!(
            (config.state_dir.as_path(), &config.http.names[..]),
            (Path::new(state_dir), &names.map(str::to_owned)[..])
        );
        assert!(config.chat.is_none());
    }
}
