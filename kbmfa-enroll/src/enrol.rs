//! Enrolling a key with an invite.

use kbmfa_proto::client::Error as CallError;
use kbmfa_proto::enrolment::{Enrol, Enrolled, Invite, KeyView, Lookup, PersonView, enrol_text};
use kbmfa_proto::text::SafeText;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

use crate::ask::{Ask, confirm};
use crate::key::Held;
use crate::print::key_text;
use crate::progress::{AFTER_A_CHANGE, follow};
use crate::session::{Session, Which, number};
use crate::{Error, password};

/// Longest file that can be an invite, in bytes.
const INVITE_MAX: u64 = 1_000;

/// Options of an enrolment.
#[derive(Debug, Default, Clone, PartialEq, Eq, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Args {
    /// Your e-mail address
    #[arg(long)]
    pub(crate) email: Option<String>,
    /// File that holds the invite; - reads standard input [default: ask]
    #[arg(long, value_name = "FILE")]
    pub(crate) invite_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Revoke this key in exchange
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "another")]
    pub(crate) replace: Option<String>,
    /// Keep your other keys: this one is for one more device
    #[arg(long)]
    pub(crate) another: bool,
    /// Choose a password for your account on the machines
    #[arg(long)]
    pub(crate) password: bool,
    /// Do not ask for a confirmation
    #[arg(long)]
    pub(crate) yes: bool,
    /// Write the machines into `~/.ssh/config` and their host keys into `~/.ssh/known_hosts_kbmfa`
    #[arg(long)]
    pub(crate) write_config: bool,
}

pub(crate) fn run(args: &Args, session: &mut Session<'_>) -> Result<(), Error> {
    let email = match &args.email {
        Some(email) => email.clone(),
        None => session.ask.line("Your e-mail address:", "name your e-mail address with --email")?,
    };
    let text = invite_text(args.invite_file.as_deref(), session.ask)?;
    let (id, secret) = text.trim().split_once('.').ok_or(Error::BadInvite)?;
    let invite = Invite { id: id.to_owned(), secret: secret.to_owned(), email };
    let person = session.server.lookup(&Lookup { invite: invite.clone() })?.person;
    session.out.person(&person)?;
    let held = session.choose(&args.which)?;
    if let Some(known) = person.keys.iter().find(|key| key.fingerprint == held.key.fingerprint()) {
        return known_already(args, session, &person, known, &held);
    }
    let decision = decide(args, session, &person, &held).inspect_err(|_| {
        if held.is_new {
            held.discard();
        }
    })?;
    let enrol = Enrol {
        invite,
        server: session.server.name().to_owned(),
        nonce: String::new(),
        key: held.key.line().to_owned(),
        device: session.device(&args.which),
        replaces: decision.replaces,
        password_hash: decision.password_hash,
        signature: String::new(),
    };
    let answer = send(session, enrol, &held)?;
    session.out.json(&answer)?;
    session.out.changes(&answer)?;
    session.finish(&answer.person, &held, args.write_config)?;
    follow(session, answer.follow, AFTER_A_CHANGE)
}

/// The invite stays unused.
fn known_already(
    args: &Args,
    session: &mut Session<'_>,
    person: &PersonView,
    key: &KeyView,
    held: &Held,
) -> Result<(), Error> {
    if args.password || args.replace.is_some() {
        return Err(Error::Usage(
            "this key is enrolled already; --password and --replace need one that is not: choose another, \
             or `new`",
        ));
    }
    let (person_now, key) = (person.clone(), Some(key.clone()));
    session.out.json(&Enrolled { person: person_now, key, revoked: vec![], follow: None })?;
    session.out.say("This key is enrolled already; the invite was not used.")?;
    session.finish(person, held, args.write_config)
}

/// What the person wants.
struct Decision {
    replaces: Option<String>,
    password_hash: Option<String>,
}

fn decide(
    args: &Args,
    session: &mut Session<'_>,
    person: &PersonView,
    held: &Held,
) -> Result<Decision, Error> {
    let replaces = replaced(args, session, person, held)?;
    let device = session.device(&args.which);
    let is_taken = |key: &KeyView| key.device == device && Some(&key.fingerprint) != replaces.as_ref();
    if person.keys.iter().any(is_taken) {
        return Err(Error::SameDevice(device));
    }
    let password_hash =
        if args.password { Some(password::ask_for(session.ask, password::ROUNDS)?) } else { None };
    if !args.yes {
        let new = held.key.fingerprint();
        let question = match &replaces {
            Some(old) => format!("Enrol {new} and revoke {}?", SafeText::new(old)),
            None => format!("Enrol {new}?"),
        };
        confirm(session.ask, &question)?;
    }
    Ok(Decision { replaces, password_hash })
}

/// The key that the new one replaces. Somebody who has a key says which of both they want.
fn replaced(
    args: &Args,
    session: &mut Session<'_>,
    person: &PersonView,
    held: &Held,
) -> Result<Option<String>, Error> {
    if let Some(old) = &args.replace {
        let is_there = person.keys.iter().any(|key| key.fingerprint == *old);
        return if is_there { Ok(Some(old.clone())) } else { Err(Error::NoSuchKey(SafeText::new(old))) };
    }
    if args.another || person.keys.is_empty() {
        return Ok(None);
    }
    let mut question = String::from("You have keys already:\n");
    for (number, key) in person.keys.iter().enumerate() {
        let _ = writeln!(question, "  {}  {}", number + 1, key_text(key));
    }
    let machines: Vec<&str> = person.machines.iter().map(|machine| machine.name.as_str()).collect();
    let machines = if machines.is_empty() { "none".into() } else { SafeText::new(&machines.join(" ")) };
    let (new, algorithm) = (held.key.fingerprint(), held.key.algorithm());
    let device = session.device(&args.which);
    let _ = write!(
        question,
        "The new one:\n  -  {new}  {algorithm}  {device}\nMachines where they count: {machines}\n\
         Type `add` for one more device, or the number of the key that the new one replaces:"
    );
    let instead = "you have keys already: choose --another, or --replace FINGERPRINT";
    let answer = session.ask.line(&question, instead)?;
    if answer == "add" {
        return Ok(None);
    }
    let old = number(&answer, person.keys.len()).and_then(|at| person.keys.get(at));
    old.map(|key| Some(key.fingerprint.clone())).ok_or(Error::Stopped)
}

/// A lost answer is asked for again, once: the server repeats it for the same key.
fn send(session: &mut Session<'_>, mut enrol: Enrol, held: &Held) -> Result<Enrolled, Error> {
    match signed_and_sent(session, &mut enrol, held) {
        Err(lost @ Error::Call(CallError::Timeout | CallError::Lost(_))) => {
            session.out.say("The answer was lost; asking for it again.")?;
            match signed_and_sent(session, &mut enrol, held) {
                // Not what the second error would mean alone: the first request may have enrolled the key.
                Err(Error::Call(CallError::Connect(_) | CallError::StoodStill)) => Err(lost),
                answer => answer,
            }
        }
        answer => answer,
    }
}

fn signed_and_sent(session: &mut Session<'_>, enrol: &mut Enrol, held: &Held) -> Result<Enrolled, Error> {
    enrol.nonce = session.server.challenge()?.nonce;
    let text = enrol_text(enrol, held.key.fingerprint());
    enrol.signature = session.sign(held, &text)?;
    Ok(session.server.enrol(enrol)?)
}

fn invite_text(file: Option<&Path>, ask: &mut dyn Ask) -> Result<Zeroizing<String>, Error> {
    let mut text = Zeroizing::new(String::new());
    match file {
        None => return ask.secret("Invite (it is not shown):", "give the invite with --invite-file FILE"),
        Some(path) if path == Path::new("-") => {
            io::stdin().lock().take(INVITE_MAX).read_to_string(&mut text)?
        }
        Some(path) => fs::File::open(path)
            .and_then(|file| file.take(INVITE_MAX).read_to_string(&mut text))
            .map_err(|e| Error::file(path, e))?,
    };
    Ok(text)
}

#[cfg(test)]
mod tests;
