//! The server's routes for an employee's computer.

use kbmfa_proto::client::{BadCa, Client, Error as CallError, Method, Target, Trust};
use kbmfa_proto::enrolment::{Challenge, Enrol, Enrolled, Follow, Invited, Lookup, Progress, Signed};
use kbmfa_proto::pin::Pin;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::ToSocketAddrs as _;
use std::time::Duration;

use crate::Error;

/// Longest time for one call; the server answers a refused invite half a second after it arrived.
const CALL_TIME: Duration = Duration::from_secs(15);

/// Largest answer that is read, in bytes. A machine with its host keys takes about 1,000.
const ANSWER_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What the server answers to an employee's computer.
pub(crate) trait Server {
    /// The name under which it is reached: part of what is signed.
    fn name(&self) -> &str;
    /// Something fresh to sign.
    fn challenge(&self) -> Result<Challenge, CallError>;
    /// What an invite is for.
    fn lookup(&self, lookup: &Lookup) -> Result<Invited, CallError>;
    /// Enrols a key.
    fn enrol(&self, enrol: &Enrol) -> Result<Enrolled, CallError>;
    /// A request of an enrolled person.
    fn me(&self, signed: &Signed) -> Result<Enrolled, CallError>;
    /// How far the person's keys have got.
    fn progress(&self, follow: &Follow) -> Result<Progress, CallError>;
}

/// Host and port of `https://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Location {
    /// DNS name in small letters, or IP address.
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
}

impl std::str::FromStr for Location {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let read = || {
            let rest = url.strip_prefix("https://")?;
            let rest = rest.strip_suffix('/').unwrap_or(rest);
            let (host, port) = match rest.strip_prefix('[') {
                Some(rest) => {
                    let (host, port) = rest.split_once(']')?;
                    host.parse::<std::net::Ipv6Addr>().ok()?;
                    (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
                }
                None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
            };
            let fine = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
            if host.is_empty() || !host.chars().all(fine) {
                return None;
            }
            let port = port.map_or(Some(443), |port| port.parse().ok().filter(|port| *port != 0))?;
            Some(Self { host: host.to_ascii_lowercase(), port })
        };
        read().ok_or_else(|| "write it as https://HOST:PORT".to_owned())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "https://[{host}]:{port}")
        } else {
            write!(f, "https://{host}:{port}")
        }
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.to_string()
    }
}

impl TryFrom<String> for Location {
    type Error = String;

    fn try_from(url: String) -> Result<Self, String> {
        url.parse()
    }
}

/// The server over TLS 1.3, with a CA that has the pin.
pub(crate) struct Https {
    host: String,
    clients: Vec<Client>,
}

impl Https {
    /// Looks the name up; each call connects to the first address that answers.
    pub(crate) fn new(location: &Location, pin: Pin) -> Result<Self, Error> {
        let trust = Trust::in_pin(pin).map_err(|e: BadCa| Error::Tls(e.to_string()))?;
        let host = &location.host;
        let addresses =
            (host.as_str(), location.port).to_socket_addrs().map_err(|e| Error::NoName(host.clone(), e))?;
        let client = |address| {
            let client = Client::new(&Target { host: host.clone(), address }, &trust, None, None)?;
            Ok::<_, CallError>(client.with_replies_up_to(ANSWER_BYTES_MAX))
        };
        let clients = addresses.map(client).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { host: host.clone(), clients })
    }

    /// Only a failed connection leads to the next address: the request was not sent.
    fn call<Answer>(&self, call: impl Fn(&Client) -> Result<Answer, CallError>) -> Result<Answer, CallError> {
        let mut failed = CallError::Connect(std::io::Error::from(std::io::ErrorKind::NotFound));
        for client in &self.clients {
            match call(client) {
                Err(error @ CallError::Connect(_)) => failed = error,
                answer => return answer,
            }
        }
        Err(failed)
    }
}

impl Server for Https {
    fn name(&self) -> &str {
        &self.host
    }

    fn challenge(&self) -> Result<Challenge, CallError> {
        self.call(|client| client.call(Method::GET, "/v1/enrolments/challenge", None::<&()>, CALL_TIME))
    }

    fn lookup(&self, lookup: &Lookup) -> Result<Invited, CallError> {
        self.call(|client| client.call(Method::POST, "/v1/enrolments/lookup", Some(lookup), CALL_TIME))
    }

    fn enrol(&self, enrol: &Enrol) -> Result<Enrolled, CallError> {
        self.call(|client| client.call(Method::POST, "/v1/enrolments", Some(enrol), CALL_TIME))
    }

    fn me(&self, signed: &Signed) -> Result<Enrolled, CallError> {
        self.call(|client| client.call(Method::POST, "/v1/me", Some(signed), CALL_TIME))
    }

    fn progress(&self, follow: &Follow) -> Result<Progress, CallError> {
        self.call(|client| client.call(Method::POST, "/v1/me/progress", Some(follow), CALL_TIME))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_https_url_without_a_path_is_a_location() {
        let at = |host: &str, port| Ok(Location { host: host.into(), port });
        assert_eq!("https://Kbmfa.example:8443".parse(), at("kbmfa.example", 8443));
        assert_eq!("https://kbmfa.example/".parse(), at("kbmfa.example", 443));
        assert_eq!("https://[::1]:1".parse(), at("::1", 1));
        for text in ["https://kbmfa.example:8443", "https://[::1]:1"] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "http://a",
            "https://",
            "https://a/b",
            "https://a:0",
            "https://a:x",
            "https://u@a",
            "https://[a]",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }
}
