//! Lines out of a child, of bounded length. Dropping a read loses nothing of the line.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line of a listener. A text of 10,000 bytes can be six times as long in JSON, and an event holds one.
pub(in crate::channels::keybase) const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Longest reply: anybody in a channel may react with many long texts, and a team may have thousands of members.
pub(in crate::channels::keybase) const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Reads lines.
pub(in crate::channels::keybase) struct Lines<R> {
    from: R,
    read: Vec<u8>,
    /// So much of it holds no end of a line.
    looked_at: usize,
    max: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(in crate::channels::keybase) fn new(from: R, max: usize) -> Self {
        Self { from, read: Vec::new(), looked_at: 0, max }
    }

    /// The next line, without its end; `None` if there is no more.
    ///
    /// # Errors
    /// What the pipe says, or that a line is longer than any should be.
    pub(in crate::channels::keybase) async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            let fresh = self.read.iter().skip(self.looked_at);
            if let Some(end) = fresh.clone().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=self.looked_at + end).collect();
                self.looked_at = 0;
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            self.looked_at = self.read.len();
            if self.read.len() > self.max {
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
        let mut lines = Lines::new(&b"one\n\ntwo\r\nrest"[..], 100);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(line);
        }
        assert_eq!(found, ["one", "", "two"], "what has no end is no line");
        let long = [b'x'; 102];
        assert!(Lines::new(&long[..], 100).next().await.is_err());
    }
}
