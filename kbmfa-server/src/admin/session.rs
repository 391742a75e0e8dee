//! `session ..`: see who is in, and who was.

use clap::Subcommand;
use kbmfa_proto::names::{LoginId, MachineName, UserName};
use kbmfa_proto::text::Shown as Text;
use serde::Serialize;

use super::print::{Column, Moment};
use super::{Admin, Failure, print};
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
        /// Only those of this Unix account.
        #[arg(long)]
        user: Option<UserName>,
        /// Print at most this many, the newest.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..1_000_000))]
        limit: i64,
    },
}

/// Does it.
///
/// # Errors
/// What went wrong.
pub fn run(admin: &Admin, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::List { open, user, limit } => list(admin, *open, user.as_ref(), *limit),
    }
}

fn list(admin: &Admin, only_open: bool, user: Option<&UserName>, limit: i64) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| Ok::<_, Error>(store::newest(tx, only_open, user, limit + 1)?));
    let mut sessions: Vec<Shown> = found.map_err(Failure::new)?.into_iter().map(Shown::from).collect();
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_cut = sessions.len() > wanted;
    sessions.truncate(wanted);
    admin.print(&sessions, COLUMNS, |session| session.cells(admin))?;
    if is_cut {
        print::note_cut(limit);
    }
    Ok(())
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
    opened: Option<Moment>,
    opened_reported: Option<Moment>,
    closed: Option<Moment>,
    closed_reported: Option<Moment>,
}

impl From<Session> for Shown {
    fn from(session: Session) -> Self {
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
            opened: session.opened.map(|(at, _)| Moment(at)),
            opened_reported: session.opened.map(|(_, reported_at)| Moment(reported_at)),
            closed: session.closed.map(|(at, _)| Moment(at)),
            closed_reported: session.closed.map(|(_, reported_at)| Moment(reported_at)),
        }
    }
}

/// The times are those that the machine reports: a report from its spool comes late.
pub(super) const COLUMNS: &[Column] = &[
    Column::whole("SESSION").rank(5),
    Column::whole("OPENED"),
    Column::whole("CLOSED").rank(1),
    Column::short("USER", 6),
    Column::short("MACHINE", 6),
    Column::short("SERVICE", 4).rank(4),
    Column::short("FROM", 9).rank(2),
    Column::short("KEY", 14).rank(6),
    Column::whole("LOGIN").rank(3),
];

impl Shown {
    pub(super) fn cells(&self, admin: &Admin) -> Vec<String> {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let time =
            |moment: Option<Moment>, none: &str| moment.map_or_else(|| none.into(), |at| admin.time(at));
        vec![
            self.id.chars().take(8).collect(),
            time(self.opened_reported, "?"),
            time(self.closed_reported, if self.open { "-" } else { "?" }),
            self.user.to_string(),
            self.machine.to_string(),
            self.service.to_string(),
            or(&self.source),
            or(&self.key),
            self.login.as_ref().map_or("-", LoginId::short).to_owned(),
        ]
    }
}
