//! The `keybase` program as child processes: starting it, its lines, and its long-lived `api` verbs.

pub(super) mod api;
pub(super) mod lines;
pub(super) mod program;
