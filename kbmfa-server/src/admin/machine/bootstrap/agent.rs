//! Passes requests on to the ssh agent of the operator's session. Its socket is for the operator alone, and was connected
//! to before root was given up; libssh2 connects to a socket by its path, so this gives it one. Connections take turns.

use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use crate::random;

/// Longest message of an agent, as in OpenSSH, in bytes.
const MESSAGE_MAX: u32 = 256 * 1024;

/// A socket in a private directory, whose connections reach the agent. Both are removed on drop.
pub(super) struct Relay {
    directory: PathBuf,
    socket: PathBuf,
}

impl Relay {
    /// Listens in a new directory below this one.
    pub(super) fn start(mut agent: UnixStream, below: &Path) -> io::Result<Self> {
        let name = random::hex::<4>().map_err(|error| io::Error::other(error.to_string()))?;
        let directory = below.join(format!(".agent-{name}"));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let relay = Self { socket: directory.join("s"), directory };
        let listener = UnixListener::bind(&relay.socket)?;
        thread::Builder::new().name("agent".into()).spawn(move || {
            for mut caller in listener.incoming().map_while(Result::ok) {
                // Ends when the caller hangs up.
                while pass_on(&mut caller, &mut agent).is_ok() {}
            }
        })?;
        Ok(relay)
    }

    /// The socket's path.
    pub(super) fn path(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Passes one request on, and its reply back.
fn pass_on(caller: &mut UnixStream, agent: &mut UnixStream) -> io::Result<()> {
    agent.write_all(&message(caller)?)?;
    caller.write_all(&message(agent)?)
}

/// One message with its length.
fn message(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let size = u32::from_be_bytes(length);
    if size > MESSAGE_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut whole = length.to_vec();
    from.take(u64::from(size)).read_to_end(&mut whole)?;
    Ok(whole)
}
