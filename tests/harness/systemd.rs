//! systemd's side of `Type=notify`: the socket to which a service reports its state.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::files::set_mode;
use crate::server::Server;
use crate::wait::until;

/// Largest report, in bytes.
const REPORT_BYTES_MAX: usize = 4096;

/// The notify socket of a service.
#[derive(Debug)]
pub struct Systemd {
    socket: UnixDatagram,
}

impl Systemd {
    /// Receives the reports of a server from its next start on, and sets its watchdog period.
    pub fn over(server: &Server, dir: &Path, watchdog_ms: u32) -> Self {
        let path = dir.join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        // The server may run as another account.
        set_mode(&path, 0o666);
        socket.set_nonblocking(true).unwrap();
        server.set_variable("NOTIFY_SOCKET", path.to_str().unwrap());
        server.set_variable("WATCHDOG_USEC", &(watchdog_ms * 1000).to_string());
        Self { socket }
    }

    /// The reports since the last call.
    pub fn reports(&self) -> Vec<String> {
        let mut bytes = [0; REPORT_BYTES_MAX];
        let next = || self.socket.recv(&mut bytes).ok().map(|length| bytes[..length].to_vec());
        std::iter::from_fn(next).map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    }

    /// Waits for a report that contains this, and returns it.
    pub fn wait_for(&self, what: &str) -> String {
        until(&format!("a report of {what:?}"), || {
            self.reports().into_iter().find(|report| report.contains(what))
        })
    }
}
