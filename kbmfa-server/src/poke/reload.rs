//! The socket on which `kbmfa-server reload` asks a running server to read its configuration again, and hears the outcome.

use nix::unistd::Uid;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::fault_log::FaultLog;
use crate::progress::Progress;

/// Longest time that somebody waits for a reload, or the server for somebody to take its answer.
const TIME: Duration = Duration::from_secs(10);

/// First line of the answer when the new configuration is in force; what follows is worth knowing.
const DONE: &str = "reloaded";
/// First line when nothing has changed; what follows is why.
const REFUSED: &str = "refused";

/// What came of a reload: what is to be known about it, or why nothing has changed.
pub type Outcome = Result<Option<String>, String>;

/// Somebody who waits for a reload.
pub type Caller = oneshot::Sender<Outcome>;

fn answer(outcome: &Outcome) -> String {
    match outcome {
        Ok(note) => format!("{DONE}\n{}", note.as_deref().unwrap_or_default()),
        Err(why) => format!("{REFUSED}\n{why}"),
    }
}

/// The socket of this process, in no directory: two servers may share one, and a killed one leaves nothing behind.
fn address(pid: u32) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("kbmfa-server/reload/{pid}"))
}

/// Binds the socket of this process.
///
/// # Errors
/// What the system says.
pub fn bind() -> io::Result<UnixListener> {
    let listener = StdListener::bind_addr(&address(std::process::id())?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Passes on who asks for a reload, one after the other, and answers when it is over.
pub async fn listen(listener: UnixListener, callers: mpsc::Sender<Caller>, progress: Progress) {
    let mut faults = FaultLog::new("reload socket");
    loop {
        let accepted = progress.waiting(listener.accept()).await;
        let Some((stream, _)) = faults.note(accepted) else {
            tokio::time::sleep(TIME / 10).await;
            continue;
        };
        if stream.peer_cred().is_ok_and(|caller| is_trusted(caller.uid())) {
            let _ = tokio::time::timeout(TIME, serve(stream, &callers)).await;
        } else {
            log::warn!("another account asked for a reload and was ignored");
        }
    }
}

async fn serve(mut stream: UnixStream, callers: &mpsc::Sender<Caller>) -> io::Result<()> {
    let (caller, outcome) = oneshot::channel();
    callers.send(caller).await.map_err(io::Error::other)?;
    let outcome = outcome.await.map_err(io::Error::other)?;
    stream.write_all(answer(&outcome).as_bytes()).await
}

fn is_trusted(uid: u32) -> bool {
    let uid = Uid::from_raw(uid);
    uid.is_root() || uid == Uid::effective()
}

/// Asks the server that is this process, or else the one that hears rings for this state, to read everything again.
/// Waits for the outcome: what is to be known, if it did.
///
/// # Errors
/// Why it did not, or that it cannot be reached.
pub fn ask(pid: Option<u32>, state_dir: &Path) -> Outcome {
    let asked = async {
        let pid = match pid {
            Some(pid) => pid,
            None => super::listening_process(state_dir).await?,
        };
        tokio::time::timeout(TIME * 2, converse(pid)).await?
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let text = runtime.and_then(|runtime| runtime.block_on(asked));
    let text = text.map_err(|error| format!("the running server cannot be asked: {error}"))?;
    match text.split_once('\n') {
        Some((DONE, note)) => Ok((!note.is_empty()).then(|| note.to_owned())),
        Some((REFUSED, why)) => Err(why.to_owned()),
        _ => Err("the running server gave no answer; its log says more".to_owned()),
    }
}

async fn converse(pid: u32) -> io::Result<String> {
    let stream = StdStream::connect_addr(&address(pid)?)?;
    stream.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(stream)?;
    // Anybody may bind a name that is in no directory.
    if stream.peer_cred()?.pid().is_none_or(|answers| u32::try_from(answers) != Ok(pid)) {
        return Err(io::Error::other(format!("it is not process {pid} that answers")));
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}
