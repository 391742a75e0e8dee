//! The chat methods `newconv`, `join` and `leave`.

use serde::Serialize;

use super::options::Options;
use super::{Context, Empty, Outcome, RateLimit, result, target};
use crate::model::message::Content;
use crate::model::refusal;
use crate::model::team::Role;

#[derive(Serialize)]
struct Created {
    id: String,
    ratelimits: Vec<RateLimit>,
}

/// Creates a conversation, or finds the existing one with that name.
pub(crate) fn create(context: &mut Context<'_>, options: &Options) -> Outcome {
    target::check("newconv", options)?;
    let me = context.online()?;
    target::object(context, &options.channel);
    let name = target::name(context.chat, &me, &options.channel)?;
    let found = context.chat.lookup(&name).map(|found| found.id.clone());
    let id = match found {
        Some(id) => id,
        None => target::create(context, &me, name)?,
    };
    result(&Created { id, ratelimits: context.rate_limits() })
}

/// Joins a channel of the user's team.
pub(crate) fn join(context: &mut Context<'_>, options: &Options) -> Outcome {
    target::check("join", options)?;
    let me = context.online()?;
    target::object(context, &options.channel);
    let id = target::existing(context.chat, &me, options)?;
    let actor = context.actor(&id, &me);
    context.chat.join_if_left(&actor)?;
    result(&Empty { ratelimits: context.rate_limits() })
}

/// Leaves a channel but stays in the team.
pub(crate) fn leave(context: &mut Context<'_>, options: &Options) -> Outcome {
    target::check("leave", options)?;
    let me = context.online()?;
    target::object(context, &options.channel);
    let id = target::existing(context.chat, &me, options)?;
    let role = context.chat.part(context.chat.conversation(&id)?, &me.username);
    if role == Some(Role::RestrictedBot) {
        return Err(refusal::by_server("restricted bots cannot leave a channel"));
    }
    let actor = context.actor(&id, &me);
    context.chat.tell(&actor, Content::Leave)?;
    context.chat.conversation_mut(&id)?.left.insert(me.username);
    result(&Empty { ratelimits: context.rate_limits() })
}
