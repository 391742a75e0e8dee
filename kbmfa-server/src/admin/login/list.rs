//! `login list`: prints the newest logins that match a filter.

use clap::Args as ClapArgs;
use kbmfa_proto::names::{MachineName, UserName};

use super::super::time_arg::When;
use super::super::{Admin, Failure, csv, print};
use super::{COLUMNS, Presence, Source, cells};
use crate::admin_socket::logins::LoginList;
use crate::admin_socket::request::ListQuery;
use crate::admin_socket::rows::{LoginRow, StateName};
use crate::clock::{Clock, SystemClock};

/// Which logins.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// Only those in one of these states, such as pending or denied,expired.
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',')]
    states: Vec<StateName>,
    /// Only those to this Unix account.
    #[arg(long)]
    user: Option<UserName>,
    /// Only those on this machine, by the name that it had at the time.
    #[arg(long)]
    machine: Option<MachineName>,
    /// Only those opened since this time: 2026-11-21T21:00:00Z, 2026-11-21, or how long ago: 2h, 7d.
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Only those that were let in over a minute ago and never opened a session, on machines that report
    /// sessions.
    #[arg(long, conflicts_with_all = ["states", "user", "machine", "since"])]
    unopened: bool,
    /// Print at most this many, the newest.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..1_000_000))]
    limit: i64,
    /// Print CSV with a header line, for spreadsheets. Times are in UTC.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

pub(super) fn run(admin: &Admin, source: &Source, args: Args) -> Result<(), Failure> {
    let Args { states, user, machine, since, unopened, limit, csv: wants_csv } = args;
    let since = since.map(|since| since.seen_from(SystemClock.now()));
    let LoginList { logins, is_cut } =
        source.list(ListQuery { states, user, machine, since, unopened, limit })?;
    if wants_csv {
        csv::print(HEADER, logins.iter().map(fields))?;
    } else {
        admin.print(&logins, &COLUMNS, |login| cells(admin, login))?;
    }
    if is_cut {
        print::note_cut(limit);
    }
    Ok(())
}

const HEADER: [&str; 14] = [
    "id",
    "opened",
    "user",
    "machine",
    "service",
    "source",
    "key",
    "state",
    "reason",
    "decided_by",
    "expires",
    "collected",
    "lapsed",
    "session",
];

fn fields(login: &LoginRow) -> [String; 14] {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let time = |moment: Option<print::Moment>| moment.map(|moment| moment.0.to_string()).unwrap_or_default();
    [
        login.id.to_string(),
        time(Some(login.opened)),
        login.user.to_string(),
        login.machine.to_string(),
        login.service.to_string(),
        text(&login.source),
        text(&login.key),
        login.state.to_string(),
        text(&login.reason),
        text(&login.decided_by),
        time(Some(login.expires)),
        time(login.collected),
        time(login.lapsed),
        login.session.map_or("", Presence::as_str).to_owned(),
    ]
}
