//! Set-up from the old tool's environment variables: the first start does from them what `init` does. They
//! are read once, here. A process that has seen a secret among them never serves; it starts a new process,
//! without the secret, in its place.

mod setup;

mod reading;
mod variables;

use log::LevelFilter;
use nix::unistd::Uid;
use std::env::{self, VarError};
use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::init::{self, Plan};
use super::{Admin, Failure};
use crate::config;
use reading::Fault;
use setup::Setup;
use variables::{NAMES, Variables};

/// The old tool's file, in the directory from which the server is started.
const DOTENV: &str = ".env";
/// As much of that file as is read.
const DOTENV_BYTES_MAX: u64 = 64 * 1024;
/// Tells the process that takes this one's place that the variables have been dealt with.
const DONE: &str = "KBMFA_VARIABLES_TAKEN";

/// Does what the variables ask for before the server starts; returns in a process that holds no secret of theirs.
///
/// # Errors
/// Everything that is wrong with them, or why what they describe cannot be made.
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
    if is_absent(admin.config_path()) {
        initialise(admin, &vars)?;
    } else {
        warn_of_void(admin.config_path(), &vars);
    }
    if vars.hold_a_secret() { Err(start_over_without(&vars)) } else { Ok(()) }
}

#[expect(clippy::disallowed_methods, reason = "the old tool was configured by its environment alone")]
fn variable(name: &str) -> Option<String> {
    match env::var(name) {
        Ok(value) => Some(value),
        Err(VarError::NotPresent) => None,
        // What takes the place of a strange byte is refused wherever it matters.
        Err(VarError::NotUnicode(value)) => Some(value.to_string_lossy().into_owned()),
    }
}

/// A file that somebody else could have put there or changed says nothing here: it could name other approvers.
fn dotenv() -> Variables {
    let nothing = |why: &str| {
        log::warn!("{DOTENV} in this directory is not read: {why}");
        Variables::default()
    };
    match fs::metadata(DOTENV) {
        Err(error) if error.kind() == ErrorKind::NotFound => Variables::default(),
        Err(error) => nothing(&error.to_string()),
        Ok(found) if !found.is_file() => nothing("it is no file"),
        Ok(_) => read_dotenv().map_or_else(|why| nothing(&why), |text| Variables::from_dotenv(&text)),
    }
}

fn read_dotenv() -> Result<String, String> {
    let file = File::open(DOTENV).map_err(|error| error.to_string())?;
    let found = file.metadata().map_err(|error| error.to_string())?;
    if !is_only_ours(&found) {
        return Err("others can write to it; chown it to whoever starts the server, and chmod 600".to_owned());
    }
    let mut text = String::new();
    file.take(DOTENV_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

fn is_only_ours(found: &Metadata) -> bool {
    let owner = Uid::from_raw(found.uid());
    (owner.is_root() || owner == Uid::effective()) && found.mode() & 0o022 == 0
}

/// False if that cannot be told; whoever reads the file then says why.
fn is_absent(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn warn_of_void(config: &Path, vars: &Variables) {
    let names = vars.void_beside_a_file().join(", ");
    if !names.is_empty() {
        log::warn!(
            "{} is there and decides alone; remove these variables, which are void: {names}",
            config.display()
        );
    }
}

/// Does nothing unless the variables name a set-up in Keybase.
fn initialise(admin: &Admin, vars: &Variables) -> Result<(), Failure> {
    if vars.get("KB_TYPE").is_none() {
        return Ok(());
    }
    let mut setup = read(vars)?;
    check_token_file(vars, &mut setup);
    let Setup { draft, secrets, token_left_out } = setup;
    init::make(admin, &Plan { draft, secrets, owner: None })?;
    if let Some(why) = token_left_out {
        log::warn!(
            "AUTH_TOKEN is not taken: {why}. Let each host join, which is better; or put a token into a file, and \
             name it (auth_token_file) and the ranges of your hosts (auth_token_from) under [server] in {}",
            admin.config_path().display()
        );
    }
    Ok(())
}

fn read(vars: &Variables) -> Result<Setup, Failure> {
    let unreadable = unreadable(vars);
    match setup::read(vars) {
        Ok(setup) if unreadable.is_empty() => Ok(setup),
        read => {
            let faults = read.err().unwrap_or_default().into_iter().chain(unreadable);
            let lines: Vec<_> = faults.map(|fault| fault.to_string()).collect();
            let hint = "nothing was made; docs/operations.md has the table of the variables";
            Err(Failure::new(lines.join("\n")).hint(hint))
        }
    }
}

fn unreadable(vars: &Variables) -> Vec<Fault> {
    let fault = |variable| {
        let path = Path::new(vars.get(variable)?);
        let error = File::open(path).err()?;
        Some(Fault { variable, what: format!("cannot read {}: {error}", path.display()) })
    };
    ["KEYBASE_PAPERKEY_FILE", "AUTH_TOKEN_FILE"].into_iter().filter_map(fault).collect()
}

/// A token in a file of the operator's is looked at as the server will.
fn check_token_file(vars: &Variables, setup: &mut Setup) {
    let is_theirs = vars.get("AUTH_TOKEN_FILE").is_some();
    let Some(token) = setup.draft.auth_token.as_ref().filter(|_| is_theirs) else { return };
    if let Err(why) = config::read_auth_token(&token.file) {
        let why = format!("{}: {why}", token.file.display());
        setup.leave_token_out(why);
    }
}

/// Becomes the same program with the same arguments, and an environment without the variables: taking them out of
/// one's own leaves them in memory and in /proc/self/environ. Returns only if that fails. `FLASK_ENV` stays, for the
/// log.
#[expect(clippy::disallowed_methods, reason = "no other process: this one, once more")]
fn start_over_without(vars: &Variables) -> Failure {
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return Failure::new(format!("cannot tell where this program lies: {error}")),
    };
    let mut args = env::args_os();
    let mut command = Command::new(&program);
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    command.args(args).env(DONE, "1");
    for name in NAMES {
        command.env_remove(name);
    }
    if let Some(level) = vars.get("FLASK_ENV") {
        command.env("FLASK_ENV", level);
    }
    let error = command.exec();
    Failure::new(format!("cannot start {} again without its secrets: {error}", program.display()))
}
