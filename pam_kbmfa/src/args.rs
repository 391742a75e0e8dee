//! The module's arguments on its line in `/etc/pam.d`.
//!
//! An unknown word makes that line refuse every login, so that a typing error never weakens it.

use std::ffi::CStr;
use std::path::{Path, PathBuf};

/// Path of the configuration without `config=`.
pub const CONFIG: &str = "/etc/kbmfa/pam.toml";

/// What proves a first factor in the auth phase: the argument `first_factor=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proof {
    /// sshd must report the public key that was used.
    #[default]
    Publickey,
    /// The modules before ours in the stack are trusted to have authenticated the person.
    Stack,
}

/// The purpose of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// Asks the server about each login, and waits for the decision.
    #[default]
    Ask,
    /// `log_only`: writes the log and reports sessions.
    LogOnly,
    /// `rehearsal`, for `kbmfa-host doctor`: asks the server as usual, and lets nobody in.
    DryRun,
}

/// Valid arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    pub config: PathBuf,
    pub first_factor: Proof,
    pub purpose: Purpose,
    pub silent: bool,
    pub debug: bool,
    #[cfg(feature = "faults")]
    pub(crate) fault: Option<crate::faults::Fault>,
}

/// The first invalid argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadArg {
    #[error("argument {0:?} is not known")]
    Unknown(String),
    #[error("argument {0:?} is given twice")]
    Twice(String),
    #[error("argument {0:?} must name an absolute path")]
    Path(String),
    #[error("log_only and rehearsal exclude each other")]
    Purposes,
    #[error("an argument is not UTF-8")]
    NotText,
}

impl Args {
    pub fn parse(words: &[&CStr]) -> Result<Self, BadArg> {
        let mut args = Self {
            config: CONFIG.into(),
            first_factor: Proof::default(),
            purpose: Purpose::default(),
            silent: false,
            debug: false,
            #[cfg(feature = "faults")]
            fault: None,
        };
        let mut seen: Vec<&str> = Vec::new();
        for word in words {
            let word = word.to_str().map_err(|_| BadArg::NotText)?;
            let (key, _) = word.split_once('=').unwrap_or((word, ""));
            if seen.contains(&key) {
                return Err(BadArg::Twice(key.into()));
            }
            seen.push(key);
            args.take(word)?;
        }
        Ok(args)
    }

    /// Sets the purpose; an error if the line already has one.
    fn only(&self, purpose: Purpose) -> Result<Purpose, BadArg> {
        if self.purpose == Purpose::Ask { Ok(purpose) } else { Err(BadArg::Purposes) }
    }

    fn take(&mut self, word: &str) -> Result<(), BadArg> {
        match word.split_once('=') {
            None if word == "log_only" => self.purpose = self.only(Purpose::LogOnly)?,
            None if word == "rehearsal" => self.purpose = self.only(Purpose::DryRun)?,
            None if word == "silent" => self.silent = true,
            None if word == "debug" => self.debug = true,
            Some(("config", path)) if Path::new(path).is_absolute() => self.config = path.into(),
            Some(("config", _)) => return Err(BadArg::Path(word.into())),
            Some(("first_factor", "publickey")) => self.first_factor = Proof::Publickey,
            Some(("first_factor", "stack")) => self.first_factor = Proof::Stack,
            #[cfg(feature = "faults")]
            Some(("fault", name)) => {
                self.fault = Some(name.parse().map_err(|()| BadArg::Unknown(word.into()))?);
            }
            _ => return Err(BadArg::Unknown(word.into())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ffi::CString;

    fn parse(line: &str) -> Result<Args, BadArg> {
        let words: Vec<CString> = line.split_whitespace().map(|word| CString::new(word).unwrap()).collect();
        Args::parse(&words.iter().map(CString::as_c_str).collect::<Vec<_>>())
    }

    #[test]
    fn no_argument_means_the_safe_defaults() {
        let args = parse("").unwrap();
        assert_eq!((args.config.to_str(), args.first_factor), (Some(CONFIG), Proof::Publickey));
        assert!(args.purpose == Purpose::Ask && !args.silent && !args.debug);
    }

    #[test]
    fn every_argument_is_understood() {
        let args = parse("config=/x/y.toml first_factor=stack log_only silent debug").unwrap();
        assert_eq!((args.config.to_str(), args.first_factor), (Some("/x/y.toml"), Proof::Stack));
        assert!(args.purpose == Purpose::LogOnly && args.silent && args.debug);
        assert_eq!(parse("rehearsal").unwrap().purpose, Purpose::DryRun);
        assert_eq!(parse("first_factor=publickey").unwrap().first_factor, Proof::Publickey);
    }

    #[test]
    fn anything_else_is_refused() {
        for line in ["nouserok", "log_only=1", "debug=", "first_factor", "first_factor=none", "=", "Silent"] {
            assert!(matches!(parse(line), Err(BadArg::Unknown(_))), "{line}");
        }
        for line in ["config=", "config=pam.toml", "config=./x"] {
            assert!(matches!(parse(line), Err(BadArg::Path(_))), "{line}");
        }
        for line in ["silent silent", "config=/a config=/b", "first_factor=stack first_factor=publickey"] {
            assert!(matches!(parse(line), Err(BadArg::Twice(_))), "{line}");
        }
        for line in ["log_only rehearsal", "rehearsal log_only"] {
            assert_eq!(parse(line), Err(BadArg::Purposes));
        }
        assert_eq!(Args::parse(&[c"debug", c"\xff"]), Err(BadArg::NotText));
    }

    proptest! {
        #[test]
        fn no_argument_list_makes_the_parser_panic(words in prop::collection::vec("[^\0]{0,40}", 0..6)) {
            let words: Vec<CString> = words.into_iter().map(|word| CString::new(word).unwrap()).collect();
            let _ = Args::parse(&words.iter().map(CString::as_c_str).collect::<Vec<_>>());
        }
    }
}
