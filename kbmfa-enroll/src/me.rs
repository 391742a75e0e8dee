//! What an enrolled person does: see their keys and machines, add a key, replace one, revoke one.

use kbmfa_proto::client::Error as CallError;
use kbmfa_proto::enrolment::{Enrolled, Request, Signed, possession_text, request_text};
use kbmfa_proto::text::SafeText;
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::ask::confirm;
use crate::key::{self, Held};
use crate::password;
use crate::progress::{AFTER_A_CHANGE, WATCHED, follow};
use crate::session::{Session, Which};

/// The key that signs.
#[derive(Debug, clap::Args)]
pub(crate) struct By {
    /// A key that is enrolled: it signs the request [default: the one that this computer enrolled]
    #[arg(long = "by", value_name = "FILE")]
    pub(crate) by: Option<PathBuf>,
}

/// Options of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) by: By,
    /// Write the machines into `~/.ssh/config` and their host keys into `~/.ssh/known_hosts_kbmfa`
    #[arg(long)]
    pub(crate) write_config: bool,
    /// Go on to show how far your keys have got, for ten minutes at most
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Options of `add` and `rotate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    #[command(flatten)]
    pub(crate) by: By,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Do not ask for a confirmation
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Options of `revoke`.
#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    pub(crate) by: By,
    /// The key to revoke, as SHA256:..
    pub(crate) fingerprint: String,
    /// Somebody else may have it: also revoke the keys that it enrolled
    #[arg(long)]
    pub(crate) lost: bool,
    /// Do not ask for a confirmation
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Options of `password`.
#[derive(Debug, clap::Args)]
pub(crate) struct Password {
    #[command(flatten)]
    pub(crate) by: By,
    /// Have no password there any more
    #[arg(long)]
    pub(crate) remove: bool,
    /// Do not ask for a confirmation
    #[arg(long)]
    pub(crate) yes: bool,
}

pub(crate) fn status(args: &Status, session: &mut Session<'_>) -> Result<(), Error> {
    let (held, answer) = first_accepted(&args.by, session)?;
    session.out.json(&answer)?;
    session.out.person(&answer.person)?;
    if args.write_config {
        session.write_config(&answer.person, &std::path::absolute(held.file)?)?;
    }
    if args.watch { follow(session, answer.follow, WATCHED) } else { Ok(()) }
}

pub(crate) fn list(by: &By, session: &mut Session<'_>) -> Result<(), Error> {
    let (_, answer) = first_accepted(by, session)?;
    session.out.json(&answer.person.keys)?;
    Ok(session.out.keys(&answer.person.keys)?)
}

pub(crate) fn add(args: &Add, session: &mut Session<'_>) -> Result<(), Error> {
    let by = signer(&args.by, session)?;
    let new = session.choose(&args.which)?;
    let question = format!("Enrol {} for one more device?", new.key.fingerprint());
    vouch(args, session, (&by, &new), &question, None)
}

pub(crate) fn rotate(args: &Add, session: &mut Session<'_>) -> Result<(), Error> {
    let by = signer(&args.by, session)?;
    let path = args.which.key.clone().unwrap_or_else(|| key::free_path(session.computer));
    let new = session.read_or_make(&path, &args.which)?;
    let old = by.key.fingerprint().to_owned();
    let question = format!("Replace {old} by {} as soon as that is active?", new.key.fingerprint());
    vouch(args, session, (&by, &new), &question, Some(old))
}

pub(crate) fn revoke(args: &Revoke, session: &mut Session<'_>) -> Result<(), Error> {
    let by = signer(&args.by, session)?;
    if !args.yes {
        let also = if args.lost { " and the keys that it enrolled" } else { "" };
        confirm(session.ask, &format!("Revoke {}{also}?", SafeText::new(&args.fingerprint)))?;
    }
    let request = Request::Revoke { fingerprint: args.fingerprint.clone(), lost: args.lost };
    let nonce = session.server.challenge()?.nonce;
    let answer = send(session, &by, nonce, &request)?;
    session.out.json(&answer)?;
    session.out.changes(&answer)?;
    follow(session, answer.follow, AFTER_A_CHANGE)
}

/// Only the hash of a password gets into the request.
pub(crate) fn password(args: &Password, session: &mut Session<'_>) -> Result<(), Error> {
    let by = signer(&args.by, session)?;
    let (request, question) = if args.remove {
        (Request::RemovePassword, "Remove the password of your account on the machines?")
    } else {
        let hash = password::ask_for(session.ask, password::ROUNDS)?;
        (Request::SetPassword { hash }, "Set this password for your account on the machines?")
    };
    if !args.yes {
        confirm(session.ask, question)?;
    }
    let nonce = session.server.challenge()?.nonce;
    let answer = send(session, &by, nonce, &request)?;
    session.out.json(&answer)?;
    let done = if args.remove { "You have no password there any more." } else { "The password was set." };
    Ok(session.out.say(done)?)
}

/// Enrols one more key. Both keys sign: the new one shows that it is here, the enrolled one asks.
fn vouch(
    args: &Add,
    session: &mut Session<'_>,
    (by, new): (&Held, &Held),
    question: &str,
    replaces: Option<String>,
) -> Result<(), Error> {
    if !args.yes {
        confirm(session.ask, question).inspect_err(|_| {
            if new.is_new {
                new.discard();
            }
        })?;
    }
    let nonce = session.server.challenge()?.nonce;
    let text = possession_text(session.server.name(), &nonce, by.key.fingerprint(), new.key.fingerprint());
    let request = Request::Add {
        key: new.key.line().to_owned(),
        device: session.device(&args.which),
        replaces,
        proof: session.sign(new, &text)?,
    };
    let answer = send(session, by, nonce, &request)?;
    session.out.json(&answer)?;
    session.out.changes(&answer)?;
    let afterwards = |error| Error::Afterwards(Box::new(error));
    session.profile.put_first(&std::path::absolute(&new.file)?);
    session.profile.write(session.computer).map_err(afterwards)?;
    let counts = answer.key.as_ref().is_some_and(|key| key.state == "active");
    follow(session, answer.follow.filter(|_| counts), AFTER_A_CHANGE)
}

/// The key of `--by`; otherwise the one that is remembered. If there are several, the server says which of
/// them counts.
fn signer(by: &By, session: &mut Session<'_>) -> Result<Held, Error> {
    match candidates(by, session)?.as_slice() {
        [one] => Held::read(session.computer.os, one),
        _ => Ok(first_accepted(by, session)?.0),
    }
}

fn candidates(by: &By, session: &Session<'_>) -> Result<Vec<PathBuf>, Error> {
    let paths = by.by.as_ref().map_or_else(|| session.profile.keys.clone(), |path| vec![path.clone()]);
    if paths.is_empty() {
        return Err(Error::NoAnswer(
            "nothing was enrolled at this server from this computer: name an enrolled key with --by FILE",
        ));
    }
    Ok(paths)
}

/// The first key that the server accepts, and what it answers. A key that waits for an approval is refused
/// until then, and a replaced one from then on.
fn first_accepted(by: &By, session: &mut Session<'_>) -> Result<(Held, Enrolled), Error> {
    let mut failed = None;
    for path in candidates(by, session)? {
        match accepted(session, &path) {
            Ok(found) => {
                if by.by.is_none() {
                    remember(session, &path)?;
                }
                return Ok(found);
            }
            Err(error @ Error::Call(CallError::Refused(_))) => failed = failed.or(Some(error)),
            Err(Error::File(path, e)) if e.kind() == io::ErrorKind::NotFound => {
                failed = failed.or(Some(Error::File(path, e)));
            }
            Err(error) => return Err(error),
        }
    }
    Err(failed.unwrap_or(Error::Stopped))
}

fn accepted(session: &mut Session<'_>, path: &Path) -> Result<(Held, Enrolled), Error> {
    let held = Held::read(session.computer.os, path)?;
    let nonce = session.server.challenge()?.nonce;
    let answer = send(session, &held, nonce, &Request::Status)?;
    Ok((held, answer))
}

fn remember(session: &mut Session<'_>, path: &Path) -> Result<(), Error> {
    let before = session.profile.clone();
    session.profile.forget_behind(path);
    if session.profile == before { Ok(()) } else { session.profile.write(session.computer) }
}

fn send(session: &mut Session<'_>, by: &Held, nonce: String, request: &Request) -> Result<Enrolled, Error> {
    let mut signed = Signed {
        key: by.key.fingerprint().to_owned(),
        server: session.server.name().to_owned(),
        nonce,
        request: serde_json::to_string(request).map_err(io::Error::from)?,
        signature: String::new(),
    };
    signed.signature = session.sign(by, &request_text(&signed))?;
    Ok(session.server.me(&signed)?)
}

#[cfg(test)]
mod tests;
