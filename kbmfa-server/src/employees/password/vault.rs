//! Encrypts the hashes of passwords, with a key from a file in the state directory. The file is made for the first
//! password, and read for each: there are few, and who puts the right file back need not restart the server.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{CryptHash, Error};
use crate::random;
use crate::secret::{Secret, SecretHash};

/// Name of the file with the key, in the state directory.
pub const FILE: &str = "password.key";

/// First byte of everything that is encrypted: the form of the rest.
const VERSION: u8 = 1;

/// Length of the mark by which a key recognises what it encrypted, in bytes.
const KEY_MARK: usize = 8;

/// The key. A sealed value is `VERSION`, the key's mark, a random nonce, and the hash under AES-256-GCM. The employee's
/// id is authenticated with it, so that one person's password cannot be given to another.
pub struct Vault {
    key: LessSafeKey,
    mark: [u8; KEY_MARK],
}

impl Vault {
    /// The key of this state directory. If there is none, a new one is made.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::DamagedFile`], [`Error::Random`].
    pub fn open_or_make(state_dir: &Path) -> Result<Self, Error> {
        match Self::open(state_dir) {
            Err(Error::File { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let (path, secret) = (state_dir.join(FILE), Secret::new(random::hex::<32>()?));
        let new = state_dir.join(format!(".{FILE}.{}", random::hex::<8>()?));
        let placed = place(&new, &path, &secret);
        let _ = fs::remove_file(&new);
        placed.map_err(|cause| Error::File { path, cause })?;
        Self::open(state_dir)
    }

    /// The key of this state directory.
    ///
    /// # Errors
    /// [`Error::File`] if there is none, or if it cannot be read; [`Error::DamagedFile`].
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        let path = state_dir.join(FILE);
        match fs::read_to_string(&path).map(Secret::new) {
            Ok(text) => Self::of(&text).ok_or(Error::DamagedFile(path)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Error::DamagedFile(path)),
            Err(cause) => Err(Error::File { path, cause }),
        }
    }

    /// The key with these hex digits.
    fn of(text: &Secret) -> Option<Self> {
        let bytes = SecretHash::from_hex(text.reveal().trim_end())?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes.as_bytes()).ok()?);
        let mark = SecretHash::of(&format!("kbmfa password key {}", text.reveal().trim_end()));
        Some(Self { key, mark: *mark.as_bytes().first_chunk()? })
    }

    /// Encrypts the hash of this employee's password.
    ///
    /// # Errors
    /// [`Error::Random`], [`Error::Cipher`].
    pub fn seal(&self, employee_id: &str, hash: &CryptHash) -> Result<Vec<u8>, Error> {
        let nonce = random::bytes::<NONCE_LEN>()?;
        let mut text = hash.reveal().as_bytes().to_vec();
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce_used, aad(employee_id), &mut text)
            .map_err(|_| Error::Cipher)?;
        Ok([&[VERSION], self.mark.as_slice(), &nonce, &text].concat())
    }

    /// The hash of this employee's password.
    ///
    /// # Errors
    /// [`Error::OtherKey`] if another key encrypted it; [`Error::Damaged`] if it was changed, or is somebody else's.
    pub fn unseal(&self, employee_id: &str, sealed: &[u8]) -> Result<CryptHash, Error> {
        let (version, rest) = sealed.split_first().ok_or(Error::Damaged)?;
        let (mark, rest) = rest.split_first_chunk::<KEY_MARK>().ok_or(Error::Damaged)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Error::Damaged)?;
        if *version != VERSION {
            return Err(Error::Damaged);
        }
        if *mark != self.mark {
            return Err(Error::OtherKey);
        }
        let (nonce, mut text) = (Nonce::assume_unique_for_key(*nonce), text.to_vec());
        let plain = self.key.open_in_place(nonce, aad(employee_id), &mut text).map_err(|_| Error::Damaged)?;
        let plain = std::str::from_utf8(plain).map_err(|_| Error::Damaged)?;
        plain.parse().map_err(|_| Error::Damaged)
    }
}

fn aad(employee_id: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("kbmfa account password of {employee_id}").into_bytes())
}

/// Writes the key to `new` and gives it its name. If another process was faster, its key stays.
fn place(new: &Path, path: &Path, secret: &Secret) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    writeln!(file, "{}", secret.reveal())?;
    file.sync_all()?;
    match fs::hard_link(new, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const HASH: &str = "$y$j9T$abcdefghijklmnopqrstu/$GOBj9MnQX2XXRYb4Fyz9668D5epsKc/lpFQOxVhyXjA";

    fn hash() -> CryptHash {
        HASH.parse().unwrap()
    }

    #[test]
    fn a_key_is_made_once_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let started: Vec<_> = std::thread::scope(|scope| {
            let start = || Vault::open_or_make(dir.path()).unwrap().mark;
            let all: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(started.iter().all(|mark| *mark == started[0]), "all use the same key");
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE], "nothing else is left");
        assert_eq!(fs::metadata(dir.path().join(FILE)).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn what_is_sealed_shows_nothing_and_opens_for_the_same_person_alone() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open_or_make(dir.path()).unwrap();
        let sealed = vault.seal("ann", &hash()).unwrap();
        assert_ne!(sealed, vault.seal("ann", &hash()).unwrap(), "each has its own nonce");
        assert!(!sealed.windows(4).any(|part| HASH.as_bytes().windows(4).any(|plain| plain == part)));
        assert_eq!(vault.unseal("ann", &sealed).unwrap(), hash());
        assert!(matches!(vault.unseal("ben", &sealed), Err(Error::Damaged)));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.unseal("ann", &changed).is_err(), "byte {at}");
            assert!(vault.unseal("ann", &sealed[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn after_the_loss_of_the_key_the_error_says_that_the_person_must_choose_again() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = Vault::open_or_make(dir.path()).unwrap().seal("ann", &hash()).unwrap();
        fs::remove_file(dir.path().join(FILE)).unwrap();
        let told = Vault::open_or_make(dir.path()).unwrap().unseal("ann", &sealed).unwrap_err();
        assert!(matches!(told, Error::OtherKey) && told.to_string().contains("choose it again"), "{told}");
    }

    #[test]
    fn a_damaged_key_is_an_error_and_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "abc", &"A".repeat(64), "\u{fffd}"] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let Err(told) = Vault::open_or_make(dir.path()) else { panic!("{text:?}") };
            assert!(matches!(told, Error::DamagedFile(_)), "{told}");
            assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), text);
        }
    }
}
