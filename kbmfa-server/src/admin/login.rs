//! `login ..`: list the logins that wait, and approve or deny them.

mod dialog;
mod list;
mod show;
mod source;
mod watch;

use clap::{Args as ClapArgs, Subcommand};
use kbmfa_proto::account::LocalCaller;
use std::path::PathBuf;

use super::print::Column;
use super::{Admin, Failure};
use crate::admin_socket::request;
use crate::admin_socket::rows::{LoginRow, Presence};
use crate::channels::Answer;
use source::Source;

/// What to do, and where.
#[derive(ClapArgs)]
pub struct Args {
    /// Ask the server at this socket. Without it, root and the owner of the state directory use the database; anybody else
    /// uses the socket of `[admin]`, or /run/kbmfa/admin.sock where the configuration cannot be read.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

/// The verbs.
#[derive(Subcommand)]
enum Verb {
    /// List logins, newest first.
    List(list::Args),
    /// Show one login: its details, and all its events in the order of time.
    Show {
        /// The login's id, or the beginning of it.
        id: String,
    },
    /// Print each login when it begins and when it ends, until interrupted. At a terminal, `a` and Enter
    /// approves a login that waits, `d` and Enter denies one, `?` and Enter prints help.
    Watch,
    /// Approve a login that waits.
    Approve(Decision),
    /// Deny a login that waits.
    Deny(Decision),
}

/// Which login, and why.
#[derive(ClapArgs)]
struct Decision {
    /// The login's id, or the beginning of it.
    id: String,
    /// The reason, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Runs the verb.
pub fn run(admin: &Admin, args: Args) -> Result<(), Failure> {
    let source = Source::open(admin, args.socket)?;
    match args.verb {
        Verb::List(args) => list::run(admin, &source, args),
        Verb::Show { id } => show::run(admin, &source, &id),
        Verb::Watch => watch::run(admin, &source),
        Verb::Approve(decision) => decide_and_tell(admin, &source, decision, Answer::Approve),
        Verb::Deny(decision) => decide_and_tell(admin, &source, decision, Answer::Deny),
    }
}

/// The columns of `list`; `watch` prints the first nine.
const COLUMNS: [Column; 10] = [
    Column::whole("LOGIN"),
    Column::whole("OPENED"),
    Column::short("USER", 6),
    Column::short("MACHINE", 6),
    Column::short("SERVICE", 4).rank(5),
    Column::short("FROM", 9).rank(2),
    Column::short("KEY", 14).rank(6),
    Column::whole("STATE").state(),
    Column::short("BY", 8).rank(3),
    Column::whole("SESSION").rank(4),
];

/// The account. Adds the name as typed and the caller, if they differ.
fn account(login: &LoginRow) -> String {
    let typed = login.typed.as_ref().map(|typed| format!(" (typed {typed})")).unwrap_or_default();
    let caller = login.caller.as_ref().and_then(LocalCaller::account).filter(|caller| **caller != login.user);
    let caller = caller.map(|caller| format!(" (by {caller})")).unwrap_or_default();
    format!("{}{typed}{caller}", login.user)
}

fn cells(admin: &Admin, login: &LoginRow) -> Vec<String> {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    vec![
        login.id.short().to_owned(),
        admin.time(login.opened),
        account(login),
        login.machine.to_string(),
        login.service.to_string(),
        or_dash(&login.source),
        or_dash(&login.key),
        login.state.to_string(),
        or_dash(&login.decided_by.clone().or_else(|| login.reason.clone())),
        login.session.filter(|session| *session != Presence::None).map_or("-", Presence::as_str).to_owned(),
    ]
}

/// Decides, and prints the result.
fn decide_and_tell(
    admin: &Admin,
    source: &Source,
    decision: Decision,
    answer: Answer,
) -> Result<(), Failure> {
    let Decision { id, reason } = decision;
    let decision = request::Decision { id, reason: reason.map(Into::into) };
    let login = source.decide(admin, decision, answer)?;
    admin.tell(&format!("login {} is {}", login.id.short(), login.state), &login)
}
