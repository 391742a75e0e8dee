//! Reads lines of bounded length from a child process. Cancel safe: a dropped read loses no data.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line of a listener, in bytes. An event contains one text of at most 10,000 bytes, which JSON can
/// make six times as long.
pub(in crate::channels::keybase) const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Longest reply, in bytes: members of a channel may react with many long texts, and a team may have
/// thousands of members.
pub(in crate::channels::keybase) const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Reads lines from a pipe.
pub(in crate::channels::keybase) struct Lines<R> {
    from: R,
    read: Vec<u8>,
    /// The first bytes of `read` that contain no line end.
    scanned: usize,
    max: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(in crate::channels::keybase) fn new(from: R, max: usize) -> Self {
        Self { from, read: Vec::new(), scanned: 0, max }
    }

    /// The next line without its line end; `None` at the end of the input. A line longer than the limit is an
    /// error.
    pub(in crate::channels::keybase) async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            let fresh = self.read.iter().skip(self.scanned);
            if let Some(end) = fresh.clone().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=self.scanned + end).collect();
                self.scanned = 0;
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            self.scanned = self.read.len();
            if self.read.len() > self.max {
                return Err(io::Error::other("the line is too long"));
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
    async fn complete_lines_are_returned_and_a_line_that_is_too_long_is_an_error() {
        let mut lines = Lines::new(&b"one\n\ntwo\r\nrest"[..], 100);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(line);
        }
        assert_eq!(found, ["one", "", "two"], "text without a line end is not a line");
        let long = [b'x'; 102];
        assert!(Lines::new(&long[..], 100).next().await.is_err());
    }
}
