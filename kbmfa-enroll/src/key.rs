//! The keys of this computer: those that are there, and a new one.

use kbmfa_proto::enrolment::KEY_LINE_MAX;
use kbmfa_proto::key::{BadKey, PublicKey};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::os::{Computer, Os};
use crate::{Error, files, keygen};

/// Names of the keys that ssh tries without being told.
const TRIED_BY_SSH: [&str; 5] = ["id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"];

/// Name of the keys that this program makes; the second one gets `_2`, and so on.
const NEW_KEY: &str = "id_ed25519_kbmfa";

/// A key of this computer.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// Its public half.
    pub(crate) key: PublicKey,
    /// Its private half; the `.pub` file if that is in the agent or on a token.
    pub(crate) file: PathBuf,
    /// It was made by this run of the program.
    pub(crate) is_new: bool,
}

/// The files of a private key and of its public half, named by either.
fn halves(path: &Path) -> (PathBuf, PathBuf) {
    if path.extension().is_some_and(|extension| extension == "pub") {
        return (path.with_extension(""), path.to_owned());
    }
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    (path.to_owned(), public.into())
}

impl Held {
    /// Reads a key, named by the file of either half.
    pub(crate) fn read(os: Os, path: &Path) -> Result<Self, Error> {
        let (private, public) = halves(path);
        // A line that is longer than allowed must be seen as such.
        let text = match files::read(&public, 2 * KEY_LINE_MAX as u64) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && private.is_file() => {
                keygen::public_half(os, &private)?
            }
            read => read.map_err(|e| Error::file(&public, e))?,
        };
        let key = PublicKey::parse(&text).map_err(|e| Error::BadKey(public.clone(), e))?;
        Ok(Self { key, file: if private.exists() { private } else { public }, is_new: false })
    }

    /// Removes a key that was made a moment ago, and that nobody knows.
    pub(crate) fn discard(&self) {
        let (private, public) = halves(&self.file);
        // A file that stays does no harm.
        let _ = (fs::remove_file(private), fs::remove_file(public));
    }
}

/// Whether ssh offers the key of this file without an option.
pub(crate) fn is_tried_by_ssh(computer: &Computer, file: &Path) -> bool {
    TRIED_BY_SSH.iter().any(|name| file == computer.ssh_dir().join(name))
}

/// What was found on this computer.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The keys that can be enrolled: those in `~/.ssh` by the name of the file, then those that are in the
    /// agent alone.
    pub(crate) usable: Vec<Candidate>,
    /// The files in `~/.ssh` that hold another key, and what is wrong with it.
    pub(crate) refused: Vec<(PathBuf, BadKey)>,
}

/// A key that can be enrolled.
#[derive(Debug)]
pub(crate) enum Candidate {
    /// It has a file.
    File(Held),
    /// It is in the agent alone.
    Agent(PublicKey),
}

impl Candidate {
    pub(crate) fn key(&self) -> &PublicKey {
        match self {
            Self::File(held) => &held.key,
            Self::Agent(key) => key,
        }
    }

    /// The key with its file. A key of the agent gets one for its public half: `ssh-keygen` signs, and ssh
    /// chooses, by file.
    pub(crate) fn settle(self, computer: &Computer) -> Result<Held, Error> {
        let key = match self {
            Self::File(held) => return Ok(held),
            Self::Agent(key) => key,
        };
        let dir = computer.ssh_dir();
        files::make_dir(computer.os, &dir)?;
        let name: String =
            key.fingerprint().chars().skip(7).filter(char::is_ascii_alphanumeric).take(12).collect();
        let file = dir.join(format!("agent_{name}.pub"));
        files::create(&file, &format!("{}\n", key.line()))?;
        Ok(Held { key, file, is_new: false })
    }
}

/// Looks for keys in `~/.ssh` and in the agent.
pub(crate) fn find(computer: &Computer, in_agent: &[String]) -> Result<Found, Error> {
    let mut found = Found::default();
    for path in public_files(&computer.ssh_dir())? {
        match Held::read(computer.os, &path) {
            Ok(held) => found.usable.push(Candidate::File(held)),
            // A certificate belongs to a key that has a file of its own.
            Err(Error::BadKey(_, BadKey::Certificate)) => {}
            Err(Error::BadKey(path, why)) => found.refused.push((path, why)),
            // It was removed a moment ago, or cannot be read: then neither can ssh.
            Err(_) => {}
        }
    }
    for key in in_agent.iter().filter_map(|line| PublicKey::parse(line).ok()) {
        if found.usable.iter().all(|known| known.key().line() != key.line()) {
            found.usable.push(Candidate::Agent(key));
        }
    }
    Ok(found)
}

fn public_files(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::file(dir, e)),
    };
    let paths = entries.map(|entry| Ok(entry.map_err(|e| Error::file(dir, e))?.path()));
    let mut paths = paths.collect::<Result<Vec<_>, Error>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pub"));
    paths.sort();
    Ok(paths)
}

/// A path in `~/.ssh` for a new key, where nothing is.
pub(crate) fn free_path(computer: &Computer) -> PathBuf {
    let dir = computer.ssh_dir();
    let names = std::iter::once(NEW_KEY.to_owned()).chain((2..).map(|n: u32| format!("{NEW_KEY}_{n}")));
    let mut paths = names.map(|name| dir.join(name));
    let is_free = |path: &PathBuf| {
        let (private, public) = halves(path);
        fs::symlink_metadata(private).is_err() && fs::symlink_metadata(public).is_err()
    };
    paths.find(is_free).unwrap_or_else(|| dir.join(NEW_KEY))
}

/// Makes an ed25519 key. A file that is there already is never replaced: the key is made in a directory of
/// its own and then moved to its place.
pub(crate) fn make(os: Os, path: &Path, comment: &str, passphrase: bool) -> Result<Held, Error> {
    let (private, public) = halves(path);
    let dir = files::directory_of(&private);
    files::make_dir(os, dir)?;
    let scratch =
        tempfile::Builder::new().prefix(".kbmfa-").tempdir_in(dir).map_err(|e| Error::file(dir, e))?;
    let made = scratch.path().join("key");
    keygen::make(os, &made, comment, passphrase)?;
    files::move_to(&made, &private)?;
    if let Err(error) = files::move_to(&scratch.path().join("key.pub"), &public) {
        // The private half was moved there a moment ago by this function, and nobody uses it yet.
        let _ = fs::remove_file(&private);
        return Err(error);
    }
    Ok(Held { is_new: true, ..Held::read(os, &private)? })
}

#[cfg(test)]
mod tests;
