//! The methods of the JSON API: from options to a result or the real client's error text. Knows the model,
//! not sockets or faults. Notes bad style of a client in [`Context::objections`].

pub(crate) mod options;
pub(crate) mod summary;

mod channels;
mod content;
pub(crate) mod convs;
mod members;
mod read;
mod send;
pub(crate) mod target;
mod team;
mod team_changes;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::model::Chat;
use crate::model::people::Sender;
use crate::model::post::Actor;
use crate::model::refusal::{self, Refusal};
use crate::wire::{Family, Request};

/// What a method works on.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) chat: &'a mut Chat,
    /// What the service still knows when it is cut from its servers.
    pub(crate) stale: Option<&'a Chat>,
    /// What the service knows, and takes for all there is.
    pub(crate) known: Option<&'a Chat>,
    /// The service's login.
    pub(crate) me: Option<Sender>,
    pub(crate) session: u64,
    pub(crate) now_ms: u64,
    /// Requests answered so far, for the rate limits' numbers.
    pub(crate) served: u64,
    pub(crate) objections: Vec<String>,
}

type Outcome = Result<Box<RawValue>, Refusal>;

/// Does what a request asks for.
pub(crate) fn run(context: &mut Context<'_>, request: &Request) -> Outcome {
    match request.family {
        Family::Chat => chat(context, request),
        Family::Team => team(context, request),
    }
}

fn chat(context: &mut Context<'_>, request: &Request) -> Outcome {
    let method = request.method.as_str();
    let known = options::known(method).ok_or_else(|| refusal::method(method))?;
    let options = read_options(context, request, known)?;
    match method {
        "send" => send::send(context, &options),
        "reaction" => send::reaction(context, &options),
        "edit" => send::edit(context, &options),
        "delete" => send::delete(context, &options),
        "read" => read::read(context, &options),
        "get" => read::get(context, &options),
        "mark" => read::mark(context, &options),
        "list" => convs::list(context, &options),
        "listconvsonname" => convs::list_on_name(context, &options),
        "newconv" => channels::create(context, &options),
        "join" => channels::join(context, &options),
        "leave" => channels::leave(context, &options),
        "listmembers" => members::list(context, &options),
        _ => Err(refusal::method(method)),
    }
}

fn team(context: &mut Context<'_>, request: &Request) -> Outcome {
    let method = request.method.as_str();
    let known = options::known_for_teams(method).ok_or_else(|| refusal::method(method))?;
    let options = read_options(context, request, known)?;
    context.online()?;
    match method {
        "list-team-memberships" => team::memberships(context, &options),
        "list-self-memberships" => team::own(context),
        "list-user-memberships" => team::of_user(context, &options),
        "add-members" => team_changes::add(context, &options),
        "edit-member" => team_changes::edit(context, &options),
        "remove-member" => team_changes::remove(context, &options),
        "leave-team" => team_changes::leave(context, &options),
        _ => Err(refusal::method(method)),
    }
}

fn read_options(
    context: &mut Context<'_>,
    request: &Request,
    known: &[&str],
) -> Result<options::Options, Refusal> {
    let given = request.options.clone().unwrap_or(Value::Null);
    let (options, unknown) = options::parse(given, known)?;
    let object = |name| format!("{} was given an unknown option \"{name}\"", request.method);
    context.objections.extend(unknown.into_iter().map(object));
    Ok(options)
}

impl Context<'_> {
    /// Who the service is logged in as.
    pub(crate) fn me(&self) -> Result<Sender, Refusal> {
        self.me.clone().ok_or_else(refusal::login_required)
    }

    /// Fails when nobody is logged in or the service is cut from its servers.
    pub(crate) fn online(&self) -> Result<Sender, Refusal> {
        let me = self.me()?;
        if self.stale.is_some() { Err(refusal::offline()) } else { Ok(me) }
    }

    /// What to read from: what the servers know, or what the service remembers unless that is not wanted.
    pub(crate) fn readable(&self, fail_offline: bool) -> Result<&Chat, Refusal> {
        match self.stale {
            Some(_) if fail_offline => Err(refusal::offline()),
            Some(stale) => Ok(stale),
            None => Ok(self.known.unwrap_or(self.chat)),
        }
    }

    pub(crate) fn actor<'a>(&self, conversation: &'a str, sender: &'a Sender) -> Actor<'a> {
        Actor { conversation, sender, session: Some(self.session), now_ms: self.now_ms }
    }

    pub(crate) fn rate_limits(&self) -> Vec<RateLimit> {
        let gas = CAPACITY.saturating_sub(self.served % CAPACITY);
        vec![RateLimit { tank: "chat", capacity: CAPACITY, reset: 899, gas }]
    }
}

/// How many calls the servers take per quarter of an hour.
const CAPACITY: u64 = 9000;

#[derive(Debug, Serialize)]
pub(crate) struct RateLimit {
    tank: &'static str,
    capacity: u64,
    /// Seconds.
    reset: u64,
    gas: u64,
}

/// The result of a method that has nothing else to say.
#[derive(Debug, Serialize)]
pub(crate) struct Empty {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ratelimits: Vec<RateLimit>,
}

/// A result as JSON, its fields in order.
pub(crate) fn result(value: &impl Serialize) -> Outcome {
    to_raw_value(value).map_err(|error| refusal::refuse(error.to_string()))
}
