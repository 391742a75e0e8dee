//! `restore`: replaces the database by a backup while no server runs. Without `--yes` it only prints what
//! that would undo. After a restore the database is read-only until `restore --confirm`.

use clap::Args as ClapArgs;
use serde_json::json;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{Admin, Failure};
use crate::admin_socket::client;
use crate::clock::{Clock, SystemClock, Time};
use crate::db::{self, Db, replace};
use crate::employees::ledger::service::taken;
use crate::restore::{self, Notice, Report};
use crate::usecases::restore as usecase;

/// `restore` and its arguments.
#[derive(ClapArgs)]
pub struct Args {
    /// The file that `backup` made.
    #[arg(required_unless_present = "confirm")]
    file: Option<PathBuf>,
    /// Do it; without this, only print what it would undo.
    #[arg(long)]
    yes: bool,
    /// Make the restored database writable again, and record in the audit log what was undone.
    #[arg(long, conflicts_with_all = ["file", "yes"])]
    confirm: bool,
}

/// Runs the verb.
///
/// # Errors
/// If a server runs, or the backup is not fit to be restored.
pub fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let Some(file) = &args.file else { return confirm(admin) };
    // Opened with the caller's rights, because the file may be in a directory of root's.
    let source = replace::open(file).map_err(Failure::new)?;
    let config = admin.become_owner()?;
    let scratch = Scratch::make(&config.state_dir)?;
    let backup = scratch.open(&source)?;
    let current = open_current(&config.state_dir)?;
    let report = restore::report(&backup, current.as_ref()).map_err(Failure::new)?;
    if !args.yes {
        let sentence =
            format!("{}\nhint: repeat the command with --yes, while the server is down", words(&report));
        admin.tell(&sentence, &json!({ "done": false, "undoes": report }))?;
        return Err(Failure::would_change());
    }
    if client::is_running(&config.state_dir) {
        return Err(Failure::new("a server runs on this database").hint("systemctl stop kbmfa-server"));
    }
    let paths = RestorePaths::at(&config.state_dir, SystemClock.now());
    let notice = notice(admin, file, &report, current.as_ref(), &paths)?;
    let taken = current.as_ref().map(|db| db.read_blocking(taken));
    let taken = taken.transpose().map_err(Failure::new)?.unwrap_or_default();
    let halting = notice.clone();
    let halted =
        backup.even_read_only().write_blocking("restore.halt", move |tx| usecase::halt(tx, &halting, taken));
    halted.map_err(Failure::new)?;
    backup.close();
    if let Some(current) = current {
        current.close();
    }
    paths.swap(&scratch, notice.kept.as_deref()).map_err(|error| match error {
        db::Error::InUse(_) => Failure::new(error).hint("systemctl stop kbmfa-server"),
        error => Failure::new(error),
    })?;
    let sentence = format!(
        "{}\ndone; the database is read-only, and every login is refused.\n\
         Next: start the server, check the contents, then run kbmfa-server restore --confirm",
        words(&report)
    );
    admin.tell(&sentence, &json!({ "done": true, "undoes": report, "kept": notice.kept }))
}

fn open_current(state_dir: &Path) -> Result<Option<Db>, Failure> {
    if !state_dir.join(db::FILE).exists() {
        return Ok(None);
    }
    let opened = Db::open(state_dir);
    opened.map(Some).map_err(|error| {
        Failure::new(error).hint(format!("move {} away to restore without comparing", db::FILE))
    })
}

/// If the current database is itself an unconfirmed restore, the gap begins at the database that it replaced.
fn notice(
    admin: &Admin,
    file: &Path,
    report: &Report,
    current: Option<&Db>,
    paths: &RestorePaths<'_>,
) -> Result<Notice, Failure> {
    let earlier = current.map(|db| db.read_blocking(restore::pending)).transpose().map_err(Failure::new)?;
    let before = earlier.flatten().and_then(|notice| notice.before).or_else(|| report.current.clone());
    Ok(Notice {
        file: file.display().to_string(),
        before,
        after: report.backup.clone(),
        kept: current.map(|_| paths.kept.clone()),
        by: admin.actor.who.clone(),
        at: paths.now,
        tokens_ended: report.ends.len(),
    })
}

/// Paths of the database and of the copy that is kept of it, and the time of the restore.
struct RestorePaths<'a> {
    state_dir: &'a Path,
    now: Time,
    kept: String,
}

impl<'a> RestorePaths<'a> {
    fn at(state_dir: &'a Path, now: Time) -> Self {
        let time: String = now.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
        let mut kept = format!("{}.before-restore-{time}", db::FILE);
        while state_dir.join(&kept).exists() {
            kept.push('x');
        }
        Self { state_dir, now, kept }
    }

    fn swap(&self, scratch: &Scratch, kept: Option<&str>) -> Result<(), db::Error> {
        let (new, current) = (scratch.0.join(db::FILE), self.state_dir.join(db::FILE));
        replace::checkpoint_wal(&new)?;
        if kept.is_some() {
            replace::checkpoint_wal(&current)?;
        }
        replace::swap(&current, &new, &self.state_dir.join(&self.kept))
    }
}

/// A temporary directory beside the database in which the backup's copy is prepared.
struct Scratch(PathBuf);

impl Scratch {
    fn make(state_dir: &Path) -> Result<Self, Failure> {
        let path = state_dir.join(".restore");
        // A leftover of a crash. If it cannot be removed, the next line reports it.
        let _ = fs::remove_dir_all(&path);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|e| Failure::new(format!("cannot make {}: {e}", path.display())))?;
        Ok(Self(path))
    }

    /// A copy of the backup with this program's schema. The backup itself is not changed.
    fn open(&self, backup: &replace::Source) -> Result<Db, Failure> {
        replace::copy(backup, &self.0.join(db::FILE)).map_err(Failure::new)?;
        Db::open_and_migrate(&self.0).map_err(Failure::new)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover is removed by the next restore.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn words(report: &Report) -> String {
    let mut text = match &report.current {
        None => format!("there is no database now; the backup ends with event {}", report.backup),
        Some(current) => format!("the backup ends with event {}, the database with {current}", report.backup),
    };
    if report.current.is_some() && report.foreign > 0 {
        let (common, foreign) = (report.common, report.foreign);
        let _ = write!(
            text,
            "\nwarning: the backup is not an earlier state of this database: they differ after event \
             {common}, and {foreign} events are only in the backup"
        );
    }
    if let Some(archived) = report.archived_to {
        let _ = write!(
            text,
            "\nwarning: events up to {archived} are in an archive: without it, it is unknown whether this \
             is an earlier state of the database, and what they did is not counted"
        );
    }
    if report.undone.is_empty() {
        text.push_str("\nundoes     nothing");
    }
    for (kind, count) in &report.undone {
        let _ = write!(text, "\nundoes     {count} x {kind}");
    }
    for (what, things) in
        [("vanishes", &report.vanishes), ("comes back", &report.comes_back), ("ends", &report.ends)]
    {
        for group in restore::by_kind(things) {
            let _ = write!(text, "\n{what:<11}{group}");
        }
    }
    text
}

fn confirm(admin: &Admin) -> Result<(), Failure> {
    let (config, db) = admin.open()?;
    let (rules, actor) = (config.rules(None), admin.actor.clone());
    let confirmed =
        db.even_read_only().write_blocking("restore.confirm", move |tx| usecase::confirm(tx, &rules, &actor));
    let notice = confirmed.map_err(Failure::new)?;
    client::notify_server(&config.state_dir);
    let sentence = format!(
        "confirmed: the database continues after event {}; the gap is in the audit log",
        notice.after
    );
    admin.tell(&sentence, &json!({ "before": notice.before, "after": notice.after, "kept": notice.kept }))
}
