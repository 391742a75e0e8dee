//! `key ..`: employees' SSH public keys.

mod decide;
mod show;

use clap::{Args as ClapArgs, Subcommand};
use kbmfa_proto::key::PublicKey;
use kbmfa_proto::text::SafeText;
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};

use super::print::{Column, Moment};
use super::sheet::{self, Line};
use super::{Admin, Failure};
use crate::db::{self, Tx};
use crate::employees::{Email, service as employees, store as people};
use crate::keys::store::{self, Key};
use crate::keys::{self, Error, Origin, Reason, State};
use crate::usecases::all_or_none::{NothingDone, all_or_none};
use crate::usecases::keys::{self as usecase, New};

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Add a key to an employee.
    Add(Add),
    /// Add the keys of a CSV file: all of them, or none.
    Import(Import),
    /// List the keys.
    List {
        /// Only those of this employee.
        #[arg(long)]
        employee: Option<Email>,
        /// Only those that wait for an approval.
        #[arg(long, conflicts_with_all = ["all", "revoked"])]
        pending: bool,
        /// Only those that are revoked.
        #[arg(long, conflicts_with = "all")]
        revoked: bool,
        /// Those that are revoked, too.
        #[arg(long)]
        all: bool,
    },
    /// Show one key, with its line as sshd reads it, which key vouched for it, and for which keys it vouched.
    Show {
        /// Its fingerprint, or the beginning of it.
        fingerprint: String,
    },
    /// Let a key count that an enrolled key has added. Ask the person first: who steals a key can add one in their name.
    Approve {
        /// Its fingerprint, or the beginning of it.
        fingerprint: String,
    },
    /// Refuse a key that waits for an approval, for ever.
    Reject {
        /// Its fingerprint, or the beginning of it.
        fingerprint: String,
    },
    /// Revoke a key for ever: where sshd reports the key, logins with it are refused at once.
    Revoke {
        /// Its fingerprint, or the beginning of it.
        fingerprint: String,
        /// Somebody else may have it: also revoke the keys that it has added, and end the open sessions of its owner on
        /// every machine that had one of them.
        #[arg(long)]
        lost: bool,
        /// Do it; without this, only print what would be done.
        #[arg(long)]
        yes: bool,
    },
}

/// A new key.
#[derive(ClapArgs)]
pub struct Add {
    /// The employee's e-mail address.
    email: Email,
    /// The file with the public key, as ssh-keygen writes it (.pub); - reads standard input.
    file: PathBuf,
    /// The computer that has the key, as its owner calls it; without it, the comment in the file.
    #[arg(long)]
    device: Option<String>,
}

/// The columns of a file, all of which must be there.
const COLUMNS_OF_FILE: &[&str] = &["email", "device", "key"];

/// Keys in a file.
#[derive(ClapArgs)]
#[command(after_help = "The file is CSV with a header line:
  email,device,key
  alice@example.com,laptop,ssh-ed25519 AAAAC3Nza..")]
pub struct Import {
    /// The CSV file.
    file: PathBuf,
    /// Check everything and print what would be added, but add nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Add(args) => add(admin, args),
        Verb::Import(args) => import(admin, &args),
        Verb::List { employee, pending, revoked, all } => {
            list(admin, employee.as_ref(), |state| match state {
                State::Pending => pending || !revoked,
                State::Active => !pending && !revoked,
                State::Revoked => all || revoked,
            })
        }
        Verb::Show { fingerprint } => show::run(admin, &fingerprint),
        Verb::Approve { fingerprint } => decide::approve(admin, fingerprint),
        Verb::Reject { fingerprint } => decide::reject(admin, fingerprint),
        Verb::Revoke { fingerprint, lost, yes } => {
            decide::revoke(admin, fingerprint, if lost { Reason::Lost } else { Reason::Retired }, yes)
        }
    }
}

#[derive(Serialize)]
struct KeyRow {
    fingerprint: String,
    email: Email,
    device: SafeText,
    state: State,
    added: Moment,
    revoked: Option<Moment>,
    reason: Option<Reason>,
    /// Fingerprint of the key that has added it; null: an operator or an invite did.
    vouched_by: Option<String>,
    /// Fingerprint of the key in whose place it was added.
    replaces: Option<String>,
    /// The line of `authorized_keys`, without a comment.
    line: String,
}

impl KeyRow {
    fn of(tx: &Tx<'_>, key: Key) -> Result<Option<Self>, db::Error> {
        let fingerprint_of = |id: Option<String>| match id {
            Some(id) => Ok(store::by_id(tx, &id)?.map(|key| key.fingerprint)),
            None => Ok::<_, db::Error>(None),
        };
        let (vouched_by, replaces) = (fingerprint_of(key.parent_id)?, fingerprint_of(key.replaces_id)?);
        Ok(people::by_id(tx, &key.employee_id)?.map(|owner| Self {
            vouched_by,
            replaces,
            fingerprint: key.fingerprint,
            email: owner.email,
            device: key.device,
            state: key.state,
            added: key.added_at.into(),
            revoked: key.revoked_at.map(Moment),
            reason: key.revoked_for,
            line: key.line,
        }))
    }

    fn cells(&self, admin: &Admin) -> Vec<String> {
        let state = match self.reason {
            Some(reason) => format!("revoked ({reason})"),
            None => self.state.as_str().to_owned(),
        };
        vec![
            self.email.to_string(),
            self.device.to_string(),
            self.fingerprint.clone(),
            state,
            admin.time(self.added),
        ]
    }
}

const COLUMNS: &[Column] = &[
    Column::short("E-MAIL", 10),
    Column::short("DEVICE", 6),
    Column::short("KEY", 20),
    Column::whole("STATE").state(),
    Column::whole("ADDED").rank(1),
];

fn list(admin: &Admin, email: Option<&Email>, wanted: impl Fn(State) -> bool) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| {
        let keys = match email {
            Some(email) => store::of_employee(tx, &employees::find(tx, email)?.id)?,
            None => store::all(tx)?,
        };
        let rows = keys.into_iter().filter(|key| wanted(key.state)).map(|key| KeyRow::of(tx, key));
        let mut rows: Vec<KeyRow> = rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        rows.sort_by(|one, other| one.email.cmp(&other.email));
        Ok::<_, Error>(rows)
    });
    admin.print(&found.map_err(Failure::new)?, COLUMNS, |key| key.cells(admin))
}

fn add(admin: &Admin, args: Add) -> Result<(), Failure> {
    let Add { email, file, device } = args;
    // Read before root is given up, because only root may be able to read the file.
    let text = sheet::read(if file == Path::new("-") { Path::new("/dev/stdin") } else { &file })?;
    let key = PublicKey::parse(&text).map_err(|error| {
        Failure::new(error).hint("give the .pub file of the key: `ssh-keygen -y -f KEY` prints it anew")
    })?;
    let device = device.unwrap_or_else(|| key.comment().to_owned());
    let device = keys::device(&device)
        .map_err(|error| Failure::usage(error).hint("name the computer that has the key: --device laptop"))?;
    let new = New { email: email.clone(), key, device, origin: Origin::Operator, replaces: None };
    let added = admin
        .change("key.add", move |tx, config, actor| usecase::add(tx, &config.rules(None), actor, &new))?;
    let Key { fingerprint, device, .. } = added.key;
    let json = json!({ "email": email, "fingerprint": fingerprint, "device": device });
    admin.tell(&format!("key {fingerprint} was added to {email}, for {device}"), &json)
}

fn import(admin: &Admin, args: &Import) -> Result<(), Failure> {
    let text = sheet::read(&args.file)?;
    let columns = COLUMNS_OF_FILE;
    let (found, faults) = sheet::parse(&text, columns, columns.len(), new);
    sheet::refuse(&args.file, faults)?;
    let (lines, wanted): (Vec<u64>, Vec<New>) = found.into_iter().unzip();
    let (all, dry_run) = (wanted.clone(), args.dry_run);
    let added = admin.attempt("key.import", move |tx, config, actor| {
        let rules = config.rules(None);
        all_or_none(&all, dry_run, |new| usecase::add(tx, &rules, actor, new))
    })?;
    let rows: Vec<_> = wanted
        .iter()
        .map(|new| json!({ "email": new.email, "fingerprint": new.key.fingerprint(), "device": new.device }))
        .collect();
    let count = rows.len();
    match added {
        Ok(_) => admin.tell(&format!("added {count} keys"), &json!({ "keys": rows })),
        Err(NothingDone::DryRun(_)) if count == 0 => {
            admin.tell("the file names no key", &json!({ "keys": rows }))
        }
        Err(NothingDone::DryRun(_)) => admin.dry_run(&format!("add {count} keys"), json!({ "keys": rows })),
        Err(NothingDone::Faulty(faults)) => sheet::refuse(&args.file, sheet::at_lines(&lines, faults)),
        Err(error @ NothingDone::Db(_)) => Err(Failure::new(error)),
    }
}

/// Reads one line of a file.
fn new(line: &Line<'_>) -> Result<New, String> {
    Ok(New {
        email: line.field("email").parse().map_err(|error| format!("{error}"))?,
        device: keys::device(line.field("device")).map_err(|error| error.to_string())?,
        key: PublicKey::parse(line.field("key")).map_err(|error| error.to_string())?,
        origin: Origin::Operator,
        replaces: None,
    })
}
