//! Executes API requests: faults before the method, the method itself, faults after it.

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use std::time::Duration;

use super::faults::{Fault, Pause, Scope};
use super::world::{Shared, World};
use crate::api::{self, Context};
use crate::clock::wall_ms;
use crate::control::order::FaultKind;
use crate::model::message::Content;
use crate::model::people::Sender;
use crate::model::post::Actor;
use crate::model::refusal::{self, Refusal};
use crate::model::{Chat, News};
use crate::wire::{Act, Answer, ApiError, Command, Request};

type Outcome = Result<Box<RawValue>, Refusal>;

/// Longest time that a reply waits until listeners have written the events of armed reactions.
const EARLY_LIMIT: Duration = Duration::from_secs(2);

/// Length of a very long line, in bytes.
pub(crate) const HUGE: usize = 60_000;

/// Executes a request, unless a fault was ordered for it.
pub(crate) fn answer(shared: &Shared, session: u64, request: &Request) -> Answer {
    let (fault, sender) = shared.change(|world| {
        world.complaints.extend(request.objections.clone());
        *world.stats.requests.entry(request.method.clone()).or_default() += 1;
        let sender = world.sessions.get(&session).and_then(|session| session.login.clone());
        (world.faults.take(Scope::Request, &request.method), sender)
    });
    if let Some(answer) = fault.as_ref().and_then(|fault| strike_before(shared, session, fault)) {
        return answer;
    }
    let (outcome, early) = shared.change(|world| {
        let outcome = perform(world, (session, sender), request);
        (outcome, fire_armed(world))
    });
    let is_written = |world: &mut World| {
        world.trace.iter().all(|line| !early.contains(&line.message) || line.written_us.is_some())
    };
    if !early.is_empty() {
        shared.wait(Some(EARLY_LIMIT), |world| is_written(world).then_some(()));
    }
    strike_after(shared, session, fault.as_ref(), outcome)
}

/// The answer to a request that a fault keeps from being executed.
fn strike_before(shared: &Shared, session: u64, fault: &Fault) -> Option<Answer> {
    let lost = |act| Some(Answer { outcome: Err(error(refusal::refuse("EOF"))), act });
    match fault.kind {
        FaultKind::RequestSlow => {
            shared.dawdle(fault.pause);
            None
        }
        FaultKind::RequestHangs => lost(Act::Hang),
        FaultKind::RequestDies => lost(Act::Die),
        FaultKind::RateLimited => Some(refused(refusal::rate_limited())),
        FaultKind::UnknownError => {
            let text = fault.text.clone().unwrap_or_else(|| "unexpected error (error 9999)".into());
            Some(refused(refusal::refuse(text)))
        }
        FaultKind::LoggedOut => {
            shared.change(|world| world.sessions.get_mut(&session).and_then(|session| session.login.take()));
            None
        }
        FaultKind::ServiceCrash => {
            crash(shared, session);
            lost(Act::Reply)
        }
        _ => None,
    }
}

/// Ends the service, so that the reply never arrives.
fn crash(shared: &Shared, session: u64) {
    shared.change(|world| world.sessions.get_mut(&session).map(|session| session.command(Command::Crash)));
    shared.wait(None, |world| (!world.sessions.contains_key(&session)).then_some(()));
}

/// Executes a request. It was on its way to the servers, so it takes effect even if its service is gone.
fn perform(world: &mut World, (session, sender): (u64, Option<Sender>), request: &Request) -> Outcome {
    let is_offline = world.faults.take_offline(&request.method);
    let stale = is_offline.then(|| world.faults.stale.clone().unwrap_or_else(|| world.chat.clone()));
    let store = world.faults.store.as_mut().filter(|_| !is_offline);
    let known = store.and_then(|store| store.answers(&world.chat, session, request));
    let mut context = Context {
        stale: stale.as_ref(),
        known: known.as_ref(),
        me: world.sessions.get(&session).map_or(sender, |session| session.login.clone()),
        session,
        now_ms: wall_ms(),
        served: world.stats.requests.values().sum(),
        objections: Vec::new(),
        chat: &mut world.chat,
    };
    let outcome = api::run(&mut context, request);
    let objections = context.objections;
    world.complaints.extend(objections);
    outcome
}

/// Posts the armed reactions to new messages, and returns their ids.
fn fire_armed(world: &mut World) -> Vec<u64> {
    let mut fired = Vec::new();
    for news in world.chat.news.clone() {
        let News::Message { conversation, id } = news else { continue };
        let is_meant = |armed: &super::world::Armed| is_text(&world.chat, &conversation, id, &armed.contains);
        let Some(place) = world.armed.iter().position(is_meant) else { continue };
        let armed = world.armed.remove(place);
        let Ok(sender) = world.chat.user(&armed.user).map(crate::model::people::User::on_laptop) else {
            continue;
        };
        let actor = Actor { conversation: &conversation, sender: &sender, session: None, now_ms: wall_ms() };
        fired.extend(world.chat.react(&actor, id, &armed.reaction));
    }
    fired
}

fn is_text(chat: &Chat, conversation: &str, id: u64, contains: &str) -> bool {
    let message = chat.conversations.get(conversation).and_then(|found| found.message(id));
    message
        .is_some_and(|found| matches!(&found.content, Content::Text { body, .. } if body.contains(contains)))
}

/// The answer after a fault of the reply, if one was ordered.
fn strike_after(shared: &Shared, session: u64, fault: Option<&Fault>, outcome: Outcome) -> Answer {
    let outcome = outcome.map_err(error);
    let pause = fault.map(|fault| fault.pause).unwrap_or_default();
    let act = match fault.map(|fault| fault.kind) {
        Some(FaultKind::ReplyHangs) => Act::Hang,
        Some(FaultKind::ReplyDies) => Act::Die,
        Some(FaultKind::ReplyGarbage) => Act::Garbage,
        Some(FaultKind::ReplyWrongId) => Act::WrongId,
        Some(FaultKind::ReplyHuge) => return Answer { outcome: outcome.map(huge), act: Act::Reply },
        Some(FaultKind::ReplyHeld) => {
            hold(shared, pause);
            Act::Reply
        }
        Some(FaultKind::ReplySlow) => {
            shared.dawdle(pause);
            Act::Reply
        }
        Some(FaultKind::ReplyCrash) => {
            crash(shared, session);
            Act::Reply
        }
        _ => Act::Reply,
    };
    Answer { outcome, act }
}

fn hold(shared: &Shared, pause: Pause) {
    shared.change(|world| world.faults.held += 1);
    shared.hang(pause);
    shared.change(|world| world.faults.held -= 1);
}

/// The same result with an unknown field that is very long.
fn huge(result: Box<RawValue>) -> Box<RawValue> {
    let mut fields = serde_json::from_str(result.get()).unwrap_or(Value::Null);
    if let Value::Object(fields) = &mut fields {
        fields.insert("padding".into(), "x".repeat(HUGE).into());
    }
    to_raw_value(&fields).unwrap_or(result)
}

fn refused(refusal: Refusal) -> Answer {
    Answer { outcome: Err(error(refusal)), act: Act::Reply }
}

fn error(refusal: Refusal) -> ApiError {
    ApiError { code: 0, message: refusal.text, data: refusal.data }
}
