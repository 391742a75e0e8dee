//! Channels, from which people answer. Policy knows them by name; `channels::Chat` is what a chat can do.

use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// A channel from which people answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// The server's own command line: `kbmfa-server login approve|deny`. It always works, and nothing is
    /// posted there.
    Console,
    /// Keybase, a chat.
    Keybase,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 2] = [Self::Console, Self::Keybase];

    /// Its name in configuration, database, audit log and approvers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Keybase => "keybase",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`Channel`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no channel {0:?}: use \"keybase\" or \"console\"")]
pub struct UnknownChannel(String);

impl FromStr for Channel {
    type Err = UnknownChannel;
    fn from_str(text: &str) -> Result<Self, UnknownChannel> {
        let found = Self::ALL.into_iter().find(|channel| channel.as_str() == text);
        found.ok_or_else(|| UnknownChannel(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_reads_back_by_its_name() {
        for channel in Channel::ALL {
            assert_eq!(channel.as_str().parse(), Ok(channel));
        }
        assert!("Console".parse::<Channel>().is_err());
    }
}
