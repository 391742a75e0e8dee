//! The command line's end of the admin socket.

use serde::de::DeserializeOwned;
use std::io::{self, Write};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

use super::frame::{self, REPLY_MAX, REQUEST_MAX};
use super::request::{self, InviteDelivery, InviteMessage, Request};
use super::{Refusal, ReloadOutcome, address_of, path_in};

/// Time for a reply beside the server's own work.
const TIME: Duration = Duration::from_secs(15);

/// Longest time to send a notification. It is only a hint: the server also detects changes by itself.
const NOTIFY_TIME: Duration = Duration::from_secs(1);

/// Notifies a running server, if any, that the database has changed. Does not wait for the reply.
pub fn notify_server(state_dir: &Path) {
    let told = StdStream::connect(path_in(state_dir)).and_then(|mut stream| {
        stream.set_write_timeout(Some(NOTIFY_TIME))?;
        stream.write_all(&frame::encode(&Request::Notify {}.write(), REQUEST_MAX)?)
    });
    if let Err(error) = told {
        log::debug!("no server to notify: {error}");
    }
}

/// Whether a server runs on this state.
pub fn is_running(state_dir: &Path) -> bool {
    StdStream::connect(path_in(state_dir)).is_ok()
}

/// A server to send requests to.
#[derive(Debug, Clone)]
pub enum Client {
    /// The server that listens at this path.
    At(PathBuf),
    /// The server that is this process.
    Process(u32),
}

/// Makes a server read its configuration and certificate again, and waits for the outcome: the server with
/// this process id, or else the one that works on this state.
///
/// # Errors
/// Why it did not, or that it cannot be reached.
pub fn reload(pid: Option<u32>, state_dir: &Path) -> ReloadOutcome {
    #[derive(serde::Deserialize)]
    struct Reloaded {
        note: Option<String>,
    }
    let client = pid.map_or_else(|| Client::At(path_in(state_dir)), Client::Process);
    let reloaded: Result<Reloaded, Refusal> = client.ask(&Request::Reload {});
    reloaded.map(|Reloaded { note }| note).map_err(|refusal| refusal.error)
}

/// Has the server on this state send an invite in the chat.
///
/// # Errors
/// Why nothing was sent, or that the server cannot be reached.
pub fn send_invite(state_dir: &Path, message: InviteMessage) -> Result<InviteDelivery, Refusal> {
    Client::At(path_in(state_dir)).ask(&Request::SendInvite(message))
}

impl Client {
    /// The server that works on this state.
    pub fn of_state(state_dir: &Path) -> Self {
        Self::At(path_in(state_dir))
    }

    /// Sends a request, and waits for the reply.
    ///
    /// # Errors
    /// Why it was not done, or that the server cannot be reached.
    pub fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Refusal> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let text = runtime.and_then(|runtime| {
            runtime.block_on(async {
                tokio::time::timeout(request.work_time() + TIME, self.exchange(request)).await?
            })
        });
        request::read_reply(&text.map_err(|error| self.unreachable(&error))?)
    }

    async fn exchange(&self, request: &Request) -> io::Result<Vec<u8>> {
        let mut stream = self.connect().await?;
        frame::write(&mut stream, &request.write(), REQUEST_MAX).await?;
        let reply = frame::read(&mut stream, REPLY_MAX).await?;
        reply.ok_or_else(|| {
            io::Error::new(io::ErrorKind::UnexpectedEof, "it sent no reply; its log has the reason")
        })
    }

    async fn connect(&self) -> io::Result<UnixStream> {
        let pid = match self {
            Self::At(path) => return UnixStream::connect(path).await,
            Self::Process(pid) => *pid,
        };
        let stream = StdStream::connect_addr(&address_of(pid)?)?;
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        // Any account may bind an abstract name, so the peer's process id is compared.
        if stream.peer_cred()?.pid().is_none_or(|answers| u32::try_from(answers) != Ok(pid)) {
            return Err(io::Error::other(format!("another process than {pid} answered")));
        }
        Ok(stream)
    }

    fn unreachable(&self, error: &io::Error) -> Refusal {
        let Self::At(path) = self else {
            return Refusal::new(format!("the running server cannot be asked: {error}"));
        };
        let refusal =
            Refusal::new(format!("the running server cannot be asked at {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::PermissionDenied => refusal.hint(
                "root and the members of the group in [admin] group can use it; a new member must log in \
                 again",
            ),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                refusal.hint("check that the server runs with [admin] group set; --socket names another path")
            }
            _ => refusal,
        }
    }
}
