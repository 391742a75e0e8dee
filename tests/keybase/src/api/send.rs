//! The chat methods `send`, `reaction`, `edit` and `delete`, with what the client does to a text before it
//! sends it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::options::Options;
use super::{Context, Outcome, RateLimit, result, target};
use crate::model::ids;
use crate::model::people::Sender;
use crate::model::post::{Text, check_size};
use crate::model::refusal::{self, Refusal};
use crate::model::text::{command, mentions::mentions, payment::payees, quick_reaction};

#[derive(Serialize)]
struct Sent {
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outbox_id: Option<String>,
    ratelimits: Vec<RateLimit>,
}

/// Posts a text.
pub(crate) fn send(context: &mut Context<'_>, options: &Options) -> Outcome {
    target::check("send", options)?;
    check_body("send", options)?;
    let lifetime_ms = lifetime_ms(&options.exploding_lifetime)?;
    let me = context.online()?;
    let body = options.message.body.as_str();
    let id = target::existing_or_new(context, &me, options)?;
    if let Some(command) = command(body) {
        context
            .objections
            .push(format!("a text ran as the command /{command} instead of being posted: {body:?}"));
        return sent(context, "message sent", 0, false);
    }
    check_payment(context, &id, body, options.confirm_lumen_send)?;
    object_to_text(context, &id, body);
    // Without waiting, the real client forgets which message it replies to.
    let reply_to = options.reply_to.filter(|_| !options.nonblock);
    let actor = context.actor(&id, &me);
    let id = context.chat.post(&actor, &Text { body, reply_to, lifetime_ms })?;
    sent(context, "message sent", id, options.nonblock)
}

/// Adds a reaction. The same reaction again removes it.
pub(crate) fn reaction(context: &mut Context<'_>, options: &Options) -> Outcome {
    let (me, id) = existing(context, "reaction", options)?;
    let actor = context.actor(&id, &me);
    let id = context.chat.react(&actor, options.message_id, &options.message.body)?;
    sent(context, "message reacted to", id, false)
}

/// Edits a text.
pub(crate) fn edit(context: &mut Context<'_>, options: &Options) -> Outcome {
    let (me, id) = existing(context, "edit", options)?;
    object_to_text(context, &id, &options.message.body);
    let actor = context.actor(&id, &me);
    let id = context.chat.edit(&actor, options.message_id, &options.message.body)?;
    sent(context, "message edited", id, false)
}

/// Deletes a message, reaction or edit.
pub(crate) fn delete(context: &mut Context<'_>, options: &Options) -> Outcome {
    let (me, id) = existing(context, "delete", options)?;
    let actor = context.actor(&id, &me);
    let id = context.chat.delete(&actor, options.message_id)?;
    sent(context, "message deleted", id, false)
}

fn existing(context: &mut Context<'_>, method: &str, options: &Options) -> Result<(Sender, String), Refusal> {
    target::check(method, options)?;
    if options.message_id == 0 {
        return Err(refusal::options(method, "invalid message id '0'"));
    }
    if method != "delete" {
        check_body(method, options)?;
    }
    let me = context.online()?;
    target::object(context, &options.channel);
    let id = target::existing(context.chat, &me, options)?;
    Ok((me, id))
}

fn check_body(method: &str, options: &Options) -> Result<(), Refusal> {
    if options.message.body.is_empty() {
        return Err(refusal::options(method, "invalid message, body cannot be empty"));
    }
    Ok(())
}

/// Refuses a text that would pay somebody in the conversation, unless the client confirms it.
fn check_payment(context: &mut Context<'_>, id: &str, body: &str, is_confirmed: bool) -> Result<(), Refusal> {
    let payees = payees(body);
    let conversation = context.chat.conversation(id)?;
    let is_in = |name: &String| context.chat.part(conversation, name).is_some();
    if !payees.iter().any(is_in) {
        return Ok(());
    }
    context.objections.push(format!("a text looks like a payment to {}: {body:?}", payees.join(", ")));
    if is_confirmed { Ok(()) } else { Err(refusal::payment_declined()) }
}

/// Complains about a text that would notify somebody, is too long, or would become a reaction.
fn object_to_text(context: &mut Context<'_>, id: &str, body: &str) {
    let found = mentions(body);
    let known = |name: &&String| context.chat.users.contains_key(*name) || context.chat.team(name).is_ok();
    let mut notified: Vec<String> = found.names.iter().filter(known).cloned().collect();
    notified.extend(found.channel.map(|wide| format!("{wide:?}").to_lowercase()));
    if !notified.is_empty() {
        context.objections.push(format!("a text notifies {}: {body:?}", notified.join(", ")));
    }
    if context.chat.conversation(id).is_ok_and(|found| check_size(found, body).is_err()) {
        context.objections.push(format!("a text of {} bytes is over the limit", body.len()));
    }
    if quick_reaction(body).is_some() {
        context.objections.push(format!("a text becomes a reaction to the latest message: {body:?}"));
    }
}

fn sent(context: &Context<'_>, message: &'static str, id: u64, is_nonblock: bool) -> Outcome {
    let outbox_id =
        is_nonblock.then(|| STANDARD.encode(ids::bytes(&ids::digits(&format!("outbox {id}"), 16))));
    result(&Sent { message, id: (!is_nonblock).then_some(id), outbox_id, ratelimits: context.rate_limits() })
}

/// Parses a Go duration in whole units, from 30 seconds to a week, to milliseconds.
fn lifetime_ms(text: &str) -> Result<Option<u64>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let seconds =
        go_seconds(text).ok_or_else(|| refusal::refuse(format!("time: invalid duration {text:?}")))?;
    if !(30..=604_800).contains(&seconds) {
        let why = format!("invalid ephemeral lifetime: {text}, must be between 168h0m0s and 30s");
        return Err(refusal::options("send", &why));
    }
    Ok(Some(seconds * 1000))
}

fn go_seconds(text: &str) -> Option<u64> {
    let (mut total, mut rest) = (0, text);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let unit = after.chars().next()?;
        total += number.parse::<u64>().ok()?
            * [('h', 3600), ('m', 60), ('s', 1)].into_iter().find(|(name, _)| *name == unit)?.1;
        rest = after.get(1..)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        assert_eq!(
            (go_seconds("1h30m"), go_seconds("45s"), go_seconds("5"), go_seconds("x")),
            (Some(5400), Some(45), None, None)
        );
    }
}
