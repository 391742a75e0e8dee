//! The methods of the `keybase` client that the server uses, with typed arguments and replies. Each method is
//! one request. The caller handles failures.

use super::members::Member;
use super::process::api::Api;
use super::process::program::{Error, Program, VERB_TIME};
use super::settings::{Place, Settings};
use super::wire::{
    Conversation, Conversations, MemberList, Message, Messages, NewConversation, Sent, Whoami,
};
use crate::secret::Secret;
use serde_json::{Value, json};
use std::time::Duration;

/// Number of messages in one page. JSON can make a message of 10,000 bytes six times as long, and a page must
/// still fit into a reply.
pub(super) const PAGE: u64 = 100;

/// Longest text that is sent, in bytes. Keybase accepts 10,000.
pub(super) const BODY_BYTES_MAX: usize = 9_500;

/// Calls to Keybase.
pub(super) struct Client {
    pub(super) program: Program,
    /// Separate from `reads`, because a slow request delays all later ones of the same child process.
    writes: Api,
    reads: Api,
    teams: Api,
}

/// A team's current settings and members.
pub(super) struct Team {
    pub(super) is_open: bool,
    pub(super) members: Vec<Member>,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Self {
        let program = Program::new(&settings.program, &settings.service);
        let api = |verb| Api::new(program.clone(), verb);
        Self { writes: api("chat"), reads: api("chat"), teams: api("team"), program }
    }

    /// Ends the child processes.
    pub(super) async fn end(&self) {
        tokio::join!(self.writes.end(), self.reads.end(), self.teams.end());
    }

    pub(super) async fn whoami(&self) -> Result<Whoami, Error> {
        let output = self.program.run(&["whoami", "--json"], None, VERB_TIME).await?;
        serde_json::from_str(&output).map_err(|error| Error::broken(format_args!("`whoami`: {error}")))
    }

    /// Logs in an ambient service.
    pub(super) async fn oneshot(&self, user: &str, paperkey: &Secret) -> Result<(), Error> {
        let verb = ["oneshot", "--username", user];
        self.program.run(&verb, Some(paperkey), VERB_TIME).await.map(drop)
    }

    /// Posts a text; returns the message's number.
    pub(super) async fn send(
        &self,
        conversation: &str,
        body: &str,
        reply_to: Option<u64>,
    ) -> Result<u64, Error> {
        let mut options = json!({ "conversation_id": conversation, "message": { "body": body } });
        if let (Some(reply_to), Some(options)) = (reply_to, options.as_object_mut()) {
            options.insert("reply_to".into(), reply_to.into());
        }
        posted(&self.writes.call("send", &options).await?)
    }

    /// Posts a text that Keybase deletes after this time: 30 seconds to a week.
    pub(super) async fn send_exploding(
        &self,
        conversation: &str,
        body: &Secret,
        lifetime: Duration,
    ) -> Result<(), Error> {
        let options = json!({
            "conversation_id": conversation,
            "message": { "body": body.reveal() },
            "exploding_lifetime": format!("{}s", lifetime.as_secs()),
        });
        posted(&self.writes.call("send", &options).await?).map(drop)
    }

    /// Adds a reaction. If the bot has already added the same one, Keybase removes it.
    pub(super) async fn toggle(&self, conversation: &str, message: u64, reaction: &str) -> Result<(), Error> {
        let options = json!({ "conversation_id": conversation, "message_id": message, "message": { "body": reaction } });
        self.writes.call::<Sent>("reaction", &options).await.map(drop)
    }

    /// Edits a message of the bot; returns the number of the edit. Keybase's server assigns it, higher than
    /// every earlier number in this conversation.
    pub(super) async fn edit(
        &self,
        conversation: &str,
        message: u64,
        body: &str,
    ) -> Result<Option<u64>, Error> {
        let options =
            json!({ "conversation_id": conversation, "message_id": message, "message": { "body": body } });
        Ok(self.writes.call::<Sent>("edit", &options).await?.id)
    }

    /// A message; `None` if it was deleted. The service answers from its own store, which may be out of date
    /// without any sign of it.
    pub(super) async fn get(&self, conversation: &str, message: u64) -> Result<Option<Message>, Error> {
        let options = json!({ "conversation_id": conversation, "message_ids": [message], "peek": true, "fail_offline": true });
        let found = self.call_online("get", &options).await?;
        if found.has_unreadable() {
            return Err(Error::refused("the message cannot be read"));
        }
        let found = found.readable();
        Ok(found.into_iter().find(|found| found.id == message && found.conversation_id == conversation))
    }

    /// A page of messages in their current version, the newest first, and the start of the next page. The
    /// service answers from its own store unless it knows that messages are missing there.
    pub(super) async fn page(
        &self,
        conversation: &str,
        from: Option<&str>,
    ) -> Result<(Vec<Message>, Option<String>), Error> {
        let pagination = json!({ "num": PAGE, "next": from });
        let options = json!({ "conversation_id": conversation, "pagination": pagination, "peek": true, "fail_offline": true });
        let mut found = self.call_online("read", &options).await?;
        let next = found.pagination.take().filter(|page| !page.last).and_then(|page| page.next);
        Ok((found.readable(), next))
    }

    /// The conversations with this name, whether the bot has joined them or not.
    pub(super) async fn conversations(&self, place: &Place, bot: &str) -> Result<Vec<Conversation>, Error> {
        let found: Conversations = self.reads.call("listconvsonname", &name_options(place, bot)).await?;
        Ok(found.conversations.unwrap_or_default())
    }

    /// A conversation of which the bot is a member.
    pub(super) async fn conversation(&self, conversation: &str) -> Result<Option<Conversation>, Error> {
        let options = json!({ "conversation_id": conversation, "fail_offline": true });
        let found: Conversations = self.reads.call("list", &options).await?;
        Ok(found.conversations.unwrap_or_default().into_iter().find(|found| found.id == conversation))
    }

    /// Returns the id of the private conversation of these users; creates it if there is none.
    pub(super) async fn open_private(&self, names: &str) -> Result<String, Error> {
        let channel = json!({ "name": names, "members_type": "impteamnative", "topic_type": "chat" });
        let made: NewConversation = self.writes.call("newconv", &json!({ "channel": channel })).await?;
        Ok(made.id)
    }

    pub(super) async fn join(&self, conversation: &str) -> Result<(), Error> {
        self.writes.call::<Value>("join", &json!({ "conversation_id": conversation })).await.map(drop)
    }

    /// The members of a conversation.
    pub(super) async fn people(&self, conversation: &str) -> Result<Vec<Member>, Error> {
        let listed: MemberList =
            self.reads.call("listmembers", &json!({ "conversation_id": conversation })).await?;
        Ok(listed.members())
    }

    /// A team and its members. The service always asks Keybase's server.
    pub(super) async fn team(&self, team: &str) -> Result<Team, Error> {
        let listed: MemberList = self.teams.call("list-team-memberships", &json!({ "team": team })).await?;
        Ok(Team { is_open: listed.is_open(), members: listed.members() })
    }

    /// Calls a method, and returns an error if the service was offline, because its answer may be out of date
    /// then.
    async fn call_online(&self, method: &str, options: &Value) -> Result<Messages, Error> {
        let found: Messages = self.reads.call(method, options).await?;
        if found.offline { Err(Error::refused("the service is offline")) } else { Ok(found) }
    }
}

/// The number of the message that was posted.
fn posted(sent: &Sent) -> Result<u64, Error> {
    match sent.id {
        Some(id) if id > 0 => Ok(id),
        _ => Err(Error::refused("Keybase read the text as a command, and did not post it")),
    }
}

/// The options that select all conversations with the place's name: a team's channels, or one private chat.
fn name_options(place: &Place, bot: &str) -> Value {
    match place {
        Place::Channel(team, _) => json!({ "name": team, "members_type": "team", "topic_type": "chat" }),
        Place::Private(user) => {
            json!({ "name": format!("{bot},{user}"), "members_type": "impteamnative", "topic_type": "chat" })
        }
    }
}
