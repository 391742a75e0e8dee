//! Starts OpenSSH's own programs, which make keys and sign. So keys in an agent, on a security token and
//! behind a passphrase work as they do for ssh, and this program never reads a private key.

#![expect(clippy::disallowed_methods, reason = "the one file that starts ssh-keygen and ssh-add")]

use kbmfa_proto::enrolment::NAMESPACE;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;
use crate::os::Os;

fn program(os: Os, name: &'static str) -> Command {
    let mut command = Command::new(os.program(name));
    // Both programs ask for a passphrase at the terminal that is their standard input. Without one they must
    // not take what is meant for this program.
    if !io::stdin().is_terminal() {
        command.stdin(Stdio::null());
    }
    command
}

fn stdout_of(mut command: Command, name: &'static str) -> Result<Option<String>, Error> {
    let done = command.stderr(Stdio::inherit()).output().map_err(|e| Error::NoProgram(name, e))?;
    Ok(String::from_utf8(done.stdout).ok().filter(|_| done.status.success()))
}

/// Makes an ed25519 key pair at a path where nothing is. `ssh-keygen` asks for the passphrase, unless there
/// is to be none.
pub(crate) fn make(os: Os, path: &Path, comment: &str, passphrase: bool) -> Result<(), Error> {
    let mut command = program(os, "ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-C", comment, "-f"]).arg(path);
    if !passphrase {
        command.args(["-N", ""]);
    }
    // Its questions belong to the terminal, not to what this program prints.
    command.stdout(io::stderr());
    let status = command.status().map_err(|e| Error::NoProgram("ssh-keygen", e))?;
    if status.success() { Ok(()) } else { Err(Error::NotMade) }
}

/// The public half of a private key, as the line of a `.pub` file. Asks for the passphrase where the file
/// needs it.
pub(crate) fn public_half(os: Os, private: &Path) -> Result<String, Error> {
    let mut command = program(os, "ssh-keygen");
    command.args(["-y", "-f"]).arg(private);
    stdout_of(command, "ssh-keygen")?.ok_or_else(|| Error::NotRead(private.to_owned()))
}

/// The public keys in the agent, one line for each. None without an agent.
pub(crate) fn in_agent(os: Os) -> Vec<String> {
    let mut command = program(os, "ssh-add");
    command.arg("-L").stderr(Stdio::null());
    let Ok(done) = command.output() else { return Vec::new() };
    if !done.status.success() {
        return Vec::new();
    }
    String::from_utf8_lossy(&done.stdout).lines().map(str::to_owned).collect()
}

/// Signs a text with the key of this file (PEM): a private key, or a public one whose private half is in the
/// agent.
pub(crate) fn sign(os: Os, key: &Path, text: &str) -> Result<String, Error> {
    let scratch = tempfile::tempdir()?;
    let message = scratch.path().join("text");
    fs::write(&message, text).map_err(|e| Error::file(&message, e))?;
    let mut command = program(os, "ssh-keygen");
    command.args(["-Y", "sign", "-q", "-n", NAMESPACE, "-f"]).arg(key).arg(&message);
    let status = command.stdout(io::stderr()).status().map_err(|e| Error::NoProgram("ssh-keygen", e))?;
    let signature = scratch.path().join("text.sig");
    let pem = if status.success() { fs::read_to_string(&signature).ok() } else { None };
    pem.filter(|pem| pem.starts_with("-----BEGIN SSH SIGNATURE-----"))
        .ok_or_else(|| Error::NotSigned(key.to_owned()))
}
