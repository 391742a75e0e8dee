//! `import ..`: takes over what another tool has.

use clap::{Args as ClapArgs, Subcommand};
use std::path::PathBuf;

use super::print::note;
use super::{Admin, Failure, roster, sheet};
use crate::employees::Email;
use crate::roster_file::Part;
use crate::roster_file::diff::Mode;
use crate::roster_file::ssh_handler::{self, Taken};
use crate::usecases::roster::Wanted;

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Add the pools, machines, employees, grants and keys of ssh-handler. Without --yes, only print them.
    ///
    /// What is known already stays as it is, and nothing is removed. Passwords are not taken over.
    SshHandler(SshHandler),
}

/// The old tool's files.
#[derive(ClapArgs)]
pub struct SshHandler {
    /// Its file of employees.
    #[arg(long, value_name = "data.json")]
    data: PathBuf,
    /// Its file of pools.
    #[arg(long, value_name = "pools.json")]
    pools: PathBuf,
    /// Do it; without this, only print what would be added.
    #[arg(long)]
    yes: bool,
}

/// Runs the verb.
pub fn run(admin: &Admin, verb: &Verb) -> Result<(), Failure> {
    let Verb::SshHandler(SshHandler { data, pools, yes }) = verb;
    // Read before root is given up, because only root may be able to read the files.
    let (data, pools) = (sheet::read(data)?, sheet::read(pools)?);
    let taken = ssh_handler::parse(&data, &pools).map_err(|faults| {
        sheet::refusal(faults.into_iter(), roster::NOTHING_CHANGED)
            .hint("correct or delete these records in a copy of the files, and import that")
    })?;
    tell(&taken);
    let Taken { roster, places, .. } = taken;
    let manages = Part::ALL.to_vec();
    let wanted = Wanted { server: None, manages, roster, mode: Mode::Add, confirmed: None, dry_run: !yes };
    roster::make(admin, "import.ssh-handler", wanted, |faults| {
        let place = |id| places.get(id).map_or("data.json", String::as_str);
        let lines = faults.iter().map(|(id, what)| format!("{}: {what}", place(id)));
        sheet::refusal(lines, roster::NOTHING_CHANGED)
    })
}

/// Maximum number of addresses in a note.
const SHOWN: usize = 10;

/// Notes what is left to do by hand.
fn tell(taken: &Taken) {
    let list = |emails: &[Email]| {
        let shown: Vec<_> = emails.iter().take(SHOWN).map(Email::as_str).collect();
        format!("{}{}", shown.join(" "), if emails.len() > SHOWN { " .." } else { "" })
    };
    if !taken.without_key.is_empty() {
        note(&format!("no key yet, invite them (`employee invite`): {}", list(&taken.without_key)));
    }
    if !taken.without_pool.is_empty() {
        note(&format!("in no pool, so they may go nowhere: {}", list(&taken.without_pool)));
    }
    if taken.passwords > 0 {
        note(&format!(
            "{} records have a password in clear text, which is not taken over: delete the file when all works",
            taken.passwords
        ));
    }
}
