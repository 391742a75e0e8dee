//! Finds the conversation that a request means.

use super::Context;
use super::options::{Channel, Options};
use crate::model::Chat;
use crate::model::conversation::Place;
use crate::model::find::{GENERAL, Name, people};
use crate::model::people::Sender;
use crate::model::refusal::{self, Refusal};
use crate::model::team::Role;

/// The members types that Keybase knows.
const MEMBERS_TYPES: [&str; 5] = ["", "team", "impteamnative", "impteamupgrade", "kbfs"];

/// Checks that a request has either a channel or an id, but not both.
pub(crate) fn check(method: &str, options: &Options) -> Result<(), Refusal> {
    let why = match (options.channel != Channel::default(), !options.conversation_id.is_empty()) {
        (true, true) => "include channel or conversation_id, not both",
        (false, false) => "need channel or conversation_id",
        (true, false) if !is_valid(&options.channel) => "invalid channel",
        _ => return Ok(()),
    };
    Err(refusal::options(method, why))
}

fn is_valid(channel: &Channel) -> bool {
    !channel.name.is_empty() && MEMBERS_TYPES.contains(&channel.members_type.as_str())
}

/// The id of the conversation that a request means. It must exist, and the user must take part in it.
pub(crate) fn existing(chat: &Chat, me: &Sender, options: &Options) -> Result<String, Refusal> {
    if options.conversation_id.is_empty() {
        let name = name(chat, me, &options.channel)?;
        let found = chat.lookup(&name).ok_or_else(|| refusal::no_conversation(&options.channel.name))?;
        return Ok(found.id.clone());
    }
    let found = chat.conversation(&options.conversation_id)?;
    chat.part(found, &me.username).ok_or_else(refusal::left_conversation)?;
    Ok(found.id.clone())
}

/// As [`existing`], but a conversation that is named and does not exist is created.
pub(crate) fn existing_or_new(
    context: &mut Context<'_>,
    me: &Sender,
    options: &Options,
) -> Result<String, Refusal> {
    if !options.conversation_id.is_empty() {
        return existing(context.chat, me, options);
    }
    object(context, &options.channel);
    let name = name(context.chat, me, &options.channel)?;
    if let Some(found) = context.chat.lookup(&name) {
        return Ok(found.id.clone());
    }
    context.objections.push(format!("a message was sent to {:?}, which did not exist", options.channel));
    create(context, me, name)
}

/// Creates a conversation. Readers and restricted bots of a team may not.
pub(crate) fn create(context: &mut Context<'_>, me: &Sender, name: Name) -> Result<String, Refusal> {
    if let Place::Channel { team_id, .. } = &name.place {
        let role = context.chat.team_by_id(team_id).and_then(|team| team.role(&me.username));
        if let Some(role @ (Role::Reader | Role::RestrictedBot)) = role {
            let role = format!("{role:?}").to_uppercase();
            let why = format!("team readers are unable to create conversations, found role {role}");
            return Err(refusal::by_server(&why));
        }
    }
    context.chat.create(name, me, context.now_ms)
}

/// Complains if a team is named as if it were a list of people.
pub(crate) fn object(context: &mut Context<'_>, channel: &Channel) {
    let looks_like_team = !channel.topic_name.is_empty() || context.chat.team(&channel.name).is_ok();
    if channel.members_type != "team" && looks_like_team {
        context
            .objections
            .push(format!("the team channel {channel:?} was named without members_type \"team\""));
    }
}

/// The conversation that a channel means: a team's, if it says so, or that of a list of people.
pub(crate) fn name(chat: &Chat, me: &Sender, channel: &Channel) -> Result<Name, Refusal> {
    let or = |text: &str, default: &str| {
        if text.is_empty() { default.to_owned() } else { text.to_ascii_lowercase() }
    };
    let topic_type = or(&channel.topic_type, "chat");
    if channel.members_type != "team" {
        return Ok(Name { place: private(chat, me, &channel.name)?, topic_type });
    }
    let team = chat.team(&channel.name)?;
    team.role(&me.username).ok_or_else(|| refusal::not_in_team(&team.name))?;
    let name = if channel.topic_name.is_empty() { GENERAL.to_owned() } else { channel.topic_name.clone() };
    Ok(Name { place: Place::Channel { team_id: team.id.clone(), name }, topic_type })
}

fn private(chat: &Chat, me: &Sender, list: &str) -> Result<Place, Refusal> {
    let place = people(list);
    let Place::People(names) = &place else { return Ok(place) };
    for name in names {
        chat.user(name)?;
    }
    if !names.contains(&me.username) {
        return Err(refusal::not_in_conversation(&me.username));
    }
    Ok(place)
}
