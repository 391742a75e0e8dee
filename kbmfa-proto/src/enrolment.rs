//! Requests of an employee's computer: enrolling a key with an invite, and managing the keys of an enrolled person.
//!
//! Each request that changes something is signed with the key that it is about, or with one that is enrolled already. The
//! texts that are signed are made here, so that both sides sign and check the same bytes.

use serde::{Deserialize, Serialize};

use crate::text::SafeText;

/// Namespace of the signatures (`ssh-keygen -Y sign -n`): a signature that was made for anything else is refused.
pub const NAMESPACE: &str = "kbmfa-enroll";

/// Longest public key line that is accepted, in bytes. An 8192-bit RSA key has fewer.
pub const KEY_LINE_MAX: usize = 3_000;

/// Longest name of a device, in characters.
pub const DEVICE_MAX: usize = 64;

/// `GET /v1/enrolments/challenge`: the answer. A challenge can be used once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// What has to be signed; opaque.
    pub nonce: String,
    /// How long it can be used, in seconds.
    pub expires_in_s: u64,
}

/// An invite as its holder proves it. Wrong ones are all answered in the same words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// The invite's public id: what is before the dot.
    pub id: String,
    /// Its secret: what is after the dot.
    pub secret: String,
    /// The e-mail address of the person who was invited.
    pub email: String,
}

/// `POST /v1/enrolments/lookup`: asks what an invite is for. It uses nothing up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// The invite.
    pub invite: Invite,
}

/// The answer to [`Lookup`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// Who was invited.
    pub person: PersonView,
    /// How long the invite can still be used, in seconds.
    pub expires_in_s: u64,
}

/// `POST /v1/enrolments`: enrols a key and uses the invite up. It can be repeated with the same key until the invite expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrol {
    /// The invite.
    pub invite: Invite,
    /// The name under which the program reached the server; part of what is signed.
    pub server: String,
    /// From [`Challenge`].
    pub nonce: String,
    /// The key, as `algorithm base64`.
    pub key: String,
    /// The computer that has the key, as the person calls it.
    pub device: SafeText,
    /// Fingerprint of the enrolled key that this one replaces; none for one more device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The crypt hash of a password for the account on the machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// SSH signature (PEM) over [`enrol_text`], by the key.
    pub signature: String,
}

/// The answer to [`Enrol`] and to every [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The person, with their keys and machines after the request.
    pub person: PersonView,
    /// What happened to the key of the request; none if the request was about none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyView>,
    /// Keys that the request revoked, with those that they had vouched for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<KeyView>,
    /// What [`Follow`] needs, for some minutes; none if the server delivers keys to none of the machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<String>,
}

/// `POST /v1/me`: a request of a person who has an enrolled key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Fingerprint of the enrolled key that signs, as `SHA256:..`.
    pub key: String,
    /// The name under which the program reached the server.
    pub server: String,
    /// From [`Challenge`].
    pub nonce: String,
    /// A [`Request`] as JSON: exactly these bytes are signed.
    pub request: String,
    /// SSH signature (PEM) over [`request_text`], by that key.
    pub signature: String,
}

/// What an enrolled person asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Show the person, their keys and their machines.
    Status,
    /// Enrol a key for one more device, or in the place of another. It waits for an approval, if the server says so.
    Add {
        /// The new key, as `algorithm base64`.
        key: String,
        /// The computer that has it.
        device: SafeText,
        /// Fingerprint of the key that it replaces as soon as it is active; none for one more device.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<String>,
        /// SSH signature (PEM) over [`possession_text`], by the new key.
        proof: String,
    },
    /// Revoke one of the person's keys.
    Revoke {
        /// Its fingerprint.
        fingerprint: String,
        /// Somebody else may have it: the keys that it vouched for are revoked, too.
        lost: bool,
    },
    /// Choose a password for the account on the machines, in the place of an earlier one.
    SetPassword {
        /// Its crypt hash.
        hash: String,
    },
    /// Have no password for the account on the machines.
    RemovePassword,
}

/// A person as their own program shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonView {
    /// E-mail address.
    pub email: String,
    /// Full name.
    pub name: SafeText,
    /// Unix account on the machines.
    pub unix_name: String,
    /// Their keys that are not revoked.
    pub keys: Vec<KeyView>,
    /// The machines where they may log in.
    pub machines: Vec<MachineView>,
    /// When they chose the password of their account on the machines, in microseconds since 1970 (UTC); none if they did
    /// not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_set_us: Option<i64>,
    /// Number of further machines, for which the answer has no room.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub machines_left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// As `ssh-keygen -l` prints it: `SHA256:..`.
    pub fingerprint: String,
    /// The key's algorithm, such as `ssh-ed25519`.
    pub algorithm: String,
    /// The computer that has it.
    pub device: SafeText,
    /// `pending` (waits for an approval), `active`, or `revoked`.
    pub state: String,
    /// When it was enrolled, in microseconds since 1970 (UTC).
    pub added_us: i64,
}

/// A machine where a person may log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineView {
    /// Its name at the server.
    pub name: String,
    /// How ssh reaches it; none if the server does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Port of its sshd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its host keys, each as `algorithm base64`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
    /// When the grant ends, in microseconds since 1970 (UTC); none: it does not end by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_us: Option<i64>,
    /// Whether the person's keys are there; none if the server delivers no keys to this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed: Option<Placed>,
}

/// How far the keys of a person have got on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// `confirmed` (exactly the active keys of the person are there), `waiting`, `unreachable`, `failing` (the machine was
    /// reached), or `left-out` (the machine keeps an account of this name as it is).
    pub state: String,
    /// Since when, in microseconds since 1970 (UTC), as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_us: Option<i64>,
}

/// `POST /v1/me/progress`: asks again how far the person's keys have got, without a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// From [`Enrolled::follow`].
    pub follow: String,
}

/// The answer to [`Follow`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The person's machines to which the server delivers keys.
    pub machines: Vec<MachineProgress>,
}

/// One machine of [`Progress`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineProgress {
    /// Its name at the server.
    pub name: String,
    /// Whether the person's keys are there.
    pub placed: Placed,
}

/// What the key of [`Enrol`] signs. The fields are values that hold no line break.
pub fn enrol_text(enrol: &Enrol, fingerprint: &str) -> String {
    text_of(
        "enrol",
        &[
            ("server", &enrol.server),
            ("nonce", &enrol.nonce),
            ("invite", &enrol.invite.id),
            ("email", &enrol.invite.email),
            ("key", fingerprint),
            ("replaces", enrol.replaces.as_deref().unwrap_or("-")),
            ("device", enrol.device.as_str()),
            ("password", enrol.password_hash.as_deref().unwrap_or("-")),
        ],
    )
}

/// What the key of [`Signed`] signs.
pub fn request_text(signed: &Signed) -> String {
    text_of(
        "request",
        &[
            ("server", &signed.server),
            ("nonce", &signed.nonce),
            ("key", &signed.key),
            ("request", &signed.request),
        ],
    )
}

/// What a new key signs to prove that the sender has it: `vouching` is the fingerprint of the key that signs the request.
pub fn possession_text(server: &str, nonce: &str, vouching: &str, fingerprint: &str) -> String {
    text_of(
        "possession",
        &[("server", server), ("nonce", nonce), ("vouching", vouching), ("key", fingerprint)],
    )
}

/// `kbmfa-enroll 1 PURPOSE`, then a line for each field: its name, its value's length in bytes, and the value. The length
/// keeps values with line breaks from looking like other fields.
fn text_of(purpose: &str, fields: &[(&str, &str)]) -> String {
    let mut text = format!("kbmfa-enroll 1 {purpose}\n");
    for (name, value) in fields {
        text.extend([name, " ", &value.len().to_string(), " ", value, "\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_looks_like_another_field() {
        let signed = |key: &str, request: &str| Signed {
            key: key.into(),
            server: "kbmfa.example".into(),
            nonce: "n".into(),
            request: request.into(),
            signature: String::new(),
        };
        let one = request_text(&signed("a", "b\nrequest 1 c"));
        let other = request_text(&signed("a\nrequest 1 b", "c"));
        assert_ne!(one, other);
        assert!(one.starts_with("kbmfa-enroll 1 request\nserver 13 kbmfa.example\n"), "{one}");
    }

    #[test]
    fn a_request_with_a_field_that_is_not_understood_is_refused() {
        for text in
            [r#"{"do":"status"}"#, r#"{"do":"remove-password"}"#, r#"{"do":"set-password","hash":"$6$x"}"#]
        {
            assert!(serde_json::from_str::<Request>(text).is_ok(), "{text}");
        }
        for text in [
            r#"{"do":"everything"}"#,
            r#"{"do":"set-password"}"#,
            r#"{"do":"revoke","fingerprint":"SHA256:x"}"#,
            r#"{"do":"revoke","fingerprint":"SHA256:x","lost":true,"all":true}"#,
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}
