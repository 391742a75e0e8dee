//! The three files that `join` writes: the CA list, the credential and pam.toml.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use zeroize::Zeroizing;

use super::cannot;
use crate::{Error, place};
use pam_kbmfa::config::Config;
use pam_kbmfa::config::access::read_credential;
use pam_kbmfa::config::value::Location;
use pam_kbmfa::random;

/// File of the new credential until the server has accepted it.
const NEW_CREDENTIAL: &str = "credential.new";

/// File of our pam.toml if the operator's own is kept.
pub(super) const NEW_CONFIG: &str = "pam.toml.new";

/// The text of a new pam.toml.
pub(super) fn render(location: &Location, addresses: &[SocketAddr], dir: &Path, deadline: &str) -> String {
    let Location { host, port } = location;
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let dir = dir.display();
    let mut text = format!(
        "# What pam_kbmfa.so reads at each login. Unknown keys are refused; `kbmfa-host status` checks it.\n\
         servers = [\"https://{authority}\"]\n\
         ca = \"{dir}/ca.pem\"\n\
         credential = \"{dir}/credential\"\n\
         # Longer than the server's window, shorter than sshd's LoginGraceTime.\n\
         deadline = \"{deadline}\"\n\
         # \"allow\" lets people in without approval when no server can be reached, and logs an alert.\n\
         on_unreachable = \"deny\"\n"
    );
    if location.address().is_none() {
        let list: Vec<String> = addresses.iter().map(|address| format!("\"{}\"", address.ip())).collect();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n# No name is looked up during a login.\n[addresses]\n\"{host}\" = [{}]\n",
            list.join(", ")
        );
    }
    text
}

/// Rejects settings that the module would reject, before anything is done.
pub(super) fn check(settings: &str) -> Result<(), Error> {
    Config::parse(Path::new("pam.toml"), settings).map(|_| ()).map_err(|faults| Error::all(&faults))
}

/// The credential of a completed earlier run, unless another run is in progress.
///
/// Anything else in that file, such as the `AUTH_TOKEN` that all hosts of the old tool share, is never registered:
/// whoever knows it could pose as this machine.
pub(super) fn installed_credential(dir: &Path) -> Option<Zeroizing<String>> {
    if dir.join(NEW_CREDENTIAL).exists() {
        return None;
    }
    read_credential(&dir.join("credential")).ok().filter(|text| is_of_join(text))
}

/// Start of every credential that `join` makes; 64 hexadecimal digits follow.
const PREFIX: &str = "kbmfa_";

/// Whether `join` has made this credential.
fn is_of_join(text: &str) -> bool {
    let digits = text.strip_prefix(PREFIX).unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The credential that an earlier run prepared, or a new one.
pub(super) fn prepare_credential(dir: &Path) -> Result<Zeroizing<String>, Error> {
    let path = dir.join(NEW_CREDENTIAL);
    if !path.exists() {
        let secret: Zeroizing<[u8; 32]> = Zeroizing::new(random::bytes().map_err(Error::new)?);
        let text = Zeroizing::new(format!("{PREFIX}{}\n", *Zeroizing::new(hex(secret.as_slice()))));
        place::create(dir, NEW_CREDENTIAL, place::SECRET, &text)
            .map_err(|error| cannot("write", &path, &error))?;
    }
    let again = || format!("remove {} and try again", path.display());
    let text = read_credential(&path).map_err(|fault| Error::new(fault).hint(again()))?;
    if !is_of_join(&text) {
        let what = format_args!("{} holds something that `kbmfa-host join` did not make", path.display());
        return Err(Error::new(what).hint(again()));
    }
    Ok(text)
}

/// Puts the files in place and returns their names. A pam.toml that the operator has changed is kept.
pub(super) fn install(dir: &Path, ca: &str, settings: &str, force: bool) -> io::Result<[&'static str; 3]> {
    place::replace(dir, "ca.pem", place::PUBLIC, ca)?;
    let name = match std::fs::read_to_string(dir.join("pam.toml")) {
        Ok(present) if present != settings && !force => NEW_CONFIG,
        _ => "pam.toml",
    };
    place::replace(dir, name, place::PUBLIC, settings)?;
    // The last step: until it is done, `join` can continue an interrupted run.
    if dir.join(NEW_CREDENTIAL).exists() {
        place::rename(dir, NEW_CREDENTIAL, "credential")?;
    }
    Ok(["ca.pem", "credential", name])
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests;
