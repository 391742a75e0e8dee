//! People who may answer asks, such as `console:root` or `keybase:alice`.

use kbmfa_proto::names::KeybaseName;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

use super::Channel;

/// One person in one channel, such as `console:root`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "String")]
pub struct Approver {
    channel: String,
    name: String,
}

/// A text that names no [`Approver`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no approver: write channel:name with a channel of a-z, such as console:root")]
pub struct BadApprover(String);

impl Approver {
    /// The person with this name at the console.
    ///
    /// # Errors
    /// [`BadApprover`] if the name is empty or has blanks or invisible characters.
    pub fn console(name: &str) -> Result<Self, BadApprover> {
        format!("console:{name}").parse()
    }

    /// The person's name in the channel.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True if this person answers from that channel.
    pub fn is_in(&self, channel: Channel) -> bool {
        self.channel == channel.as_str()
    }

    /// The person with this name in Keybase.
    pub fn keybase(name: &KeybaseName) -> Self {
        Self { channel: "keybase".to_owned(), name: name.to_string() }
    }

    /// Name of the channel. This server may not have that channel.
    pub fn channel(&self) -> &str {
        &self.channel
    }
}

impl FromStr for Approver {
    type Err = BadApprover;
    fn from_str(text: &str) -> Result<Self, BadApprover> {
        let bad = || BadApprover(text.chars().take(80).collect());
        let (channel, name) = text.split_once(':').ok_or_else(bad)?;
        let plain = |c: char| !c.is_whitespace() && c != ',' && !kbmfa_proto::text::is_invisible(c);
        let channel_fits = !channel.is_empty() && channel.chars().all(|c| c.is_ascii_lowercase());
        // A name that no Keybase account can have would never match anybody.
        let name_fits = channel != "keybase" || name.parse::<KeybaseName>().is_ok();
        if channel_fits && name_fits && (1..=64).contains(&name.len()) && name.chars().all(plain) {
            Ok(Self { channel: channel.to_owned(), name: name.to_owned() })
        } else {
            Err(bad())
        }
    }
}

impl fmt::Display for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.channel, self.name)
    }
}

impl From<Approver> for String {
    fn from(approver: Approver) -> Self {
        approver.to_string()
    }
}

/// Who may answer an ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approvers {
    /// Everybody who can answer in the channels.
    Anyone,
    /// Everybody but the person whose login it is.
    NotSelf,
    /// These people.
    List(Vec<Approver>),
}

impl fmt::Display for Approvers {
    /// `anyone`, `not-self`, or the people separated by commas. `parse` reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::NotSelf => f.write_str("not-self"),
            Self::List(people) => {
                let people: Vec<_> = people.iter().map(ToString::to_string).collect();
                f.write_str(&people.join(","))
            }
        }
    }
}

impl FromStr for Approvers {
    type Err = BadApprover;
    fn from_str(text: &str) -> Result<Self, BadApprover> {
        match text {
            "anyone" => Ok(Self::Anyone),
            "not-self" => Ok(Self::NotSelf),
            list => list.split(',').map(str::parse).collect::<Result<_, _>>().map(Self::List),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approvers_read_back_as_they_were_written() {
        for text in ["anyone", "not-self", "console:root,keybase:alice"] {
            assert_eq!(text.parse::<Approvers>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_text_that_names_nobody_is_refused() {
        for text in [
            "",
            "root",
            ":root",
            "console:",
            "keybase:Alice",
            "Console:root",
            "console:a b",
            "console:a\u{202e}",
        ] {
            assert!(text.parse::<Approver>().is_err(), "{text:?}");
        }
        assert!("".parse::<Approvers>().is_err(), "an empty list must not mean anyone");
    }
}
