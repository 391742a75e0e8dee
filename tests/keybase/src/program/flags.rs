//! Flags as Go programs parse them: `-x` means `--x`, `-x=v` and `-x v` mean the same, and the first word
//! that is not a flag ends them.

use std::collections::BTreeMap;

use super::failure::{Failure, Result};

/// A flag: its names, of which the first is the key for its value, and whether it has a value.
pub(crate) type Flag = (&'static [&'static str], bool);

#[derive(Debug, Default)]
pub(crate) struct Flags {
    values: BTreeMap<&'static str, String>,
}

impl Flags {
    /// Parses flags up to the first other word, and returns the remaining words.
    pub(crate) fn read<'a>(known: &[Flag], words: &'a [&'a str]) -> Result<(Self, &'a [&'a str])> {
        let (mut flags, mut rest) = (Self::default(), words);
        while let [word, after @ ..] = rest {
            let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else { break };
            rest = after;
            let name = name.strip_prefix('-').unwrap_or(name);
            if name.is_empty() {
                break;
            }
            rest = flags.take(known, name, rest)?;
        }
        Ok((flags, rest))
    }

    /// Parses one flag, with its value if it has one.
    fn take<'a>(&mut self, known: &[Flag], word: &str, rest: &'a [&'a str]) -> Result<&'a [&'a str]> {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let unknown = || Failure::new(format!("Incorrect Usage. flag provided but not defined: -{name}"));
        let (names, has_value) = known.iter().find(|(names, _)| names.contains(&name)).ok_or_else(unknown)?;
        let (value, rest) = match (value, has_value, rest) {
            (Some(value), _, rest) => (value, rest),
            (None, false, rest) => ("true", rest),
            (None, true, [value, rest @ ..]) => (*value, rest),
            (None, true, []) => return Err(Failure::new(format!("flag needs an argument: -{name}"))),
        };
        self.values.extend(names.first().map(|name| (*name, value.to_owned())));
        Ok(rest)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value != "false")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Flag] = &[(&["json", "j"], false), (&["home", "H"], true)];

    #[test]
    fn one_dash_or_two() {
        let words = ["-json", "--home", "/h", "whoami", "-x"];
        let (flags, rest) = Flags::read(KNOWN, &words).unwrap();
        assert!(flags.is_on("json"));
        assert_eq!((flags.value("home"), rest), (Some("/h"), &["whoami", "-x"][..]));
    }

    #[test]
    fn values_after_an_equals_sign() {
        let (flags, _) = Flags::read(KNOWN, &["-j=false", "-H=/a=b"]).unwrap();
        assert!(!flags.is_on("json"));
        assert_eq!(flags.value("home"), Some("/a=b"));
    }

    #[test]
    fn unknown_flags_are_refused() {
        assert!(Flags::read(KNOWN, &["-z"]).is_err());
        assert!(Flags::read(KNOWN, &["-home"]).is_err());
    }
}
