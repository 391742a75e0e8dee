//! Conversations with a program on a machine, which runs as root: there is no terminal, and everything that varies
//! goes over its standard input.

use ssh2::{Channel, ExtendedData, Session};
use std::io::{Read as _, Write as _};
use zeroize::Zeroizing;

use super::connection::unreachable;
use super::transport::Conversation;
use crate::deliveries::failure::{Failure, Kind};
use crate::random;

/// What any reply may have, in bytes: what is reported of sshd, the policy, strays and accounts that were not asked
/// about, and 1 MiB in which a machine reports large files of homes (`room` in `common.sh`).
const REPLY: usize = 2 << 20;

/// What it may have for each line of its request, in bytes. A request has a line for each account, of which a report says
/// about 1 kB, and the file in its home up to 2 kB in base64. So a machine with 2,000 accounts may send 10 MiB.
const REPLY_A_LINE: usize = 4096;

/// What the file of revoked keys may have, 8 MiB in base64.
const REPLY_REVOKED: usize = 12 << 20;

/// What the reply to any other request may have: an operator waits for it.
const REPLY_OTHER: usize = 32 << 20;

/// Most lines of any reply, and lines for each line of the request.
const LINES: (usize, usize) = (20_000, 16);

/// How many bytes and lines the reply to a request may have. What a hostile machine may send is limited by what it was
/// asked about.
fn room(request: &str) -> (usize, usize) {
    let asked = request.bytes().filter(|byte| *byte == b'\n').count();
    let bytes = match request.split(' ').next().unwrap_or_default() {
        "look" | "apply" => REPLY + REPLY_A_LINE * asked,
        "revoked" => REPLY_REVOKED,
        _ => REPLY_OTHER,
    };
    (bytes, LINES.0 + LINES.1 * asked)
}

/// Most chunks that are read after the end of a conversation.
const LAST_WORDS: usize = 16;

/// Path of the installed helper, which is [`super::REMOTE`] as a file.
pub const HELPER: &str = "/usr/local/libexec/kbmfa-helper";

/// What is run.
#[derive(Debug, Clone, Copy)]
pub enum Program<'a> {
    /// The text of a program for `/bin/sh`.
    Text(&'a str),
    /// The installed helper, which is all that sudo allows.
    Helper,
}

/// How the program becomes root.
#[derive(Clone, Copy)]
pub enum Root<'a> {
    /// The account is root.
    Already,
    /// By sudo, with this password if it asks for one.
    Sudo(Option<&'a Zeroizing<String>>),
}

/// An open conversation.
pub struct Ssh {
    channel: Channel,
    /// Read, and not yet used.
    buffer: Vec<u8>,
    /// Keeps the connection; the channel alone does not.
    _session: Session,
}

/// Starts the program as root.
///
/// # Errors
/// [`Failure`], by what helps.
pub fn start(session: Session, program: Program<'_>, root: Root<'_>) -> Result<Ssh, Failure> {
    let nonce = random::hex::<16>().map_err(|error| Failure::new(Kind::Script, error))?;
    let marker = format!("kbmfa-password-{nonce}:");
    let program = match program {
        Program::Helper => HELPER.to_owned(),
        Program::Text(text) => format!("/bin/sh -c '{}' kbmfa", text.replace('\'', r"'\''")),
    };
    let mut channel = session.channel_session().map_err(unreachable)?;
    channel.handle_extended_data(ExtendedData::Merge).map_err(unreachable)?;
    let (command, sudo_password) = match root {
        Root::Already => (format!("exec {program}"), None),
        Root::Sudo(password) => (format!("exec sudo -k -S -p '{marker}' -- {program}"), password),
    };
    channel.exec(&command).map_err(unreachable)?;
    let mut ssh = Ssh { channel, buffer: Vec::new(), _session: session };
    let mut is_given = false;
    loop {
        let text = String::from_utf8_lossy(&ssh.buffer).into_owned();
        if let Some((_, rest)) = text.split_once("ready 1\n") {
            ssh.buffer = rest.as_bytes().to_vec();
            return Ok(ssh);
        }
        if let Some(line) = text.lines().find_map(|line| line.strip_prefix("failed ")) {
            return Err(Failure::of_refusal(&shown(line)));
        }
        let asked = text.matches(&marker).count();
        if asked > usize::from(is_given) {
            let why = if is_given {
                "does not accept the password that is set"
            } else {
                "asks for a password, and none is set"
            };
            let password = sudo_password.filter(|_| !is_given);
            let password =
                password.ok_or_else(|| Failure::new(Kind::Sudo, format!("sudo {why} for the machine")))?;
            is_given = true;
            let line = Zeroizing::new(format!("{}\n", password.as_str()));
            ssh.channel.write_all(line.as_bytes()).map_err(broken)?;
        }
        if ssh.buffer.len() > 65_536 || ssh.read_more()? == 0 {
            let status = ssh.channel.wait_close().and_then(|()| ssh.channel.exit_status()).unwrap_or(-1);
            let said = shown(text.replace(&marker, "").trim());
            let detail = format!("the program does not start as root (exit status {status}): {said}");
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
        // A machine that goes on talking is not listened to.
        for _ in 0..LAST_WORDS {
            self.buffer.clear();
            if !self.read_more().is_ok_and(|read| read > 0) {
                break;
            }
        }
    }
}

impl Conversation for Ssh {
    fn ask(&mut self, request: &str) -> Result<Vec<String>, Failure> {
        self.channel.write_all(request.as_bytes()).map_err(broken)?;
        self.channel.flush().map_err(broken)?;
        let verb = request.split(' ').next().unwrap_or_default();
        let end = format!("end {verb}\n");
        let (bytes_max, lines_max) = room(request);
        // `searched` bytes of the buffer have no line end: a line without end is looked through once.
        let (mut lines, mut total, mut searched) = (Vec::new(), 0, 0);
        loop {
            while let Some(length) = self.buffer.iter().skip(searched).position(|byte| *byte == b'\n') {
                let length = searched + length;
                searched = 0;
                let line: Vec<u8> = self.buffer.drain(..=length).collect();
                if line == end.as_bytes() {
                    return Ok(lines);
                }
                let line = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                match line.strip_prefix("failed ") {
                    Some(word) => return Err(Failure::of_refusal(&shown(word))),
                    None => lines.push(line),
                }
            }
            searched = self.buffer.len();
            total += match self.read_more()? {
                0 => {
                    return Err(Failure::new(
                        Kind::Unreachable,
                        "the connection ended in the middle of a reply",
                    ));
                }
                read => read,
            };
            if total > bytes_max || lines.len() > lines_max {
                return Err(Failure::new(Kind::Script, "the machine's reply is too long"));
            }
        }
    }
}

/// Text from a machine, cut and with control characters escaped.
fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_default).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn broken(error: std::io::Error) -> Failure {
    Failure::new(Kind::Unreachable, format!("the connection broke: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_may_send_grows_with_what_it_was_asked_about() {
        let look =
            |accounts: usize| format!("look 1 00\nadmin a\nplace home\n{}", "account b\n".repeat(accounts));
        // 1 kB of each account, 2 kB of its home in base64.
        assert!(room(&look(2000)).0 > 2000 * (1000 + 2732) && room(&look(2000)).0 < 11 << 20);
        assert!(room(&look(50)).0 < 3 << 20 && room(&look(50)).1 < 25_000);
    }
}
