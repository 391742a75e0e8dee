//! What the operator logs in with: opened with the rights and in the session of the operator, before root is given up.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use zeroize::Zeroizing;

use super::super::super::Failure;
use super::Args;
use super::agent::Relay;
use crate::machines::host_keys::Fingerprint;
use crate::provision::connection;

/// Longest file of a private key, in bytes.
const KEY_MAX: u64 = 1 << 16;

/// What was opened.
pub(super) struct Opened {
    way: Way<UnixStream>,
    password: Option<Zeroizing<String>>,
}

/// What to log in with.
pub(super) struct Credential {
    way: Way<Relay>,
    password: Option<Zeroizing<String>>,
}

enum Way<A> {
    Key(Zeroizing<String>),
    LockedKey(Zeroizing<String>, Zeroizing<String>),
    Agent(A, Option<Fingerprint>),
    Password(Zeroizing<String>),
}

/// Opens what the options name, and asks for what only a person knows.
pub(super) fn open(args: &Args) -> Result<Opened, Failure> {
    let ask = || secret(&format!("Password of {}: ", args.user));
    let password = args.ask_password.then(ask).transpose()?;
    let way = if let Some(path) = &args.identity {
        let key = read(path)?;
        if is_locked(&key) {
            Way::LockedKey(key, secret(&format!("Passphrase of {}: ", path.display()))?)
        } else {
            Way::Key(key)
        }
    } else if args.agent {
        Way::Agent(agent()?, args.agent_key.clone())
    } else if let Some(password) = &password {
        Way::Password(password.clone())
    } else {
        return Err(Failure::usage("name what to log in with: --identity FILE, --agent or --ask-password"));
    };
    Ok(Opened { way, password })
}

impl Opened {
    /// Ready for connections, after root was given up.
    pub(super) fn ready(self, state_dir: &Path) -> Result<Credential, Failure> {
        let way = match self.way {
            Way::Key(key) => Way::Key(key),
            Way::LockedKey(key, passphrase) => Way::LockedKey(key, passphrase),
            Way::Agent(stream, key) => {
                let relay = Relay::start(stream, state_dir);
                let failed = |error| Failure::new(format!("cannot use the ssh agent: {error}"));
                Way::Agent(relay.map_err(failed)?, key)
            }
            Way::Password(password) => Way::Password(password),
        };
        Ok(Credential { way, password: self.password })
    }
}

impl Credential {
    /// As a connection takes it.
    pub(super) fn login(&self) -> connection::Credential<'_> {
        match &self.way {
            Way::Key(key) => connection::Credential::Key(key),
            Way::LockedKey(key, passphrase) => connection::Credential::LockedKey(key, passphrase),
            Way::Agent(relay, key) => connection::Credential::Agent(relay.path(), key.as_ref()),
            Way::Password(password) => connection::Credential::Password(password),
        }
    }

    /// The password that was asked for.
    pub(super) fn password(&self) -> Option<&Zeroizing<String>> {
        self.password.as_ref()
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let opened = File::open(path).and_then(|file| file.take(KEY_MAX).read_to_string(&mut text));
    opened.map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    Ok(text)
}

/// True for a key that needs a passphrase.
fn is_locked(key: &str) -> bool {
    key.contains("ENCRYPTED") || ssh_key::PrivateKey::from_openssh(key).is_ok_and(|key| key.is_encrypted())
}

/// The agent of this session.
fn agent() -> Result<UnixStream, Failure> {
    #[expect(clippy::disallowed_methods, reason = "only this variable says where the session's agent is")]
    let socket = std::env::var_os("SSH_AUTH_SOCK").ok_or_else(|| {
        Failure::new("there is no ssh agent in this session: SSH_AUTH_SOCK is not set")
            .hint("sudo removes it; keep it: sudo --preserve-env=SSH_AUTH_SOCK kbmfa-server ..")
    })?;
    UnixStream::connect(Path::new(&socket))
        .map_err(|error| Failure::new(format!("cannot connect to the ssh agent: {error}")))
}

/// A line that is not shown at the terminal, or the next line of standard input.
fn secret(question: &str) -> Result<Zeroizing<String>, Failure> {
    let read = if io::stdin().is_terminal() {
        rpassword::prompt_password(question)
    } else {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line.trim_end_matches(['\r', '\n']).to_owned())
    };
    let text =
        Zeroizing::new(read.map_err(|error| Failure::new(format!("cannot read a password: {error}")))?);
    if text.is_empty() || text.contains('\0') {
        return Err(Failure::new("the password is empty"));
    }
    Ok(text)
}
