//! The sessions of services, and their logins. A login lasts as long as its service's connection.

use serde_json::Value;
use std::os::unix::net::UnixStream;

use super::faults::Scope;
use super::world::{Shared, World};
use crate::control::order::FaultKind;
use crate::link::{Link, send};
use crate::model::people::Sender;
use crate::wire::{Command, Fate, Identity, Note};

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) home: String,
    pub(crate) pid: u32,
    pub(crate) login: Option<Sender>,
    commands: UnixStream,
}

impl Session {
    /// Sends a command to the service. If the service is gone, nothing happens.
    pub(crate) fn command(&mut self, command: Command) {
        send(&mut self.commands, &command).ok();
    }
}

/// Keeps the session of a service until the connection ends.
pub(crate) fn serve(shared: &Shared, link: &mut Link, home: String, pid: u32) -> std::io::Result<()> {
    let commands = link.writer()?;
    let number = shared.lock().number();
    shared.change(|world| world.sessions.insert(number, Session { home, pid, login: None, commands }));
    link.send(&number)?;
    while let Ok(Some(_)) = link.receive::<Value>() {}
    shared.change(|world| world.sessions.remove(&number));
    Ok(())
}

/// Checks how a program was started, and returns what is ordered for it.
pub(crate) fn note(shared: &Shared, note: Note) -> Fate {
    let fault = shared.change(|world| {
        let fault = world.faults.take(Scope::Named, &note.kind);
        check(world, note);
        fault
    });
    let Some(fault) = fault else { return Fate::Go };
    match fault.kind {
        FaultKind::RequestSlow => {
            shared.dawdle(fault.pause);
            Fate::Go
        }
        FaultKind::RequestHangs => {
            shared.hang(fault.pause);
            Fate::Die
        }
        FaultKind::RequestDies => Fate::Die,
        FaultKind::ReplySlow => {
            Fate::SlowAfter { delay_ms: u64::try_from(fault.pause.delay.as_millis()).unwrap_or(u64::MAX) }
        }
        FaultKind::ReplyHangs => Fate::HangAfter,
        FaultKind::ReplyDies => Fate::DieAfter,
        _ => Fate::Go,
    }
}

fn check(world: &mut World, note: Note) {
    *world.stats.programs.entry(note.kind.clone()).or_default() += 1;
    let words = note.arguments.join(" ");
    if world.chat.users.values().any(|user| words.contains(&user.paper_key)) {
        world.complain(format!("a paper key stood in the arguments of {}", note.kind));
    }
    if note.auto_fork {
        world.complain(format!("{} was started without --no-auto-fork", note.kind));
    }
    world.complaints.extend(note.objections);
}

/// The user who is logged in at a service.
pub(crate) fn who(world: &World, session: u64) -> Option<Identity> {
    let login = world.sessions.get(&session)?.login.clone()?;
    let Sender { username, uid, device_id, device_name } = login;
    Some(Identity { username, uid, device_id, device_name })
}

/// Logs a service in by paper key.
pub(crate) fn login(shared: &Shared, session: u64, username: &str, paper_key: &str) -> Result<(), String> {
    let fault = shared.change(|world| {
        let fault = world.faults.take(Scope::Login, "oneshot");
        fault.or_else(|| world.faults.take(Scope::Named, "login"))
    });
    let lost = Err("API network error: connection reset by peer".into());
    let (kind, pause) = fault.map(|fault| (fault.kind, fault.pause)).unzip();
    let pause = pause.unwrap_or_default();
    match kind {
        Some(FaultKind::OneshotHangs | FaultKind::RequestHangs) => {
            shared.hang(pause);
            return Err("context deadline exceeded".into());
        }
        Some(FaultKind::OneshotFails | FaultKind::RequestDies) => return lost,
        Some(FaultKind::RequestSlow) => shared.dawdle(pause),
        _ => {}
    }
    let outcome = shared.change(|world| check_login(world, session, username, paper_key));
    match kind {
        Some(FaultKind::ReplySlow) => shared.dawdle(pause),
        Some(FaultKind::ReplyHangs) => shared.hang(pause),
        Some(FaultKind::ReplyDies) => return lost,
        _ => {}
    }
    outcome
}

fn check_login(world: &mut World, session: u64, username: &str, paper_key: &str) -> Result<(), String> {
    if world.faults.take_offline("oneshot") {
        return Err("API network error: no connection to api-1.core.keybaseapi.com".into());
    }
    let user = world.chat.user(username).map_err(|refusal| refusal.text)?;
    if user.paper_key != paper_key.trim() {
        return Err("No device found no device found for paper key".into());
    }
    let login = user.on_paper();
    let session = world.sessions.get_mut(&session).ok_or("the service is gone")?;
    if session.login.is_some() {
        return Err("You are already logged in as a different user; try logout first".into());
    }
    session.login = Some(login);
    let logins = world.sessions.values().filter_map(|session| session.login.as_ref());
    if logins.filter(|login| login.username == username).count() > 1 {
        world.complain(format!("two services are logged in with one paper key of {username}"));
    }
    Ok(())
}
