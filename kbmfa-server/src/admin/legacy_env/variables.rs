//! The variables by name, from the process's environment and from the text of a `.env` file; both are passed
//! in. Values can be secret, so this type never prints them.

use std::collections::BTreeMap;

/// Every variable that counts: the old tool's with their `_FILE` twins, then our own.
pub(super) const NAMES: [&str; 15] = [
    "KB_TYPE",
    "KB_TEAM",
    "KB_CHANNEL",
    "KB_USER",
    "KEYBASE_USERNAME",
    "KEYBASE_PAPERKEY",
    "KEYBASE_PAPERKEY_FILE",
    "AUTH_TOKEN",
    "AUTH_TOKEN_FILE",
    "FLASK_ENV",
    "KBMFA_NAMES",
    "KBMFA_AUTH_TOKEN_FROM",
    "KBMFA_STATE_DIR",
    "KBMFA_LISTEN",
    "KBMFA_STATUS_LISTEN",
];

/// Those that no process which serves may have, nor any child of it.
const SECRETS: [&str; 2] = ["KEYBASE_PAPERKEY", "AUTH_TOKEN"];

/// Variables that are set. An empty one is not.
#[derive(Clone, Default)]
pub(super) struct Variables(BTreeMap<&'static str, String>);

impl Variables {
    /// Those that `lookup` finds.
    pub(super) fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let found =
            |name| Some((name, lookup(name)?.trim().to_owned())).filter(|(_, value)| !value.is_empty());
        Self(NAMES.into_iter().filter_map(found).collect())
    }

    /// Those in the text of a `.env` file: lines `NAME=VALUE`, perhaps with `export ` in front and quotes around the
    /// value, and comments after `#`. Of the same name the last line counts; other lines and names mean nothing.
    pub(super) fn from_dotenv(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| {
            let line = line.trim();
            let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
            Some((name.trim(), unquoted(value.trim())))
        });
        let lines: BTreeMap<_, _> = lines.collect();
        Self::from_lookup(|name| lines.get(name).map(|value| (*value).to_owned()))
    }

    /// These, and the others' where these have none.
    #[must_use]
    pub(super) fn or(self, others: Self) -> Self {
        let mut all = others.0;
        all.extend(self.0);
        Self(all)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// True if a secret is among them itself, not just the name of its file.
    pub(super) fn hold_a_secret(&self) -> bool {
        SECRETS.into_iter().any(|name| self.0.contains_key(name))
    }

    /// Those that a configuration file makes void: all but `FLASK_ENV`, which no file replaces.
    pub(super) fn void_beside_a_file(&self) -> Vec<&'static str> {
        self.0.keys().copied().filter(|name| *name != "FLASK_ENV").collect()
    }

    /// `FLASK_ENV` as the old tool had it: everything but production told more.
    pub(super) fn want_debug_lines(&self) -> bool {
        matches!(self.get("FLASK_ENV"), Some("development" | "staging"))
    }
}

/// A value as it was meant: without the quotes around it, or else without the comment after it.
fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inside = value.strip_prefix(quote).and_then(|rest| rest.split_once(quote));
        if let Some((inside, after)) = inside
            && (after.trim().is_empty() || after.trim_start().starts_with('#'))
        {
            return inside;
        }
    }
    value.split_once(" #").map_or(value, |(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_dotenv_file_is_a_name_and_a_value() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(Variables::from_dotenv(line).get("KB_TEAM"), expected, "{line:?}");
        };
        check("KB_TEAM=acme", Some("acme"));
        check("  export KB_TEAM = acme \r\n", Some("acme"));
        check("KB_TEAM=\"acme\"", Some("acme"));
        check("KB_TEAM='a#c \"me' # ours", Some("a#c \"me"));
        check("KB_TEAM=acme # ours", Some("acme"));
        check("KB_TEAM=ac#me=x", Some("ac#me=x"));
        check("KB_TEAM=\"acme", Some("\"acme"));
        check("KB_TEAM=\"ac\"me\"", Some("\"ac\"me\""));
        check("KB_TEAM=a\nKB_TEAM=b", Some("b"));
        check("KB_TEAM=", None);
        check("KB_TEAM=\"\"", None);
        check("#KB_TEAM=acme", None);
        check("KB_TEAM acme", None);
        check("XKB_TEAM=acme", None);
        check("exportKB_TEAM=acme", None);
    }

    #[test]
    fn the_process_environment_wins_over_the_file() {
        let own = Variables::from_lookup(|name| match name {
            "KB_TEAM" => Some(" acme ".to_owned()),
            "KB_CHANNEL" => Some(String::new()),
            _ => None,
        });
        let all = own.or(Variables::from_dotenv("KB_TEAM=other\nKB_CHANNEL=ssh\nPATH=/tmp"));
        let found = ["KB_TEAM", "KB_CHANNEL", "KB_USER", "PATH"].map(|name| all.get(name));
        assert_eq!(found, [Some("acme"), Some("ssh"), None, None]);
    }

    #[test]
    fn the_name_of_a_secret_s_file_is_no_secret() {
        let check = |line: &str, expected| {
            assert_eq!(Variables::from_dotenv(line).hold_a_secret(), expected, "{line}");
        };
        check("AUTH_TOKEN=x", true);
        check("KEYBASE_PAPERKEY=x", true);
        check("AUTH_TOKEN=", false);
        check("AUTH_TOKEN_FILE=/x\nKEYBASE_PAPERKEY_FILE=/x\nKB_TEAM=x", false);
    }

    #[test]
    fn debug_lines_are_for_development_and_staging() {
        for (value, expected) in
            [("development", true), ("staging", true), ("production", false), ("", false)]
        {
            let vars = Variables::from_dotenv(&format!("FLASK_ENV={value}"));
            assert_eq!((vars.want_debug_lines(), vars.void_beside_a_file()), (expected, vec![]), "{value:?}");
        }
    }

    #[test]
    fn the_table_for_operators_has_these_variables_and_no_others() {
        let page = include_str!("../../../../docs/operations.md");
        let section = page.split("\n## Start from the old tool's variables").nth(1).unwrap();
        let table = section.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| `"));
        let names = table.filter_map(|line| line.split(" | ").next());
        let mut told: Vec<_> = names.flat_map(|names| names.split('`').skip(1).step_by(2)).collect();
        let mut known = NAMES.to_vec();
        told.sort_unstable();
        known.sort_unstable();
        assert_eq!(told, known);
    }
}
