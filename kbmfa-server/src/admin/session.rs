//! `session ..`: list the sessions that are open, and those that were.

use clap::Subcommand;
use kbmfa_proto::names::{LoginId, UserName};

use super::print::{Column, Moment};
use super::{Admin, Failure, print};
use crate::admin_socket::rows::SessionRow;
use crate::logins::Error;
use crate::sessions::store;

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// List sessions that machines have reported, newest first.
    List {
        /// Only sessions that were not reported as closed. A machine that crashed does not report it.
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

/// Runs the verb.
pub fn run(admin: &Admin, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::List { open, user, limit } => list(admin, *open, user.as_ref(), *limit),
    }
}

fn list(admin: &Admin, only_open: bool, user: Option<&UserName>, limit: i64) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| Ok::<_, Error>(store::newest(tx, only_open, user, limit + 1)?));
    let mut sessions: Vec<SessionRow> =
        found.map_err(Failure::new)?.into_iter().map(SessionRow::from).collect();
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_cut = sessions.len() > wanted;
    sessions.truncate(wanted);
    admin.print(&sessions, COLUMNS, |session| cells(admin, session))?;
    if is_cut {
        print::note_cut(limit);
    }
    Ok(())
}

/// Times are the machine's own, because a report from its spool arrives late.
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

pub(super) fn cells(admin: &Admin, session: &SessionRow) -> Vec<String> {
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let time = |moment: Option<Moment>, none: &str| moment.map_or_else(|| none.into(), |at| admin.time(at));
    vec![
        session.id.chars().take(8).collect(),
        time(session.opened_reported, "?"),
        time(session.closed_reported, if session.open { "-" } else { "?" }),
        session.user.to_string(),
        session.machine.to_string(),
        session.service.to_string(),
        or(&session.source),
        or(&session.key),
        session.login.as_ref().map_or("-", LoginId::short).to_owned(),
    ]
}
