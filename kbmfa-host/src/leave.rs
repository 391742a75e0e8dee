//! `kbmfa-host leave`: removes the files that `join` and the module wrote. It removes nothing while a line of
//! PAM or sshd names the module, because without its files the module refuses every login.

use rustix::process::geteuid;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

mod plan;
mod references;

use super::{Error, Report, status};
use pam_kbmfa::config::Config;
use plan::{Plan, TIMER, UNITS};

/// Whether systemd runs, and is not only installed.
const SYSTEMD: &str = "/run/systemd/system";

/// Remove this machine's configuration, credential, spool and refresh timer.
#[derive(Debug, clap::Args)]
#[command(after_help = "Without --yes it only lists what it would remove; exit code 2 means that there is \
                  something. docs/removal.md has the order in which to remove kbmfa from a machine.")]
pub(super) struct Args {
    /// The module's configuration
    #[arg(long, default_value = pam_kbmfa::args::CONFIG, value_name = "FILE")]
    config: PathBuf,
    /// sshd's configuration, which must no longer name kbmfa
    #[arg(long, default_value = "/etc/ssh/sshd_config", value_name = "FILE")]
    sshd_config: PathBuf,
    /// Do it
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(args: &Args, out: &mut Report<'_>) -> Result<(), Error> {
    if geteuid().as_raw() != 0 {
        return Err(Error::new("only root can remove these files").hint("run it as root"));
    }
    let references = references::find(Path::new("/"), &args.sshd_config)?;
    if !references.is_empty() {
        let lines: Vec<String> =
            references.iter().map(|one| format!("this line still names kbmfa: {one}")).collect();
        return Err(Error::all(&lines).hint(
            "without its files the module refuses every login, so nothing was removed; remove these lines, \
             run `sshd -t && systemctl reload ssh`, and log in from a second terminal: docs/removal.md",
        ));
    }
    let config_file = std::path::absolute(&args.config)?;
    let config = Config::load(&config_file).ok();
    let plan = Plan::new(Path::new("/"), &config_file, config.as_ref());
    if plan.is_empty() {
        out.advice("nothing to do: kbmfa has no files here")?;
        return Ok(());
    }
    let name = config.as_ref().and_then(status::machine_name);
    if args.yes {
        remove(&plan, out)?;
    } else {
        for path in plan.files.iter().chain(&plan.directories) {
            out.item("would remove", path.display())?;
        }
    }
    for path in &plan.left {
        out.item(
            "left",
            format_args!("{}: pam.toml names it, but it is in another directory", path.display()),
        )?;
    }
    if plan.reports > 0 {
        out.warning(format_args!("{} unsent reports are removed with the spool", plan.reports))?;
    }
    advise(name.as_deref(), args.yes, out)?;
    if args.yes { Ok(()) } else { Err(Error::would_change()) }
}

fn remove(plan: &Plan, out: &mut Report<'_>) -> Result<(), Error> {
    let has_units = plan.files.iter().any(|file| file.file_name().is_some_and(|name| name == TIMER));
    let has_systemd = has_units && Path::new(SYSTEMD).exists();
    if has_systemd {
        systemctl(&[&["stop"], &UNITS[..]].concat())?;
    }
    for file in &plan.files {
        fs::remove_file(file).or_else(is_gone).map_err(|error| cannot(file, &error))?;
        out.item("removed", file.display())?;
    }
    for directory in &plan.directories {
        match fs::remove_dir(directory) {
            Ok(()) => out.item("removed", directory.display())?,
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                out.item("left", format_args!("{}: it contains other files", directory.display()))?;
            }
            Err(error) => is_gone(error).map_err(|error| cannot(directory, &error))?,
        }
    }
    if has_systemd {
        systemctl(&["daemon-reload"])?;
    }
    Ok(())
}

fn is_gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn cannot(path: &Path, error: &io::Error) -> Error {
    Error::new(format_args!("cannot remove {}: {error}", path.display()))
        .hint("run the same command again: it continues where it stopped")
}

#[expect(clippy::disallowed_methods, reason = "systemd keeps a unit loaded until it is reloaded")]
fn systemctl(words: &[&str]) -> Result<(), Error> {
    let failed = |why: String| Error::new(format_args!("`systemctl {}`: {why}", words.join(" ")));
    let output = Command::new("systemctl").args(words).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// The next steps, here and at the server.
fn advise(name: Option<&str>, is_done: bool, out: &mut Report<'_>) -> io::Result<()> {
    let name = name.unwrap_or("NAME");
    if !is_done {
        return out.advice("\nnext: `kbmfa-host leave --yes` removes this");
    }
    out.advice(format_args!(
        "\nnext: on the server's host `kbmfa-server machine remove {name} --yes`; until then the server keeps this \
         machine's credential and reports the machine as silent"
    ))?;
    out.advice("then remove the module pam_kbmfa.so and this program, as docs/removal.md says")
}
