//! A client's connection to its service.

use serde::de::DeserializeOwned;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::autofork;
use super::failure::{Failure, Result};
use super::invocation::Invocation;
use crate::link::Link;
use crate::wire::Call;

/// A connection. It is made again if the service was restarted. If that fails once, every later call fails
/// with the same error.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    socket: &'a Path,
    link: Option<Link>,
    broken: Option<String>,
}

impl<'a> Client<'a> {
    /// Connects to the service. If there is none it is started, unless that is forbidden.
    pub(crate) fn dial(invocation: &'a Invocation) -> Result<Self> {
        let socket = invocation.place.socket.as_path();
        let link = match Link::dial(socket) {
            Err(_) if invocation.auto_fork => {
                autofork::start(invocation)?;
                Link::dial(socket)
            }
            dialled => dialled,
        };
        let link = link.map_err(|error| Failure::new(dial_error(socket, &error)))?;
        Ok(Self { socket, link: Some(link), broken: None })
    }

    /// Makes a call and waits for the reply. The error has the real client's text.
    pub(crate) fn call<A: DeserializeOwned>(&mut self, call: &Call) -> std::result::Result<A, String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let mut link = match self.link.take().map_or_else(|| Link::dial(self.socket), Ok) {
            Ok(link) => link,
            Err(error) => {
                let text = dial_error(self.socket, &error);
                self.broken = Some(text.clone());
                return Err(text);
            }
        };
        let reply = link.exchange(call).map_err(|_| "EOF".to_owned())?;
        self.link = Some(link);
        Ok(reply)
    }

    /// The bare connection.
    pub(crate) fn into_link(self) -> Result<Link> {
        self.link.ok_or_else(|| Failure::new("EOF"))
    }

    /// Waits until the service ends, and ignores everything that it sends.
    pub(crate) fn hang(&mut self) {
        if let Some(link) = &mut self.link {
            while let Ok(Some(_)) = link.receive::<serde_json::Value>() {}
        }
    }
}

/// Whether a service answers within this time.
pub(crate) fn answers(socket: &Path, limit: Duration) -> bool {
    let ping = |mut link: Link| {
        link.set_limit(limit)?;
        link.exchange::<_, crate::wire::ServiceFacts>(&Call::Ping)
    };
    Link::dial(socket).and_then(ping).is_ok()
}

/// A connection error in Go's words.
fn dial_error(socket: &Path, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::InvalidInput => "invalid argument".to_owned(),
        _ => error.to_string(),
    };
    format!("dial unix {}: connect: {why}", socket.display())
}
