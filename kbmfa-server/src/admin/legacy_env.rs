//! Set-up from the old tool's environment variables: the first start of `serve` uses them to do what `init`
//! does. They are read once, here. A process that has seen a secret in them never serves: it executes the
//! program again, in its place, without the secret.

mod convert;
mod table;
mod variables;

use kbmfa_proto::file_rules::{self, Distrust, Readers};
use log::LevelFilter;
use nix::fcntl::OFlag;
use nix::unistd::Uid;
use std::env;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::init::{self, Plan};
use super::{Admin, Failure};
use crate::config;
use convert::{Setup, convert};
use table::{LOG_LEVEL, TABLE};
use variables::Variables;

/// The old tool's file, in the server's working directory.
const DOTENV: &str = ".env";
/// Most bytes of that file that are read.
const DOTENV_BYTES_MAX: u64 = 64 * 1024;
const OTHERS_CAN_WRITE: &str = "others can write to it; chown it to the account that starts the server, and \
                                chmod 600";
/// Set for the new process. It means that the variables have been handled.
const DONE: &str = "KBMFA_VARIABLES_TAKEN";

/// Does the set-up from the variables before the server starts. Returns only if this process has no secret in
/// its variables.
///
/// # Errors
/// All faults of the variables, or why the set-up failed.
pub fn take(admin: &Admin) -> Result<(), Failure> {
    let own = Variables::from_lookup(variable);
    let is_done = variable(DONE).is_some() && !own.hold_a_secret();
    let vars = if is_done { own } else { own.or(dotenv()) };
    if vars.want_debug_lines() {
        log::set_max_level(LevelFilter::Debug);
    }
    if is_done {
        return Ok(());
    }
    let config = admin.config_path();
    // Other errors are reported later, when the file is read.
    let is_absent = fs::metadata(config).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    let ignored = vars.ignored_beside_a_file().join(", ");
    if !is_absent && !ignored.is_empty() {
        let config = config.display();
        log::warn!(
            "{config} exists, so only it counts; remove these variables, which are ignored: {ignored}"
        );
    }
    if is_absent && vars.get("KB_TYPE").is_some() {
        initialise(admin, &vars)?;
    }
    if vars.hold_a_secret() { start_over_without(&vars) } else { Ok(()) }
}

/// Invalid bytes become the replacement character, which every check that matters refuses.
#[expect(clippy::disallowed_methods, reason = "the old tool was configured by its environment alone")]
fn variable(name: &str) -> Option<String> {
    env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Ignores a file that others could have created or changed, because it could name other approvers.
fn dotenv() -> Variables {
    let read = || {
        // So that opening a pipe does not block.
        let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(DOTENV)?;
        let checked = file_rules::check(&file.metadata()?, Readers::All, Uid::effective().as_raw());
        checked.map_err(|distrust| match distrust {
            Distrust::NotAFile => io::Error::other(distrust),
            _ => io::Error::other(OTHERS_CAN_WRITE),
        })?;
        io::read_to_string(file.take(DOTENV_BYTES_MAX))
    };
    let text = read().unwrap_or_else(|error| {
        if error.kind() != ErrorKind::NotFound {
            log::warn!("{DOTENV} in this directory is not read: {error}");
        }
        String::new()
    });
    Variables::from_dotenv(&text)
}

fn initialise(admin: &Admin, vars: &Variables) -> Result<(), Failure> {
    let unreadable = ["KEYBASE_PAPERKEY_FILE", "AUTH_TOKEN_FILE"].into_iter().filter_map(|name| {
        let path = vars.get(name)?;
        let error = File::open(path).err()?;
        Some(format!("{name}: cannot read {path}: {error}"))
    });
    let (setup, mut faults) = convert(vars, config::read_auth_token)
        .map_or_else(|faults| (None, faults), |setup| (Some(setup), Vec::new()));
    faults.extend(unreadable);
    let Some(Setup { draft, secrets, token_left_out }) = setup.filter(|_| faults.is_empty()) else {
        let hint = "nothing was created; docs/operations.md has the table of the variables";
        return Err(Failure::new(faults.join("\n")).hint(hint));
    };
    init::make(admin, &Plan { draft, secrets, owner: None })?;
    if let Some(why) = token_left_out {
        log::warn!(
            "AUTH_TOKEN is not accepted: {why}. Let each host join; or put a token into a file, and name \
             the file (auth_token_file) and the ranges of your hosts (auth_token_from) under [server] in {}",
            admin.config_path().display()
        );
    }
    Ok(())
}

/// Executes the same program with the same arguments, and an environment without the variables, because
/// removing them would leave them in memory and in /proc/self/environ. Returns only if that fails. The log
/// level is kept.
#[expect(clippy::disallowed_methods, reason = "replaces this process, and starts no other")]
fn start_over_without(vars: &Variables) -> Result<(), Failure> {
    let program = env::current_exe()
        .map_err(|error| Failure::new(format!("cannot find the file of this program: {error}")))?;
    let mut args = env::args_os();
    let mut command = Command::new(&program);
    command.arg0(args.next().unwrap_or_else(|| program.clone().into())).args(args).env(DONE, "1");
    for (name, ..) in &TABLE {
        command.env_remove(name);
    }
    if let Some(level) = vars.get(LOG_LEVEL) {
        command.env(LOG_LEVEL, level);
    }
    let error = command.exec();
    Err(Failure::new(format!("cannot start {} again without its secrets: {error}", program.display())))
}
