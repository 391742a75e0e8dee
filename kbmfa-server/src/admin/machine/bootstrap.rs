//! `machine bootstrap`: sets machines up, over a connection of the operator's.

mod agent;
mod credential;
mod host_key;
mod one;
mod question;

use clap::Args as ClapArgs;
use ipnet::IpNet;
use kbmfa_proto::names::{MachineName, PoolName, UserName};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use super::super::{Admin, Failure, print};
use super::reach;
use crate::config::Config;
use crate::db::Db;
use crate::deliveries::Place;
use crate::grants::SudoProfile;
use crate::machines::host_keys::{Address, Fingerprint};
use crate::pools::service as pools;
use crate::provision::{admin_key, key_file, roster_key};
use crate::setup::SudoLevel;
use crate::shared::Shared;
use credential::Credential;
use one::Ended;

/// Number of machines that are set up at once.
const AT_ONCE: usize = 16;

/// Options.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
#[derive(ClapArgs)]
#[command(
    after_help = "The host key is compared before anything is sent. Read it on the machine itself, at its console:
  ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub
A run that was interrupted is repeated: what is there already is left as it is."
)]
pub struct Args {
    /// The machines; one that is not known yet is added.
    #[arg(value_name = "MACHINE")]
    machines: Vec<MachineName>,
    /// The machines of a pool.
    #[arg(long)]
    pool: Option<PoolName>,
    /// The machines that this file names, one in each line.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The account to log in with: root, or one that may become root by sudo.
    #[arg(long, value_name = "ACCOUNT", default_value = "root")]
    user: UserName,
    /// File of the private key to log in with.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Log in with a key of the ssh agent of this session.
    #[arg(long, conflicts_with = "identity")]
    agent: bool,
    /// Fingerprint of the agent's key; needed if it has several.
    #[arg(long, value_name = "SHA256:..", requires = "agent")]
    agent_key: Option<Fingerprint>,
    /// Ask for a password, for the login and for sudo; with --identity or --agent for sudo alone. Without a terminal it is
    /// the first line of standard input.
    #[arg(long)]
    ask_password: bool,
    /// IP address or DNS name of its sshd, if that is not known yet.
    #[arg(long)]
    address: Option<Address>,
    /// Port of its sshd.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Fingerprint of its host key, if none is pinned yet.
    #[arg(long, value_name = "SHA256:..")]
    host_key: Option<Fingerprint>,
    /// What sudo allows ssh-admin there.
    #[arg(long, value_enum, default_value = "helper")]
    sudo_level: SudoLevel,
    /// A sudo profile that the machine accepts for employees; repeat it for each.
    #[arg(long = "allow-sudo", value_name = "PROFILE")]
    allow_sudo: Vec<SudoProfile>,
    /// Where keys are written: `system` is `/etc/ssh/kbmfa/keys/NAME`, `home` is a block in `~/.ssh/authorized_keys`.
    #[arg(long, value_enum, default_value = "system")]
    keys: Place,
    /// Accept the server's key from this address or network alone; repeat it for each.
    #[arg(long, value_name = "ADDRESS", value_parser = network)]
    only_from: Vec<String>,
    /// Seconds after which the machine puts sshd back by itself if a new connection did not work.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=3600))]
    undo_after: u32,
    /// Print every change and make none.
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
}

fn network(text: &str) -> Result<String, String> {
    let address = text.parse::<IpAddr>().map(|address| address.to_string());
    let network = text.parse::<IpNet>().map(|network| network.trunc().to_string());
    address.or(network).map_err(|_| "write an IP address, or a network such as 192.0.2.0/24".to_owned())
}

/// What is the same for every machine.
struct Job<'a> {
    admin: &'a Admin,
    args: &'a Args,
    config: Config,
    db: Db,
    credential: Credential,
    /// The line of the server's key.
    key_line: String,
    /// The line of the key by which the server signs orders.
    signers_line: String,
    is_alone: bool,
}

/// Runs the verb.
pub(super) fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    // Before root is given up: only root, or its session, may have them.
    let opened = credential::open(args)?;
    let list = args.from.as_deref().map(reach::read).transpose()?;
    let (config, db) = admin.open()?;
    let names = names(args, list.as_deref(), &db)?;
    let is_alone = names.len() == 1;
    if !is_alone && (args.address.is_some() || args.port.is_some() || args.host_key.is_some()) {
        return Err(Failure::usage("an address and a host key are one machine's"));
    }
    if !is_alone && !args.yes && !args.dry_run {
        return Err(Failure::usage("several machines need --dry-run or --yes"));
    }
    let key_line = key_line(&config.state_dir, &args.only_from)?;
    let signers_line = roster_key::signers_line(&config.state_dir).map_err(no_key)?;
    let unknown = args.allow_sudo.iter().find(|name| !config.provision.profiles.contains_key(*name));
    if let Some(name) = unknown {
        return Err(Failure::new(format!("there is no sudo profile {name}"))
            .hint("name it in the configuration: [[provision.sudo]]"));
    }
    let credential = opened.ready(&config.state_dir)?;
    let job = Job { admin, args, config, db, credential, key_line, signers_line, is_alone };
    match names.as_slice() {
        [name] => {
            let ended = one::set_up(&job, name)?;
            let is_done = matches!(ended, Ended::Done { .. });
            let row = Row { machine: name.clone(), ended: Some(ended), error: None, hints: Vec::new() };
            if admin.json {
                print::print_json(&row)?;
            }
            if is_done { Ok(()) } else { Err(Failure::would_change()) }
        }
        _ => many(&job, names),
    }
}

/// The machines, each once, in order.
fn names(args: &Args, list: Option<&str>, db: &Db) -> Result<Vec<MachineName>, Failure> {
    let mut names: BTreeSet<MachineName> = args.machines.iter().cloned().collect();
    if let Some(pool) = &args.pool {
        let pool = db.read_blocking(|tx| pools::find(tx, pool)).map_err(Failure::new)?;
        names.extend(pool.machines);
    }
    for (number, line) in (1..).zip(list.unwrap_or_default().lines()) {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let name = line.parse();
            names.insert(name.map_err(|error| Failure::new(format!("line {number}: {error}")))?);
        }
    }
    if names.is_empty() {
        return Err(Failure::usage("name machines, --pool POOL, or --from FILE"));
    }
    Ok(names.into_iter().collect())
}

fn key_line(state_dir: &Path, only_from: &[String]) -> Result<String, Failure> {
    let line = admin_key::public_line(state_dir).map_err(no_key)?;
    if only_from.is_empty() {
        return Ok(line);
    }
    Ok(format!("from=\"{}\",{line}", only_from.join(",")))
}

fn no_key(error: key_file::Error) -> Failure {
    Failure::new(error).hint("the server makes its keys when it starts: systemctl start kbmfa-server")
}

/// What is printed about one machine as JSON.
#[derive(Serialize)]
struct Row {
    machine: MachineName,
    #[serde(flatten)]
    ended: Option<Ended>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hints: Vec<String>,
}

/// Sets several machines up at once; a failure of one does not hold up the others.
fn many(job: &Job<'_>, names: Vec<MachineName>) -> Result<(), Failure> {
    let total = names.len();
    let queue = Shared::new(names.into_iter().rev().collect::<Vec<_>>());
    let (ended, ending) = mpsc::channel();
    let mut rows: Vec<Row> = thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(total) {
            let (queue, ended) = (&queue, ended.clone());
            scope.spawn(move || {
                while let Some(name) = queue.with(Vec::pop) {
                    let result = one::set_up(job, &name);
                    if ended.send((name, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(ended);
        let row = |(machine, result)| match result {
            Ok(ended) => Row { machine, ended: Some(ended), error: None, hints: Vec::new() },
            Err(Failure { error, hints, .. }) => Row { machine, ended: None, error: Some(error), hints },
        };
        ending.into_iter().map(row).collect()
    });
    rows.sort_by(|one, other| one.machine.cmp(&other.machine));
    let failed: Vec<&Row> = rows.iter().filter(|row| row.error.is_some()).collect();
    let (good, bad) = (total - failed.len(), failed.len());
    if job.admin.json {
        print::print_json(&json!({ "machines": rows }))?;
    } else {
        let what = if job.args.dry_run { "can be set up" } else { "are set up" };
        let lines = failed.iter().fold(String::new(), |text, row| {
            let error = row.error.as_deref().unwrap_or_default();
            let hints = row.hints.iter().fold(String::new(), |text, hint| text + "\n    fix: " + hint);
            text + &format!("\n  {}: {error}{hints}", row.machine)
        });
        print::say(&format!("\n{good} {what}, {bad} failed{lines}"))?;
    }
    match (bad, job.args.dry_run) {
        (0, false) => Ok(()),
        (0, true) => Err(Failure::would_change()),
        _ => Err(Failure::new(format!("{bad} machines failed")).hint("repair them, and repeat the command")),
    }
}
