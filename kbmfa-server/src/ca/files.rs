//! The files of authorities and of the server's certificate in the state directory. Each change is one
//! rename, so a crash leaves either the old state or the new one:
//!
//! ```text
//! ca/1/ca.pem ca.key   an authority, numbered in the order of creation; numbers are never reused
//! ca/signs -> 1        the one that signs
//! tls/server.pem       the server's key, its certificate, the authority's, in one file
//! ```

use kbmfa_proto::pin::Pin;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::Error;
use super::facts::{self, Facts};
use super::issue::Authority;
use crate::secret::Secret;

/// One authority on disk.
pub struct Known {
    /// Its number; newer ones have higher numbers.
    pub number: u32,
    /// Its certificate as PEM.
    pub pem: String,
    /// The certificate's contents.
    pub facts: Facts,
    /// Whether it signs.
    pub signs: bool,
}

/// The certificates of one state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    state_dir: PathBuf,
}

impl Files {
    /// The files of this state directory.
    pub fn of(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned() }
    }

    /// Directory of the authorities.
    pub fn ca_dir(&self) -> PathBuf {
        self.state_dir.join("ca")
    }

    /// Directory of the server's certificate.
    pub fn certificate(&self) -> PathBuf {
        certificate(&self.state_dir)
    }

    /// All authorities, oldest first; one of them signs.
    ///
    /// # Errors
    /// [`Error::NoAuthority`], [`Error::File`], [`Error::NoCertificate`].
    pub fn authorities(&self) -> Result<Vec<Known>, Error> {
        let signs = self.ca_dir().join("signs");
        let signer = fs::read_link(&signs).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => at(&signs)(error),
            _ => Error::NoAuthority(signs.clone()),
        })?;
        let signer = signer.to_str().and_then(|number| number.parse().ok());
        let entries = fs::read_dir(self.ca_dir()).map_err(at(&self.ca_dir()))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let mut numbers: Vec<u32> = names.collect();
        numbers.sort_unstable();
        let known: Vec<Known> =
            numbers.into_iter().map(|number| self.read(number, signer)).collect::<Result<_, _>>()?;
        if known.iter().any(|known| known.signs) { Ok(known) } else { Err(Error::NoAuthority(signs)) }
    }

    fn read(&self, number: u32, signer: Option<u32>) -> Result<Known, Error> {
        let path = self.ca_dir().join(number.to_string()).join("ca.pem");
        let pem = fs::read_to_string(&path).map_err(at(&path))?;
        let found = facts::of_pem(pem.as_bytes()).and_then(|found| found.into_iter().next());
        let facts = found.ok_or(Error::NoCertificate(path))?;
        Ok(Known { number, pem, facts, signs: signer == Some(number) })
    }

    /// The pin of the authority that signs, if its key is there, too. If it cannot be read, that is an error,
    /// because then it is not lost.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::NoCertificate`].
    pub fn signer_in_order(&self) -> Result<Option<Pin>, Error> {
        let known = match self.authorities() {
            Ok(known) => known,
            Err(Error::NoAuthority(_)) => return Ok(None),
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(signer) = known.into_iter().find(|known| known.signs) else { return Ok(None) };
        match self.key(signer.number) {
            Ok(_) => Ok(Some(signer.facts.pin)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The highest number that was ever given to an authority; 0 if there was none.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn newest_number(&self) -> Result<u32, Error> {
        let dir = self.ca_dir();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(at(&dir)(error)),
        };
        let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Ok(numbers.max().unwrap_or(0))
    }

    /// Path of an authority's certificate.
    pub fn certificate_of(&self, number: u32) -> PathBuf {
        self.ca_dir().join(number.to_string()).join("ca.pem")
    }

    /// All files of the first authority and its certificate, including temporary ones. Each directory comes
    /// before its contents.
    pub fn first(&self) -> Vec<PathBuf> {
        let (ca, tls) = (self.ca_dir(), self.state_dir.join("tls"));
        let in_ca = [".new", ".new/ca.key", ".new/ca.pem", "1", "1/ca.key", "1/ca.pem", ".signs", "signs"];
        let mut paths: Vec<_> = in_ca.iter().map(|name| ca.join(name)).collect();
        paths.extend([tls.join(".server.pem"), self.certificate()]);
        paths
    }

    /// An authority's private key.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn key(&self, number: u32) -> Result<Secret, Error> {
        let path = self.ca_dir().join(number.to_string()).join("ca.key");
        fs::read_to_string(&path).map(Secret::new).map_err(at(&path))
    }

    /// Adds an authority; it does not sign yet.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn add(&self, number: u32, authority: &Authority) -> Result<(), Error> {
        let (new, place) = (self.ca_dir().join(".new"), self.ca_dir().join(number.to_string()));
        remove(&new).map_err(at(&new))?;
        make_dir(&new).map_err(at(&new))?;
        write(&new.join("ca.key"), authority.key.reveal(), 0o600).map_err(at(&new))?;
        write(&new.join("ca.pem"), &authority.pem, 0o644).map_err(at(&new))?;
        rename(&new, &place).map_err(at(&place))
    }

    /// Lets this authority sign from now on.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn sign_with(&self, number: u32) -> Result<(), Error> {
        let (new, place) = (self.ca_dir().join(".signs"), self.ca_dir().join("signs"));
        remove(&new).map_err(at(&new))?;
        symlink(number.to_string(), &new).map_err(at(&new))?;
        rename(&new, &place).map_err(at(&place))
    }

    /// Removes an authority and its key.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn retire(&self, number: u32) -> Result<(), Error> {
        let (old, place) = (self.ca_dir().join(".retired"), self.ca_dir().join(number.to_string()));
        remove(&old).map_err(at(&old))?;
        rename(&place, &old).map_err(at(&place))?;
        remove(&old).map_err(at(&old))
    }

    /// The server's certificate chain; `None` if there is no readable one.
    pub fn chain(&self) -> Option<Vec<Facts>> {
        let pem = fs::read(self.certificate()).ok()?;
        facts::of_pem(&pem).filter(|chain| !chain.is_empty())
    }

    /// Replaces the server's certificate.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn put_certificate(&self, bundle: &Secret) -> Result<(), Error> {
        let path = self.certificate();
        let dir = self.state_dir.join("tls");
        let new = dir.join(".server.pem");
        make_dir(&dir)
            .and_then(|()| remove(&new))
            .and_then(|()| write(&new, bundle.reveal(), 0o600))
            .and_then(|()| rename(&new, &path))
            .map_err(at(&path))
    }
}

/// Path of the server's certificate in a state directory.
pub fn certificate(state_dir: &Path) -> PathBuf {
    state_dir.join("tls/server.pem")
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::File { cause, .. } if cause.kind() == io::ErrorKind::NotFound)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |cause| Error::File { path, cause }
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Removes leftovers of a crash, directories with their contents.
fn remove(path: &Path) -> io::Result<()> {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    match if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        File::open(from)?.sync_all()?;
    }
    fs::rename(from, to)?;
    to.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::issue;
    use crate::clock::Time;
    use crate::db::testing::START;
    use std::os::unix::fs::MetadataExt;

    fn numbers(files: &Files) -> Vec<(u32, bool)> {
        files.authorities().unwrap().iter().map(|known| (known.number, known.signs)).collect()
    }

    #[test]
    fn authorities_are_added_switched_and_removed_despite_leftovers_of_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::of(dir.path());
        assert!(matches!(files.authorities(), Err(Error::NoAuthority(_))));
        make_dir(&files.ca_dir().join(".new/half")).unwrap();
        make_dir(&files.ca_dir().join(".retired/half")).unwrap();
        symlink("9", files.ca_dir().join(".signs")).unwrap();
        let now = Time::from_micros(START);
        for number in [1, 2] {
            files.add(number, &issue::authority(now).unwrap()).unwrap();
            files.sign_with(1).unwrap();
        }
        assert_eq!(numbers(&files), [(1, true), (2, false)]);
        files.sign_with(2).unwrap();
        assert_eq!(numbers(&files), [(1, false), (2, true)]);
        files.retire(1).unwrap();
        assert_eq!(numbers(&files), [(2, true)]);
        assert_eq!(fs::read_dir(files.ca_dir()).unwrap().count(), 2, "the authority and the link");
        let key = files.ca_dir().join("2/ca.key");
        assert_eq!(fs::metadata(key).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_certificate_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::of(dir.path());
        assert!(files.chain().is_none());
        for text in ["one", "two"] {
            files.put_certificate(&Secret::new(text.to_owned())).unwrap();
            assert_eq!(fs::read_to_string(files.certificate()).unwrap(), text);
        }
        assert_eq!(fs::metadata(files.certificate()).unwrap().mode() & 0o777, 0o600);
        assert!(files.chain().is_none(), "neither is a certificate");
    }
}
