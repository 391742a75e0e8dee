//! `doctor`: looks at everything that a login needs on the server's side, and names the fix for each fault.

mod server;

use clap::Args as ClapArgs;
use kbmfa_proto::finding::{self, Finding};
use serde_json::json;

use super::{Admin, Failure, print};
use crate::db::Db;
use crate::relay::{self, keybase};

/// `doctor` and its arguments.
#[derive(ClapArgs)]
#[command(after_help = "Ends with exit code 0 if there is no fault; what is weak is said and is none.")]
pub struct Args {
    /// Leave out what takes long: reading the whole database, and the way to Keybase.
    #[arg(long)]
    quick: bool,
}

/// Looks at everything.
///
/// # Errors
/// If there is a fault.
pub fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let config = admin.become_owner()?;
    let mut findings = server::settings(&config);
    findings.extend(server::certificates(&config));
    findings.extend(server::space(&config.state_dir));
    match Db::open(&config.state_dir) {
        Ok(db) => {
            findings.extend(server::database(&db, args.quick));
            findings.extend(server::roster(&db, &config));
            findings.extend(server::running(&db, &config));
        }
        Err(error) => findings.push(
            Finding::fault("database", error)
                .fix("`kbmfa-server init` makes one; `kbmfa-server restore` brings a backup back"),
        ),
    }
    if let (relay::Settings::Keybase(settings), false) = (&config.relay, args.quick) {
        findings.extend(to_keybase(settings, &config.destinations())?);
    }
    report(admin, &findings)
}

/// The whole way to Keybase, up to a message in the bot's own conversation.
fn to_keybase(settings: &keybase::Settings, destinations: &[String]) -> Result<Vec<Finding>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    let looked = runtime.block_on(keybase::examine(settings, destinations));
    Ok(looked.into_iter().map(|(what, looked)| Finding::of(&format!("keybase: {what}"), looked)).collect())
}

fn report(admin: &Admin, findings: &[Finding]) -> Result<(), Failure> {
    let faults: Vec<&Finding> = finding::faults(findings).collect();
    if admin.json {
        print::print_json(&json!({ "ok": faults.is_empty(), "findings": findings }))?;
    } else {
        print::say(&print::table(&["", "WHAT", "FOUND"], findings.iter().map(Finding::cells)))?;
    }
    let Some(first) = faults.first() else { return Ok(()) };
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let failure = Failure::new(told.join("\n"));
    Err(first.fix.iter().fold(failure, |failure, fix| failure.hint(fix.clone())))
}
