//! Checks the files that decide who may log in: contents, owners and modes, and when the CAs expire.

use kbmfa_finding::{Finding, Level};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use pam_kbmfa::config::access::Access;
use pam_kbmfa::config::{Ca, Config};
use pam_kbmfa::files::{self, Kind};
use pam_kbmfa::outcome::OnUnreachable;

/// Seconds before its expiry at which a CA should be replaced: 30 days.
const SOON_S: i64 = 30 * DAY_S;

const DAY_S: i64 = 86_400;

/// Directories of our systemd units and their drop-ins (systemd.unit(5)).
const UNIT_DIRS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// A module that every system has: its directory is libpam's module directory.
const EVERYWHERE: &str = "pam_unix.so";

/// Reads the configuration, and the files that it names for access to servers. Returns findings, and both if
/// they can be used.
pub(super) fn configuration(path: &Path) -> (Vec<Finding>, Option<(Config, Access)>) {
    let faults = |faults: Vec<pam_kbmfa::config::Fault>| {
        let fix = "docs/recipes.md and the comments in pam.toml describe the keys; `kbmfa-host join` writes \
                   a new file";
        faults.into_iter().map(|fault| Finding::fault("configuration", fault).fix(fix)).collect::<Vec<_>>()
    };
    if crate::is_missing(path) {
        let found = crate::not_joined(path);
        return (vec![Finding::fault("configuration", found).fix(crate::JOIN_FIRST)], None);
    }
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(found) => return (faults(found), None),
    };
    let mut findings = vec![Finding::ok("configuration", format!("{}: every key is right", path.display()))];
    let access = Access::read(&config);
    let mut files = named(path, &config);
    // Reading the credential has already reported a wrong mode.
    files.retain(|file| access.is_ok() || *file != config.credential);
    findings.extend(roots_alone(files.iter().map(PathBuf::as_path)));
    findings.extend(settings(&config));
    findings.extend(spool(&config.spool));
    match access {
        Ok(access) => (findings, Some((config, access))),
        Err(found) => {
            findings.extend(faults(found));
            (findings, None)
        }
    }
}

/// Settings that work but could be safer.
fn settings(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.on_unreachable == OnUnreachable::Allow {
        let found = "is allow: somebody who can cut this machine off from the servers needs no approval";
        findings.push(Finding::weak("on_unreachable", found).fix("on_unreachable = \"deny\" in pam.toml"));
    }
    if config.claims.is_some() {
        let found =
            "this machine has not joined: it uses the old tool's AUTH_TOKEN, and a name that nothing proves";
        findings.push(Finding::weak("credential", found).fix("kbmfa-host join"));
    }
    findings
}

/// Checks that only root can write to these files or replace them.
pub(super) fn roots_alone<'a>(files: impl IntoIterator<Item = &'a Path>) -> Vec<Finding> {
    // A file is only as safe as every directory above it. Links add the directories of their targets.
    let files: BTreeSet<PathBuf> = files
        .into_iter()
        .flat_map(|file| [Some(file.to_owned()), file.canonicalize().ok()])
        .flatten()
        .collect();
    let all: BTreeSet<&Path> = files.iter().flat_map(|file| file.ancestors()).collect();
    let bad: Vec<Finding> = all.into_iter().filter_map(not_roots_alone).collect();
    if bad.is_empty() {
        vec![Finding::ok("files", "only root can write to them or replace them")]
    } else {
        bad
    }
}

fn not_roots_alone(path: &Path) -> Option<Finding> {
    // A missing directory is no fault: the module creates it so that only root can use it.
    let metadata = fs::symlink_metadata(path).ok().filter(|metadata| !metadata.is_symlink())?;
    let mode = metadata.mode() & 0o7777;
    let shown = path.display();
    let fix = if metadata.is_dir() {
        format!(
            "keep such files in a directory that only root can write to, and all directories above it \
             likewise; {shown} is not one"
        )
    } else {
        format!("check the contents of {shown}, then run: chown root: {shown} && chmod go-w {shown}")
    };
    if metadata.uid() != 0 {
        let found = format!("{shown} belongs to user {}, who can change its contents", metadata.uid());
        return Some(Finding::fault("files", found).fix(fix));
    }
    let found = || format!("{shown} has mode {mode:04o}: others can change its contents");
    (mode & 0o022 != 0).then(|| Finding::fault("files", found()).fix(fix))
}

/// The files that pam.toml names.
fn named(path: &Path, config: &Config) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned(), config.credential.clone(), config.spool.clone()];
    if let Ca::File(ca) = &config.ca {
        files.push(ca.clone());
    }
    files
}

/// Reports that wait in the spool.
fn spool(dir: &Path) -> Option<Finding> {
    let kept = fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    match kept.count() {
        0 => None,
        count => Some(
            Finding::weak(
                "spool",
                format!("{count} reports wait in {} to be sent to a server", dir.display()),
            )
            .fix("they are sent with the next login; if not, the system log has the reason"),
        ),
    }
}

/// The module's file: the path in the stack, or in libpam's directory.
pub(super) fn module(named: &str) -> Vec<Finding> {
    let Some(path) = module_path(named) else {
        return vec![Finding::weak(
            "module",
            format!(
                "{EVERYWHERE} is in none of the module directories, so the directory of {named} is unknown"
            ),
        )];
    };
    if !path.exists() {
        let found = format!("{} is not there: every login is refused", path.display());
        return vec![Finding::fault("module", found).fix("install the package again")];
    }
    let mut findings = roots_alone([path.as_path()]);
    findings.retain(|finding| finding.level == Level::Fault);
    findings.push(Finding::ok("module", path.display()));
    findings
}

fn module_path(named: &str) -> Option<PathBuf> {
    let dir = if named.starts_with('/') { Some(PathBuf::new()) } else { module_dir(named) };
    dir.map(|dir| dir.join(named))
}

/// Whether libpam finds this module; true if that is unknown.
pub(super) fn has_module(named: &str) -> bool {
    module_path(named).is_none_or(|path| path.exists())
}

/// Checks that only root can change this program and the units that run it.
pub(super) fn program() -> Vec<Finding> {
    let patterns = UNIT_DIRS
        .iter()
        .flat_map(|dir| ["kbmfa-host-*", "kbmfa-host-*.d/*"].map(|name| format!("{dir}/{name}")));
    let units = patterns.filter_map(|pattern| glob::glob(&pattern).ok()).flatten().flatten();
    let units: Vec<PathBuf> = units.collect();
    let run = units.iter().filter_map(|unit| fs::read_to_string(unit).ok()).flat_map(|text| programs(&text));
    let files: Vec<PathBuf> = std::env::current_exe().into_iter().chain(run).chain(units.clone()).collect();
    roots_alone(files.iter().map(PathBuf::as_path))
        .into_iter()
        .filter(|finding| finding.level == Level::Fault)
        .collect()
}

/// The programs that a unit runs by an absolute path (systemd.service(5)).
fn programs(unit: &str) -> Vec<PathBuf> {
    let commands = unit.lines().filter_map(|line| line.trim().strip_prefix("ExecStart="));
    let programs = commands.filter_map(|command| {
        command.trim_start_matches(['-', '@', ':', '+', '!']).split_whitespace().next()
    });
    programs.filter(|program| program.starts_with('/')).map(PathBuf::from).collect()
}

/// libpam's module directory. With several architectures, the one that has our module.
fn module_dir(named: &str) -> Option<PathBuf> {
    let patterns = [
        "/usr/lib/*/security",
        "/usr/lib64/security",
        "/usr/lib/security",
        "/lib/*/security",
        "/lib64/security",
        "/lib/security",
    ];
    let dirs = patterns.iter().filter_map(|pattern| glob::glob(pattern).ok()).flatten().flatten();
    let dirs: Vec<PathBuf> = dirs.filter(|dir| dir.join(EVERYWHERE).exists()).collect();
    dirs.iter().find(|dir| dir.join(named).exists()).or(dirs.first()).cloned()
}

/// Checks when each CA in the list expires. `now_s` is in seconds since 1970.
pub(super) fn authorities(ca: &Ca, now_s: i64) -> Vec<Finding> {
    let Ca::File(path) = ca else {
        return vec![Finding::ok("CA", "every CA that the system trusts")];
    };
    let text = match files::read(path, Kind::Public) {
        Ok(text) => text,
        Err(error) => return vec![Finding::fault("CA", format!("{}: {error}", path.display()))],
    };
    let terms: Vec<Term> =
        CertificateDer::pem_slice_iter(text.as_bytes()).flatten().filter_map(|der| term(&der)).collect();
    let last = terms.iter().map(|term| term.end_s).max().unwrap_or_default();
    terms.iter().map(|&term| validity(term, last, now_s)).collect()
}

/// The period in which a CA is valid, in seconds since 1970.
#[derive(Clone, Copy)]
struct Term {
    begin_s: i64,
    end_s: i64,
}

fn term(der: &CertificateDer<'_>) -> Option<Term> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some(Term { begin_s: validity.not_before.timestamp(), end_s: validity.not_after.timestamp() })
}

/// An expired CA matters only if no other in the list is valid. If none is valid, no server can be asked for
/// the time, and this machine's clock may be the cause.
fn validity(Term { begin_s, end_s }: Term, last_s: i64, now_s: i64) -> Finding {
    let fix = || {
        "check `date`; if it is right, run `kbmfa-server ca rotate`, then `kbmfa-host refresh`; \
                  docs/operations.md has all steps"
    };
    let days = (end_s - now_s) / 86_400;
    if now_s < begin_s - DAY_S {
        let found =
            format!("is not valid for another {} days by this machine's clock", (begin_s - now_s) / DAY_S);
        Finding::fault("CA", format!("{found}: every server is refused"))
            .fix("set the clock and synchronise it (NTP); `date` shows it")
    } else if end_s <= now_s && end_s == last_s {
        let found = format!("expired {} days ago by this machine's clock: every server is refused", -days);
        Finding::fault("CA", found).fix(fix())
    } else if end_s <= now_s {
        Finding::weak("CA", format!("one expired {} days ago; another is valid", -days))
            .fix("kbmfa-host refresh")
    } else if end_s - now_s < SOON_S && end_s == last_s {
        Finding::weak("CA", format!("expires in {days} days by this machine's clock")).fix(fix())
    } else {
        Finding::ok("CA", format!("valid for {days} days"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_last_ca_is_a_fault_and_said_a_month_ahead() {
        let day = 86_400;
        let found = |begin: i64, end: i64, last: i64| {
            validity(Term { begin_s: begin * day, end_s: end * day }, last * day, 1000 * day)
        };
        let level = |end, last| found(0, end, last).level;
        assert_eq!(level(1031, 1031), Level::Ok);
        assert_eq!(level(1029, 1029), Level::Weak);
        assert_eq!(level(1029, 2000), Level::Ok);
        assert_eq!(level(999, 999), Level::Fault);
        assert_eq!(level(999, 2000), Level::Weak);
    }

    #[test]
    fn where_the_clock_may_be_wrong_it_comes_before_a_new_ca() {
        let day = 86_400;
        let fix = |begin: i64, end: i64| {
            let term = Term { begin_s: begin * day, end_s: end * day };
            validity(term, end * day, 1000 * day).fix.unwrap()
        };
        assert!(fix(0, 999).starts_with("check `date`"));
        assert!(fix(1002, 2000).starts_with("set the clock"));
    }

    #[test]
    fn the_programs_of_a_unit_are_those_that_it_names_in_full() {
        let unit = "[Service]\nExecStart=-/usr/sbin/kbmfa-host refresh\nExecStart=kbmfa-host x\n#ExecStart=/bin/no\n";
        assert_eq!(programs(unit), [PathBuf::from("/usr/sbin/kbmfa-host")]);
    }

    #[test]
    fn a_module_in_no_directory_is_a_fault() {
        for named in ["pam_kbmfa_nowhere.so", "/nonexistent/pam_kbmfa.so"] {
            assert_eq!(module(named)[0].level, Level::Fault, "{named}");
        }
    }
}
