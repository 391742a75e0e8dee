//! Connections to a machine's sshd: the host key is compared with the pinned ones before anything is sent, and one
//! credential is tried, once.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use socket2::{Domain, Socket, Type};
use ssh2::{ErrorCode, KeyboardInteractivePrompt, MethodType, Prompt, Session};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

use crate::deliveries::failure::{Failure, Kind};
use crate::machines::host_keys::{Endpoint, Fingerprint, HostKey, Reach};

/// Longest time to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// Longest silence of the machine in one call, in milliseconds; above the 20 s that `common.sh` waits for its lock.
const CALL_MS: u32 = 30_000;

/// Types of host keys, the preferred ones first. No certificates: only raw keys are pinned.
const HOST_KEY_TYPES: &str =
    "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256";

/// libssh2's error for a key that was accepted where a second factor is due (`LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED`).
const SECOND_FACTOR_DUE: i32 = -19;

/// What proves who connects.
pub enum Credential<'a> {
    /// A private key, in OpenSSH's form.
    Key(&'a Zeroizing<String>),
    /// A private key that is encrypted with this passphrase.
    LockedKey(&'a Zeroizing<String>, &'a Zeroizing<String>),
    /// The account's password.
    Password(&'a Zeroizing<String>),
    /// The agent that listens at this socket, and the fingerprint of its key; without one, its only key.
    Agent(&'a Path, Option<&'a Fingerprint>),
}

/// Gets each connection as soon as it is there, so that another thread can end it.
pub type Started<'a> = &'a dyn Fn(&TcpStream) -> Result<(), Failure>;

/// Gets the local address and that of the machine before it is connected to.
pub type Announce<'a> = &'a dyn Fn(SocketAddr, SocketAddr) -> Result<(), Failure>;

/// Connects, compares the host key, and authenticates.
///
/// # Errors
/// [`Failure`], by what helps.
pub fn connect(
    reach: &Reach,
    account: &str,
    credential: &Credential<'_>,
    started: Started<'_>,
    announce: Option<Announce<'_>>,
) -> Result<Session, Failure> {
    let session = recognised(reach, started, announce)?;
    authenticate(&session, account, credential)?;
    Ok(session)
}

/// The host key that an endpoint shows. Nothing is sent to it.
///
/// # Errors
/// [`Failure`].
pub fn shown_key(endpoint: &Endpoint) -> Result<HostKey, Failure> {
    let reach = Reach { endpoint: Some(endpoint.clone()), host_keys: Vec::new() };
    let session = handshake(&reach, HOST_KEY_TYPES, &|_| Ok(()), None)?.map_err(unreachable)?;
    host_key(&session)
        .ok_or_else(|| Failure::new(Kind::HostKey, format!("{endpoint} shows no host key of a known type")))
}

/// The host key that the machine has shown.
pub fn host_key(session: &Session) -> Option<HostKey> {
    let (blob, _) = session.host_key()?;
    // A blob begins with the length and the name of its algorithm.
    let algorithm = blob.get(4..)?.get(..usize::from(*blob.get(3)?))?;
    HostKey::read(&format!("{} {}", std::str::from_utf8(algorithm).ok()?, STANDARD.encode(blob)))
}

/// A session with a machine that has shown one of its pinned keys.
fn recognised(
    reach: &Reach,
    started: Started<'_>,
    announce: Option<Announce<'_>>,
) -> Result<Session, Failure> {
    if reach.host_keys.is_empty() {
        return Err(Failure::new(Kind::HostKey, "no host key of the machine is pinned"));
    }
    let mut shown = Vec::new();
    for types in types_of(&reach.host_keys) {
        let session = match handshake(reach, &types, started, announce)? {
            Ok(session) => session,
            // The machine has no key of these types.
            Err(_) if shown.is_empty() => continue,
            Err(_) => break,
        };
        let key = session.host_key().map(|(blob, _)| fingerprint(blob)).unwrap_or_default();
        if reach.host_keys.iter().any(|pinned| pinned.fingerprint.to_string() == key) {
            return Ok(session);
        }
        shown.push(key);
    }
    let pinned: Vec<_> = reach.fingerprints().into_iter().map(ToString::to_string).collect();
    let shown = if shown.is_empty() { "none of a known type".to_owned() } else { shown.join(" ") };
    Err(Failure::new(
        Kind::HostKey,
        format!("the machine shows the host key {shown}; pinned: {}", pinned.join(" ")),
    ))
}

/// The lists of key types to ask for: those of the pinned keys. Of a key that is pinned by its fingerprint alone the type
/// is not known, so each is asked for in turn.
fn types_of(keys: &[HostKey]) -> Vec<String> {
    let all: Vec<&str> = HOST_KEY_TYPES.split(',').collect();
    let lines: Option<Vec<&str>> = keys.iter().map(|key| key.line.as_deref()).collect();
    let Some(lines) = lines else {
        let groups = ["ssh-ed25519", "ecdsa-", "rsa-"];
        let of = |group: &&str| {
            all.iter().copied().filter(|one| one.starts_with(*group)).collect::<Vec<_>>().join(",")
        };
        return groups.iter().map(of).collect();
    };
    let is_pinned = |kind: &&&str| {
        lines.iter().any(|line| {
            line.starts_with(&format!("{kind} "))
                || (kind.starts_with("rsa-") && line.starts_with("ssh-rsa "))
        })
    };
    vec![all.iter().filter(is_pinned).copied().collect::<Vec<_>>().join(",")]
}

/// The inner error: the two have no algorithm in common.
fn handshake(
    reach: &Reach,
    types: &str,
    started: Started<'_>,
    announce: Option<Announce<'_>>,
) -> Result<Result<Session, ssh2::Error>, Failure> {
    let stream = stream_to(reach, announce)?;
    started(&stream)?;
    let mut session = Session::new().map_err(unreachable)?;
    session.set_timeout(CALL_MS);
    session.method_pref(MethodType::HostKey, types).map_err(|error| Failure::new(Kind::Script, error))?;
    session.set_tcp_stream(stream);
    match session.handshake() {
        Ok(()) => Ok(Ok(session)),
        Err(error) if error.code() == ErrorCode::Session(-5) => Ok(Err(error)),
        Err(error) => Err(unreachable(error)),
    }
}

fn stream_to(reach: &Reach, announce: Option<Announce<'_>>) -> Result<TcpStream, Failure> {
    let Some(endpoint) = &reach.endpoint else {
        return Err(Failure::new(
            Kind::Unreachable,
            "the machine has no address; set it with `machine set --address`",
        ));
    };
    let addresses = (endpoint.address.to_string().as_str(), endpoint.port).to_socket_addrs();
    let addresses =
        addresses.map_err(|error| Failure::new(Kind::Unreachable, format!("{endpoint}: {error}")))?;
    let mut last = Failure::new(Kind::Unreachable, format!("{endpoint} has no address"));
    for address in addresses {
        let connected = match announce {
            None => TcpStream::connect_timeout(&address, CONNECT),
            Some(announce) => {
                let bound = bound_for(address).map_err(|error| Failure::new(Kind::Unreachable, error))?;
                announce(bound.1, address)?;
                bound.0.connect_timeout(&address.into(), CONNECT).map(|()| bound.0.into())
            }
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Failure::new(Kind::Unreachable, format!("{address}: {error}")),
        }
    }
    Err(last)
}

/// A socket that is bound to the address and port from which it will connect to `peer`.
fn bound_for(peer: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let any = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A datagram socket learns the local address from the routing table; it sends nothing.
    let route = UdpSocket::bind(SocketAddr::new(any, 0))?;
    route.connect(peer)?;
    let mut local = route.local_addr()?;
    local.set_port(0);
    let socket = Socket::new(Domain::for_address(peer), Type::STREAM, None)?;
    socket.bind(&local.into())?;
    let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((socket, local))
}

fn authenticate(session: &Session, account: &str, credential: &Credential<'_>) -> Result<(), Failure> {
    let refused =
        |error: ssh2::Error| Failure::new(Kind::Authentication, format!("{account} is refused: {error}"));
    let tried = match credential {
        Credential::Key(key) => session.userauth_pubkey_memory(account, None, key, None),
        Credential::LockedKey(key, passphrase) => {
            session.userauth_pubkey_memory(account, None, key, Some(passphrase.as_str()))
        }
        Credential::Password(password) => return by_password(session, account, password).map_err(refused),
        Credential::Agent(socket, wanted) => by_agent(session, account, socket, *wanted)?,
    };
    match tried {
        Ok(()) => return Ok(()),
        Err(error) if error.code() == ErrorCode::Session(SECOND_FACTOR_DUE) => {}
        Err(error) if matches!(error.code(), ErrorCode::Session(-18 | -16)) => return Err(refused(error)),
        Err(error) => return Err(unreachable(error)),
    }
    // libssh2 says the same if the connection breaks after the key.
    let methods = session.auth_methods(account).map_err(unreachable)?;
    if !methods.split(',').any(|method| method == "keyboard-interactive") {
        return Err(Failure::new(
            Kind::Authentication,
            format!("after the key the machine asks for {methods}"),
        ));
    }
    session.userauth_keyboard_interactive(account, &mut NoAnswers).map_err(refused)
}

/// Gives the password, in the way that sshd offers.
fn by_password(session: &Session, account: &str, password: &Zeroizing<String>) -> Result<(), ssh2::Error> {
    let methods = session.auth_methods(account).unwrap_or_default();
    if methods.split(',').any(|method| method == "password") {
        return session.userauth_password(account, password);
    }
    session.userauth_keyboard_interactive(account, &mut OneAnswer(Some(password)))
}

/// Answers one question that is not to be shown, once.
struct OneAnswer<'a>(Option<&'a Zeroizing<String>>);

impl KeyboardInteractivePrompt for OneAnswer<'_> {
    fn prompt(&mut self, _account: &str, _text: &str, prompts: &[Prompt<'_>]) -> Vec<String> {
        let mut answer = |prompt: &Prompt<'_>| {
            let secret = if prompt.echo { None } else { self.0.take() };
            secret.map_or_else(String::new, |secret| secret.as_str().to_owned())
        };
        prompts.iter().map(&mut answer).collect()
    }
}

/// Has the agent sign with one key. The inner result is that of the authentication.
fn by_agent(
    session: &Session,
    account: &str,
    socket: &Path,
    wanted: Option<&Fingerprint>,
) -> Result<Result<(), ssh2::Error>, Failure> {
    let failed = |error: ssh2::Error| Failure::new(Kind::Authentication, format!("the ssh agent: {error}"));
    let mut agent = session.agent().map_err(failed)?;
    agent.set_identity_path(socket).map_err(failed)?;
    agent.connect().map_err(failed)?;
    agent.list_identities().map_err(failed)?;
    let keys = agent.identities().map_err(failed)?;
    let named: Vec<_> = keys.iter().map(|key| (fingerprint(key.blob()), key)).collect();
    let of = |wanted: &Fingerprint| named.iter().find(|(name, _)| name == wanted.as_str());
    let chosen = match (wanted, named.as_slice()) {
        (Some(wanted), _) => of(wanted),
        (None, [one]) => Some(one),
        (None, _) => None,
    };
    let (_, key) = chosen.ok_or_else(|| {
        let names: Vec<_> = named.iter().map(|(name, key)| format!("{name} {}", key.comment())).collect();
        Failure::new(
            Kind::Authentication,
            format!(
                "the ssh agent has {} keys; name one with --agent-key: {}",
                names.len(),
                names.join(", ")
            ),
        )
    })?;
    Ok(agent.userauth(account, key))
}

fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

/// A second factor that decides without asking.
struct NoAnswers;

impl KeyboardInteractivePrompt for NoAnswers {
    fn prompt(&mut self, _account: &str, _text: &str, prompts: &[Prompt<'_>]) -> Vec<String> {
        vec![String::new(); prompts.len()]
    }
}

pub(super) fn unreachable(error: ssh2::Error) -> Failure {
    Failure::new(Kind::Unreachable, error)
}
