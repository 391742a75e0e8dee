//! `employee add`: takes one employee as arguments, or a CSV file.

use clap::Args as ClapArgs;
use kbmfa_proto::names::{KeybaseName, PoolName, UserName};
use kbmfa_proto::text::SafeText;
use serde_json::json;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use super::super::sheet::{self, Line};
use super::super::{Admin, Failure};
use crate::clock::{Clock, SystemClock};
use crate::employees::store::Employee;
use crate::employees::{Email, State};
use crate::random;
use crate::usecases::all_or_none::{NothingDone, all_or_none};
use crate::usecases::employees::{self as usecase, New};

/// The columns of a file; the first three must be there.
const COLUMNS: &[&str] = &["email", "name", "unix_name", "keybase_name", "pools", "uid"];

/// The employees to add.
#[derive(ClapArgs)]
#[command(after_help = "The file of --from is CSV with a header line; the last three columns may be absent:
  email,name,unix_name,keybase_name,pools,uid
  alice@example.com,Alice Liddell,alice,alicel,web db,
The pools of an employee are separated by blanks. Either every employee of the file is added, or none.")]
pub struct Args {
    /// Their e-mail address.
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    email: Option<Email>,
    /// Their full name.
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    name: Option<SafeText>,
    /// Their Unix account, the same on every machine. It never changes.
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    unix_name: Option<UserName>,
    /// Their name in Keybase.
    #[arg(long, conflicts_with = "from")]
    keybase_name: Option<KeybaseName>,
    /// Their uid on every machine; without it the next of `uids` in `[roster]` of server.toml. It never changes.
    #[arg(long, conflicts_with = "from")]
    uid: Option<u32>,
    /// A pool to grant them, without sudo and without an end; repeat it for each.
    #[arg(long = "pool", value_name = "POOL")]
    pools: Vec<PoolName>,
    /// A CSV file with the employees.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Check everything and print what would be added, but add nothing.
    #[arg(long)]
    dry_run: bool,
}

/// An employee as somebody writes it down.
struct Written {
    email: Email,
    name: SafeText,
    unix_name: UserName,
    keybase_name: Option<KeybaseName>,
    uid: Option<u32>,
    pools: Vec<PoolName>,
}

impl Written {
    fn employee(self) -> Result<New, Failure> {
        let Self { email, name, unix_name, keybase_name, uid, pools } = self;
        let (now, state) = (SystemClock.now(), State::Active);
        let id = random::hex::<16>().map_err(Failure::new)?;
        let employee =
            Employee { id, email, name, unix_name, keybase_name, state, created_at: now, changed_at: now };
        Ok(New { employee, uid, pools })
    }
}

/// Runs the verb.
pub(super) fn run(admin: &Admin, args: Args) -> Result<(), Failure> {
    let Args { email, name, unix_name, keybase_name, uid, pools, from, dry_run } = args;
    let (lines, written) = match (&from, email, name, unix_name) {
        // Read before root is given up, because only root may be able to read the file.
        (Some(path), ..) => {
            let (found, faults) =
                sheet::parse(&sheet::read(path)?, COLUMNS, 3, |line| employee(line, &pools));
            sheet::refuse(path, faults)?;
            found.into_iter().unzip()
        }
        (None, Some(email), Some(name), Some(unix_name)) => {
            (vec![0], vec![Written { email, name, unix_name, keybase_name, uid, pools }])
        }
        _ => return Err(Failure::usage("name an employee, or a file with --from")),
    };
    let new = written.into_iter().map(Written::employee).collect::<Result<Vec<_>, _>>()?;
    let wanted = new.clone();
    let added = admin.attempt("employee.add", move |tx, config, actor| {
        all_or_none(&wanted, dry_run, |new| usecase::add(tx, config.uids, actor, new))
    })?;
    match (added, &from) {
        (Ok(uids), _) => told(admin, &new, &uids),
        (Err(NothingDone::DryRun(uids)), _) => would(admin, &new, &uids),
        (Err(NothingDone::Faulty(faults)), Some(path)) => {
            sheet::refuse(path, sheet::at_lines(&lines, faults))
        }
        (Err(error), _) => Err(Failure::new(error)),
    }
}

/// Reads one line of a file. The pools of the command line are for everybody in it.
fn employee(line: &Line<'_>, pools_of_all: &[PoolName]) -> Result<Written, String> {
    fn read<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
        text.parse().map_err(|error: T::Err| error.to_string())
    }
    fn maybe<T: FromStr<Err: Display>>(text: &str) -> Result<Option<T>, String> {
        if text.is_empty() { Ok(None) } else { read(text).map(Some) }
    }
    let own: Vec<PoolName> = line.field("pools").split_whitespace().map(read).collect::<Result<_, _>>()?;
    let mut pools = pools_of_all.to_vec();
    for pool in own {
        if !pools.contains(&pool) {
            pools.push(pool);
        }
    }
    let name = line.field("name");
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    Ok(Written {
        email: read(line.field("email"))?,
        name: SafeText::new(name),
        unix_name: read(line.field("unix_name"))?,
        keybase_name: maybe(line.field("keybase_name"))?,
        uid: maybe(line.field("uid")).map_err(|_| "the uid is not a whole number".to_owned())?,
        pools,
    })
}

/// Each employee in JSON.
fn rows(new: &[New], uids: &[u32]) -> Vec<serde_json::Value> {
    let row = |(new, uid): (&New, &u32)| {
        let Employee { email, unix_name, .. } = &new.employee;
        json!({ "email": email, "unix_name": unix_name, "uid": uid, "pools": new.pools })
    };
    new.iter().zip(uids).map(row).collect()
}

/// `employee alice@example.com (alice, uid 20000)`, or the number of several with the first ten.
fn phrase(new: &[New], uids: &[u32]) -> String {
    let one =
        |(new, uid): (&New, &u32)| format!("{} ({}, uid {uid})", new.employee.email, new.employee.unix_name);
    let shown: Vec<String> = new.iter().zip(uids).take(10).map(one).collect();
    match (new.len(), shown.join(", ")) {
        (1, only) => format!("employee {only}"),
        (many, shown) => format!("{many} employees: {shown}{}", if many > 10 { ", .." } else { "" }),
    }
}

fn told(admin: &Admin, new: &[New], uids: &[u32]) -> Result<(), Failure> {
    match new {
        [] => admin.tell("the file names no employee", &json!({ "employees": [] })),
        [one] => {
            let email = &one.employee.email;
            let json = json!({ "email": email, "uid": uids.first(), "employees": rows(new, uids) });
            admin.tell(&format!("employee {email} was added{}", detail(one, uids)), &json)
        }
        _ => {
            let json = json!({ "employees": rows(new, uids) });
            admin.tell(&format!("added {}", phrase(new, uids)), &json)
        }
    }
}

/// `: alice, uid 20000, granted web db`.
fn detail(new: &New, uids: &[u32]) -> String {
    let pools: Vec<_> = new.pools.iter().map(ToString::to_string).collect();
    let granted = if pools.is_empty() { String::new() } else { format!(", granted {}", pools.join(" ")) };
    let uid = uids.first().map_or_else(String::new, |uid| format!(", uid {uid}"));
    format!(": {}{uid}{granted}", new.employee.unix_name)
}

fn would(admin: &Admin, new: &[New], uids: &[u32]) -> Result<(), Failure> {
    if new.is_empty() {
        return told(admin, new, uids);
    }
    admin.dry_run(&format!("add {}", phrase(new, uids)), json!({ "employees": rows(new, uids) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_file_is_an_employee() {
        let text =
            "email,name,unix_name,pools,uid\na@b.c,Ann B,ann,web db all,1234\nx@y,,x,,\nx@y,X,x,,many\n";
        let (found, faults) =
            sheet::parse(text, COLUMNS, 3, |line| employee(line, &["all".parse().unwrap()]));
        let faults: Vec<_> = faults.iter().map(|fault| (fault.line, fault.what.as_str())).collect();
        assert_eq!(faults, [(3, "the name is empty"), (4, "the uid is not a whole number")]);
        let [(2, ann)] = found.as_slice() else { panic!("{}", found.len()) };
        let pools: Vec<_> = ann.pools.iter().map(PoolName::as_str).collect();
        assert_eq!(
            (ann.email.as_str(), ann.uid, pools.as_slice()),
            ("a@b.c", Some(1234), ["all", "web", "db"].as_slice())
        );
        assert!(sheet::parse("email,name\n", COLUMNS, 3, |line| employee(line, &[])).1.len() == 1);
    }
}
