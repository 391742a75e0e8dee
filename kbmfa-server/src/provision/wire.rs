//! Requests to `remote.sh`: what is asked about, and the steps, one line each. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kbmfa_proto::names::UserName;
use sha2::{Digest, Sha256};

use super::plan::Step;
use crate::clock::Time;
use crate::deliveries::{Generation, Place};
use crate::random::to_hex;

/// Frames a request: its verb, length and hash, and its body. A body that arrives cut off or damaged does nothing.
pub fn request(verb: &str, body: &str) -> String {
    format!("{verb} {} {}\n{body}", body.len(), to_hex(&Sha256::digest(body)))
}

/// Asks for a report about these accounts.
pub fn look<'a>(admin: &UserName, place: Place, names: impl Iterator<Item = &'a UserName>) -> String {
    let head = format!("admin {admin}\nplace {place}\n");
    request("look", &names.fold(head, |body, name| body + "account " + name.as_str() + "\n"))
}

/// Asks for all accounts of people, and their keys, whoever made them.
pub fn survey(admin: &UserName) -> String {
    request("survey", &format!("admin {admin}\n"))
}

/// Asks for the file of revoked keys.
pub fn revoked() -> String {
    request("revoked", "")
}

/// Frames a request that changes something, with the signature over its body.
pub fn signed(verb: &str, body: &str, signature: &str) -> String {
    let hash = to_hex(&Sha256::digest(body));
    format!("{verb} {} {hash} {}\n{body}", body.len(), STANDARD.encode(signature))
}

/// The first line of an order: who gives it, its number, for which machine it is, and until when, in seconds since 1970.
pub fn head(generation: &Generation, host_id: &str, not_after: Time) -> String {
    let Generation { installation, epoch, counter } = generation;
    format!("for {installation} {epoch} {counter} {host_id} {}\n", not_after.micros() / 1_000_000)
}

/// The lines of an order to take these steps.
pub fn steps(admin: &UserName, steps: &[Step]) -> String {
    steps.iter().fold(format!("admin {admin}\n"), |body, step| body + &line(step) + "\n")
}

fn line(step: &Step) -> String {
    match step {
        Step::Create { name, uid, shell } => format!("create {name} {uid} {shell}"),
        Step::Adopt { name, uid } => format!("adopt {name} {uid}"),
        Step::Release { name } => format!("release {name}"),
        Step::Enable { name, shell } => format!("enable {name} {shell}"),
        Step::Disable { name, ends_sessions: true } => format!("disable {name}"),
        Step::Disable { name, ends_sessions: false } => format!("disable {name} keep"),
        Step::EndSessions { name } => format!("end-sessions {name}"),
        Step::SetKeys { name, content } => format!("keys {name} {}", token(content.as_bytes())),
        Step::RemoveKeys { name } => format!("keys {name} -"),
        Step::SetHome { name, seen, content, loses } => {
            let word = if *loses { "lose" } else { "keep" };
            format!("home {name} {} {} {word}", seen.as_deref().unwrap_or("-"), token(content))
        }
        Step::TakeOut { name, lines } => format!("without {name} {}", token(lines.as_bytes())),
        Step::Revoke { lines } => format!("revoke {}", token(lines.as_bytes())),
        Step::SetSudo { name, profile, content } => {
            format!("sudo {name} {profile} {}", token(content.as_bytes()))
        }
        Step::RemoveSudo { name, profile } => format!("sudo {name} {profile} -"),
        Step::Record { generation } => {
            format!("generation {} {} {}", generation.installation, generation.epoch, generation.counter)
        }
    }
}

/// Base64; `-` for nothing.
fn token(content: &[u8]) -> String {
    if content.is_empty() { "-".to_owned() } else { STANDARD.encode(content) }
}
