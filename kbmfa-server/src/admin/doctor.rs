//! `doctor`: checks everything that a login needs on the server's side, and names the fix for each fault.

mod machines;
mod relay;
mod running;
mod server;

use clap::Args as ClapArgs;
use kbmfa_finding::{Finding, Level};
use serde_json::json;

use super::print::{self, Column, Screen};
use super::{Admin, Failure, open_database};

/// `doctor` and its arguments.
#[derive(ClapArgs)]
#[command(
    after_help = "Exit code 0 means no fault was found; weak points are listed but are not faults. While no \
                  server runs, \
the Keybase service is started for the examination and stopped again."
)]
pub struct Args {
    /// Skip slow checks: reading the whole database, and the connection to Keybase.
    #[arg(long)]
    quick: bool,
}

/// Checks everything, with the rights of the account that the server runs as.
pub fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let config = admin.become_owner()?;
    let mut findings = server::settings(&config);
    findings.extend(server::readable(admin.config_path(), &config.state_dir));
    findings.extend(server::files(&config, admin.config_path()));
    findings.extend(server::certificates(&config));
    findings.extend(server::space(&config.state_dir));
    let db = open_database(&config);
    match &db {
        Ok(db) => {
            findings.extend(server::database(db, args.quick));
            findings.extend(server::policy(db, &config));
            findings.extend(machines::heard_of(db));
            findings.extend(server::passwords(db, &config.state_dir));
        }
        Err(failure) => findings.push(failure.finding("database")),
    }
    let found = running::find(&config);
    if !args.quick {
        findings.extend(relay::check(&config, db.as_ref().ok(), found.is_some())?);
    }
    findings.extend(running::findings(found, db.as_ref().ok(), &config, &findings));
    report(admin, &findings)
}

const COLUMNS: &[Column] = &[Column::whole(""), Column::whole("WHAT"), Column::whole("FOUND")];

/// Prints each finding in a table. Standard error only has the number of faults.
fn report(admin: &Admin, findings: &[Finding]) -> Result<(), Failure> {
    let faults = kbmfa_finding::faults(findings).count();
    if admin.json {
        print::print_json(&json!({ "ok": faults == 0, "findings": findings }))?;
    } else {
        let rows: Vec<_> = findings.iter().map(Finding::cells).collect();
        // A finding is a sentence, so it is never cut.
        print::say(&print::table(COLUMNS, &rows, Screen { width: None, colour: false }))?;
    }
    match faults {
        0 => Ok(()),
        1 => Err(Failure::new("1 fault was found")),
        faults => Err(Failure::new(format!("{faults} faults were found"))),
    }
}

/// Whether no finding so far keeps a server from starting.
fn is_well(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.level != Level::Fault)
}
