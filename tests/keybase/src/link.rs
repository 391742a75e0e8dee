//! One end of a connection: JSON lines over a unix socket.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Link {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Link {
    pub(crate) fn dial(path: &Path) -> io::Result<Self> {
        Self::over(UnixStream::connect(path)?)
    }

    pub(crate) fn over(stream: UnixStream) -> io::Result<Self> {
        Ok(Self { writer: stream.try_clone()?, reader: BufReader::new(stream) })
    }

    pub(crate) fn send<T: Serialize>(&mut self, line: &T) -> io::Result<()> {
        send(&mut self.writer, line)
    }

    /// The next line; `None` at the end.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&line)?))
    }

    /// Sends a line and waits for the reply to it.
    pub(crate) fn exchange<Q: Serialize, A: DeserializeOwned>(&mut self, question: &Q) -> io::Result<A> {
        self.send(question)?;
        self.receive()?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Sets the longest wait for each reply.
    pub(crate) fn set_limit(&self, limit: Duration) -> io::Result<()> {
        self.reader.get_ref().set_read_timeout(Some(limit))
    }

    /// Copies lines to another connection until there are no more, and then closes that one.
    pub(crate) fn pass_on(&mut self, mut other: UnixStream) {
        let mut line = Vec::new();
        while self.reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0)
            && other.write_all(&line).is_ok()
        {
            line.clear();
        }
        other.shutdown(Shutdown::Both).ok();
    }

    /// Another writer for the same connection.
    pub(crate) fn writer(&self) -> io::Result<UnixStream> {
        self.writer.try_clone()
    }
}

/// Writes a line with a single call.
pub(crate) fn send<T: Serialize>(writer: &mut impl Write, line: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    writer.write_all(&text)
}
