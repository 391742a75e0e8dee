//! Lines out of a child, of bounded length. Dropping a read loses nothing of the line.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line. A text of 10,000 bytes can be six times as long in JSON, and a message repeats little else.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Reads lines.
pub(super) struct Lines<R> {
    from: R,
    read: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, read: Vec::new() }
    }

    /// The next line, without its end; `None` if there is no more.
    ///
    /// # Errors
    /// What the pipe says, or that a line is longer than any should be.
    pub(super) async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            if self.read.len() > LINE_BYTES_MAX {
                return Err(io::Error::other("a line without an end"));
            }
            if self.from.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_and_one_without_end_is_an_error() {
        let mut lines = Lines::new(&b"one\n\ntwo\r\nrest"[..]);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(line);
        }
        assert_eq!(found, ["one", "", "two"], "what has no end is no line");
        let long = vec![b'x'; LINE_BYTES_MAX + 2];
        assert!(Lines::new(&long[..]).next().await.is_err());
    }
}
