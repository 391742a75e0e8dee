//! Finds the ssh client's socket among this process's own descriptors, so that the module notices a hang-up.
//!
//! The socket is only watched: no byte of it is read or written here.

use kbmfa_proto::client::{self, Watch};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use crate::procfs::Proc;
use crate::sys;

/// The ssh client's end of the connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// A duplicate of its socket, to watch.
    pub(crate) watch: Watch,
    /// The socket's inode, which identifies it in other processes.
    pub(crate) inode: u64,
}

/// Finds the socket whose peer is `client`; `None` if this process does not hold it.
pub(crate) fn find(proc: &Proc, client: SocketAddr) -> io::Result<Option<Peer>> {
    for (fd, inode) in proc.sockets(std::process::id())? {
        if let Some(watch) = connected_to(client, fd)? {
            return Ok(Some(Peer { watch: Arc::new(client::Peer::new(watch)), inode }));
        }
    }
    Ok(None)
}

fn connected_to(client: SocketAddr, fd: RawFd) -> io::Result<Option<OwnedFd>> {
    let socket = match sys::duplicate(fd) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => return Ok(None),
        duplicate => TcpStream::from(duplicate?),
    };
    let leads_there = socket.peer_addr().is_ok_and(|peer| same(peer, client));
    Ok(leads_there.then(|| socket.into()))
}

/// Compares two addresses. sshd that listens on `::` sees an IPv4 client as `::ffff:192.0.2.1`, but writes
/// `192.0.2.1`.
fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::net::TcpListener;

    #[test]
    fn the_clients_socket_is_found_beyond_a_thousand_descriptors() {
        let many: Vec<File> = (0..1100).map_while(|_| File::open("/dev/null").ok()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, address) = listener.accept().unwrap();
        let peer = find(&Proc::default(), address).unwrap().expect("the socket was not found");
        assert!(peer.inode > 0);
        drop((client, many));
    }

    #[test]
    fn a_stranger_has_no_socket_here() {
        assert!(find(&Proc::default(), "192.0.2.1:50000".parse().unwrap()).unwrap().is_none());
    }

    #[test]
    fn an_ipv4_client_of_a_dual_stack_socket_is_the_same() {
        let [plain, mapped, other] = ["192.0.2.1:50000", "[::ffff:192.0.2.1]:50000", "192.0.2.1:50001"]
            .map(|text| text.parse().unwrap());
        assert!(same(plain, mapped) && same(plain, plain) && !same(plain, other));
    }
}
