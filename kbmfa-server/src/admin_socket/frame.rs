//! Frames: the length of the JSON text in four bytes, big endian, and then the text.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest request, in bytes.
pub(super) const REQUEST_MAX: usize = 64 * 1024;
/// Longest reply, in bytes.
pub(super) const REPLY_MAX: usize = 1024 * 1024;

/// Number of bytes of the length.
pub(super) const HEAD: usize = 4;

/// Reads the length of a frame.
///
/// # Errors
/// If it is more than `max`. The text is not read then.
pub(super) fn length(head: [u8; HEAD], max: usize) -> io::Result<usize> {
    let length = u32::from_be_bytes(head);
    usize::try_from(length).ok().filter(|length| *length <= max).ok_or_else(|| {
        let what = format!("a frame has {length} bytes; at most {max} are allowed");
        io::Error::new(io::ErrorKind::InvalidData, what)
    })
}

/// The frame of this text.
pub(super) fn encode(text: &[u8], max: usize) -> io::Result<Vec<u8>> {
    let head = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    length(head, max)?;
    Ok([&head, text].concat())
}

/// Reads one frame. `None` if the other end closes without sending a byte, as a check for a running server
/// does.
///
/// # Errors
/// If the frame is too long, or ends early.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin), max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; HEAD];
    let count = stream.read(&mut head).await?;
    if count == 0 {
        return Ok(None);
    }
    if let Some(rest) = head.get_mut(count..) {
        stream.read_exact(rest).await?;
    }
    let mut text = vec![0; length(head, max)?];
    stream.read_exact(&mut text).await?;
    Ok(Some(text))
}

/// Writes one frame.
///
/// # Errors
/// If the text is too long, or the other end has closed.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), text: &[u8], max: usize) -> io::Result<()> {
    stream.write_all(&encode(text, max)?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_back(bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        read(&mut &*bytes, 10).await
    }

    #[tokio::test]
    async fn a_frame_reads_back() {
        let frame = encode(b"{\"v\":1}", 10).unwrap();
        assert_eq!(frame.get(..5).unwrap(), b"\0\0\0\x07{");
        assert_eq!(read_back(&frame).await.unwrap().unwrap(), b"{\"v\":1}");
        assert_eq!(read_back(&frame[..0]).await.unwrap(), None, "nobody asked anything");
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_or_cut_off_is_an_error() {
        assert!(encode(&[b' '; 11], 10).is_err());
        let announced = read_back(b"\xff\xff\xff\xff{").await.unwrap_err().to_string();
        assert_eq!(announced, "a frame has 4294967295 bytes; at most 10 are allowed");
        for cut in [&b"\0"[..], b"\0\0\0", b"\0\0\0\x02", b"\0\0\0\x02{"] {
            assert!(read_back(cut).await.is_err(), "{cut:?}");
        }
    }
}
