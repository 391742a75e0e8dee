//! Checks of `doctor` that need no network: settings, files, certificates, database, policy.

use kbmfa_finding::Finding;
use nix::sys::statvfs::statvfs;
use nix::unistd::Uid;
use std::path::Path;

use super::super::privileges;
use crate::ca::due::{self, Validity};
use crate::channels::keybase::members::Role;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::db::Db;
use crate::employees::password::{FILE, Vault};
use crate::employees::store::sealed_passwords;
use crate::http::tls;
use crate::policy::{Approvers, Channel};

/// Free space in bytes below which a server will soon fail.
const SPACE_MIN: u64 = 100 * 1024 * 1024;

/// Findings about settings that are valid but could be safer.
pub(super) fn settings(config: &Config) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("configuration", "every key is right")];
    if config.auth_token.is_some() {
        findings.push(
            Finding::weak("AUTH_TOKEN", "is accepted: anybody who has it can claim any name")
                .fix("let each host join, then remove auth_token_file from [server]"),
        );
    }
    let policy = &config.policy;
    if config.chat.is_some() && policy.default.channels.contains(&Channel::Console) {
        let found = "answers at the server's console count as well as those in the chat";
        findings.push(Finding::weak("console", found).fix("set channels = [\"keybase\"] in [policy]"));
    }
    if policy.default.approvers == Approvers::Anyone {
        let found = "anybody who is asked may approve, even their own login";
        findings.push(
            Finding::weak("approvers", found).fix("set approvers = \"not-self\" and add your employees"),
        );
    }
    if config.tells_console_approvers_apart() && !privileges::has_login() {
        let found = privileges::NO_LOGIN_UID;
        findings.push(Finding::weak("login uid", found).fix(privileges::GET_A_LOGIN_UID));
    }
    let faults = config.admin.faults(Uid::effective()).into_iter();
    findings.extend(faults.map(|fault| Finding::fault("admin group", fault)));
    if let Some(keybase) = &config.chat {
        if keybase.min_role == Role::Reader {
            findings.push(Finding::weak("min_role", "readers may approve").fix("set min_role = \"writer\""));
        }
        for team in &keybase.open_teams {
            findings.push(Finding::weak("open_teams", format!("anybody can join {team} and approve")));
        }
    }
    findings
}

/// Reads the configuration again with the rights of the server's account, which may not be able to read what
/// root can.
pub(super) fn readable(path: &Path, state_dir: &Path) -> Vec<Finding> {
    if Uid::effective().is_root() {
        let found = format!("root, who owns {}", state_dir.display());
        let fix = "give that directory to a separate account, as which the packaged unit runs the server: \
                   `chown -R kbmfa: DIR`";
        return vec![Finding::weak("account", found).fix(fix)];
    }
    let account = privileges::account();
    vec![match Config::read(path) {
        Ok(_) => Finding::ok("account", account),
        Err(error) => Finding::fault("account", format!("{account} cannot use the configuration: {error}"))
            .fix(privileges::let_read(path)),
    }]
}

/// Findings about files that others can write to, and secrets that others can read. The server refuses to
/// start with them.
pub(super) fn files(config: &Config, path: &Path) -> Vec<Finding> {
    let faults = config.file_faults(path);
    if faults.is_empty() {
        return vec![Finding::ok("files", "nobody else can write to them, or read the secrets")];
    }
    faults.into_iter().map(|fault| Finding::fault("files", &fault).fix(fault.fix)).collect()
}

pub(super) fn certificates(config: &Config) -> Vec<Finding> {
    if let Err(refused) = privileges::check_certificate(&config.http.certificate) {
        return vec![Finding::fault("certificate", refused.found).fix(refused.fix)];
    }
    let dates = match tls::load(&config.http) {
        Ok(loaded) => loaded.dates,
        Err(error) => return vec![Finding::fault("certificate", error).fix(tls::NO_CERTIFICATE)],
    };
    let now = SystemClock.now();
    let look = |(which, end)| {
        let (what, found) = (format!("{which} certificate"), format!("expires on {end}"));
        match due::validity(end, now) {
            Validity::Valid => Finding::ok(what, found),
            Validity::ExpiresSoon => {
                Finding::weak(what, found).fix("docs/operations.md describes how to replace it")
            }
            Validity::Expired => {
                Finding::fault(what, found).fix("docs/operations.md describes how to replace it")
            }
        }
    };
    dates.each().map(look).collect()
}

pub(super) fn space(state_dir: &Path) -> Vec<Finding> {
    let free = match statvfs(state_dir) {
        Ok(found) => found.blocks_available().saturating_mul(found.fragment_size()),
        Err(error) => return vec![Finding::fault("disk", format!("{}: {error}", state_dir.display()))],
    };
    let found = format!("{} MB free at {}", free / 1_048_576, state_dir.display());
    if free >= SPACE_MIN {
        return vec![Finding::ok("disk", found)];
    }
    vec![
        Finding::fault("disk", found)
            .fix("free some space: without it no login can be recorded, and all are refused"),
    ]
}

pub(super) fn database(db: &Db, quick: bool) -> Vec<Finding> {
    if quick {
        return vec![Finding::ok("database", "opens; not read completely")];
    }
    let faults = match db.check() {
        Ok(faults) => faults,
        Err(error) => vec![error.to_string()],
    };
    match faults.first() {
        None => {
            vec![Finding::ok("database", "sound; `kbmfa-server audit verify` checks the audit log in it")]
        }
        Some(first) => vec![Finding::fault("database", first).fix("stop the server and restore a backup")],
    }
}

/// Findings about account passwords that the key in the state directory does not open.
pub(super) fn passwords(db: &Db, state_dir: &Path) -> Vec<Finding> {
    let sealed = match db.read_blocking(sealed_passwords) {
        Ok(sealed) if sealed.is_empty() => return Vec::new(),
        Ok(sealed) => sealed,
        Err(error) => return vec![Finding::fault("account passwords", error)],
    };
    let vault = match Vault::open(state_dir) {
        Ok(vault) => vault,
        Err(error) => {
            let fix = format!(
                "put {FILE} back; or, if it is lost, let everybody choose the account password again, by a new invite"
            );
            return vec![Finding::fault("account passwords", error).fix(fix)];
        }
    };
    let is_lost = |(id, _, sealed): &&(String, _, Vec<u8>)| vault.unseal(id, sealed).is_err();
    let lost: Vec<&str> = sealed.iter().filter(is_lost).map(|(_, email, _)| email.as_str()).collect();
    if lost.is_empty() {
        return vec![Finding::ok("account passwords", format!("{} can be read", sealed.len()))];
    }
    let found = format!("cannot be read with the present {FILE}: {}", lost.join(" "));
    let fix = "invite these people again, and let them choose the password anew";
    vec![Finding::fault("account passwords", found).fix(fix)]
}

/// Findings about rules that never apply.
pub(super) fn policy(db: &Db, config: &Config) -> Vec<Finding> {
    match db.read_blocking(|tx| config.policy_faults(tx)) {
        Ok(faults) => faults.into_iter().map(|fault| Finding::weak("policy", fault)).collect(),
        Err(error) => vec![Finding::fault("policy", error)],
    }
}
