//! `session ..`: see who is in, and who was.

use clap::Subcommand;
use kbmfa_proto::names::{LoginId, MachineName, UserName};
use kbmfa_proto::text::Shown as Text;
use serde::Serialize;

use super::{Admin, Failure};
use crate::clock::Time;
use crate::logins::Error;
use crate::sessions::store::{self, Session};

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// List sessions that machines have reported, newest first.
    List {
        /// Only those that were not reported closed. A machine that crashed reports no close.
        #[arg(long)]
        open: bool,
        /// So many at the most.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
    },
}

/// Does it.
///
/// # Errors
/// What went wrong.
pub fn run(admin: &Admin, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::List { open, limit } => list(admin, *open, *limit),
    }
}

fn list(admin: &Admin, only_open: bool, limit: i64) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| Ok::<_, Error>(store::newest(tx, only_open, limit)?));
    let sessions: Vec<Shown> = found.map_err(Failure::new)?.into_iter().map(Shown::from).collect();
    admin.print(&sessions, HEADINGS, Shown::cells)
}

/// A session as it is printed, here and below its login.
#[derive(Serialize)]
pub(super) struct Shown {
    id: String,
    machine: MachineName,
    user: UserName,
    service: Text,
    source: Option<String>,
    tty: Option<Text>,
    key: Option<String>,
    login: Option<LoginId>,
    open: bool,
    opened: Option<String>,
    opened_reported: Option<String>,
    closed: Option<String>,
    closed_reported: Option<String>,
}

impl From<Session> for Shown {
    fn from(session: Session) -> Self {
        let text = |at: Time| at.to_string();
        Self {
            open: session.is_open(),
            id: session.id,
            machine: session.machine,
            user: session.user,
            service: session.service,
            source: session.source,
            tty: session.tty,
            key: session.key,
            login: session.login,
            opened: session.opened.map(|(at, _)| text(at)),
            opened_reported: session.opened.map(|(_, reported_at)| text(reported_at)),
            closed: session.closed.map(|(at, _)| text(at)),
            closed_reported: session.closed.map(|(_, reported_at)| text(reported_at)),
        }
    }
}

/// The times are those that the machine reports: a report from its spool comes late.
pub(super) const HEADINGS: &[&str] =
    &["SESSION", "OPENED", "CLOSED", "USER", "MACHINE", "SERVICE", "FROM", "KEY", "LOGIN"];

impl Shown {
    pub(super) fn cells(&self) -> Vec<String> {
        let or = |text: &Option<String>, none: &str| text.clone().unwrap_or_else(|| none.to_owned());
        vec![
            self.id.chars().take(8).collect(),
            or(&self.opened_reported, "?"),
            or(&self.closed_reported, if self.open { "-" } else { "?" }),
            self.user.to_string(),
            self.machine.to_string(),
            self.service.to_string(),
            or(&self.source, "-"),
            or(&self.key, "-"),
            self.login.as_ref().map_or("-", LoginId::short).to_owned(),
        ]
    }
}
