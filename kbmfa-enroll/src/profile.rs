//! What the program remembers after an enrolment, so that later requests need no options:
//! `~/.ssh/kbmfa_enroll.json`.

use kbmfa_proto::pin::Pin;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

use crate::os::Computer;
use crate::server::Location;
use crate::{Error, files};

/// Longest file that is read, in bytes.
const BYTES_MAX: u64 = 64 * 1024;

/// Most keys that are remembered.
const KEYS_MAX: usize = 8;

/// The server, and the keys that were enrolled there from this computer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) server: Location,
    pub(crate) pin: Pin,
    /// The newest first; one that waits for an approval does not sign yet.
    pub(crate) keys: Vec<PathBuf>,
}

fn path_of(computer: &Computer) -> PathBuf {
    computer.ssh_dir().join("kbmfa_enroll.json")
}

impl Profile {
    /// None if nothing was enrolled from this computer.
    pub(crate) fn read(computer: &Computer) -> Result<Option<Self>, Error> {
        let path = path_of(computer);
        match files::read(&path, BYTES_MAX) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::file(&path, e)),
            Ok(text) => {
                let damaged = |e: serde_json::Error| Error::file(&path, e.into());
                serde_json::from_str(&text).map(Some).map_err(damaged)
            }
        }
    }

    pub(crate) fn write(&self, computer: &Computer) -> Result<(), Error> {
        files::make_dir(computer.os, &computer.ssh_dir())?;
        let text = serde_json::to_string_pretty(self).map_err(io::Error::from)?;
        files::replace(&path_of(computer), &format!("{text}\n"))
    }

    /// Puts a key before all others.
    pub(crate) fn put_first(&mut self, key: &Path) {
        self.keys.retain(|other| other != key);
        self.keys.insert(0, key.to_owned());
        self.keys.truncate(KEYS_MAX);
    }

    /// Forgets the keys behind this one: the server accepted it, so it has taken their place.
    pub(crate) fn forget_behind(&mut self, key: &Path) {
        if let Some(at) = self.keys.iter().position(|other| other == key) {
            self.keys.truncate(at + 1);
        }
    }
}

/// The server to call: as the options say, and otherwise as it is remembered. The pin of one server is never
/// used for another.
pub(crate) fn server(
    location: Option<Location>,
    pin: Option<Pin>,
    profile: Option<&Profile>,
) -> Result<(Location, Pin), Error> {
    let remembered = profile.filter(|profile| location.as_ref().is_none_or(|given| *given == profile.server));
    let location = location.or_else(|| remembered.map(|profile| profile.server.clone()));
    let pin = pin.or_else(|| remembered.map(|profile| profile.pin));
    location.zip(pin).ok_or(Error::NoAnswer(
        "name the server and its pin as in your invite: --server https://HOST:PORT --pin sha256:HEX",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::computer;

    fn profile() -> Profile {
        Profile {
            server: "https://kbmfa.example:8443".parse().unwrap(),
            pin: Pin::from_sha256([7; 32]),
            keys: vec!["/h/.ssh/old".into()],
        }
    }

    #[test]
    fn a_profile_is_read_as_it_was_written() {
        let home = tempfile::tempdir().unwrap();
        let computer = computer(home.path());
        assert_eq!(Profile::read(&computer).unwrap(), None);
        profile().write(&computer).unwrap();
        assert_eq!(Profile::read(&computer).unwrap(), Some(profile()));
        std::fs::write(path_of(&computer), "{").unwrap();
        assert!(Profile::read(&computer).is_err());
    }

    #[test]
    fn a_pin_is_never_used_for_another_server() {
        let (known, pin) = (profile(), Pin::from_sha256([8; 32]));
        let (here, other) = (known.server.clone(), "https://other".parse::<Location>().unwrap());
        let chosen = |location: Option<&Location>, pin| server(location.cloned(), pin, Some(&known)).ok();
        assert_eq!(chosen(None, None), Some((here.clone(), known.pin)));
        assert_eq!(chosen(Some(&here), None), Some((here.clone(), known.pin)));
        assert_eq!(chosen(None, Some(pin)), Some((here, pin)));
        assert_eq!(chosen(Some(&other), None), None);
        assert_eq!(chosen(Some(&other), Some(pin)), Some((other, pin)));
        assert!(server(None, Some(pin), None).is_err());
    }

    #[test]
    fn the_newest_key_is_first_and_the_replaced_ones_are_forgotten_once_it_signs() {
        let mut known = profile();
        known.put_first(Path::new("/h/.ssh/new"));
        known.put_first(Path::new("/h/.ssh/new"));
        assert_eq!(known.keys, [Path::new("/h/.ssh/new"), Path::new("/h/.ssh/old")]);
        known.forget_behind(Path::new("/h/.ssh/new"));
        assert_eq!(known.keys, [Path::new("/h/.ssh/new")]);
        known.forget_behind(Path::new("/elsewhere"));
        assert_eq!(known.keys.len(), 1);
    }
}
