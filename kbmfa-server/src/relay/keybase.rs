//! Keybase: asks are messages in a team's channel or a private chat, answers are reactions to them.
//!
//! It drives the real `keybase` program, and believes none of its events: whatever is decided is decided on a message's
//! live reactions and a fresh list of members.

pub mod members;
pub mod settings;

pub use settings::Settings;
