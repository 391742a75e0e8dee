//! Parses the client's JSON lines. It accepts null lists, and fields that only newer versions have. A line
//! that cannot be parsed is never an answer.

use kbmfa_proto::names::KeybaseName;
use kbmfa_proto::text::SafeText;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

use super::members::{Member, MemberKind, Role};
use super::process::program::Error;

/// A request with every field of the envelope, because the client takes missing fields from the previous
/// request.
pub(super) fn request(id: u64, method: &str, options: &Value) -> String {
    let params = json!({ "version": 1, "options": options });
    format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
}

/// Parses the reply to a request.
///
/// # Errors
/// [`Error::Refused`] with the client's message; [`Error::Broken`] if the line is not a valid reply to this
/// request.
pub(super) fn reply(line: &str, id: u64) -> Result<Value, Error> {
    let reply: Reply = serde_json::from_str(line)
        .map_err(|error| Error::broken(format_args!("a reply that cannot be parsed: {error}")))?;
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
    error: Option<ReplyError>,
}

#[derive(Deserialize)]
struct ReplyError {
    message: String,
    data: Option<RateLimit>,
}

#[derive(Deserialize)]
struct RateLimit {
    /// Seconds until the limit allows requests again.
    #[serde(rename = "windowReset")]
    window_reset: Option<u64>,
}

/// The result of `send`, `reaction` and `edit`: the number of the new message.
#[derive(Deserialize)]
pub(super) struct Sent {
    pub(super) id: Option<u64>,
}

/// The result of `get` and `read`: messages in their current version.
#[derive(Deserialize)]
pub(super) struct Messages {
    #[serde(rename = "messages")]
    items: Option<Vec<Item>>,
    #[serde(default)]
    pub(super) offline: bool,
    pub(super) pagination: Option<Pagination>,
}

impl Messages {
    /// True if the client returned an error in place of a message.
    pub(super) fn has_unreadable(&self) -> bool {
        self.items.iter().flatten().any(|item| item.msg.is_none())
    }

    /// The messages, without errors.
    pub(super) fn readable(self) -> Vec<Message> {
        self.items.unwrap_or_default().into_iter().filter_map(|item| item.msg).collect()
    }
}

#[derive(Deserialize)]
struct Item {
    msg: Option<Message>,
}

/// The start of the next page, which has older messages.
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
    /// The text, if the message is one.
    pub(super) fn body(&self) -> Option<&str> {
        self.content.text.as_ref().filter(|_| self.content.kind == "text").map(|text| text.body.as_str())
    }

    /// The target message and the text of the reaction, if the message is a reaction.
    pub(super) fn reaction(&self) -> Option<(u64, &str)> {
        let reaction = self.content.reaction.as_ref().filter(|_| self.content.kind == "reaction");
        reaction.map(|target| (target.message, target.body.as_str()))
    }

    /// The reactions to this message: each one's text, and the user's name.
    pub(super) fn reactions(&self) -> impl Iterator<Item = (&str, &str)> {
        let by_text = self.reactions.iter().flat_map(|all| &all.reactions).flatten();
        by_text.flat_map(|(text, by)| {
            by.users.iter().flatten().map(move |(user, _)| (text.as_str(), user.as_str()))
        })
    }
}

/// The names of a conversation: of its team or users, and of its channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Channel {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) topic_name: String,
}

/// The author of a message, whose device signed it.
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

/// The result of `list` and `listconvsonname`.
#[derive(Deserialize)]
pub(super) struct Conversations {
    pub(super) conversations: Option<Vec<Conversation>>,
}

/// A conversation, and the bot's status in it.
#[derive(Deserialize)]
pub(super) struct Conversation {
    pub(super) id: String,
    #[serde(default)]
    pub(super) channel: Channel,
    #[serde(default)]
    pub(super) member_status: String,
    pub(super) reset_users: Option<Vec<String>>,
}

/// The result of `newconv`: a conversation that was created or existed already.
#[derive(Deserialize)]
pub(super) struct NewConversation {
    pub(super) id: String,
}

/// The members of a team or of a conversation. A team's list has more fields.
#[derive(Deserialize)]
pub(super) struct MemberList {
    members: Option<MembersByRole>,
    #[serde(flatten)]
    own: MembersByRole,
    settings: Option<TeamSettings>,
}

#[derive(Deserialize, Default)]
struct MembersByRole {
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

impl MemberList {
    /// True if anybody may join the team, or if the reply does not include that setting.
    pub(super) fn is_open(&self) -> bool {
        self.settings.as_ref().and_then(|settings| settings.open).unwrap_or(true)
    }

    /// All members, with the role of the list that they are in. Keybase's role numbers are not used: they
    /// have no order.
    pub(super) fn members(self) -> Vec<Member> {
        let lists = self.members.unwrap_or(self.own);
        let people = [
            (MemberKind::Person(Role::Owner), lists.owners),
            (MemberKind::Person(Role::Admin), lists.admins),
            (MemberKind::Person(Role::Writer), lists.writers),
            (MemberKind::Person(Role::Reader), lists.readers),
            (MemberKind::Bot, lists.bots),
            (MemberKind::RestrictedBot, lists.restricted_bots),
        ];
        let entries = people
            .into_iter()
            .flat_map(|(kind, entries)| entries.into_iter().flatten().map(move |entry| (kind, entry)));
        entries.filter_map(|(kind, entry)| entry.member(kind)).collect()
    }
}

impl Entry {
    fn member(self, kind: MemberKind) -> Option<Member> {
        // A team's list has both fields for each member; a conversation's has neither.
        let is_of_team = self.uv.is_some();
        let has_keys = !is_of_team || (self.status == Some(0) && self.needs_puk == Some(false));
        let name: KeybaseName = self.username.parse().ok()?;
        let uid = self.uv.map(|version| version.uid).or(self.uid)?;
        Some(Member { name, uid, kind: if has_keys { kind } else { MemberKind::Keyless } })
    }
}

/// The output of `whoami`: the account as which the service is logged in.
#[derive(Deserialize)]
pub(super) struct Whoami {
    #[serde(default, rename = "loggedIn")]
    pub(super) logged_in: bool,
    pub(super) user: Option<WhoamiUser>,
}

/// The account of the service.
#[derive(Deserialize)]
pub(super) struct WhoamiUser {
    pub(super) uid: String,
    pub(super) username: String,
}

/// An event of the listener. It is only a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody reacted to this message.
    Reaction {
        /// The conversation's id.
        conversation: String,
        /// The number of the message.
        target: u64,
        /// The uid of the person who reacted.
        by: String,
    },
    /// Somebody posted a text.
    Text {
        /// The conversation's id.
        conversation: String,
        /// The number of the message.
        message: u64,
        /// The uid of the author.
        by: String,
    },
    /// A message or a reaction was removed from this conversation.
    Deletion {
        /// The conversation's id.
        conversation: String,
    },
    /// An event that does not affect answers.
    Other,
    /// A line that cannot be parsed: an event may be missed.
    Unclear,
}

/// Parses a line of the listener. Never panics.
pub fn event(line: &str) -> Event {
    let Ok(event) = serde_json::from_str::<Line>(line) else { return Event::Unclear };
    match (event.kind.as_str(), event.msg, event.error) {
        ("chat", Some(message), _) => message_event(message),
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

fn message_event(message: Message) -> Event {
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

/// Parses a line as each kind of line and reply, for the fuzzer.
#[cfg(any(test, fuzzing))]
pub fn parse_all(line: &str) {
    event(line);
    let _ = serde_json::from_str::<Whoami>(line);
    let Ok(value) = reply(line, 7) else { return };
    if let Ok(messages) = serde_json::from_value::<Messages>(value.clone()) {
        for message in messages.readable() {
            let _ = (message.body(), message.reactions().count());
        }
    }
    if let Ok(listed) = serde_json::from_value::<MemberList>(value.clone()) {
        let _ = (listed.is_open(), listed.members());
    }
    let _ = serde_json::from_value::<Conversations>(value.clone());
    let _ = serde_json::from_value::<Sent>(value);
}

#[cfg(test)]
mod tests;
