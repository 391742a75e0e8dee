//! The listening sockets: one in the state directory, an abstract one of this process, and one for the group,
//! if there is a group. All accept the same requests. Not the socket but the peer decides which are allowed.

use nix::unistd::chown;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixListener;

use super::server::Server;
use super::{Settings, address_of, path_in, settings};
use crate::fault_log::FaultLog;
use crate::progress::Progress;

/// Pause before another attempt to bind a socket, and before another `accept` when the system is out of file
/// descriptors.
const RETRY: Duration = Duration::from_secs(2);

/// Serves the socket in the state directory. While another server on this state has bound it, that server
/// gets the notifications, and this one finds changes by polling the database.
pub async fn serve_state(state_dir: PathBuf, server: Server, progress: Progress) -> io::Result<()> {
    let path = path_in(&state_dir);
    let listener = loop {
        progress.round().await;
        match bind(&path) {
            Ok(listener) => break listener,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::time::sleep(RETRY).await,
            Err(error) => return Err(error),
        }
    };
    accept(&listener, &server, "admin socket", &progress).await
}

/// Serves the socket for the group. Logins do not depend on it, so if it cannot be created, that is logged
/// and tried again.
pub async fn serve_group(settings: Settings, server: Server, progress: Progress) -> io::Result<()> {
    let mut faults = FaultLog::new("the admin socket for the group");
    let Settings { group: Some(group), socket } = settings else { return std::future::pending().await };
    let listener = loop {
        progress.round().await;
        match bind(&socket) {
            Ok(listener) => break listener,
            // Another server on this state has bound it and answers there.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => faults.failed(format!("{}: {error}", socket.display())),
        }
        tokio::time::sleep(RETRY).await;
    };
    let (path, of) = (socket.clone(), group.clone());
    // The name service may be slow.
    let opened = progress.waiting(tokio::task::spawn_blocking(move || open_to(&path, &of))).await;
    if let Err(why) = opened.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
        log::error!(
            "the group {group} cannot use {}: {why}; `kbmfa-server check` names the fix",
            socket.display()
        );
    }
    accept(&listener, &server, "admin socket for the group", &progress).await
}

/// Serves the socket of this process, for `reload --pid`. Its name is abstract, so any account on the host
/// can bind it first; logins do not depend on it.
pub async fn serve_process(server: Server, progress: Progress) -> io::Result<()> {
    let mut faults = FaultLog::new("the admin socket of this process");
    let listener = loop {
        progress.round().await;
        if let Some(listener) = faults.note(bind_process()) {
            break listener;
        }
        tokio::time::sleep(RETRY).await;
    };
    accept(&listener, &server, "admin socket of the process", &progress).await
}

fn bind_process() -> io::Result<UnixListener> {
    let listener = StdListener::bind_addr(&address_of(std::process::id())?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Accepts connections forever, each in its own task, so that a slow peer blocks nobody.
async fn accept(
    listener: &UnixListener,
    server: &Server,
    what: &'static str,
    progress: &Progress,
) -> io::Result<()> {
    let mut faults = FaultLog::new(what);
    loop {
        let accepted = progress.waiting(listener.accept()).await;
        let taken = accepted.and_then(|(stream, _)| server.take(stream));
        if faults.note(taken).is_none() {
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Binds a socket that only its owner can use. Replaces a leftover one on which nobody listens.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if StdStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    set_mode(path, 0o600)?;
    Ok(listener)
}

/// Lets the group connect. Changes the mode last, when the socket belongs to the group.
fn open_to(path: &Path, group: &str) -> io::Result<()> {
    let gid = settings::gid(group)?.ok_or_else(|| io::Error::other("there is no such group"))?;
    chown(path, None, Some(gid))?;
    set_mode(path, 0o660)
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
