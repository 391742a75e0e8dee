//! Names and ids as types that cannot hold an invalid value. The only way to make one is to parse it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::text::is_invisible;

/// Why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {found:?} is not valid: {rule}")]
pub struct BadName {
    what: &'static str,
    found: String,
    rule: &'static str,
}

/// Declares a name: a `String` that has passed `$valid`.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) {
                    Ok(Self(text))
                } else {
                    // Cut, so that a long name cannot flood a log through its error message.
                    let found = text.chars().take(80).collect();
                    Err(BadName { what: $what, found, rule: $rule })
                }
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A Unix account's name, as a machine reports it.
    ///
    /// Directories have names such as `EXAMPLE\alice` and `alice@example.com`, so only deceptive characters
    /// are refused.
    UserName,
    "user name",
    "use 1 to 256 bytes without control or invisible characters",
    |text| (1..=256).contains(&text.len()) && !text.chars().any(is_invisible)
);

name!(
    /// A machine's name at the server: a host name or any short label. A name that nothing proves has the
    /// prefix [`CLAIMED`], so that neither a reader nor a rule takes it for the real one.
    MachineName,
    "machine name",
    "use 1 to 63 of a-z, 0-9, dot and hyphen, starting with a letter or digit",
    |text| is_label(text.strip_prefix(CLAIMED).unwrap_or(text), ".-")
);

name!(
    /// A pool's name.
    PoolName,
    "pool name",
    "use 1 to 63 of a-z, 0-9, dot, hyphen and underscore, starting with a letter or digit",
    |text| is_label(text, ".-_")
);

name!(
    /// A Keybase user's name.
    KeybaseName,
    "Keybase name",
    "use 2 to 16 of a-z, 0-9 and underscore, starting with a letter or digit",
    |text| text.len() >= 2 && text.len() <= 16 && is_label(text, "_")
);

name!(
    /// A Keybase team's name. A subteam's name begins with its parents' names, separated by dots.
    TeamName,
    "team name",
    "use the team's name as Keybase shows it in lower case, such as acme or acme.ops",
    |text| text.len() <= 256 && text.split('.').all(|part| part.len() >= 2 && part.len() <= 16 && is_label(part, "_"))
);

name!(
    /// The name of a channel of a big team.
    ChannelName,
    "channel name",
    "use 1 to 20 of letters, digits, hyphen and underscore",
    |text| {
        (1..=20).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    }
);

name!(
    /// The opaque, random, 128-bit id of one login: 32 lower-case hexadecimal digits.
    ///
    /// The module makes it. Anybody who knows it and has the machine's credential controls the login.
    LoginId,
    "login id",
    "use 32 lower-case hexadecimal digits",
    is_hex_id
);

name!(
    /// The opaque, random, 128-bit id of one report by a machine: 32 lower-case hexadecimal digits.
    ReportId,
    "report id",
    "use 32 lower-case hexadecimal digits",
    is_hex_id
);

name!(
    /// A keyed hash of `/etc/machine-id` or of the kernel's boot id: 32 lower-case hexadecimal digits.
    HostHash,
    "host hash",
    "use 32 lower-case hexadecimal digits",
    is_hex_id
);

/// Prefix of a machine's name that nothing proves.
pub const CLAIMED: &str = "claimed:";

impl MachineName {
    /// True if nothing proves this name.
    pub fn is_claimed(&self) -> bool {
        self.0.starts_with(CLAIMED)
    }

    /// This name with the prefix of an unproven one.
    #[must_use]
    pub fn claimed(self) -> Self {
        if self.is_claimed() { self } else { Self(format!("{CLAIMED}{self}")) }
    }
}

impl UserName {
    /// The account of uid 0.
    pub fn root() -> Self {
        Self("root".to_owned())
    }
}

impl ReportId {
    /// Makes an id of 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(hex_id(bytes))
    }
}

impl HostHash {
    /// Makes an id from the first 16 bytes of the hash.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(hex_id(bytes))
    }
}

impl LoginId {
    /// Makes an id of 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(hex_id(bytes))
    }

    /// The first eight digits: enough for people to tell waiting logins apart.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

/// 128 bits as 32 lower-case hexadecimal digits.
pub fn hex_id(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

pub(crate) fn is_hex_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_label(text: &str, also: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.starts_with(plain)
        && text.chars().all(|c| plain(c) || also.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr>(accepted: &[&str], refused: &[&str]) {
        for text in accepted {
            assert!(text.parse::<T>().is_ok(), "{text:?} was refused");
        }
        for text in refused {
            assert!(text.parse::<T>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn user_names_may_come_from_a_directory_but_never_deceive() {
        check::<UserName>(
            &["alice", "EXAMPLE\\alice", "alice@example.com", "-dash"],
            &["", "a\nb", "a\u{202e}b", "a\u{1b}[2J", "a\u{200b}"],
        );
        assert!("x".repeat(257).parse::<UserName>().is_err());
    }

    #[test]
    fn machine_and_pool_names_are_plain_labels() {
        check::<MachineName>(&["web1", "web-1.example"], &["", "Web", "-web", "web_1", "web 1", "../x"]);
        check::<PoolName>(&["web_servers"], &["", "_x", "a/b"]);
    }

    #[test]
    fn a_claimed_name_is_always_marked() {
        let claimed = "web1".parse::<MachineName>().unwrap().claimed();
        assert_eq!((claimed.as_str(), claimed.is_claimed()), ("claimed:web1", true));
        assert_eq!(claimed.clone().claimed(), claimed);
        check::<MachineName>(&["claimed:web1"], &["claimed:", "claimed:claimed:web1", "other:web1"]);
    }

    #[test]
    fn names_in_keybase_are_as_it_has_them() {
        check::<KeybaseName>(
            &["alice_1", "a1"],
            &["", "a", "_alice", "Alice", "alice.b", "seventeen_letters"],
        );
        check::<TeamName>(
            &["acme", "acme.ops", "acme.ops.db"],
            &["", "acme.", ".ops", "acme ops", "acme#ops"],
        );
        check::<ChannelName>(&["general", "SSH-log_1"], &["", "#general", "twenty-one-characters"]);
    }

    #[test]
    fn login_ids_are_128_random_bits_in_hex() {
        let id = LoginId::from_random([0xab; 16]);
        assert_eq!(id.as_str(), "ab".repeat(16));
        assert_eq!(id.short(), "abababab");
        check::<LoginId>(&[id.as_str()], &["", "AB", &"AB".repeat(16), &"g".repeat(32)]);
    }

    #[test]
    fn a_bad_name_in_json_is_an_error() {
        assert!(serde_json::from_str::<MachineName>("\"Web 1\"").is_err());
        assert_eq!(serde_json::from_str::<MachineName>("\"web1\"").unwrap().as_str(), "web1");
    }
}
