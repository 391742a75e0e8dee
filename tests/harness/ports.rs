//! Reserves loopback ports: no other test, in this process or another, uses a port while its value lives.

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// The first port. All are below the range from which the kernel takes ports of outgoing connections.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// A port on 127.0.0.1 that stays reserved while this value lives, even if nothing listens on it.
#[derive(Debug)]
pub struct Port {
    /// The port's number.
    pub number: u16,
    /// An abstract socket named after the port. Other processes see the reservation by it.
    _reserved: UnixDatagram,
}

impl Port {
    /// Reserves a port that nothing listens on.
    pub fn reserve() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes begin at different ports, so that they seldom compete.
        let start = u16::try_from(process::id() * 97 % u32::from(COUNT)).unwrap();
        (0..COUNT)
            .find_map(|_| {
                let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
                Self::try_reserve(FIRST + (start + step) % COUNT)
            })
            .expect("a free port on 127.0.0.1")
    }

    fn try_reserve(number: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("kbmfa-tests-port-{number}")).unwrap();
        let reserved = UnixDatagram::bind_addr(&name).ok()?;
        is_free(number).then_some(Self { number, _reserved: reserved })
    }
}

/// True if nothing listens on the port. The socket that finds it out does not listen itself: a child that another thread
/// starts at this moment inherits it until its `exec`, and would keep the port from its owner for so long.
fn is_free(number: u16) -> bool {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, number)).is_ok()
}
