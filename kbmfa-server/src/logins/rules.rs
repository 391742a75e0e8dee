//! The settings that concern logins, as one value. A reload replaces all of it.

use std::time::Duration;

use super::state::Grace;
use crate::channels::Post;
use crate::employees::ledger::Uids;
use crate::keys::AddedKeys;
use crate::machines::caller::{AuthToken, Caller, Claim};
use crate::policy::{self, Channel};
use crate::secret::SecretHash;

/// The settings that concern logins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The policy.
    pub policy: policy::Settings,
    /// The chat in which people are asked, if there is one.
    pub chat: Option<Channel>,
    /// Time after a person's denial during which the same user from the same address is denied on the same machine.
    pub cool_down: Duration,
    /// How long a machine may be silent before its login ends.
    pub grace: Grace,
    /// The old tool's `AUTH_TOKEN`, if it is accepted.
    pub auth_token: Option<AuthToken>,
    /// The notices that are posted in the chat besides asks.
    pub post: Post,
    /// How long ended logins and closed sessions are kept.
    pub keep: Duration,
    /// The uids that employees are given. Those that machines report are remembered.
    pub uids: Uids,
    /// What happens to a key that an enrolled key adds.
    pub added_keys: AddedKeys,
}

impl Rules {
    /// Whether this is the `AUTH_TOKEN`, which many hosts share, so that it can be no machine's own credential.
    pub fn is_auth_token(&self, credential: &SecretHash) -> bool {
        self.auth_token.as_ref().is_some_and(|token| token.hash == *credential)
    }

    /// The uid, if the ledger gives out uids like it and a machine with a credential of its own reports it.
    pub fn uid_of_ledger(&self, caller: &Caller, reported: Option<u32>) -> Option<u32> {
        let counts = |uid: &u32| self.uids.contains(*uid) && !caller.name.is_claimed();
        reported.filter(counts)
    }

    /// Whether a request with this claim may open logins.
    pub fn accepts(&self, claim: &Claim) -> bool {
        self.auth_token.as_ref().is_some_and(|token| token.accepts(claim))
    }
}
