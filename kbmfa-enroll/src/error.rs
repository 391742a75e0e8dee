//! Why a verb failed, and what to do.

use kbmfa_proto::client::Error as CallError;
use kbmfa_proto::key::BadKey;
use kbmfa_proto::text::SafeText;
use std::io;
use std::path::{Path, PathBuf};

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
    /// A file holds no public key that may be enrolled.
    #[error("{}: {}", .0.display(), .1)]
    BadKey(PathBuf, BadKey),
    /// A program of OpenSSH cannot be started.
    #[error("cannot run {0} ({1}): install the OpenSSH client")]
    NoProgram(&'static str, io::Error),
    /// `ssh-keygen` made no key.
    #[error("ssh-keygen made no key; what it printed says why")]
    NotMade,
    /// `ssh-keygen` did not read the public half of a key.
    #[error("ssh-keygen cannot read the key {}; what it printed says why", .0.display())]
    NotRead(PathBuf),
    /// `ssh-keygen` did not sign.
    #[error(
        "the key {} did not sign; what ssh-keygen printed says why. A key with a passphrase needs a terminal or \
         an agent",
        .0.display()
    )]
    NotSigned(PathBuf),
    /// The server's name cannot be looked up.
    #[error("cannot find the server {0}: {1}")]
    NoName(String, io::Error),
    /// TLS cannot be set up.
    #[error("{0}")]
    Tls(String),
    /// The server refused, or cannot be reached.
    #[error("{}", call_text(.0))]
    Call(#[from] CallError),
    /// An invite has another form.
    #[error("this is not an invite: it is ID.SECRET, as your administrator sent it")]
    BadInvite,
    /// A password cannot be used.
    #[error("{0}; nothing was changed at the server")]
    BadPassword(&'static str),
    /// The person has no such key.
    #[error("you have no key {0} there, so nothing can replace it; nothing was changed at the server")]
    NoSuchKey(SafeText),
    /// Each device has one key.
    #[error("you have a key of {0} already: give this one another name with --device, or replace that key")]
    SameDevice(SafeText),
    /// An answer is needed, and nobody can be asked.
    #[error("{0}")]
    NoAnswer(&'static str),
    /// Options that do not go together.
    #[error("{0}")]
    Usage(&'static str),
    /// The person said no.
    #[error("stopped; nothing was changed at the server")]
    Stopped,
    /// The server did what was asked for, but a file on this computer was not written.
    #[error("the server has done it, but then: {0}")]
    Afterwards(Box<Error>),
    /// ssh's configuration cannot be written.
    #[error(transparent)]
    Config(#[from] crate::config::Bad),
    /// The home directory is unknown.
    #[error("your home directory is unknown, and with it your keys")]
    NoHome,
    /// The terminal or a pipe failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Error {
    pub(crate) fn file(path: &Path, error: io::Error) -> Self {
        Self::File(path.to_owned(), error)
    }

    /// Whether the command line has to be written in another way.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_) | Self::NoAnswer(_))
    }

    /// For scripts: `error` in words, and the server's `code` if it refused.
    pub fn to_json(&self) -> String {
        let code = match self {
            Self::Call(CallError::Refused(problem)) => Some(problem.code.as_str()),
            _ => None,
        };
        serde_json::json!({ "error": self.to_string(), "code": code }).to_string()
    }
}

fn call_text(error: &CallError) -> String {
    let advice = match error {
        CallError::Refused(problem) => {
            let detail = problem.detail.as_ref().map(SafeText::as_str).unwrap_or_default();
            return format!("the server refused: {} ({})\n{detail}", problem.title, problem.code)
                .trim_end()
                .to_owned();
        }
        CallError::Tls(_) => {
            "This may not be your server, so nothing was sent to it. Compare the pin with your administrator, \
             by another way than the one by which it came."
        }
        CallError::Connect(_) | CallError::StoodStill => {
            "The server cannot be reached, so nothing was changed. Try again later, or ask your administrator \
             whether the address is right."
        }
        CallError::Timeout | CallError::Lost(_) => {
            "The server may have done what you asked for. `kbmfa-enroll status` shows it."
        }
        CallError::Garbage(_) => "Ask your administrator whether the address is right.",
        CallError::HungUp => "",
    };
    format!("{}\n{advice}", SafeText::new(&error.to_string())).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kbmfa_proto::problem::Problem;

    #[test]
    fn what_a_server_says_cannot_control_the_terminal() {
        let problem = r#"{"code":"in\u001b[2Jvalid","status":403,"title":"No\u001b[2J","detail":"x\u009by"}"#;
        let refused = Error::Call(CallError::Refused(serde_json::from_str::<Problem>(problem).unwrap()));
        for error in [refused, Error::Call(CallError::Garbage("\u{1b}[2J".into()))] {
            let text = error.to_string();
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        }
    }

    #[test]
    fn a_script_gets_the_servers_code() {
        let problem = r#"{"code":"invite-refused","status":403,"title":"No"}"#;
        let error = Error::Call(CallError::Refused(serde_json::from_str(problem).unwrap()));
        let json: serde_json::Value = serde_json::from_str(&error.to_json()).unwrap();
        assert_eq!(json["code"], "invite-refused");
        assert!(json["error"].as_str().unwrap().contains("the server refused"));
    }
}
