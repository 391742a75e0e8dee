//! The arguments of a handler: the request, and the services that handlers use.

use tokio::sync::watch;
use warp::hyper::body::Bytes;

use super::Settings;
use super::caller::Peer;
use super::enrolment::Enrolments;
use super::intake::Intake;
use super::rejected_callers::RejectedCallers;
use crate::db::Db;
use crate::long_poll::Logins;

/// The services that handlers use.
#[derive(Clone)]
pub struct Api {
    /// Opens logins and waits for their decisions.
    pub logins: Logins,
    /// The database.
    pub db: Db,
    /// Takes reports, at a rate for each machine.
    pub intake: Intake,
    /// The settings in force.
    pub settings: watch::Receiver<Settings>,
    /// Challenges and rates of employees' computers.
    pub enrolments: Enrolments,
    /// Counts wrong join tokens, and queues them for the audit log.
    pub rejected: RejectedCallers,
}

/// One request.
pub(super) struct Call {
    /// The value of `{id}` in the path; empty if the route has none.
    pub(super) id: String,
    /// The query without its question mark; empty if there is none.
    pub(super) query: String,
    pub(super) peer: Option<Peer>,
    pub(super) body: Bytes,
}
