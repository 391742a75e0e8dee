//! Fuzz entry points for a server's answers: raw HTTP through the client's reader, and bodies.
//!
//! The unit tests run the corpus, too.

use std::net::SocketAddr;
use std::time::Duration;
use ureq::http::StatusCode;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use super::{Client, Error, Method, REPLY_BYTES_MAX, Target, read};
use crate::hidden::deceives;
use crate::login::{LoginReply, State};
use crate::machine::{Authorities, Machine};
use crate::problem::Problem;
use crate::session::Taken;
use crate::text::SafeText;

/// More than enough, because nothing here waits.
const TIME: Duration = Duration::from_secs(10);

/// Reads the bytes as a whole answer, and as a body alone.
pub fn answers(bytes: &[u8]) {
    with_head(bytes);
    body(bytes);
}

/// Reads the bytes as a whole answer, head included, as they come over a connection.
fn with_head(bytes: &[u8]) {
    let target = Target { host: "192.0.2.7".into(), address: SocketAddr::from(([192, 0, 2, 7], 443)) };
    let client = Client::over(Canned(bytes.to_owned()), &target, None);
    let answer = client.call::<(), LoginReply>(Method::GET, "/v1/logins/x?wait=25", None, TIME);
    let text = String::from_utf8_lossy(bytes);
    match &answer {
        Ok(reply) => {
            let status = |line: &str| line.starts_with("HTTP/1.") && line.get(9..10) == Some("2");
            assert!(text.split('\n').any(status), "taken for a success");
            // A chunk boundary can be inside the word.
            checked(reply, &text, text.to_ascii_lowercase().contains("chunked"));
        }
        Err(Error::Refused(problem)) => refusal(problem),
        // Where `on_unreachable` is "allow", that would let somebody in.
        Err(error) => assert!(!matches!(error, Error::Connect(_)), "taken for unreachable: {error}"),
    }
}

/// Reads the bytes as a body, of a success and of a refusal, as each call reads it.
fn body(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(reply) = read::<LoginReply>(StatusCode::OK, bytes) {
        checked(&reply, &text, false);
    }
    if let Ok(machine) = read::<Machine>(StatusCode::OK, bytes) {
        assert!(machine.name.as_str().parse() == Ok(machine.name), "a bad name");
    }
    let _ = read::<Taken>(StatusCode::OK, bytes);
    let _ = read::<Authorities>(StatusCode::OK, bytes);
    for status in [StatusCode::UNAUTHORIZED, StatusCode::FOUND] {
        match read::<LoginReply>(status, bytes) {
            Err(Error::Refused(problem)) => {
                assert_eq!(problem.status, status.as_u16());
                refusal(&problem);
            }
            answer => assert!(matches!(answer, Err(Error::Garbage(_))), "{answer:?} of {status}"),
        }
    }
}

/// No answer without the word "approved" lets anybody in, and no text that is displayed deceives.
fn checked(reply: &LoginReply, text: &str, is_cut: bool) {
    assert!(text.len() as u64 <= REPLY_BYTES_MAX * 2, "{} bytes were read", text.len());
    // JSON can write a letter as a number.
    let says_so = text.contains("\"approved\"") || text.contains("\\u") || is_cut;
    assert!(reply.state != State::Approved || says_so, "approved by nobody's word");
    let texts = [&reply.reason, &reply.say];
    assert!(texts.into_iter().flatten().all(is_clean), "an unclean text");
    let again = serde_json::to_vec(reply).unwrap_or_default();
    assert_eq!(read::<LoginReply>(StatusCode::OK, &again).ok().as_ref(), Some(reply));
}

fn refusal(problem: &Problem) {
    let texts = [Some(&problem.code), Some(&problem.title), problem.detail.as_ref()];
    assert!(texts.into_iter().flatten().all(is_clean), "an unclean text");
}

fn is_clean(text: &SafeText) -> bool {
    !text.as_str().contains(deceives)
}

/// A connector whose connections deliver these bytes and then end.
#[derive(Debug)]
struct Canned(Vec<u8>);

impl Connector for Canned {
    type Out = Playing;

    fn connect(&self, _: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Playing>, ureq::Error> {
        let buffers = LazyBuffers::new(super::wire::BUFFER_BYTES, super::wire::BUFFER_BYTES);
        Ok(Some(Playing { buffers, left: self.0.clone() }))
    }
}

#[derive(Debug)]
struct Playing {
    buffers: LazyBuffers,
    left: Vec<u8>,
}

impl Transport for Playing {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, _: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let room = self.buffers.input_append_buf();
        let amount = room.len().min(self.left.len());
        for (place, byte) in room.iter_mut().zip(self.left.drain(..amount)) {
            *place = byte;
        }
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn the_corpus_passes_in_the_client() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/answers");
        let files: Vec<_> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty());
        for file in files {
            answers(&fs::read(file).unwrap());
        }
    }

    #[test]
    fn canned_bytes_are_read_as_an_answer() {
        let target = Target { host: "192.0.2.7".into(), address: SocketAddr::from(([192, 0, 2, 7], 443)) };
        let client = Client::over(
            Canned(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"taken\":7}".to_vec()),
            &target,
            None,
        );
        let taken: Taken = client.call::<(), _>(Method::GET, "/", None, TIME).unwrap();
        assert_eq!(taken.taken, 7);
    }
}
