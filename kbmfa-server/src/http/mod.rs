//! The settings of both listeners, and the modules that serve them.

pub mod connections;
pub mod listen;
pub mod open_files;
pub mod status;
pub mod tls;

pub mod gate;
pub mod rejected_callers;
pub mod routes;

pub mod downloads;

#[cfg(any(test, fuzzing))]
pub mod fuzz;

mod activity;
pub mod call;
mod caller;
mod connection;
pub mod enrolment;
mod enrolments;
pub mod intake;
mod logins;
mod machines;
mod pool;
mod reply;
pub mod session_reports;
mod sessions;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ca::files::Files;
use crate::settings::Section;

/// Largest body of most requests, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024;

/// Time within which a connection must prove a credential. A machine gives a server five seconds.
const UNPROVEN_TIME: Duration = Duration::from_secs(10);

/// Maximum number of connections of employees' computers: in all, and from one source, such as an office. A refused
/// attempt keeps its connection for half a second, so that one source makes at most 32 of them a second.
const ENROLMENT: (usize, usize) = (256, 16);

/// Settings of the listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address for machines.
    pub listen: SocketAddr,
    /// Loopback address for the operator's own tools.
    pub status_listen: SocketAddr,
    /// DNS names and addresses of the server that its certificate must have.
    pub names: Vec<String>,
    /// The server's certificate.
    pub certificate: Certificate,
    /// Limits of the connections: in all, and from one source.
    pub limits: connections::Limits,
    /// Rate limit of one machine, in requests per second.
    pub requests_per_machine: NonZeroU32,
    /// The directory whose files are served under `/enroll/`, if there is one.
    pub downloads: Option<PathBuf>,
}

/// The kind of the server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// Signed by our own authority. This program makes and renews it.
    Ours(Files),
    /// The operator's own. This program only reads it.
    Own {
        /// The chain, PEM.
        cert: PathBuf,
        /// The private key, PEM.
        key: PathBuf,
    },
}

impl Certificate {
    /// The files that the server reads at its start.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Ours(files) => vec![files.certificate()],
            Self::Own { cert, key } => vec![cert.clone(), key.clone()],
        }
    }
}

impl Settings {
    /// Reads the keys of `[server]` about the certificate.
    pub fn read(server: &Section<'_>, state_dir: &Path) -> Self {
        let status_listen = server.parsed("status_listen", SocketAddr::from(([127, 0, 0, 1], 8444)));
        if !status_listen.ip().is_loopback() {
            server.fault("status_listen", "must be a loopback address: it answers anybody, without TLS");
        }
        let count =
            |key, default| usize::try_from(server.number(key, default, (1, 1_000_000))).unwrap_or(usize::MAX);
        let limits = connections::Limits {
            proven: count("connections", 12_000),
            proven_per_source: count("connections_per_address", 2_000),
            unproven: count("unproven_connections", 4_000),
            unproven_per_source: count("unproven_per_address", 2_000),
            unproven_time: UNPROVEN_TIME,
            enrolment: ENROLMENT.0,
            enrolment_per_source: ENROLMENT.1,
        };
        let per_machine = server.number("requests_per_machine", 50, (1, 1_000_000));
        let certificate = match (server.parsed_or_none("tls_cert"), server.parsed_or_none("tls_key")) {
            (Some(cert), Some(key)) => Certificate::Own { cert, key },
            (cert, key) => {
                if cert.is_some() || key.is_some() {
                    server.fault("tls_cert", "tls_cert and tls_key go together");
                }
                Certificate::Ours(Files::of(state_dir))
            }
        };
        Self {
            listen: server.parsed("listen", SocketAddr::from(([0, 0, 0, 0], 8443))),
            status_listen,
            names: server.list("names").unwrap_or_default(),
            certificate,
            limits,
            requests_per_machine: u32::try_from(per_machine)
                .ok()
                .and_then(NonZeroU32::new)
                .unwrap_or(NonZeroU32::MIN),
            downloads: None,
        }
    }

    /// `host:port` of the server, as in a URL: the first of its names.
    pub fn authority(&self) -> String {
        let host = self.names.first().map_or("localhost", String::as_str);
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        format!("{host}:{}", self.listen.port())
    }

    /// Number of files that the server may have open at once: one for each connection, and some 500 others.
    pub fn files_needed(&self) -> u64 {
        let limits = &self.limits;
        let connections = limits.proven.saturating_add(limits.unproven).saturating_add(limits.enrolment);
        u64::try_from(connections.saturating_add(OTHER_FILES)).unwrap_or(u64::MAX)
    }
}

/// Files besides the machines' connections: those of the database (three for each of 16 readers and the
/// writer), local connections, the pipes of Keybase's programs, and connections that are being closed.
const OTHER_FILES: usize = 512;
