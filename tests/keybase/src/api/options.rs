//! The options of all methods, parsed as Go parses them: names match in any case, null means absent, unknown
//! names are ignored. Ignored options become complaints.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::refusal::{Refusal, refuse};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the real client")]
pub(crate) struct Options {
    pub(crate) channel: Channel,
    pub(crate) conversation_id: String,
    pub(crate) message: Message,
    pub(crate) message_id: u64,
    pub(crate) message_ids: Vec<u64>,
    pub(crate) reply_to: Option<u64>,
    pub(crate) nonblock: bool,
    pub(crate) exploding_lifetime: String,
    pub(crate) confirm_lumen_send: bool,
    pub(crate) pagination: Option<Page>,
    pub(crate) peek: bool,
    pub(crate) unread_only: bool,
    pub(crate) fail_offline: bool,
    pub(crate) name: String,
    pub(crate) members_type: String,
    pub(crate) topic_type: String,
    pub(crate) team: String,
    pub(crate) username: String,
    pub(crate) role: String,
    pub(crate) usernames: Vec<NewMember>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Channel {
    pub(crate) name: String,
    pub(crate) public: bool,
    pub(crate) members_type: String,
    pub(crate) topic_type: String,
    pub(crate) topic_name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Message {
    pub(crate) body: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Page {
    pub(crate) num: usize,
    pub(crate) next: String,
    pub(crate) previous: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NewMember {
    pub(crate) username: String,
    pub(crate) role: String,
}

/// The names of a chat method's options; `None` if there is no such method.
pub(crate) fn known(method: &str) -> Option<&'static [&'static str]> {
    Some(match method {
        "send" => &[
            "channel",
            "conversation_id",
            "message",
            "nonblock",
            "members_type",
            "exploding_lifetime",
            "confirm_lumen_send",
            "reply_to",
        ],
        "reaction" | "edit" => &["channel", "conversation_id", "message_id", "message"],
        "delete" | "mark" => &["channel", "conversation_id", "message_id"],
        "read" => &["channel", "conversation_id", "pagination", "peek", "unread_only", "fail_offline"],
        "get" => &["channel", "conversation_id", "message_ids", "peek", "fail_offline"],
        "list" => &["conversation_id", "unread_only", "topic_type", "show_errors", "fail_offline"],
        "listconvsonname" => &["name", "members_type", "topic_type"],
        "newconv" => &["channel"],
        "join" | "leave" | "listmembers" => &["channel", "conversation_id"],
        _ => return None,
    })
}

/// The names of a team method's options; `None` if there is no such method.
pub(crate) fn known_for_teams(method: &str) -> Option<&'static [&'static str]> {
    Some(match method {
        "list-team-memberships" => &["team", "force-poll"],
        "list-self-memberships" => &[],
        "list-user-memberships" => &["username", "include-implicit-teams"],
        "add-members" => &["team", "usernames", "emails"],
        "edit-member" => &["team", "username", "role"],
        "remove-member" => &["team", "username"],
        "leave-team" => &["team", "permanent"],
        _ => return None,
    })
}

/// The names inside those options that are objects.
const WITHIN: [(&str, &[&str]); 3] = [
    ("channel", &["name", "public", "members_type", "topic_type", "topic_name"]),
    ("message", &["body"]),
    ("pagination", &["num", "next", "previous", "last", "forcefirstpage"]),
];

/// Parses the options. Also returns the names that no option has.
pub(crate) fn parse(given: Value, known: &[&str]) -> Result<(Options, Vec<String>), Refusal> {
    let Value::Object(options) = lower(given) else {
        return Ok((Options::default(), Vec::new()));
    };
    let (options, unknown): (Map<_, _>, Map<_, _>) =
        options.into_iter().partition(|(name, _)| known.contains(&name.as_str()));
    let mut unknown: Vec<String> = unknown.into_iter().map(|(name, _)| name).collect();
    for (name, known) in WITHIN {
        let fields = options.get(name).and_then(Value::as_object).into_iter().flat_map(Map::keys);
        let strange = fields.filter(|field| !known.contains(&field.as_str()));
        unknown.extend(strange.map(|field| format!("{name}.{field}")));
    }
    let options = serde_json::from_value(Value::Object(options));
    Ok((options.map_err(|error| refuse(format!("json: cannot unmarshal options: {error}")))?, unknown))
}

/// The same value, with names in lower case and without nulls.
pub(crate) fn lower(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.to_lowercase(), lower(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(lower).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_match_in_any_case_and_unknown_ones_are_reported() {
        let given = json!({"Channel": {"NAME": "acme"}, "message_ID": 4, "peek": true, "message": null});
        let (options, unknown) = parse(given, known("reaction").unwrap()).unwrap();
        assert_eq!((options.channel.name.as_str(), options.message_id), ("acme", 4));
        assert_eq!(unknown, ["peek"]);
        let (_, unknown) = parse(json!({"channel": {"topicname": "sudo"}}), known("read").unwrap()).unwrap();
        assert_eq!(unknown, ["channel.topicname"]);
    }

    #[test]
    fn a_wrong_type_is_refused() {
        assert!(parse(json!({"message_id": "4"}), known("edit").unwrap()).is_err());
    }
}
