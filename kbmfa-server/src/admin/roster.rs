//! `roster ..`: the whole roster as one file, for people who keep it in git.

use clap::{Args as ClapArgs, Subcommand};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::output::Output;
use super::print::note;
use super::{Admin, Failure, sheet};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::grants;
use crate::roster_file::change::{Change, Verb as Kind};
use crate::roster_file::diff::Mode;
use crate::roster_file::{Fault, Id, Part, Roster, RosterFile, read, service, write};
use crate::usecases::roster::{self as usecase, Applied, NotApplied, Wanted};

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Print the roster: pools, machines, employees, grants and keys. It has no secret.
    Export {
        /// Write it to this new file, which only its owner can read.
        #[arg(long)]
        file: Option<PathBuf>,
        /// Leave out a part, which `apply` will then leave alone: pools, machines, employees, grants or keys; repeat
        /// it for each.
        #[arg(long, value_name = "PART")]
        without: Vec<Part>,
    },
    /// Make the server's roster that of a file. Without --yes, only print how they differ.
    Apply(Apply),
}

/// The file to apply.
#[derive(ClapArgs)]
#[command(
    after_help = "The file is the whole of the parts that its `manages` names: what it does not have is removed.
Either every change is made, or none. A machine that is added is a record without a credential:
`kbmfa-server machine join-token NAME` lets it join."
)]
pub struct Apply {
    /// The file, as `roster export` writes it; - for standard input.
    file: PathBuf,
    /// Check everything and print how the file differs, which is the default.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Number of things that are removed, as printed without --yes. Needed for more than ten, or several that are
    /// more than a third of their kind.
    #[arg(long, value_name = "COUNT")]
    confirm_removals: Option<usize>,
}

/// Runs the verb.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Export { file, without } => export(admin, file.as_deref(), &without),
        Verb::Apply(args) => apply(admin, &args),
    }
}

fn export(admin: &Admin, file: Option<&Path>, without: &[Part]) -> Result<(), Failure> {
    let manages: Vec<Part> = Part::ALL.into_iter().filter(|part| !without.contains(part)).collect();
    if manages.is_empty() {
        return Err(Failure::usage("a file without any part has nothing to say"));
    }
    let output = file.map(Output::create).transpose()?;
    let (_, db) = admin.open()?;
    let server = match db.read_blocking(service::server_id).map_err(Failure::new)? {
        Some(server) => server,
        None => admin.change("roster.export", |tx, _, _| usecase::name_server(tx))?,
    };
    let current = db.read_blocking(service::current).map_err(Failure::new)?;
    let text = write::text(&server, &manages, &current.roster);
    let Some(output) = output else {
        return admin.tell(text.trim_end(), &json!({ "server": server, "roster": text }));
    };
    let name = output.name();
    output
        .file()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::new(format!("cannot write {name}: {error}")))?;
    output.sync()?;
    output.keep();
    let counts: Vec<String> =
        manages.iter().map(|part| format!("{} {part}", current.roster.count(*part))).collect();
    admin.tell(&format!("wrote {name}: {}", counts.join(", ")), &json!({ "server": server, "file": name }))
}

fn apply(admin: &Admin, args: &Apply) -> Result<(), Failure> {
    let Apply { file, yes, confirm_removals, .. } = args;
    // Read before root is given up, because only root may be able to read the file.
    let text = sheet::read(if file == Path::new("-") { Path::new("/dev/stdin") } else { file })?;
    let RosterFile { server, manages, roster, lines } =
        read::parse(&text).map_err(|faults| refuse(file, &faults))?;
    note_ended(&roster);
    let (confirmed, dry_run) = (*confirm_removals, !yes);
    let wanted = Wanted { server, manages, roster, mode: Mode::Whole, confirmed, dry_run };
    make(admin, "roster.apply", wanted, |faults| {
        let place = |(id, what): (Id, String)| match lines.get(&id) {
            Some(line) => (*line, what),
            // What the file does not have, and so is to be removed.
            None => (0, format!("{id} cannot be removed: {what}")),
        };
        let mut faults: Vec<Fault> = faults.into_iter().map(place).collect();
        faults.sort();
        refuse(file, &faults)
    })
}

/// Notes grants that have ended already, so that nobody waits for them.
fn note_ended(roster: &Roster) {
    let now = SystemClock.now();
    let ended =
        roster.grants.iter().filter(|grant| grants::State::at(now, grant.until) == grants::State::Ended);
    match ended.count() {
        0 => {}
        count => note(&format!("{count} grants of the file have ended, and count as if they were not there")),
    }
}

/// Applies a roster, and prints the changes. `refused` makes the failure of entries with faults.
pub(super) fn make(
    admin: &Admin,
    name: &'static str,
    wanted: Wanted,
    refused: impl FnOnce(Vec<(Id, String)>) -> Failure,
) -> Result<(), Failure> {
    let made = admin.attempt(name, move |tx, config, actor| {
        usecase::apply(tx, config.uids, &config.rules(None), actor, &wanted)
    })?;
    match made {
        Ok(applied) => print_made(admin, &applied),
        Err(NotApplied::DryRun(applied)) => preview(admin, &applied),
        Err(NotApplied::Faulty(faults)) => Err(refused(faults)),
        Err(error @ NotApplied::Unconfirmed(count)) => Err(Failure::new(error).hint(format!(
            "look at them without --yes; then repeat the command with --confirm-removals {count}"
        ))),
        Err(error @ NotApplied::OtherServer(_)) => Err(Failure::new(error).hint(
            "if it is meant for this server, too, remove the line `server` from the file; look at the difference before \
             --yes",
        )),
        Err(error @ (NotApplied::Db(_) | NotApplied::Random(_))) => Err(Failure::new(error)),
    }
}

fn json_of(applied: &Applied, is_made: bool) -> serde_json::Value {
    let change = |change: &Change| {
        let id = change.id();
        json!({ "verb": change.verb(), "kind": id.part().one(), "entry": id.to_string(), "text": change.to_string() })
    };
    json!({
        "changes": applied.changes.iter().map(change).collect::<Vec<_>>(),
        "removals": applied.removals,
        "must_confirm": applied.must_confirm,
        "applied": is_made,
        "refused": applied.refused,
        "open_sessions_of": applied.open,
    })
}

/// The changes by entry, one in each line, and their numbers.
fn sentence(applied: &Applied) -> String {
    let mut changes: Vec<&Change> = applied.changes.iter().collect();
    changes.sort_by_key(|change| change.id());
    let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
    let count = |kind: Kind| applied.changes.iter().filter(|change| change.verb() == kind).count();
    let (add, change, remove) = (count(Kind::Add), count(Kind::Change), count(Kind::Remove));
    format!("{}\n{add} to add, {change} to change, {remove} to remove", lines.join("\n"))
}

const NOTHING: &str = "nothing to do: the server has it all";

fn preview(admin: &Admin, applied: &Applied) -> Result<(), Failure> {
    if applied.changes.is_empty() {
        return admin.tell(NOTHING, &json_of(applied, false));
    }
    let confirm = if applied.must_confirm {
        format!(" --confirm-removals {}", applied.removals)
    } else {
        String::new()
    };
    let sentence = format!("{}\nhint: repeat the command with --yes{confirm}", sentence(applied));
    admin.tell(&sentence, &json_of(applied, false))?;
    Err(Failure::would_change())
}

fn print_made(admin: &Admin, applied: &Applied) -> Result<(), Failure> {
    if applied.changes.is_empty() {
        return admin.tell(NOTHING, &json_of(applied, true));
    }
    let mut lines = vec![format!("{}: done", sentence(applied))];
    if applied.refused > 0 {
        lines.push(format!("logins refused that were waiting: {}", applied.refused));
    }
    if !applied.open.is_empty() {
        let open = applied.open.join(" ");
        lines.push(format!(
            "hint: end the open sessions of {open} on their machines (`kbmfa-server session list --open`)"
        ));
    }
    admin.tell(
        &lines.join(
            "
",
        ),
        &json_of(applied, true),
    )?;
    hint_rules(admin, &applied.changes)
}

/// Notes rules that name a pool which was removed.
fn hint_rules(admin: &Admin, changes: &[Change]) -> Result<(), Failure> {
    let config = Config::read(admin.config_path()).map_err(Failure::new)?;
    for change in changes {
        let Change::RemovePool(pool) = change else { continue };
        let lines = config.policy.lines_that_name_pool(pool);
        if !lines.is_empty() {
            let lines: Vec<_> = lines.iter().map(usize::to_string).collect();
            let file = admin.config_path().display();
            note(&format!(
                "rules of {file} still name pool {pool}, which is removed: line {}",
                lines.join(", ")
            ));
        }
    }
    Ok(())
}

/// What is said beside faults.
pub(super) const NOTHING_CHANGED: &str = "nothing was changed";

/// The failure for a file with these faults.
fn refuse(path: &Path, faults: &[Fault]) -> Failure {
    let file = path.display();
    let line = |(line, what): &Fault| match line {
        0 => format!("{file}: {what}"),
        line => format!("{file}:{line}: {what}"),
    };
    sheet::refusal(faults.iter().map(line), NOTHING_CHANGED)
}
