//! What `doctor` can see without leaving the server: settings, certificates, database, roster, the running server.

use kbmfa_proto::finding::Finding;
use nix::sys::statvfs::statvfs;
use std::path::Path;
use std::time::Duration;

use crate::ca::due::{self, Standing};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::db::Db;
use crate::http::tls;
use crate::logins::store::reach;
use crate::poke;
use crate::policy::Approvers;
use crate::relay;
use crate::relay::keybase::members::Role;
use crate::roster::store::{self, Machine};

/// Free space below which a server will not go on for long, in bytes.
const SPACE_MIN: u64 = 100 * 1024 * 1024;

/// A machine that was not heard of for so long is worth a look.
const SILENT: Duration = Duration::from_secs(7 * 86_400);

/// What the configuration says, and how safe that is.
pub(super) fn settings(config: &Config) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("configuration", "every key is right")];
    if config.auth_token.is_some() {
        findings.push(
            Finding::weak("AUTH_TOKEN", "is accepted: who has it can claim any name")
                .fix("let each host join, then take auth_token_file out of [server]"),
        );
    }
    let policy = &config.policy;
    if config.relay != relay::Settings::Console && policy.default.console {
        let found = "answers at the server's console count beside the relay's";
        findings.push(Finding::weak("console", found).fix("take console = true out of [policy]"));
    }
    if policy.default.approvers == Approvers::Anyone {
        let found = "anybody who is asked may approve, their own login too";
        findings.push(
            Finding::weak("approvers", found).fix("set approvers = \"not-self\" and enter your employees"),
        );
    }
    if let relay::Settings::Keybase(keybase) = &config.relay {
        if keybase.min_role == Role::Reader {
            findings.push(Finding::weak("min_role", "readers may approve").fix("set min_role = \"writer\""));
        }
        for team in &keybase.open_teams {
            findings.push(Finding::weak("open_teams", format!("anybody can join {team} and approve")));
        }
    }
    findings
}

pub(super) fn certificates(config: &Config) -> Vec<Finding> {
    let dates = match tls::load(&config.http) {
        Ok(loaded) => loaded.dates,
        Err(error) => return vec![Finding::fault("certificate", error).fix("`kbmfa-server init` makes one")],
    };
    let now = SystemClock.now();
    let look = |(which, end)| {
        let (what, found) = (format!("{which} certificate"), format!("ends on {end}"));
        match due::standing(end, now) {
            Standing::Good => Finding::ok(what, found),
            Standing::EndsSoon => Finding::weak(what, found).fix("docs/operations.md says how to replace it"),
            Standing::Ended => Finding::fault(what, found).fix("docs/operations.md says how to replace it"),
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
            .fix("make room: without it no login can be put on record, and all are refused"),
    ]
}

pub(super) fn database(db: &Db, quick: bool) -> Vec<Finding> {
    if quick {
        return vec![Finding::ok("database", "opens; not read through")];
    }
    let faults = match db.faults() {
        Ok(faults) => faults,
        Err(error) => vec![error.to_string()],
    };
    match faults.first() {
        None => vec![Finding::ok("database", "sound; `kbmfa-server audit verify` checks the record in it")],
        Some(first) => vec![Finding::fault("database", first).fix("stop the server and restore a backup")],
    }
}

/// Rules that cannot speak, and machines that say nothing.
pub(super) fn roster(db: &Db, config: &Config) -> Vec<Finding> {
    let found =
        db.read_blocking(|tx| Ok::<_, crate::db::Error>((config.policy_faults(tx)?, store::machines(tx)?)));
    let (faults, machines) = match found {
        Ok(found) => found,
        Err(error) => return vec![Finding::fault("roster", error)],
    };
    let mut findings: Vec<_> = faults.into_iter().map(|fault| Finding::weak("policy", fault)).collect();
    let silent: Vec<_> = machines.iter().filter_map(silence).collect();
    if silent.is_empty() {
        findings.push(Finding::ok("machines", format!("{} known, all heard of lately", machines.len())));
    }
    findings.extend(silent);
    findings
}

fn silence(machine: &Machine) -> Option<Finding> {
    let name = &machine.name;
    match machine.last_seen_at {
        None => Some(
            Finding::weak("machines", format!("{name} has never joined"))
                .fix(format!("`kbmfa-server machine join-token {name}`, and `kbmfa-host join` there")),
        ),
        Some(seen) if SystemClock.now().since(seen) > SILENT => Some(
            Finding::weak("machines", format!("{name} was last heard of at {seen}"))
                .fix(format!("`kbmfa-host status` there, or `kbmfa-server machine remove {name}`")),
        ),
        Some(_) => None,
    }
}

/// What the server says that runs, if one does.
pub(super) fn running(db: &Db, config: &Config) -> Vec<Finding> {
    if !poke::is_heard(&config.state_dir) {
        return vec![Finding::fault("server", "none runs on this state").fix("systemctl start kbmfa-server")];
    }
    let mut findings = vec![Finding::ok("server", "runs")];
    if config.relay == relay::Settings::Console {
        findings.push(Finding::ok("relay", "console: `kbmfa-server login approve|deny` answers"));
        return findings;
    }
    let name = config.relay.name();
    findings.push(match db.read_blocking(|tx| reach::why_down(tx, name)) {
        Ok(None) => Finding::ok("relay", format!("{name} reaches people")),
        Ok(Some(why)) => Finding::fault("relay", format!("{name} does not reach people: {why}")),
        Err(error) => Finding::fault("relay", error),
    });
    findings
}
