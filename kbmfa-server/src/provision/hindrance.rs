//! Why something on a machine is not as it should be although the machine did what it was told, and what helps.

use kbmfa_proto::names::UserName;

use super::desired::Fault;
use crate::grants::SudoProfile;

/// Why something on a machine stays as it is, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hindrance {
    /// An account of this name exists that this program did not make.
    #[error(
        "account {0} exists and was not made by kbmfa; it is left alone until `machine adopt` takes it over"
    )]
    NotOurs(UserName),
    /// The account has another uid than in the ledger.
    #[error("account {name} has uid {found} on the machine and {wanted} in the ledger; it is left alone")]
    UidDiffers {
        /// The account.
        name: UserName,
        /// On the machine.
        found: u32,
        /// In the ledger.
        wanted: u32,
    },
    /// The account was handed back.
    #[error("account {0} was handed back and is left alone until `machine adopt` takes it over again")]
    Released(UserName),
    /// Something that is no file stands where the keys belong.
    #[error("{0}'s ~/.ssh/authorized_keys is a link or no file, or its home is missing; it is left alone")]
    OddHome(UserName),
    /// The file is too large to be reported.
    #[error("{0}'s ~/.ssh/authorized_keys is too large to be read; it is left alone until it is shorter")]
    BigHome(UserName),
    /// A record at the server is damaged.
    #[error("{0} is left as it is, but for revoked keys: {1}")]
    Record(UserName, Fault),
    /// The machine refuses the key, and the server does not know that it was revoked: it was restored from a backup.
    #[error(
        "{0}'s key {1} is held back: the machine holds it as revoked; revoke it here as well, or enrol another"
    )]
    HeldBack(UserName, String),
    /// The server has no text for this profile.
    #[error("{0} has a grant with sudo profile {1}, which [provision.sudo] in server.toml does not define")]
    NoProfile(UserName, SudoProfile),
    /// The machine's own policy has no line for this profile, or for another text of it.
    #[error(
        "{0} does not get sudo profile {1}: the machine's /etc/ssh/kbmfa/policy does not allow it with its present text"
    )]
    Forbidden(UserName, SudoProfile),
    /// The installed helper is another program than this server's.
    #[error(
        "/usr/local/libexec/kbmfa-helper is not the program of this server's version; `machine bootstrap` installs that"
    )]
    OtherHelper,
    /// A step for one account failed, or was undone at once.
    #[error("could not {step}: {}", told(.word.as_deref()))]
    Undone {
        /// The account.
        name: UserName,
        /// The step.
        step: String,
        /// What the machine said; `None` if it said that it was done.
        word: Option<String>,
        /// True if somebody still has what the step should have taken away.
        takes: bool,
    },
    /// A key file of an account that is not ours, such as root.
    #[error(
        "a stray file {0:?} is in /etc/ssh/kbmfa/keys, which lets somebody in; look at it and remove it by hand"
    )]
    Stray(String),
}

impl Hindrance {
    /// The account that is left as it is, but for revoked keys.
    pub fn left_alone(&self) -> Option<&UserName> {
        match self {
            Self::NotOurs(name)
            | Self::UidDiffers { name, .. }
            | Self::OddHome(name)
            | Self::BigHome(name)
            | Self::Record(name, _) => Some(name),
            _ => None,
        }
    }

    /// The account of which a step failed.
    pub fn undone(&self) -> Option<&UserName> {
        match self {
            Self::Undone { name, .. } => Some(name),
            _ => None,
        }
    }

    /// True if somebody still has what should have been taken away.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Undone { takes: true, .. })
    }
}

/// What a word of `remote.sh` means to the operator, where it is no plain one.
pub fn explained(word: &str) -> &str {
    match word {
        "unlinked" => {
            "unlinked: the disk is full, and a key had to go, so the whole key file was removed; its owner gets in again \
             as soon as the file can be written"
        }
        "set-aside" => {
            "set-aside: the file could not be written, and a key had to go, so it was renamed to \
             ~/.ssh/authorized_keys.kbmfa; its owner gets in again as soon as a file can be written there"
        }
        word => word,
    }
}

fn told(word: Option<&str>) -> &str {
    word.map_or("it was undone at once", explained)
}
