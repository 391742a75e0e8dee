//! An error of a verb, with its fix and its exit status.

use serde_json::json;
use std::fmt;
use std::io;

/// Why a verb failed.
#[derive(Debug)]
pub struct Error {
    what: Vec<String>,
    hints: Vec<String>,
    exit: Exit,
}

/// The exit status; `docs/operations.md` lists the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Failed,
    /// A dry run found something that would change, and has printed it.
    WouldChange,
    /// The reader of the output closed it.
    ReaderGone,
    /// The command line is wrong.
    Usage,
}

impl Error {
    pub(super) fn new(what: impl fmt::Display) -> Self {
        Self { what: vec![what.to_string()], hints: Vec::new(), exit: Exit::Failed }
    }

    pub(super) fn all<T: fmt::Display>(what: &[T]) -> Self {
        Self { what: what.iter().map(ToString::to_string).collect(), ..Self::new("") }
    }

    /// A wrong command line.
    pub fn usage(what: impl fmt::Display) -> Self {
        Self { exit: Exit::Usage, ..Self::new(what) }
    }

    /// A dry run has printed what would change.
    pub(super) fn would_change() -> Self {
        Self { exit: Exit::WouldChange, ..Self::all::<String>(&[]) }
    }

    pub(super) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        match self.exit {
            Exit::ReaderGone => 0,
            Exit::Failed => 1,
            Exit::WouldChange => 2,
            // EX_USAGE of sysexits.h; clap's own 2 would read as a dry run that found something.
            Exit::Usage => 64,
        }
    }

    /// The text for standard error; `None` if everything has been printed.
    pub fn text(&self, as_json: bool) -> Option<String> {
        match self.exit {
            Exit::WouldChange | Exit::ReaderGone => None,
            Exit::Failed | Exit::Usage if as_json => {
                Some(json!({ "error": self.what.join("\n"), "hints": self.hints }).to_string())
            }
            Exit::Failed | Exit::Usage => Some(self.to_string()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.what.iter().map(|what| format!("kbmfa-host: error: {what}"));
        let lines: Vec<String> =
            errors.chain(self.hints.iter().map(|hint| format!("hint: {hint}"))).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::BrokenPipe { Exit::ReaderGone } else { Exit::Failed };
        Self { exit, ..Self::new(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_printed_once_for_people_or_for_programs_with_its_exit_status() {
        let error = Error::all(&["one", "two"]).hint("do this");
        assert_eq!(
            error.text(false).unwrap(),
            "kbmfa-host: error: one\nkbmfa-host: error: two\nhint: do this"
        );
        let told: serde_json::Value = serde_json::from_str(&error.text(true).unwrap()).unwrap();
        assert_eq!(told, json!({ "error": "one\ntwo", "hints": ["do this"] }));
        assert_eq!((error.status(), Error::usage("x").status()), (1, 64));
        assert_eq!((Error::would_change().status(), Error::would_change().text(false)), (2, None));
        let gone = Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((gone.status(), gone.text(true)), (0, None));
    }
}
