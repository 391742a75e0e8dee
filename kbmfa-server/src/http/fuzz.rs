//! Fuzz entry points for what a machine sends. Each checks the invariants that the other code relies on.
//!
//! The unit tests run the corpus, too.
#![expect(clippy::missing_panics_doc, reason = "a fuzz target fails by a loud panic")]

use kbmfa_proto::caller::Authorization;
use kbmfa_proto::enrolment::{Enrol, Lookup, Request, Signed};
use kbmfa_proto::key::PublicKey;
use kbmfa_proto::login::{FirstFactor, OpenLogin, WAIT_S_MAX};
use kbmfa_proto::machine::{Join, Trust};
use kbmfa_proto::session::{REPORTS_MAX, SessionReport};
use kbmfa_proto::text::SafeText;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use super::{caller, logins, reply, sessions};
use crate::enrolment::proof;
use crate::logins::key;
use crate::machines::caller::Credential;
use crate::secret::SecretHash;

#[path = "../../../kbmfa-proto/src/hidden.rs"]
mod hidden;
use hidden::deceives;

/// A request: the value of `Authorization` in the first line, an id with a query in the second, and the body
/// after them.
pub fn requests(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let mut line = || str::from_utf8(parts.next().unwrap_or_default()).unwrap_or_default();
    let (header, target) = (line(), line());
    authorization(header);
    let (id, query) = target.split_once('?').unwrap_or((target, ""));
    if let Ok(id) = logins::login_id(id) {
        assert_eq!(id.as_str().bytes().filter(u8::is_ascii_hexdigit).count(), 32, "{id}");
    }
    assert!(
        logins::parse_wait(query).is_none_or(|wait| wait <= Duration::from_secs(WAIT_S_MAX)),
        "{query:?}"
    );
    body(parts.next().unwrap_or_default());
}

/// A parsed header writes back to the same value, and a claimed name is marked as claimed.
fn authorization(header: &str) {
    let read = Authorization::read(header);
    let credential = caller::read(header, IpAddr::from([192, 0, 2, 1]).into());
    assert_eq!(read.is_some(), credential.is_some(), "{header:?}");
    if let Some(read) = read {
        let written = read.value();
        assert!(Authorization::read(&written).is_some_and(|again| again == read), "{header:?}");
    }
    if let Some(Credential::Token(claim)) = credential {
        assert!(claim.name.is_claimed(), "{header:?}");
    }
}

/// Reads the bytes as the body of each route.
fn body(bytes: &[u8]) {
    if let Some(login) = read::<OpenLogin>(bytes) {
        let texts = [Some(login.service), login.rhost, login.tty, Some(login.connection.id)];
        assert!(texts.iter().flatten().chain([&login.module_version]).all(is_clean), "an unclean text");
        assert!(!login.user.as_str().contains(deceives), "{}", login.user);
        if let FirstFactor::Publickey { key } = login.first_factor {
            let read = key::read(&key);
            let certificate = read.as_ref().and_then(|key| key.certificate.as_ref());
            let prints = read.iter().map(|key| &key.fingerprint).chain(certificate.map(|signed| &signed.ca));
            assert!(prints.into_iter().all(|print| print.len() == "SHA256:".len() + 43), "{key:?}");
            assert!(certificate.is_none_or(|signed| is_clean(&signed.key_id)), "{key:?}");
        }
    }
    if let Some(report) = read::<SessionReport>(bytes) {
        let texts = [Some(report.service), report.rhost, report.tty, Some(report.connection.id)];
        assert!(texts.iter().flatten().chain([&report.module_version]).all(is_clean), "an unclean text");
    }
    if let Ok((reports, refused)) = sessions::read(bytes) {
        assert!(reports.len() as u64 + refused <= REPORTS_MAX as u64, "{refused} refused");
    }
    if let Some(join) = read::<Join>(bytes)
        && let Some(hash) = SecretHash::from_hex(&join.credential_sha256)
    {
        assert_eq!(crate::random::to_hex(hash.as_bytes()), join.credential_sha256);
    }
    read::<Trust>(bytes);
    enrolment(bytes);
}

/// Reads the bytes as the body of each route for employees' computers. No signature that was not made passes.
fn enrolment(bytes: &[u8]) {
    read::<Lookup>(bytes);
    if let Some(enrol) = read::<Enrol>(bytes) {
        assert!(is_clean(&enrol.device), "an unclean text");
        if let Ok(proven) = proof::of_enrol(&enrol) {
            let read = PublicKey::parse(&enrol.key).ok();
            assert_eq!(read.as_ref().map(PublicKey::fingerprint), Some(proven.key.fingerprint()));
        }
    }
    if let Some(signed) = read::<Signed>(bytes) {
        let enrolled = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
        assert!(proof::of_signer(&signed, enrolled).is_err(), "nobody has that key");
        read::<Request>(signed.request.as_bytes());
    }
}

/// Reads a body. It must parse to the same value after it is written again.
fn read<T: for<'de> Deserialize<'de> + Serialize + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let found: T = reply::json(bytes).ok()?;
    let written = serde_json::to_vec(&found).unwrap_or_default();
    assert_eq!(reply::json::<T>(&written).ok().as_ref(), Some(&found));
    Some(found)
}

fn is_clean(text: &SafeText) -> bool {
    !text.as_str().contains(deceives)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn the_corpus_passes_in_the_routes() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/requests");
        let files: Vec<_> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty());
        for file in files {
            requests(&fs::read(file).unwrap());
        }
    }
}
