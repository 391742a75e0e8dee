//! The texts that are written to a machine. Pure: the same keys give the same bytes.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use kbmfa_proto::key::PublicKey;
use kbmfa_proto::names::UserName;

use super::revoked::Revoked;
use crate::clock::Time;
use crate::grants::SudoProfile;

/// Largest file that is read from a home, in bytes, as in `remote.sh`.
pub const HOME_FILE_MAX: usize = 262_144;

const SYSTEM_HEAD: &str = "# Written by kbmfa-server. What others change here is undone at its next check.\n";
const BEGIN: &str = "# kbmfa begin: what others change up to \"kbmfa end\" is undone at the next check";
const END: &str = "# kbmfa end";

/// A line of `authorized_keys`, with our own comment. sshd itself refuses the key from `end` on, also while no server
/// can reach the machine (`expiry-time`, sshd(8); "Z" is UTC, from OpenSSH 9.1 on).
pub fn key_line(key: &PublicKey, id: &str, end: Option<Time>) -> String {
    let expiry = end.map(|end| {
        let digits: String = end.to_string().chars().filter(char::is_ascii_digit).collect();
        format!("expiry-time=\"{digits}Z\" ")
    });
    format!("{}{} kbmfa:{id}", expiry.unwrap_or_default(), key.line())
}

/// The root-owned file of one account.
pub fn system_file(lines: &[String]) -> String {
    let mut text = SYSTEM_HEAD.to_owned();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// A sudo file, as the machine makes it of a profile: each line of the profile for this account.
pub fn sudo_file(name: &UserName, profile: &SudoProfile, content: &str) -> String {
    let lines = content.lines().map(|line| format!("{name} {line}\n"));
    format!("# kbmfa: profile {profile}\n{}", lines.collect::<String>())
}

/// The file of revoked keys, as `sort -u` on the machine writes it.
pub fn revoked_file<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// `~/.ssh/authorized_keys` with our block, in the place of an older one or at the end. What others wrote stays as it
/// is, but for lines of revoked keys, and a missing last line end, without which their last line and our first would be
/// one.
pub fn home_file(present: &[u8], lines: &[String], revoked: &Revoked) -> Vec<u8> {
    let (before, after) = around_block(present);
    let (mut text, after) = (without(before, revoked), without(after, revoked));
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    if !lines.is_empty() {
        for line in [BEGIN].into_iter().chain(lines.iter().map(String::as_str)).chain([END]) {
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
    }
    text.extend_from_slice(&after);
    text
}

/// The text without the lines that let a revoked key in.
pub fn without(text: &[u8], revoked: &Revoked) -> Vec<u8> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| !is_revoked(line, revoked)).flatten().copied().collect()
}

/// True if a line outside our block lets a revoked key in.
pub fn has_revoked_beside(present: &[u8], revoked: &Revoked) -> bool {
    let (before, after) = around_block(present);
    [before, after].iter().any(|text| text.split(|byte| *byte == b'\n').any(|line| is_revoked(line, revoked)))
}

fn is_revoked(line: &[u8], revoked: &Revoked) -> bool {
    str::from_utf8(line)
        .ok()
        .and_then(|line| keys_of(line).into_iter().flatten().find(|key| revoked.has_line(key)))
        .is_some()
}

/// What sshd may read as the key of a line: its first two words, or those after its options (sshd(8)). Base64 is written
/// as we write it.
fn keys_of(line: &str) -> [Option<String>; 2] {
    let line = line.trim();
    if line.starts_with('#') {
        return [None, None];
    }
    let (mut is_quoted, mut is_escaped) = (false, false);
    let options = line.find(|c: char| {
        match c {
            '"' if !is_escaped => is_quoted = !is_quoted,
            ' ' | '\t' if !is_quoted => return true,
            _ => {}
        }
        is_escaped = c == '\\' && !is_escaped;
        false
    });
    let key = |text: &str| {
        let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
        let (algorithm, blob) = (words.next()?, words.next()?);
        let blob = STANDARD_NO_PAD.decode(blob.trim_end_matches('=')).ok()?;
        Some(format!("{algorithm} {}", STANDARD.encode(blob)))
    };
    [key(line), options.and_then(|end| key(line.get(end..)?))]
}

/// The lines in our block of this file.
pub fn block_of(present: &[u8]) -> Vec<String> {
    let (before, after) = around_block(present);
    let block = present.get(before.len()..present.len() - after.len()).unwrap_or_default();
    let text = String::from_utf8_lossy(block);
    text.lines().filter(|line| *line != BEGIN && *line != END).map(str::to_owned).collect()
}

/// What is before and after our block. A block whose end is missing goes up to the end of the file.
fn around_block(present: &[u8]) -> (&[u8], &[u8]) {
    let (mut begin, mut end) = (None, None);
    let mut at = 0;
    for line in present.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if begin.is_none() && text == BEGIN.as_bytes() {
            begin = Some(at);
        } else if begin.is_some() && end.is_none() && text == END.as_bytes() {
            end = Some(at + line.len());
        }
        at += line.len();
    }
    let begin = begin.unwrap_or(present.len());
    let end = end.unwrap_or(present.len());
    (present.get(..begin).unwrap_or_default(), present.get(end..).unwrap_or_default())
}
