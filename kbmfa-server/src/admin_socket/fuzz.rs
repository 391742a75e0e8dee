//! Fuzz entry points for frames, requests and replies. Whatever can be parsed must parse to the same value
//! after it is written again.
//!
//! The unit tests run the corpus, too.
#![expect(clippy::missing_panics_doc, reason = "a fuzz target fails by a loud panic")]

use serde_json::Value;

use super::frame::{self, HEAD, REPLY_MAX, REQUEST_MAX};
use super::peer::Access;
use super::request::{self, Request};
use crate::policy::Approver;

/// A frame with a request, or with a reply.
pub fn frames(bytes: &[u8]) {
    let Some((head, text)) = bytes.split_first_chunk::<HEAD>() else { return };
    let Ok(length) = frame::length(*head, REQUEST_MAX) else { return };
    let text = text.get(..length).unwrap_or(text);
    if let Ok(request) = Request::read(text) {
        let written = request.write();
        assert_eq!(Request::read(&written).as_ref(), Ok(&request));
        assert!(frame::encode(&written, REPLY_MAX).is_ok(), "what was read can be sent");
        assert!(Access::Nothing.to(&request).is_err(), "a stranger may ask for {request:?}");
        let decides = matches!(request, Request::Approve(_) | Request::Deny(_));
        assert_eq!(Access::Full.to(&request).is_err(), decides, "{request:?}");
        let is_for_members = matches!(request, Request::List(_) | Request::Show { .. } | Request::Watch(_));
        assert_eq!(Access::View.to(&request).is_ok(), is_for_members, "{request:?}");
        if let Ok(person) = Approver::console("alice") {
            let is_for_root = matches!(request, Request::Notify {} | Request::Reload {});
            assert_eq!(Access::Logins(person).to(&request).is_err(), is_for_root, "{request:?}");
        }
    }
    let outcome = request::read_reply::<Value>(text);
    assert_eq!(request::read_reply(&request::write_reply(&outcome)), outcome);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn the_corpus_passes_at_the_admin_socket() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/admin_requests");
        let files: Vec<_> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() > 5);
        for file in files {
            frames(&fs::read(file).unwrap());
        }
    }
}
