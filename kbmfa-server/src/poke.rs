//! The socket in the state directory: the command line rings here after it has changed the database, so that
//! a running server looks at once. It carries no data; what changed stands in the database.

pub mod reload;

use nix::unistd::Uid;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::Notify;

use crate::fault_log::FaultLog;
use crate::progress::Progress;

/// Time between attempts to own the socket while another server on the same state does.
const RETRY: Duration = Duration::from_secs(2);

/// Name of the socket in the state directory.
const NAME: &str = "admin.sock";

/// Rings, if there is a server to hear it.
pub fn ring(state_dir: &Path) {
    let rung =
        std::os::unix::net::UnixStream::connect(state_dir.join(NAME)).and_then(|mut s| s.write_all(b"\n"));
    if let Err(error) = rung {
        log::debug!("no server to poke: {error}");
    }
}

/// Whether a server listens for rings.
pub fn is_heard(state_dir: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(state_dir.join(NAME)).is_ok()
}

/// The process that listens for rings, which is also rung by the question.
///
/// # Errors
/// If there is none.
pub async fn listening_process(state_dir: &Path) -> io::Result<u32> {
    let pid = tokio::net::UnixStream::connect(state_dir.join(NAME)).await?.peer_cred()?.pid();
    pid.and_then(|pid| u32::try_from(pid).ok()).ok_or_else(|| io::Error::other("its process is not known"))
}

/// Listens for rings and passes them on. While another server on this state has the socket, that one
/// hears them, and this one learns of changes by looking.
///
/// # Errors
/// What the system says.
pub async fn listen(state_dir: PathBuf, poke: Arc<Notify>, progress: Progress) -> io::Result<()> {
    let path = state_dir.join(NAME);
    let mut faults = FaultLog::new("admin socket");
    let listener = loop {
        progress.round().await;
        match own(&path) {
            Ok(listener) => break listener,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::time::sleep(RETRY).await,
            Err(error) => return Err(error),
        }
    };
    loop {
        let accepted = progress.waiting(listener.accept()).await;
        let caller = accepted.and_then(|(stream, _)| stream.peer_cred());
        let Some(caller) = faults.note(caller) else {
            // Out of file descriptors, most likely. Nothing is lost: the feed looks by itself, only later.
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let caller = Uid::from_raw(caller.uid());
        if caller.is_root() || caller == Uid::effective() {
            poke.notify_one();
        } else {
            log::warn!("uid {caller} poked the server and was ignored");
        }
    }
}

/// Binds the socket; one that nobody listens on is a leftover, and is replaced.
fn own(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
