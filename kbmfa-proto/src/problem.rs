//! The body of every error: RFC 9457 `application/problem+json` with a stable code.

use serde::{Deserialize, Serialize};

use crate::text::SafeText;

/// Media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// One error, for the caller. More details are in the server's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable code for programs, such as `unauthorized`; `docs/protocol.md` lists them.
    pub code: SafeText,
    /// HTTP status, repeated.
    pub status: u16,
    /// What went wrong, in one sentence.
    pub title: SafeText,
    /// Details of this request, and what to do.
    #[serde(default)]
    pub detail: Option<SafeText>,
}
