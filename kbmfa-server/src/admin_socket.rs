//! The admin socket: one request and one reply, as framed JSON. Through it the command line notifies a
//! running server that the database has changed, and makes it reload. Members of a group that the operator
//! names list and answer logins through it without root.
//!
//! The caller is identified by the uid that the kernel reports for the peer (`SO_PEERCRED`), never by a field
//! of the request.

mod adopt;
pub mod client;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod invites;
pub mod listener;
mod login_uid;
pub mod logins;
mod peer;
mod permits;
pub mod provision;
mod refusal;
pub mod request;
pub mod rows;
mod server;
mod settings;

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use login_uid::LoginUid;
pub use refusal::Refusal;
pub use server::{Reload, Server};
pub use settings::{DEFAULT_PATH, Settings};

/// Name of the socket in the state directory. Root and the server's own account use it.
const NAME: &str = "admin.sock";

/// The result of a reload: a note for the operator, or why nothing was changed.
pub type ReloadOutcome = Result<Option<String>, String>;

/// The socket of the server that works on this state.
fn path_in(state_dir: &Path) -> PathBuf {
    state_dir.join(NAME)
}

/// The address of the socket of one process. It is in no directory, because two servers may share a state
/// directory, and a killed server must leave nothing behind.
fn address_of(pid: u32) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("kbmfa-server/admin/{pid}"))
}
