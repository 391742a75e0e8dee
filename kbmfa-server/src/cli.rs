//! The command line: its verbs and options, and the call of each verb.

use clap::{Parser, Subcommand};
use std::path::PathBuf;

use crate::admin::{
    self, Admin, Failure, access, audit, backup, ca, check, doctor, employee, export, grant, import, init,
    key, legacy_env, login, machine, policy, pool, provision, reload, restore, roster, session,
};
use crate::config;
use crate::serve;

/// Judges SSH logins, asks people about them, and keeps the audit log.
///
/// A login to a machine whose sshd uses `pam_kbmfa.so` waits until somebody approves it here.
#[derive(Parser)]
#[command(name = "kbmfa-server", version, arg_required_else_help = true)]
#[command(after_help = "First steps:
  kbmfa-server init --name kbmfa.example         make the database, the CA and the configuration
  kbmfa-server machine add web1                  add a machine
  kbmfa-server machine join-token web1           a token for `kbmfa-host join` on that machine
  kbmfa-server serve                             (or: systemctl start kbmfa-server)
  kbmfa-server login watch                       show logins as they arrive")]
pub struct Cli {
    /// The configuration file.
    #[arg(long, global = true, default_value = config::DEFAULT_PATH, value_name = "FILE")]
    config: PathBuf,
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
    /// Print times in UTC instead of local time. JSON is always in UTC.
    #[arg(long, global = true)]
    utc: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the database, the CA, the server's certificate and a configuration file.
    Init(init::Args),
    /// Check the configuration file, and report all faults in it and rules that never apply.
    ///
    /// It reads files and the database, and asks nothing of the network; `doctor` does: it finds approvers in rules who
    /// are not in the team, and a channel or a role that is missing. Warnings, such as a session without a login uid
    /// where rules tell approvers apart, are printed and fail nothing.
    Check,
    /// Check everything that a login needs on the server's side, and name the fix for each fault.
    Doctor(doctor::Args),
    /// Serve until SIGTERM. SIGHUP reads the configuration and the certificate again. Without a configuration
    /// file, but with the old tool's variables (`KB_TYPE` and others) and `KBMFA_NAMES`, first do what init
    /// does.
    Serve,
    /// Have the running server read its configuration and certificate again; fail with the reason if it
    /// refuses.
    Reload(reload::Args),
    /// Copy the database into a new file.
    Backup(backup::Args),
    /// Replace the database by a backup; without --yes, print what that would undo.
    Restore(restore::Args),
    /// The certificate authority: show, rotate, retire.
    #[command(subcommand)]
    Ca(ca::Verb),
    /// Machines: add, list, show, join-token, rotate, remove.
    #[command(subcommand)]
    Machine(machine::Verb),
    /// Pools of machines: add, list, show, set, rename, remove.
    #[command(subcommand)]
    Pool(pool::Verb),
    /// Employees: add, list, show, set, suspend, resume, remove.
    #[command(subcommand)]
    Employee(employee::Verb),
    /// Employees' SSH public keys: add, import, list, show, revoke.
    #[command(subcommand)]
    Key(key::Verb),
    /// Grants of pools to employees: add, list, extend, remove.
    #[command(subcommand)]
    Grant(grant::Verb),
    /// The whole roster as one file: export, apply.
    #[command(subcommand)]
    Roster(roster::Verb),
    /// Take over what another tool has: ssh-handler.
    #[command(subcommand)]
    Import(import::Verb),
    /// Accounts, keys and machines for other tools: ansible, `authorized_keys`, `known_hosts`, `ssh_config`.
    #[command(subcommand)]
    Export(export::Verb),
    /// Who can reach what: who, of.
    #[command(subcommand)]
    Access(access::Verb),
    /// Accounts and keys on the machines: enable, disable, status, plan, run, key, sudo-password.
    #[command(subcommand)]
    Provision(provision::Verb),
    /// The policy: explain.
    #[command(subcommand)]
    Policy(policy::Verb),
    /// Logins: list, show, watch, approve, deny.
    Login(login::Args),
    /// Sessions: list.
    #[command(subcommand)]
    Session(session::Verb),
    /// The audit log: search, verify, export, archive, reindex.
    #[command(subcommand)]
    Audit(audit::Verb),
}

/// Runs the verb of the command line.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let admin = Admin::new(cli.config, cli.json, cli.utc);
    match cli.command {
        Command::Init(args) => init::run(&admin, &args),
        Command::Check => check::run(&admin),
        Command::Doctor(args) => doctor::run(&admin, &args),
        Command::Serve => {
            legacy_env::take(&admin)?;
            admin::check_database(&admin.become_owner()?)?;
            serve::run(admin.config_path().to_owned()).map_err(|error| {
                let failure = Failure::new(&error);
                error.fix().into_iter().fold(failure, Failure::hint)
            })
        }
        Command::Reload(args) => reload::run(&admin, &args),
        Command::Backup(args) => backup::run(&admin, &args),
        Command::Restore(args) => restore::run(&admin, &args),
        Command::Ca(verb) => ca::run(&admin, &verb),
        Command::Machine(verb) => machine::run(&admin, verb),
        Command::Pool(verb) => pool::run(&admin, verb),
        Command::Employee(verb) => employee::run(&admin, verb),
        Command::Key(verb) => key::run(&admin, verb),
        Command::Grant(verb) => grant::run(&admin, verb),
        Command::Roster(verb) => roster::run(&admin, verb),
        Command::Import(verb) => import::run(&admin, &verb),
        Command::Export(verb) => export::run(&admin, verb),
        Command::Access(verb) => access::run(&admin, &verb),
        Command::Provision(verb) => provision::run(&admin, verb),
        Command::Policy(verb) => policy::run(&admin, verb),
        Command::Login(args) => login::run(&admin, args),
        Command::Session(verb) => session::run(&admin, &verb),
        Command::Audit(verb) => audit::run(&admin, verb),
    }
}
