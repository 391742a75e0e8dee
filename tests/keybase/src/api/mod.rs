//! The methods of the JSON API: from options to a result, or to the real client's error text. This module
//! knows the model, but no sockets and no faults. What a careful client would not do is added to
//! [`Context::objections`].

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

/// The data with which a method works.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) chat: &'a mut Chat,
    /// What the service remembers, if it is cut off from its servers.
    pub(crate) stale: Option<&'a Chat>,
    /// What the service's store holds, if that is out of date without the service's knowledge.
    pub(crate) known: Option<&'a Chat>,
    /// The service's login.
    pub(crate) me: Option<Sender>,
    pub(crate) session: u64,
    pub(crate) now_ms: u64,
    /// Number of requests so far, from which the rate limits are computed.
    pub(crate) served: u64,
    pub(crate) objections: Vec<String>,
}

type Outcome = Result<Box<RawValue>, Refusal>;

/// Executes a request.
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

    /// Fails if nobody is logged in, or the service is cut off from its servers.
    pub(crate) fn online(&self) -> Result<Sender, Refusal> {
        let me = self.me()?;
        if self.stale.is_some() { Err(refusal::offline()) } else { Ok(me) }
    }

    /// The data that reads use: the servers', or what the service remembers, unless `fail_offline` forbids
    /// that.
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

/// Number of calls that the servers accept in a quarter of an hour.
const CAPACITY: u64 = 9000;

#[derive(Debug, Serialize)]
pub(crate) struct RateLimit {
    tank: &'static str,
    capacity: u64,
    /// Seconds until the limit is reset.
    reset: u64,
    gas: u64,
}

/// The result of a method that returns only rate limits.
#[derive(Debug, Serialize)]
pub(crate) struct Empty {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ratelimits: Vec<RateLimit>,
}

/// A result as JSON, with its fields in the order of the type.
pub(crate) fn result(value: &impl Serialize) -> Outcome {
    to_raw_value(value).map_err(|error| refusal::refuse(error.to_string()))
}
