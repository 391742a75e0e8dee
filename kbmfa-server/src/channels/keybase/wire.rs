//! What the client's lines say, read leniently: lists are often null, and newer versions have more fields. What cannot
//! be read is never an answer.

use kbmfa_proto::names::KeybaseName;
use kbmfa_proto::text::SafeText;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

use super::members::{Member, MemberKind, Role};
use super::process::program::Error;

/// A request with every field of its envelope: the client keeps what a request leaves out from the one before.
pub(super) fn request(id: u64, method: &str, options: &Value) -> String {
    let params = json!({ "version": 1, "options": options });
    format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
}

/// Reads the reply to a request.
///
/// # Errors
/// [`Error::Refused`] with the client's words; [`Error::Broken`] if it is no reply to this request.
pub(super) fn reply(line: &str, id: u64) -> Result<Value, Error> {
    let reply: Reply = serde_json::from_str(line)
        .map_err(|error| Error::broken(format_args!("a reply that is none: {error}")))?;
    if reply.id != Some(id) {
        return Err(Error::broken("a reply to another request"));
    }
    match (reply.error, reply.result) {
        (Some(error), _) => {
            let pause = error.data.and_then(|data| data.window_reset).map(Duration::from_secs);
            Err(Error::Refused { message: SafeText::new(&error.message).to_string(), pause })
        }
        (None, Some(result)) => Ok(result),
        (None, None) => Err(Error::broken("a reply without a result")),
    }
}

#[derive(Deserialize)]
struct Reply {
    id: Option<u64>,
    result: Option<Value>,
    error: Option<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    message: String,
    data: Option<Limit>,
}

#[derive(Deserialize)]
struct Limit {
    #[serde(rename = "windowReset")]
    window_reset: Option<u64>,
}

/// What a send, a reaction or an edit comes back with.
#[derive(Deserialize)]
pub(super) struct Sent {
    pub(super) id: Option<u64>,
}

/// Messages as they are now.
#[derive(Deserialize)]
pub(super) struct Messages {
    #[serde(rename = "messages")]
    items: Option<Vec<Item>>,
    #[serde(default)]
    pub(super) offline: bool,
    pub(super) pagination: Option<Pagination>,
}

impl Messages {
    /// True if one of them came as an error in its place.
    pub(super) fn has_unreadable(&self) -> bool {
        self.items.iter().flatten().any(|item| item.msg.is_none())
    }

    /// Those that can be read.
    pub(super) fn readable(self) -> Vec<Message> {
        self.items.unwrap_or_default().into_iter().filter_map(|item| item.msg).collect()
    }
}

#[derive(Deserialize)]
struct Item {
    msg: Option<Message>,
}

/// Where older messages begin.
#[derive(Deserialize)]
pub(super) struct Pagination {
    pub(super) next: Option<String>,
    #[serde(default)]
    pub(super) last: bool,
}

/// A message, in a list or in an event.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Message {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) conversation_id: String,
    #[serde(default)]
    pub(super) channel: Channel,
    pub(super) sender: Sender,
    #[serde(default)]
    pub(super) sent_at_ms: i64,
    content: Content,
    reactions: Option<Reactions>,
}

impl Message {
    /// The text, if it is one.
    pub(super) fn body(&self) -> Option<&str> {
        self.content.text.as_ref().filter(|_| self.content.kind == "text").map(|text| text.body.as_str())
    }

    /// What it says to which message, if it is a reaction.
    pub(super) fn reaction(&self) -> Option<(u64, &str)> {
        let reaction = self.content.reaction.as_ref().filter(|_| self.content.kind == "reaction");
        reaction.map(|target| (target.message, target.body.as_str()))
    }

    /// Each reaction to it: what it says, and whose it is.
    pub(super) fn reactions(&self) -> impl Iterator<Item = (&str, &str)> {
        let said = self.reactions.iter().flat_map(|all| &all.reactions).flatten();
        said.flat_map(|(said, by)| {
            by.users.iter().flatten().map(move |(user, _)| (said.as_str(), user.as_str()))
        })
    }
}

/// The conversation that a message is in, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Channel {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) topic_name: String,
}

/// Who wrote a message; signed by their device.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Sender {
    pub(super) uid: String,
    #[serde(default)]
    pub(super) username: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Content {
    #[serde(rename = "type")]
    kind: String,
    text: Option<Text>,
    reaction: Option<Target>,
}

#[derive(Debug, Clone, Deserialize)]
struct Text {
    body: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Target {
    #[serde(rename = "m")]
    message: u64,
    #[serde(rename = "b", default)]
    body: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Reactions {
    reactions: Option<BTreeMap<String, Users>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Users {
    users: Option<BTreeMap<String, Value>>,
}

/// Conversations by name.
#[derive(Deserialize)]
pub(super) struct Conversations {
    pub(super) conversations: Option<Vec<Conversation>>,
}

/// One of them.
#[derive(Deserialize)]
pub(super) struct Conversation {
    pub(super) id: String,
    #[serde(default)]
    pub(super) channel: Channel,
    #[serde(default)]
    pub(super) member_status: String,
    pub(super) reset_users: Option<Vec<String>>,
}

/// A conversation that was made or found.
#[derive(Deserialize)]
pub(super) struct NewConversation {
    pub(super) id: String,
}

/// The members of a team, or of a conversation; a team's say more of each.
#[derive(Deserialize)]
pub(super) struct Listed {
    members: Option<Buckets>,
    #[serde(flatten)]
    own: Buckets,
    settings: Option<TeamSettings>,
}

#[derive(Deserialize, Default)]
struct Buckets {
    owners: Option<Vec<Entry>>,
    admins: Option<Vec<Entry>>,
    writers: Option<Vec<Entry>>,
    readers: Option<Vec<Entry>>,
    bots: Option<Vec<Entry>>,
    #[serde(rename = "restrictedBots")]
    restricted_bots: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct TeamSettings {
    open: Option<bool>,
}

#[derive(Deserialize)]
struct Entry {
    username: String,
    uid: Option<String>,
    uv: Option<UserVersion>,
    #[serde(rename = "needsPUK")]
    needs_puk: Option<bool>,
    status: Option<i64>,
}

#[derive(Deserialize)]
struct UserVersion {
    uid: String,
}

impl Listed {
    /// True if anybody may join the team, or if that is not said.
    pub(super) fn is_open(&self) -> bool {
        self.settings.as_ref().and_then(|settings| settings.open).unwrap_or(true)
    }

    /// Everybody, by the name of the bucket they are in: the numbers of roles have no order.
    pub(super) fn members(self) -> Vec<Member> {
        let buckets = self.members.unwrap_or(self.own);
        let people = [
            (MemberKind::Person(Role::Owner), buckets.owners),
            (MemberKind::Person(Role::Admin), buckets.admins),
            (MemberKind::Person(Role::Writer), buckets.writers),
            (MemberKind::Person(Role::Reader), buckets.readers),
            (MemberKind::Bot, buckets.bots),
            (MemberKind::RestrictedBot, buckets.restricted_bots),
        ];
        let entries = people
            .into_iter()
            .flat_map(|(kind, entries)| entries.into_iter().flatten().map(move |entry| (kind, entry)));
        entries.filter_map(|(kind, entry)| entry.member(kind)).collect()
    }
}

impl Entry {
    fn member(self, kind: MemberKind) -> Option<Member> {
        // A team says both of each member; a conversation says neither.
        let is_of_team = self.uv.is_some();
        let has_keys = !is_of_team || (self.status == Some(0) && self.needs_puk == Some(false));
        let name: KeybaseName = self.username.parse().ok()?;
        let uid = self.uv.map(|version| version.uid).or(self.uid)?;
        Some(Member { name, uid, kind: if has_keys { kind } else { MemberKind::Keyless } })
    }
}

/// Who the service is logged in as.
#[derive(Deserialize)]
pub(super) struct Whoami {
    #[serde(default, rename = "loggedIn")]
    pub(super) logged_in: bool,
    pub(super) user: Option<WhoamiUser>,
}

/// The account.
#[derive(Deserialize)]
pub(super) struct WhoamiUser {
    pub(super) uid: String,
    pub(super) username: String,
}

/// What a line of the listener means to us. It is a hint, whatever it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody reacted to this message.
    Reaction {
        /// In this conversation.
        conversation: String,
        /// The message.
        target: u64,
        /// Whose reaction it is, by uid.
        by: String,
    },
    /// Somebody wrote a text.
    Text {
        /// In this conversation.
        conversation: String,
        /// The message.
        message: u64,
        /// Whose it is, by uid.
        by: String,
    },
    /// Something was taken away in this conversation: a message, or a reaction.
    Deletion {
        /// The conversation.
        conversation: String,
    },
    /// Nothing that matters here.
    Other,
    /// Something may have been missed.
    Unclear,
}

/// Reads a line of the listener. Whatever the line is, it does not panic.
pub fn event(line: &str) -> Event {
    let Ok(event) = serde_json::from_str::<Line>(line) else { return Event::Unclear };
    match (event.kind.as_str(), event.msg, event.error) {
        ("chat", Some(message), _) => of_message(message),
        ("chat", None, _) => Event::Unclear,
        _ => Event::Other,
    }
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    msg: Option<Message>,
    error: Option<Value>,
}

fn of_message(message: Message) -> Event {
    let conversation = message.conversation_id;
    match (message.content.kind.as_str(), message.content.reaction) {
        ("reaction", Some(Target { message: target, .. })) => {
            Event::Reaction { conversation, target, by: message.sender.uid }
        }
        ("reaction", None) => Event::Unclear,
        ("text", _) => Event::Text { conversation, message: message.id, by: message.sender.uid },
        ("delete", _) => Event::Deletion { conversation },
        _ => Event::Other,
    }
}

/// Reads a line in every way in which one is read, for the fuzzer.
#[cfg(any(test, fuzzing))]
pub fn in_every_way(line: &str) {
    event(line);
    let _ = serde_json::from_str::<Whoami>(line);
    let Ok(value) = reply(line, 7) else { return };
    if let Ok(messages) = serde_json::from_value::<Messages>(value.clone()) {
        for message in messages.readable() {
            let _ = (message.body(), message.reactions().count());
        }
    }
    if let Ok(listed) = serde_json::from_value::<Listed>(value.clone()) {
        let _ = (listed.is_open(), listed.members());
    }
    let _ = serde_json::from_value::<Conversations>(value.clone());
    let _ = serde_json::from_value::<Sent>(value);
}

#[cfg(test)]
mod tests;
