//! What the operator has decided about logins, as one value that is replaced by a reload.

use std::time::Duration;

use super::state::Grace;
use crate::channels::Post;
use crate::machines::caller::{AuthToken, Claim};
use crate::policy::{self, Channel};

/// What the operator has decided about logins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Who may enter.
    pub policy: policy::Settings,
    /// The chat in which people are asked, if there is one.
    pub chat: Option<Channel>,
    /// How long after a denial the same user from the same address is refused on the same machine.
    pub cool_down: Duration,
    /// How long a silent machine is waited for.
    pub grace: Grace,
    /// The old tool's `AUTH_TOKEN`, if it is accepted.
    pub auth_token: Option<AuthToken>,
    /// What people are told of besides asks.
    pub post: Post,
    /// How long ended logins and closed sessions are kept.
    pub keep: Duration,
}

impl Rules {
    /// Whether a request with this claim may open logins.
    pub fn accepts(&self, claim: &Claim) -> bool {
        self.auth_token.as_ref().is_some_and(|token| token.accepts(claim))
    }
}
