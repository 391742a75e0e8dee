//! Actions of people and bots in a conversation. Each appends a message and returns its id.

use super::conversation::Conversation;
use super::message::{Content, Message};
use super::people::Sender;
use super::refusal::{self, Refusal};
use super::text::quick_reaction;
use super::{Chat, News};

/// Maximum number of bytes of a text, an edit or a reaction.
pub(crate) const BODY_MAX: usize = 10_000;
/// Maximum number of bytes in `dev` topics.
const DEV_BODY_MAX: usize = 1_000_000;

/// Who acts, in which conversation, through which service, and when.
#[derive(Clone, Debug)]
pub(crate) struct Actor<'a> {
    pub(crate) conversation: &'a str,
    pub(crate) sender: &'a Sender,
    pub(crate) session: Option<u64>,
    pub(crate) now_ms: u64,
}

/// A text to be posted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text<'a> {
    pub(crate) body: &'a str,
    pub(crate) reply_to: Option<u64>,
    pub(crate) lifetime_ms: Option<u64>,
}

impl Chat {
    /// Posts a text. One like `+:+1:` becomes a reaction to the latest message.
    pub(crate) fn post(&mut self, actor: &Actor<'_>, text: &Text<'_>) -> Result<u64, Refusal> {
        let conversation = self.entered(actor)?;
        check_size(conversation, text.body)?;
        if let (Some(reaction), Some(target)) = (quick_reaction(text.body), conversation.latest_visible()) {
            return self.react(actor, target, reaction);
        }
        self.join_if_left(actor)?;
        let content = Content::Text { body: text.body.to_owned(), reply_to: text.reply_to };
        let id = self.add(actor, content)?;
        if let Some(message) = self.conversation_mut(actor.conversation)?.messages.last_mut() {
            message.lifetime_ms = text.lifetime_ms;
        }
        self.news.push(News::Message { conversation: actor.conversation.to_owned(), id });
        Ok(id)
    }

    /// Adds a reaction. The same reaction again removes the first one.
    pub(crate) fn react(&mut self, actor: &Actor<'_>, target: u64, reaction: &str) -> Result<u64, Refusal> {
        let conversation = self.entered(actor)?;
        check_size(conversation, reaction)?;
        let found = conversation.message(target).ok_or_else(refusal::no_message)?;
        if !matches!(found.content, Content::Text { .. } | Content::System(_) | Content::Metadata { .. }) {
            return Err(refusal::no_message());
        }
        if let Some(live) = conversation.live_reaction(target, &actor.sender.username, reaction) {
            return self.remove(actor, vec![live]);
        }
        self.tell(actor, Content::Reaction { target, body: reaction.to_owned() })
    }

    /// Removes a reaction that this user has given.
    pub(crate) fn unreact(&mut self, actor: &Actor<'_>, target: u64, reaction: &str) -> Result<u64, Refusal> {
        let conversation = self.entered(actor)?;
        let live = conversation.live_reaction(target, &actor.sender.username, reaction);
        self.remove(actor, vec![live.ok_or_else(refusal::no_message)?])
    }

    /// Edits a text. Only the author may.
    pub(crate) fn edit(&mut self, actor: &Actor<'_>, target: u64, body: &str) -> Result<u64, Refusal> {
        let conversation = self.entered(actor)?;
        check_size(conversation, body)?;
        let found = conversation.message(target).ok_or_else(refusal::no_message)?;
        if found.sender.username != actor.sender.username {
            return Err(refusal::by_server("only the author of a message can edit it"));
        }
        if !matches!(found.content, Content::Text { .. }) {
            return Err(refusal::no_message());
        }
        self.tell(actor, Content::Edit { target, body: body.to_owned() })
    }

    /// Deletes a message with its reactions and edits. The author and the team's admins may.
    pub(crate) fn delete(&mut self, actor: &Actor<'_>, target: u64) -> Result<u64, Refusal> {
        let conversation = self.entered(actor)?;
        let found = conversation.message(target).ok_or_else(refusal::no_message)?;
        if !self.may_delete(conversation, found, &actor.sender.username) {
            return Err(refusal::by_server("only the author or an admin can delete a message"));
        }
        let targets = conversation.with_dependants(target);
        self.remove(actor, targets)
    }

    fn remove(&mut self, actor: &Actor<'_>, targets: Vec<u64>) -> Result<u64, Refusal> {
        for message in &mut self.conversation_mut(actor.conversation)?.messages {
            message.is_deleted |= targets.contains(&message.id);
        }
        self.tell(actor, Content::Delete { targets })
    }

    /// If the user has left the channel, lets them join again.
    pub(crate) fn join_if_left(&mut self, actor: &Actor<'_>) -> Result<(), Refusal> {
        let conversation = self.conversation_mut(actor.conversation)?;
        if conversation.left.remove(&actor.sender.username) {
            self.tell(actor, Content::Join)?;
        }
        Ok(())
    }

    /// The conversation, if the actor takes part in it.
    fn entered(&self, actor: &Actor<'_>) -> Result<&Conversation, Refusal> {
        let conversation = self.conversation(actor.conversation)?;
        self.part(conversation, &actor.sender.username).ok_or_else(refusal::left_conversation)?;
        Ok(conversation)
    }

    /// Appends a message, and adds it to the events.
    pub(crate) fn tell(&mut self, actor: &Actor<'_>, content: Content) -> Result<u64, Refusal> {
        let id = self.add(actor, content)?;
        self.news.push(News::Message { conversation: actor.conversation.to_owned(), id });
        Ok(id)
    }

    fn add(&mut self, actor: &Actor<'_>, content: Content) -> Result<u64, Refusal> {
        self.append(actor.conversation, actor.sender, actor.session, content, actor.now_ms)
    }

    /// Appends a message without an event.
    pub(crate) fn append(
        &mut self,
        conversation: &str,
        sender: &Sender,
        session: Option<u64>,
        content: Content,
        now_ms: u64,
    ) -> Result<u64, Refusal> {
        let conversation = self.conversation_mut(conversation)?;
        let id = conversation.last_id() + 1;
        let (sender, sent_ms) = (sender.clone(), now_ms);
        conversation.read_up_to.insert(sender.username.clone(), id);
        conversation.messages.push(Message {
            id,
            sender,
            session,
            sent_ms,
            content,
            is_deleted: false,
            lifetime_ms: None,
            is_exploded: false,
        });
        Ok(id)
    }
}

/// Checks that a text is not too long; the limit is in bytes.
pub(crate) fn check_size(conversation: &Conversation, body: &str) -> Result<(), Refusal> {
    let limit = if conversation.topic_type == "dev" { DEV_BODY_MAX } else { BODY_MAX };
    if body.len() > limit { Err(refusal::too_long(body.len(), limit)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::find::{Name, people};
    use crate::model::people::User;

    /// Runs a test in a conversation of alice and bob.
    fn with_pair(test: impl FnOnce(&mut Chat, &Actor<'_>, &Actor<'_>)) {
        let mut chat = Chat::default();
        let [alice, bob] = ["alice", "bob"].map(|name| User::new(name, None).on_laptop());
        let name = Name { place: people("bob,alice"), topic_type: "chat".into() };
        let conversation = chat.create(name, &alice, 1).unwrap();
        let [alice, bob] = [&alice, &bob].map(|sender| Actor {
            conversation: &conversation,
            sender,
            session: None,
            now_ms: 2,
        });
        test(&mut chat, &alice, &bob);
    }

    fn text(body: &str) -> Text<'_> {
        Text { body, ..Text::default() }
    }

    #[test]
    fn the_same_reaction_again_takes_the_first_away() {
        with_pair(|chat, alice, bob| {
            let asked = chat.post(alice, &text("which?")).unwrap();
            let first = chat.react(bob, asked, ":+1:").unwrap();
            chat.react(alice, asked, ":+1:").unwrap();
            chat.react(bob, asked, ":-1:").unwrap();
            let removal = chat.react(bob, asked, ":+1:").unwrap();
            let found = chat.conversation(bob.conversation).unwrap();
            let removal = found.message(removal).unwrap();
            assert!(matches!(&removal.content, Content::Delete { targets } if *targets == [first]));
            let live: Vec<_> =
                found.reactions(asked).map(|(by, body)| (by.sender.username.as_str(), body)).collect();
            assert_eq!(live, [("alice", ":+1:"), ("bob", ":-1:")]);
        });
    }

    #[test]
    fn a_deletion_takes_reactions_and_edits_along() {
        with_pair(|chat, alice, bob| {
            let said = chat.post(alice, &text("one")).unwrap();
            let edit = chat.edit(alice, said, "two").unwrap();
            let reaction = chat.react(bob, said, "x").unwrap();
            assert!(chat.delete(bob, said).is_err() && chat.edit(bob, said, "three").is_err());
            let deletion = chat.delete(alice, said).unwrap();
            let found = chat.conversation(alice.conversation).unwrap();
            let deletion = &found.message(deletion).unwrap().content;
            assert!(matches!(deletion, Content::Delete { targets } if *targets == [said, reaction, edit]));
            assert!(chat.react(bob, said, "x").is_err());
        });
    }

    #[test]
    fn the_limit_is_in_bytes() {
        with_pair(|chat, alice, _| {
            assert!(chat.post(alice, &text(&"é".repeat(BODY_MAX / 2))).is_ok());
            assert!(chat.post(alice, &text(&"é".repeat(BODY_MAX / 2 + 1))).is_err());
        });
    }
}
