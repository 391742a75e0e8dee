//! The client's methods that we use, by name and type. Each is one request; what is to be done when one fails is
//! decided above.

use super::members::Member;
use super::process::api::Api;
use super::process::program::{Error, Program, VERB_TIME};
use super::settings::{Place, Settings};
use super::wire::{Conversation, Conversations, Listed, Message, Messages, NewConversation, Sent, Whoami};
use crate::secret::Secret;
use serde_json::{Value, json};

/// Messages of one page. One of 10,000 bytes can be six times as long in JSON, which a reply has conversation for.
pub(super) const PAGE: u64 = 100;

/// Longest body that is sent, in bytes: the server takes 10,000.
pub(super) const BODY_BYTES_MAX: usize = 9_500;

/// Everything that is asked of Keybase.
pub(super) struct Client {
    pub(super) program: Program,
    /// Writes wait for writes only: a slow request holds up all behind it.
    writes: Api,
    reads: Api,
    teams: Api,
}

/// A team, as it is now.
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

    /// Ends every child that answers requests.
    pub(super) async fn end(&self) {
        tokio::join!(self.writes.end(), self.reads.end(), self.teams.end());
    }

    pub(super) async fn whoami(&self) -> Result<Whoami, Error> {
        let said = self.program.run(&["whoami", "--json"], None, VERB_TIME).await?;
        serde_json::from_str(&said).map_err(|error| Error::broken(format_args!("`whoami`: {error}")))
    }

    /// Logs a service in that is not ours.
    pub(super) async fn oneshot(&self, user: &str, paperkey: &Secret) -> Result<(), Error> {
        let verb = ["oneshot", "--username", user];
        self.program.run(&verb, Some(paperkey), VERB_TIME).await.map(drop)
    }

    /// Posts a text; returns the message's id.
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
        let sent: Sent = self.writes.call("send", &options).await?;
        match sent.id {
            Some(id) if id > 0 => Ok(id),
            _ => Err(Error::refused("the text was taken for a command, and not posted")),
        }
    }

    /// Reacts; or takes the reaction back, if the bot has reacted so before.
    pub(super) async fn toggle(&self, conversation: &str, message: u64, reaction: &str) -> Result<(), Error> {
        let options = json!({ "conversation_id": conversation, "message_id": message, "message": { "body": reaction } });
        self.writes.call::<Sent>("reaction", &options).await.map(drop)
    }

    /// Changes a text of the bot's own; returns the id of the change, which the server has given it: it is higher than that
    /// of anything that the server had in this conversation before.
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

    /// A message as the service knows it; `None` if it is gone. The service answers from its own store, which may lack what it
    /// has not heard of, and say nothing of that.
    pub(super) async fn get(&self, conversation: &str, message: u64) -> Result<Option<Message>, Error> {
        let options = json!({ "conversation_id": conversation, "message_ids": [message], "peek": true, "fail_offline": true });
        let found = self.online("get", &options).await?;
        if found.has_unreadable() {
            return Err(Error::refused("the message cannot be read"));
        }
        let found = found.readable();
        Ok(found.into_iter().find(|found| found.id == message && found.conversation_id == conversation))
    }

    /// A page of messages, the newest first, and where the next begins; older ones are there as they are now. The service
    /// answers from its own store if that holds the whole page, as far as the service knows.
    pub(super) async fn page(
        &self,
        conversation: &str,
        from: Option<&str>,
    ) -> Result<(Vec<Message>, Option<String>), Error> {
        let pagination = json!({ "num": PAGE, "next": from });
        let options = json!({ "conversation_id": conversation, "pagination": pagination, "peek": true, "fail_offline": true });
        let mut found = self.online("read", &options).await?;
        let next = found.pagination.take().filter(|page| !page.last).and_then(|page| page.next);
        Ok((found.readable(), next))
    }

    /// The conversations of this name, joined or not.
    pub(super) async fn conversations(&self, place: &Place, bot: &str) -> Result<Vec<Conversation>, Error> {
        let found: Conversations = self.reads.call("listconvsonname", &name(place, bot)).await?;
        Ok(found.conversations.unwrap_or_default())
    }

    /// One conversation that the bot is in.
    pub(super) async fn conversation(&self, conversation: &str) -> Result<Option<Conversation>, Error> {
        let options = json!({ "conversation_id": conversation, "fail_offline": true });
        let found: Conversations = self.reads.call("list", &options).await?;
        Ok(found.conversations.unwrap_or_default().into_iter().find(|found| found.id == conversation))
    }

    /// Makes a private conversation, or finds it.
    pub(super) async fn private(&self, names: &str) -> Result<String, Error> {
        let channel = json!({ "name": names, "members_type": "impteamnative", "topic_type": "chat" });
        let made: NewConversation = self.writes.call("newconv", &json!({ "channel": channel })).await?;
        Ok(made.id)
    }

    pub(super) async fn join(&self, conversation: &str) -> Result<(), Error> {
        self.writes.call::<Value>("join", &json!({ "conversation_id": conversation })).await.map(drop)
    }

    /// Who is in a conversation.
    pub(super) async fn people(&self, conversation: &str) -> Result<Vec<Member>, Error> {
        let listed: Listed =
            self.reads.call("listmembers", &json!({ "conversation_id": conversation })).await?;
        Ok(listed.members())
    }

    /// Who is in a team. It is always asked of the server.
    pub(super) async fn team(&self, team: &str) -> Result<Team, Error> {
        let listed: Listed = self.teams.call("list-team-memberships", &json!({ "team": team })).await?;
        Ok(Team { is_open: listed.is_open(), members: listed.members() })
    }

    /// What is read offline may be old, and is worth nothing.
    async fn online(&self, method: &str, options: &Value) -> Result<Messages, Error> {
        let found: Messages = self.reads.call(method, options).await?;
        if found.offline { Err(Error::refused("offline")) } else { Ok(found) }
    }
}

/// All conversations that share the place's name: a team's channels, or one chat.
fn name(place: &Place, bot: &str) -> Value {
    match place {
        Place::Channel(team, _) => json!({ "name": team, "members_type": "team", "topic_type": "chat" }),
        Place::Private(user) => {
            json!({ "name": format!("{bot},{user}"), "members_type": "impteamnative", "topic_type": "chat" })
        }
    }
}
