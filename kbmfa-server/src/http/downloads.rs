//! `GET /enroll/NAME`: serves the files of a directory that the operator fills, to anybody.
//!
//! Downloads have few permits of their own, in all and for each source. A file is read and sent in small pieces, and a
//! reader that does not take a piece in time is dropped, so neither memory nor permits are held for long.

use http_body_util::BodyDataStream;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use warp::reply::{Reply, Response};

use super::activity::InFlight;
use super::connections::Served;
use super::pool::Permit;
use super::reply;
use crate::fault_log::SharedFaultLog;

/// What the path begins with.
const PREFIX: &str = "/enroll/";

/// Longest name of a file, in bytes.
const NAME_MAX: usize = 64;

/// Largest file, in bytes.
pub const SIZE_MAX: u64 = 64 * 1024 * 1024;

/// Bytes that are read at once. A download holds at most three such pieces.
const PIECE: u64 = 64 * 1024;

/// Longest time in which a reader takes one piece.
const PIECE_TIME: Duration = Duration::from_secs(15);

/// Longest time of one download.
const TIME_MAX: Duration = Duration::from_secs(15 * 60);

/// The connection is kept so long after the last piece was taken, until that has left, too.
const LINGER: Duration = Duration::from_secs(15);

static FAULTS: SharedFaultLog = SharedFaultLog::new("a download");

/// What a download holds while it lasts.
#[derive(Clone)]
pub(super) struct Held {
    /// One of the permits of downloads.
    pub(super) permit: Arc<Permit>,
    /// Keeps the connection from being closed for being idle or unproven.
    pub(super) alive: Arc<(Served, Arc<InFlight>)>,
}

/// The name of the file that this path asks for; `None` if it is another route.
pub(super) fn name_in(path: &str) -> Option<&str> {
    path.strip_prefix(PREFIX)
}

/// Whether a file with this name is served. No name is a path, or a hidden file.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=NAME_MAX).contains(&name.len()) && name.chars().all(plain) && !name.starts_with(['.', '-'])
}

/// Opens a file that is served: no link, nothing but a file, and not too large. Returns its size, too.
///
/// # Errors
/// Why it is not served.
pub fn open(directory: &Path, name: &str) -> io::Result<(File, u64)> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(directory.join(name))?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() > SIZE_MAX {
        return Err(io::Error::other(format!("{name} is no file of at most {SIZE_MAX} bytes")));
    }
    Ok((file, found.len()))
}

/// Answers a request for this file.
pub(super) async fn answer(directory: Option<PathBuf>, name: &str, held: Option<Held>) -> Response {
    let (Some(directory), Some(held), true) = (directory, held, is_name(name)) else {
        return reply::not_found();
    };
    let name = name.to_owned();
    let opened = spawn_blocking(move || open(&directory, &name)).await.map_err(io::Error::other);
    let (file, size) = match opened.flatten() {
        Ok(opened) => opened,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                FAULTS.failed(error);
            }
            return reply::not_found();
        }
    };
    let (sender, body) = Channel::<Bytes, io::Error>::new(1);
    tokio::spawn(send(file, size, sender, held));
    let mut response = warp::reply::stream(BodyDataStream::new(body)).into_response();
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

async fn send(file: File, size: u64, mut sender: Sender<Bytes, io::Error>, held: Held) {
    let Held { permit, alive } = held;
    match timeout(TIME_MAX, send_pieces(file, size, &mut sender)).await {
        Ok(Ok(())) => drop(sender),
        Ok(Err(error)) => sender.abort(error),
        Err(_) => sender.abort(io::ErrorKind::TimedOut.into()),
    }
    drop(permit);
    sleep(LINGER).await;
    drop(alive);
}

/// Sends exactly the announced number of bytes, also if the file grows meanwhile.
async fn send_pieces(mut file: File, size: u64, sender: &mut Sender<Bytes, io::Error>) -> io::Result<()> {
    let mut left = size;
    while left > 0 {
        let read = spawn_blocking(move || {
            let mut piece = Vec::new();
            file.by_ref().take(left.min(PIECE)).read_to_end(&mut piece)?;
            Ok::<_, io::Error>((file, piece))
        });
        let (back, piece) = read.await.map_err(io::Error::other)??;
        let count = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (file, left) = (back, left.saturating_sub(count));
        let taken = timeout(PIECE_TIME, sender.send_data(Bytes::from(piece))).await;
        taken.map_err(|_| io::ErrorKind::TimedOut)?.map_err(io::Error::other)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_name_leads_out_of_the_directory() {
        for good in ["kbmfa-enroll", "kbmfa-enroll_1.2-linux.exe", &"a".repeat(NAME_MAX)] {
            assert!(is_name(good), "{good}");
        }
        let too_long = "a".repeat(NAME_MAX + 1);
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "-o",
            "a/b",
            "../etc/passwd",
            "a%2fb",
            "a\\b",
            "a\0",
            "\u{e4}",
            "a b",
            &too_long,
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn only_files_of_the_directory_itself_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("there"), "12345").unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        symlink("/etc/passwd", dir.path().join("link")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        File::create(dir.path().join("huge")).unwrap().set_len(SIZE_MAX + 1).unwrap();
        assert_eq!(open(dir.path(), "there").unwrap().1, 5);
        for name in ["folder", "link", "pipe", "huge", "absent"] {
            assert!(open(dir.path(), name).is_err(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_file_that_shrinks_ends_the_download_and_one_that_grows_is_cut() {
        for (size, expected) in [(3, Some(3)), (9, None)] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("file"), "12345").unwrap();
            let (file, _) = open(dir.path(), "file").unwrap();
            let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
            let sending = tokio::spawn(async move { send_pieces(file, size, &mut sender).await });
            let got = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes().len();
            assert_eq!(sending.await.unwrap().is_ok().then_some(got), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join("file")).unwrap().set_len(10 * PIECE).unwrap();
        let (file, size) = open(dir.path(), "file").unwrap();
        let (mut sender, _body) = Channel::<Bytes, io::Error>::new(1);
        let ended = send_pieces(file, size, &mut sender).await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
    }
}
