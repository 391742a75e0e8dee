//! Why a pass over a machine failed, by what helps against it; and when the next one is due. Pure.

use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// No connection, or it broke.
    Unreachable,
    /// The machine shows another host key than the pinned ones, or another machine-id than before. Nothing was sent.
    HostKey,
    /// The machine does not accept the server's key.
    Authentication,
    /// sudo refuses.
    Sudo,
    /// Something else holds the machine's lock.
    Busy,
    /// A file could not be written.
    Disk,
    /// The machine was given a later state, or takes its orders from another installation.
    Generation,
    /// The machine does not take the server's signature, or its list of signers is not sound.
    Signature,
    /// The machine's clock differs too much from the server's to tell whether an order is still valid.
    Clock,
    /// The plan takes away too much to go on unasked.
    Guard,
    /// The machine's reply is not understood, or a step failed in another way.
    Script,
}

impl Kind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Unreachable,
        Self::HostKey,
        Self::Authentication,
        Self::Sudo,
        Self::Busy,
        Self::Disk,
        Self::Generation,
        Self::Signature,
        Self::Clock,
        Self::Guard,
        Self::Script,
    ];

    /// One word for the database, `/metrics` and the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::HostKey => "host-key",
            Self::Authentication => "authentication",
            Self::Sudo => "sudo",
            Self::Busy => "busy",
            Self::Disk => "disk",
            Self::Generation => "generation",
            Self::Signature => "signature",
            Self::Clock => "clock",
            Self::Guard => "guard",
            Self::Script => "script",
        }
    }

    /// What the operator can do.
    pub fn fix(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "check the machine, its address and port (`machine set --address`), and firewalls; it is tried again by itself"
            }
            Self::HostKey => {
                "compare the keys on the machine's console; if it was reinstalled, `machine set NAME --host-key SHA256:..`"
            }
            Self::Authentication => {
                "add the line that `provision key` prints to ssh-admin's ~/.ssh/authorized_keys on the machine"
            }
            Self::Sudo => "give ssh-admin sudo, or set its password with `provision sudo-password NAME`",
            Self::Busy => "nothing; it is tried again soon",
            Self::Disk => "free space, or make the file system writable; it is tried again by itself",
            Self::Generation => {
                "if this server was restored from a backup, confirm it with `restore --confirm`; if the machine belongs to another server, remove it there"
            }
            Self::Signature => {
                "compare /etc/ssh/kbmfa/signers on the machine with the line that `provision signers` prints; it must be a file of root's with mode 644"
            }
            Self::Clock => "set the machine's clock, or the server's: orders are valid for 10 minutes",
            Self::Guard => "look at `provision plan NAME`; then confirm the number of removals",
            Self::Script => "run `machine check NAME`, which names the failing fact",
        }
    }

    /// True if the chat is told about the failure when it has come up this many times in a row: at once where a person
    /// is needed, later where it often ends by itself.
    pub fn is_told(self, failures: u32) -> bool {
        match self {
            Self::Unreachable => failures == 4,
            Self::Busy => failures == 20,
            _ => failures == 1,
        }
    }

    /// True if somebody's loss of a key need not wait until the pause is over: the machine lets the server in, and may do
    /// what it is told. Where it does not, each try costs: sshd's `PerSourcePenalties`, or a lock after wrong passwords.
    pub fn lets_revocations_pass(self) -> bool {
        matches!(self, Self::Busy | Self::Disk | Self::Guard | Self::Script)
    }

    /// Time until the next try after this many failures in a row. Tries never end, because a revocation may wait.
    pub fn pause(self, failures: u32) -> Duration {
        let seconds = match self {
            Self::Busy => 5,
            // sshd's PerSourcePenalties add up for a client that fails to authenticate.
            Self::Authentication => [30, 60, 300, 900].get(at(failures)).copied().unwrap_or(900),
            Self::Unreachable | Self::Disk | Self::Sudo | Self::Script => {
                [2, 10, 60, 300].get(at(failures)).copied().unwrap_or(900)
            }
            Self::HostKey | Self::Generation | Self::Signature | Self::Clock | Self::Guard => {
                [60, 300].get(at(failures)).copied().unwrap_or(900)
            }
        };
        Duration::from_secs(seconds)
    }
}

fn at(failures: u32) -> usize {
    usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX)
}

/// A text that is no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of failure")]
pub struct BadKind;

impl FromStr for Kind {
    type Err = BadKind;
    fn from_str(text: &str) -> Result<Self, BadKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(BadKind)
    }
}

/// A pass that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind.
    pub kind: Kind,
    /// What happened; may hold text from the machine, escaped.
    pub detail: String,
}

impl Failure {
    /// A failure with its text.
    pub fn new(kind: Kind, detail: impl fmt::Display) -> Self {
        Self { kind, detail: detail.to_string() }
    }

    /// A request that the program on a machine refuses as a whole, with this word.
    pub fn of_refusal(word: &str) -> Self {
        match word {
            "older" => Self::new(Kind::Generation, "the machine has a later state"),
            "other-machine" => {
                Self::new(Kind::HostKey, "the machine has another /etc/machine-id than it just reported")
            }
            "unsigned" | "signature" => Self::new(
                Kind::Signature,
                "the machine does not take the signature of this server's roster key",
            ),
            "signers" => Self::new(
                Kind::Signature,
                "/etc/ssh/kbmfa/signers on the machine is no file that root alone can write, so it takes no order",
            ),
            "no-verifier" => Self::new(
                Kind::Signature,
                "the machine has no `ssh-keygen -Y verify` (OpenSSH 8.2 and later), so it takes no order",
            ),
            "clock" => Self::new(
                Kind::Clock,
                "the machine's clock differs from the server's by more than 10 minutes",
            ),
            "busy" => Self::new(Kind::Busy, "something else works on the machine"),
            word => Self::new(Kind::Script, format!("the program on the machine refuses: {word}")),
        }
    }

    /// The kind of a step that failed with this word of `remote.sh`.
    pub fn of_step(word: &str) -> Kind {
        match word {
            "write" | "remove" | "read" | "unlinked" => Kind::Disk,
            "busy" | "changed-meanwhile" => Kind::Busy,
            _ => Kind::Script,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Failure {}
