//! Every refusal text, in the real client's words.

use serde_json::{Value, json};

/// Why something is refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Refusal {
    pub(crate) text: String,
    pub(crate) data: Option<Value>,
}

pub(crate) fn refuse(text: impl Into<String>) -> Refusal {
    Refusal { text: text.into(), data: None }
}

pub(crate) fn no_user(name: &str) -> Refusal {
    refuse(format!("user '{name}' not found"))
}

pub(crate) fn no_team(name: &str) -> Refusal {
    refuse(format!("Team \"{name}\" does not exist"))
}

pub(crate) fn not_in_team(name: &str) -> Refusal {
    refuse(format!(
        "You are not a member of team \"{name}\"; try `keybase team request-access {name}` for access (error 2623)"
    ))
}

pub(crate) fn no_conversation(name: &str) -> Refusal {
    refuse(format!("no conversations matched \"{name}\""))
}

pub(crate) fn left_conversation() -> Refusal {
    refuse("GetConvTriple called with unknown ConversationID")
}

pub(crate) fn not_in_conversation(name: &str) -> Refusal {
    refuse(format!("user is not in conversation: {name}"))
}

pub(crate) fn no_message() -> Refusal {
    refuse("getMessage: message not found")
}

pub(crate) fn by_server(why: &str) -> Refusal {
    refuse(format!("error from chat server: {why}"))
}

pub(crate) fn too_long(size: usize, limit: usize) -> Refusal {
    refuse(format!("message of size {size} bytes exceeds the maximum length of {limit} bytes"))
}

pub(crate) fn payment_declined() -> Refusal {
    refuse("Payment message declined")
}

pub(crate) fn login_required() -> Refusal {
    refuse("Login required")
}

pub(crate) fn offline() -> Refusal {
    refuse("operation failed: no connection to chat server")
}

pub(crate) fn options(method: &str, why: &str) -> Refusal {
    refuse(format!("invalid {method} v1 options: {why}"))
}

pub(crate) fn method(name: &str) -> Refusal {
    refuse(format!("invalid v1 method {name:?}"))
}

/// The real text is not known; the data in it is.
pub(crate) fn rate_limited() -> Refusal {
    let data = json!({"name": "chat", "callsRemaining": 0, "windowReset": 30, "maxCalls": 9000});
    Refusal { text: "chat rate limited: try again in 30 seconds".into(), data: Some(data) }
}
