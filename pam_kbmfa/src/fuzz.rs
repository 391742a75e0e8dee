//! Fuzz entry points for every parser of the module. Each checks the invariants that the other code relies
//! on.
//!
//! The module contains none of this. The unit tests run the corpus, too.
#![expect(clippy::missing_panics_doc, reason = "a fuzz target fails by a loud panic")]

use kbmfa_proto::login::{FirstFactor, KEY_BYTES_MAX, Phase};
use std::ffi::{CStr, CString};
use std::path::Path;

use crate::args::{Args, Proof, Purpose};
use crate::config::{ADDRESS_TIME, Ca, Config, DEADLINE_MAX, OnUnreachable};
use crate::facts::Facts;
use crate::procfs::{self, Process};
use crate::ssh::{self, Ends, Publickey};

/// `pam.toml`. An accepted file names a server, its times nest, all its paths are absolute, and it lets in
/// without a server only if it says so.
pub fn pam_toml(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let config = match Config::parse(Path::new("pam.toml"), text) {
        Ok(config) => config,
        Err(faults) => return assert!(faults.iter().any(|fault| !fault.to_string().is_empty()), "no fault"),
    };
    assert!(!config.targets.is_empty(), "no server");
    for target in &config.targets {
        assert!(rustls::pki_types::ServerName::try_from(target.host.as_str()).is_ok(), "{target:?}");
        assert!(target.address.port() != 0, "{target:?}");
    }
    assert!(config.deadline > ADDRESS_TIME && config.deadline <= DEADLINE_MAX, "{:?}", config.deadline);
    let ca = if let Ca::File(path) = &config.ca { path } else { Path::new("/") };
    assert!([ca, &config.credential, &config.spool].into_iter().all(Path::is_absolute), "a relative path");
    assert!(config.claims.is_none_or(|name| !name.is_claimed()), "claimed twice");
    // TOML can write a letter as a number.
    let says_allow = text.contains("allow") || text.contains('\\');
    assert!(config.on_unreachable == OnUnreachable::Deny || says_allow, "let in by nobody's word");
}

/// The words on the module's line, one in each line of the input. Only known words are accepted, each with
/// its own meaning.
pub fn module_arguments(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let Ok(words) = lines.map(CString::new).collect::<Result<Vec<_>, _>>() else { return };
    let words: Vec<&CStr> = words.iter().map(CString::as_c_str).collect();
    let Ok(args) = Args::parse(&words) else { return };
    let config = |word: &CStr| Some(Path::new(word.to_str().ok()?.strip_prefix("config=")?).to_owned());
    for word in &words {
        let known = [
            c"log_only",
            c"rehearsal",
            c"silent",
            c"debug",
            c"first_factor=publickey",
            c"first_factor=stack",
        ];
        let is_fault = cfg!(feature = "faults") && word.to_bytes().starts_with(b"fault=");
        assert!(known.contains(word) || config(word).is_some() || is_fault, "{word:?} was taken");
    }
    let has = |word| words.contains(&word);
    let purpose = match (has(c"log_only"), has(c"rehearsal")) {
        (false, false) => Purpose::Ask,
        (true, _) => Purpose::LogOnly,
        (false, true) => Purpose::DryRun,
    };
    assert!(!(has(c"log_only") && has(c"rehearsal")), "two purposes");
    assert_eq!((args.purpose, args.silent, args.debug), (purpose, has(c"silent"), has(c"debug")));
    assert_eq!(args.first_factor == Proof::Stack, has(c"first_factor=stack"));
    assert!(args.config.is_absolute() && words.iter().filter_map(|word| config(word)).count() <= 1);
}

/// The first line is `SSH_CONNECTION`, the rest is `SSH_AUTH_INFO_0`. A key is passed on as sshd reported it,
/// short and visible. Without a key the auth phase has no first factor.
pub fn ssh_environment(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let connection = ssh::connection(first);
    if let Ends::Known(found) = connection {
        let (client, server) = (found.client, found.server);
        let text = format!("{} {} {} {}", client.ip(), client.port(), server.ip(), server.port());
        assert_eq!(ssh::connection(&text), connection, "{text:?}");
    }
    let publickey = ssh::publickey(rest);
    let told = rest.lines().any(|line| line.starts_with("publickey "));
    assert_eq!(publickey.is_some(), told, "{rest:?}");
    if let Some(Publickey::Told(key)) = &publickey {
        let visible = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(key.len() <= KEY_BYTES_MAX && key.split(' ').all(visible), "{key:?}");
        assert_eq!(key.split(' ').count(), 2, "{key:?}");
        assert!(rest.lines().any(|line| line.strip_prefix("publickey ") == Some(key)), "{key:?}");
    }
    let facts = Facts { ssh: connection.known(), publickey, ..Facts::default() };
    let proven = facts.first_factor(Phase::Auth, Proof::Publickey);
    assert_eq!(proven.is_ok(), told);
    assert!(!matches!(proven, Ok(FirstFactor::Stack)), "nobody vouched");
}

/// `/proc/PID/stat`, and in the last line the target of a descriptor. No program name can change the parsed
/// parent, session and start time.
pub fn proc_files(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (stat, link) = text.rsplit_once('\n').unwrap_or((&text, ""));
    if let Some(process) = procfs::parse_stat(stat) {
        assert_eq!(stat.split(' ').next().map(str::parse), Some(Ok(process.pid)));
        assert!(stat.contains(')'), "{stat:?}");
    }
    let numbers = "S 41 42 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 200";
    let named = procfs::parse_stat(&format!("42 ({text}) {numbers}\n"));
    assert_eq!(named, Some(Process { pid: 42, parent: 41, session: 40, start: 98765 }), "{text:?}");
    if let Some(inode) = procfs::parse_socket(link) {
        assert_eq!(procfs::parse_socket(&format!("socket:[{inode}]")), Some(inode), "{link:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[track_caller]
    fn replay(target: &str, read: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
        let files: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty(), "nothing in {}", corpus.display());
        for file in files {
            read(&fs::read(file).unwrap());
        }
    }

    #[test]
    fn the_corpus_passes_in_the_module() {
        replay("pam_toml", pam_toml);
        replay("module_arguments", module_arguments);
        replay("ssh_environment", ssh_environment);
        replay("proc_files", proc_files);
    }
}
