//! Conversations over SSH. The host key is compared with the pinned ones before anything is sent, the server's own key
//! is the only one that is tried, and there is no terminal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest, Sha256};
use ssh2::{Channel, ErrorCode, ExtendedData, KeyboardInteractivePrompt, MethodType, Prompt, Session};
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;
use zeroize::Zeroizing;

use super::REMOTE;
use super::transport::Conversation;
use crate::deliveries::failure::{Failure, Kind};
use crate::machines::host_keys::{HostKey, Reach};
use crate::random;

/// Longest time to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// Longest silence of the machine in one call, in milliseconds; above the 20 s that `remote.sh` waits for its lock.
const CALL_MS: u32 = 30_000;

/// Largest reply to one request, in bytes.
const REPLY_MAX: usize = 32 << 20;

/// Most lines of a reply to one request: several for each account.
const LINES_MAX: usize = 200_000;

/// Types of host keys, the preferred ones first. No certificates: only raw keys are pinned.
const HOST_KEY_TYPES: &str =
    "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256";

/// libssh2's error for a key that was accepted where a second factor is due (`LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED`).
const SECOND_FACTOR_DUE: i32 = -19;

/// What is needed to reach a machine and to become root there.
pub struct Login<'a> {
    /// Where it is, and its pinned keys.
    pub reach: &'a Reach,
    /// The account, such as `ssh-admin`.
    pub account: &'a str,
    /// The server's private key, in OpenSSH's form.
    pub key: &'a Zeroizing<String>,
    /// The password that sudo asks for, if any.
    pub sudo_password: Option<&'a Zeroizing<String>>,
    /// True if sudo allows the installed helper alone.
    pub by_helper: bool,
}

/// Path of the installed helper, which is `remote.sh` as a file.
pub const HELPER: &str = "/usr/local/libexec/kbmfa-helper";

/// An open conversation.
pub struct Ssh {
    channel: Channel,
    /// Read, and not yet used.
    buffer: Vec<u8>,
    /// Keeps the connection; the channel alone does not.
    _session: Session,
}

/// Gets each connection as soon as it is there, so that another thread can end it.
pub type Started<'a> = &'a dyn Fn(&TcpStream) -> Result<(), Failure>;

/// Connects, compares the host key, authenticates and starts the program as root.
///
/// # Errors
/// [`Failure`], by what helps.
pub fn open(login: &Login<'_>, started: Started<'_>) -> Result<Ssh, Failure> {
    let session = recognised(login.reach, started)?;
    authenticate(&session, login)?;
    start(session, login)
}

/// A session with a machine that has shown one of its pinned keys.
fn recognised(reach: &Reach, started: Started<'_>) -> Result<Session, Failure> {
    if reach.host_keys.is_empty() {
        return Err(Failure::new(Kind::HostKey, "no host key of the machine is pinned"));
    }
    let mut shown = Vec::new();
    for types in types_of(&reach.host_keys) {
        let session = match handshake(reach, &types, started)? {
            Ok(session) => session,
            // The machine has no key of these types.
            Err(_) if shown.is_empty() => continue,
            Err(_) => break,
        };
        let key = session
            .host_key()
            .map(|(blob, _)| format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob))));
        let key = key.unwrap_or_default();
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
) -> Result<Result<Session, ssh2::Error>, Failure> {
    let stream = connect(reach)?;
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

fn connect(reach: &Reach) -> Result<TcpStream, Failure> {
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
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Failure::new(Kind::Unreachable, format!("{address}: {error}")),
        }
    }
    Err(last)
}

fn authenticate(session: &Session, login: &Login<'_>) -> Result<(), Failure> {
    let refused = |error: ssh2::Error| {
        Failure::new(Kind::Authentication, format!("{} is refused: {error}", login.account))
    };
    match session.userauth_pubkey_memory(login.account, None, login.key, None) {
        Ok(()) => return Ok(()),
        Err(error) if error.code() == ErrorCode::Session(SECOND_FACTOR_DUE) => {}
        Err(error) if matches!(error.code(), ErrorCode::Session(-18 | -16)) => return Err(refused(error)),
        Err(error) => return Err(unreachable(error)),
    }
    let methods = session.auth_methods(login.account).unwrap_or_default();
    if !methods.split(',').any(|method| method == "keyboard-interactive") {
        return Err(Failure::new(
            Kind::Authentication,
            format!("after the key the machine asks for {methods}"),
        ));
    }
    session.userauth_keyboard_interactive(login.account, &mut NoAnswers).map_err(refused)
}

/// A second factor that decides without asking.
struct NoAnswers;

impl KeyboardInteractivePrompt for NoAnswers {
    fn prompt(&mut self, _account: &str, _text: &str, prompts: &[Prompt<'_>]) -> Vec<String> {
        vec![String::new(); prompts.len()]
    }
}

/// Starts the program by sudo, and gives sudo its password if it asks.
fn start(session: Session, login: &Login<'_>) -> Result<Ssh, Failure> {
    let nonce = random::hex::<16>().map_err(|error| Failure::new(Kind::Script, error))?;
    let marker = format!("kbmfa-password-{nonce}:");
    let program = if login.by_helper {
        HELPER.to_owned()
    } else {
        format!("/bin/sh -c '{}' kbmfa", REMOTE.replace('\'', r"'\''"))
    };
    let mut channel = session.channel_session().map_err(unreachable)?;
    channel.handle_extended_data(ExtendedData::Merge).map_err(unreachable)?;
    channel.exec(&format!("exec sudo -k -S -p '{marker}' -- {program}")).map_err(unreachable)?;
    let mut ssh = Ssh { channel, buffer: Vec::new(), _session: session };
    let mut is_given = false;
    loop {
        let text = String::from_utf8_lossy(&ssh.buffer).into_owned();
        if text.lines().any(|line| line.ends_with("ready 1")) && text.ends_with('\n') {
            ssh.buffer.clear();
            return Ok(ssh);
        }
        if let Some(line) = text.lines().find_map(|line| line.strip_prefix("failed ")) {
            let kind = if line == "busy" { Kind::Busy } else { Kind::Script };
            return Err(Failure::new(
                kind,
                format!("the program on the machine could not start: {}", shown(line)),
            ));
        }
        let asked = text.matches(&marker).count();
        if asked > usize::from(is_given) {
            let why = if is_given {
                "does not accept the password that is set"
            } else {
                "asks for a password, and none is set"
            };
            let password = login.sudo_password.filter(|_| !is_given);
            let password =
                password.ok_or_else(|| Failure::new(Kind::Sudo, format!("sudo {why} for the machine")))?;
            is_given = true;
            let line = Zeroizing::new(format!("{}\n", password.as_str()));
            ssh.channel.write_all(line.as_bytes()).map_err(broken)?;
        }
        if ssh.buffer.len() > 65_536 || ssh.read_more()? == 0 {
            let status = ssh.channel.wait_close().and_then(|()| ssh.channel.exit_status()).unwrap_or(-1);
            let said = shown(text.replace(&marker, "").trim());
            let detail = format!("sudo does not start the program (exit status {status}): {said}");
            return Err(Failure::new(Kind::Sudo, detail));
        }
    }
}

impl Ssh {
    fn read_more(&mut self) -> Result<usize, Failure> {
        let mut chunk = [0; 16_384];
        let read = self.channel.read(&mut chunk).map_err(broken)?;
        self.buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        Ok(read)
    }
}

impl Ssh {
    /// Ends the program on the machine. Errors do not matter: everything that counts was read back.
    pub fn close(mut self) {
        let _ = self.channel.write_all(b"bye\n").and_then(|()| self.channel.flush());
        let _ = self.channel.send_eof();
        while self.read_more().is_ok_and(|read| read > 0) {
            self.buffer.clear();
        }
    }
}

impl Conversation for Ssh {
    fn ask(&mut self, request: &str) -> Result<Vec<String>, Failure> {
        self.channel.write_all(request.as_bytes()).map_err(broken)?;
        self.channel.flush().map_err(broken)?;
        let verb = request.split(' ').next().unwrap_or_default();
        let end = format!("end {verb}\n");
        let (mut lines, mut total) = (Vec::new(), 0);
        loop {
            while let Some(length) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=length).collect();
                if line == end.as_bytes() {
                    return Ok(lines);
                }
                let line = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                match line.as_str() {
                    "failed older" => {
                        return Err(Failure::new(Kind::Generation, "the machine has a later state"));
                    }
                    line if line.starts_with("failed ") => {
                        return Err(Failure::new(
                            Kind::Script,
                            format!("the program on the machine says: {}", shown(line)),
                        ));
                    }
                    _ => lines.push(line),
                }
            }
            total += match self.read_more()? {
                0 => {
                    return Err(Failure::new(
                        Kind::Unreachable,
                        "the connection ended in the middle of a reply",
                    ));
                }
                read => read,
            };
            if total > REPLY_MAX || lines.len() > LINES_MAX {
                return Err(Failure::new(Kind::Script, "the machine's reply is too long"));
            }
        }
    }
}

/// Text from a machine, cut and with control characters escaped.
fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_default).collect()
}

fn unreachable(error: ssh2::Error) -> Failure {
    Failure::new(Kind::Unreachable, error)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn broken(error: std::io::Error) -> Failure {
    Failure::new(Kind::Unreachable, format!("the connection broke: {error}"))
}
