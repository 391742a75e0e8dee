//! Runs the `keybase` program in child processes: starts it, reads its lines, and calls its long-lived `api`
//! verbs.

pub(super) mod api;
pub(super) mod lines;
pub(super) mod program;
