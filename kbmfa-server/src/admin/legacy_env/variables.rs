//! The variables by name, from the process's environment and from the text of a `.env` file. The caller
//! passes both in. Values can be secret, so this type never prints them.

use std::collections::BTreeMap;

use super::table::{LOG_LEVEL, SECRETS, TABLE};

/// The variables of the table that are set and not empty.
#[derive(Clone, Default)]
pub(super) struct Variables(BTreeMap<&'static str, String>);

impl Variables {
    /// The variables that `lookup` finds.
    pub(super) fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let names = TABLE.iter().map(|(name, ..)| *name).chain([LOG_LEVEL]);
        let found = names.filter_map(|name| Some((name, lookup(name)?.trim().to_owned())));
        Self(found.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The variables in the text of a `.env` file. A line is `NAME=VALUE`, optionally with `export ` before
    /// it, with quotes around the value, or with a comment after `#`. If a name repeats, the last line
    /// counts. Other lines and names are ignored.
    pub(super) fn from_dotenv(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| {
            let line = line.trim();
            let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
            Some((name.trim(), unquoted(value.trim())))
        });
        let lines: BTreeMap<_, _> = lines.collect();
        Self::from_lookup(|name| lines.get(name).map(|value| (*value).to_owned()))
    }

    /// These variables, and those of `others` that are not among them.
    #[must_use]
    pub(super) fn or(self, others: Self) -> Self {
        Self(others.0.into_iter().chain(self.0).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// True if the value of a secret is among them, not only the name of its file.
    pub(super) fn hold_a_secret(&self) -> bool {
        SECRETS.iter().any(|(name, _)| self.0.contains_key(name))
    }

    /// The variables that have no effect if there is a configuration file.
    pub(super) fn ignored_beside_a_file(&self) -> Vec<&'static str> {
        self.0.keys().copied().filter(|name| *name != LOG_LEVEL).collect()
    }

    /// True if the old tool would have logged debug lines: in development and staging.
    pub(super) fn want_debug_lines(&self) -> bool {
        matches!(self.get(LOG_LEVEL), Some("development" | "staging"))
    }
}

/// The value without quotes around it. Without quotes, a comment after it is removed.
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
        for (line, expected) in [
            ("KB_TEAM=acme", Some("acme")),
            ("  export KB_TEAM = acme \r\n", Some("acme")),
            ("KB_TEAM=\"acme\"", Some("acme")),
            ("KB_TEAM='a#c \"me' # ours", Some("a#c \"me")),
            ("KB_TEAM=acme # ours", Some("acme")),
            ("KB_TEAM=ac#me=x", Some("ac#me=x")),
            ("KB_TEAM=\"acme", Some("\"acme")),
            ("KB_TEAM=\"ac\"me\"", Some("\"ac\"me\"")),
            ("KB_TEAM=a\nKB_TEAM=b", Some("b")),
            (
                "KB_TEAM=\nKB_CHANNEL=\"\"\n#KB_TEAM=acme\nKB_TEAM acme\nXKB_TEAM=acme\nexportKB_TEAM=acme",
                None,
            ),
        ] {
            let vars = Variables::from_dotenv(line);
            assert_eq!((vars.get("KB_TEAM"), vars.get("KB_CHANNEL")), (expected, None), "{line:?}");
        }
    }

    #[test]
    fn the_process_environment_wins_over_the_file() {
        let own = Variables::from_lookup(|name| (name == "KB_TEAM").then(|| " acme ".to_owned()));
        let all = own.or(Variables::from_dotenv("KB_TEAM=other\nKB_CHANNEL=ssh\nPATH=/tmp"));
        let found = ["KB_TEAM", "KB_CHANNEL", "KB_USER", "PATH"].map(|name| all.get(name));
        assert_eq!(found, [Some("acme"), Some("ssh"), None, None]);
    }

    #[test]
    fn what_is_secret_what_a_file_replaces_and_what_asks_for_debug_lines() {
        for (line, is_secret, is_replaced, wants_debug) in [
            ("AUTH_TOKEN=x", true, true, false),
            ("KEYBASE_PAPERKEY=x", true, true, false),
            ("AUTH_TOKEN=", false, false, false),
            ("AUTH_TOKEN_FILE=/x\nKEYBASE_PAPERKEY_FILE=/x", false, true, false),
            ("FLASK_ENV=production", false, false, false),
            ("FLASK_ENV=staging", false, false, true),
            ("FLASK_ENV=development", false, false, true),
        ] {
            let vars = Variables::from_dotenv(line);
            let is_ignored = !vars.ignored_beside_a_file().is_empty();
            let found = (vars.hold_a_secret(), is_ignored, vars.want_debug_lines());
            assert_eq!(found, (is_secret, is_replaced, wants_debug), "{line}");
        }
    }

    #[test]
    fn the_table_for_operators_has_these_variables_and_no_others() {
        let page = include_str!("../../../../docs/operations.md");
        let section = page.split("\n## Start from the old tool's variables").nth(1).unwrap();
        let table = section.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| `"));
        let names = table.filter_map(|line| line.split(" | ").next());
        let mut told: Vec<_> = names.flat_map(|names| names.split('`').skip(1).step_by(2)).collect();
        let mut known: Vec<_> = TABLE.iter().map(|(name, ..)| *name).chain([LOG_LEVEL]).collect();
        told.sort_unstable();
        known.sort_unstable();
        assert_eq!(told, known);
    }
}
