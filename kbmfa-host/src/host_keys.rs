//! The public keys by which this machine's sshd proves which machine it is. The server pins them.

use kbmfa_proto::machine::HOST_KEYS_MAX;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::doctor::host_key_files;

/// The sshd whose keys are reported.
#[derive(Debug, clap::Args)]
pub(super) struct Sshd {
    /// The sshd program whose host keys are reported
    #[arg(long, default_value = "/usr/sbin/sshd", value_name = "FILE")]
    sshd: PathBuf,
    /// Its configuration
    #[arg(long, default_value = "/etc/ssh/sshd_config", value_name = "FILE")]
    sshd_config: PathBuf,
}

/// Where sshd's keys are, if it does not say.
const USUAL: &str = "/etc/ssh/ssh_host_*_key.pub";

/// Most bytes that are read of a key's file. An RSA key of 16384 bits takes about 2800.
const FILE_MAX: u64 = 4096;

/// Most bytes of all keys together. The server takes requests of 16 KiB.
const TOTAL_MAX: usize = 8 << 10;

/// The public keys that sshd serves, one line `algorithm base64` each; or, if sshd cannot be asked, those in the usual
/// place. What cannot be read is left out: the server then keeps what it knows.
pub(super) fn served_by(Sshd { sshd, sshd_config }: &Sshd) -> Vec<String> {
    let told = host_key_files(sshd, sshd_config).unwrap_or_default();
    let files: Vec<PathBuf> = if told.is_empty() {
        glob::glob(USUAL).map(|found| found.filter_map(Result::ok).collect()).unwrap_or_default()
    } else {
        told.iter().map(|key| public(key)).collect()
    };
    lines(&files)
}

/// The file of the public key beside a private one. With an agent, sshd is told the public one itself.
fn public(key: &Path) -> PathBuf {
    if key.extension().is_some_and(|extension| extension == "pub") {
        return key.to_owned();
    }
    let mut name = key.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

/// The keys in these files, each once.
fn lines(files: &[PathBuf]) -> Vec<String> {
    let (mut lines, mut total) = (Vec::new(), 0);
    for line in files.iter().filter_map(|file| read(file).ok()).filter_map(|text| line(&text)) {
        if !lines.contains(&line) && lines.len() < HOST_KEYS_MAX && total + line.len() <= TOTAL_MAX {
            total += line.len();
            lines.push(line);
        }
    }
    lines
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(FILE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Algorithm and base64 of a `.pub` file, without its comment, which may be anything.
fn line(text: &str) -> Option<String> {
    let mut words = text.lines().next()?.split_ascii_whitespace();
    let (algorithm, encoded) = (words.next()?, words.next()?);
    let is_plain = |word: &str| word.bytes().all(|byte| byte.is_ascii_graphic());
    let fits = is_plain(algorithm) && is_plain(encoded) && !algorithm.contains("-cert-");
    fits.then(|| format!("{algorithm} {encoded}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_public_key_is_sent_without_its_comment_and_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let files = [
            file("a.pub", "ssh-ed25519 AAAA root@secret.example\n"),
            file("b.pub", "ssh-rsa BBBB\n"),
            file("c.pub", "ssh-ed25519 AAAA\n"),
            file("d.pub", "ssh-ed25519-cert-v01@openssh.com CCCC\n"),
            file("e.pub", ""),
            file("f.pub", "ssh-rsa \u{202e}\n"),
            dir.path().join("none.pub"),
        ];
        assert_eq!(lines(&files), ["ssh-ed25519 AAAA", "ssh-rsa BBBB"]);
        let many: Vec<PathBuf> =
            (0..20).map(|n| file(&format!("{n}.pub"), &format!("ssh-rsa {n}\n"))).collect();
        assert_eq!(lines(&many).len(), HOST_KEYS_MAX);
        let large = |n: u8| file(&format!("large{n}.pub"), &format!("ssh-rsa {n}{}\n", "A".repeat(3000)));
        let large: Vec<PathBuf> = (0..8).map(large).collect();
        assert!(lines(&large).concat().len() <= TOTAL_MAX && lines(&large).len() == 2);
    }

    #[test]
    fn the_public_key_is_beside_the_private_one() {
        assert_eq!(public(Path::new("/etc/ssh/key")), Path::new("/etc/ssh/key.pub"));
        assert_eq!(public(Path::new("/etc/ssh/a.key")), Path::new("/etc/ssh/a.key.pub"));
        assert_eq!(public(Path::new("/etc/ssh/key.pub")), Path::new("/etc/ssh/key.pub"));
    }
}
