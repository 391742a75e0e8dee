//! `kbmfa-host doctor`: checks everything that a login needs on this machine, does a dry run of one, and
//! names the fix for each fault.

use comfy_table::{Table, presets};
use kbmfa_finding::{Finding, Level};
use rustix::process::geteuid;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod application;
mod bypass;
mod dry_run;
mod files;
mod match_blocks;
mod pam_model;
mod service;
mod sockets;
mod sshd;
mod stack;

use super::{Error, status};
use bypass::Ours;
use dry_run::Who;
use pam_kbmfa::clock::wall_us;
use service::Service;
pub(crate) use sshd::host_key_files;
use stack::Line;

/// Directories in which libpam looks for stacks, in order.
const PAM_DIRS: [&str; 2] = ["/etc/pam.d", "/usr/lib/pam.d"];

/// Check everything that a login needs on this machine, and do a dry run of one.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It changes nothing, asks nobody and lets nobody in. The server records the dry run in its \
                  audit log.\n\
                        Exit code 0 means no fault was found; weak points are listed but are not faults."
)]
pub(super) struct Args {
    #[command(flatten)]
    sshd: sshd::Question,
    /// The PAM service; by default that of sshd. For other services sshd's settings are not checked
    #[arg(long, value_name = "NAME")]
    service: Option<Service>,
    /// The module's configuration; by default the file that its lines in the PAM stack name
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &Args, as_json: bool, out: &mut impl Write) -> Result<(), Error> {
    if geteuid().as_raw() != 0 {
        return Err(Error::new("only root can read the files that have to be checked").hint("run it as root"));
    }
    let findings = look(args);
    let faults = kbmfa_finding::faults(&findings).count();
    if as_json {
        writeln!(out, "{}", json!({ "ok": faults == 0, "findings": findings }))?;
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["", "WHAT", "FOUND"]);
        table.add_rows(findings.iter().map(Finding::cells));
        writeln!(out, "{}", table.trim_fmt())?;
    }
    match faults {
        0 => Ok(()),
        1 => Err(Error::new("1 fault was found")),
        faults => Err(Error::new(format_args!("{faults} faults were found"))),
    }
}

/// In the order of a login: sshd, its stack, the module's files, the servers, and last the dry run.
fn look(args: &Args) -> Vec<Finding> {
    let mut findings = Vec::new();
    let effective = of_sshd(args, &mut findings);
    let Some(service) = service(args, effective.as_ref(), &mut findings) else { return findings };
    let mut stack = stack::read(&PAM_DIRS.map(PathBuf::from), service.as_str()).unwrap_or_else(|error| {
        let fix = "fix the syntax (see pam.conf(5)); libpam ignores what it cannot parse and may skip kbmfa";
        findings.push(Finding::fault("PAM stack", error).fix(fix));
        Vec::new()
    });
    stack::note_missing(&mut stack, files::has_module);
    let (ours, faults) = bypass::ours(&stack);
    findings.extend(faults);
    findings.extend(bypass::judge(service.as_str(), &stack, &ours));
    findings.extend(files::roots_alone(stack.iter().map(Line::file)).into_iter().filter(is_no_ok));
    let lines = told_apart(args, &ours);
    let mut deadline: Option<Duration> = None;
    let mut of_lines = Vec::new();
    for (ours, config) in &lines {
        let (found, of_line) = look_at_line(ours, config, &service, args.sshd.who());
        of_lines.extend(found);
        deadline = deadline.max(of_line);
    }
    if let Some(effective) = &effective {
        findings.extend(sshd::judge(effective, &args.sshd, &ours, deadline));
        let (blocks, files) = match_blocks::look(&args.sshd.sshd_config);
        findings.extend(blocks);
        findings.extend(sockets::look(&sockets::UNIT_DIRS.map(PathBuf::from)));
        findings.extend(files::roots_alone(files.iter().map(PathBuf::as_path)).into_iter().filter(is_no_ok));
    }
    findings.extend(of_lines);
    findings.extend(files::program());
    each_once(findings)
}

/// A directory that others can write to is reported once, not once for each file in it.
fn each_once(findings: Vec<Finding>) -> Vec<Finding> {
    let mut said = Vec::new();
    let is_new = |finding: &Finding| {
        let told = (finding.what.clone(), finding.found.clone());
        let is_new = !said.contains(&told);
        said.push(told);
        is_new
    };
    let mut is_new = is_new;
    findings.into_iter().filter(|finding| is_new(finding)).collect()
}

/// Every file of sshd's configuration: this one, and what it includes.
pub(super) fn sshd_files(config: &Path) -> Vec<PathBuf> {
    match_blocks::look(config).1
}

fn is_no_ok(finding: &Finding) -> bool {
    finding.level != Level::Ok
}

/// The module's lines that ask, or its first line if none asks. Lines with the same module file and
/// configuration appear once.
fn told_apart<'a>(args: &Args, ours: &'a [Ours<'a>]) -> Vec<(&'a Line, PathBuf)> {
    let given = args.config.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    let config = |ours: &Ours<'_>| given.clone().unwrap_or_else(|| ours.args.config.clone());
    let mut found: Vec<(&Line, PathBuf)> = Vec::new();
    let asking = ours.iter().filter(|ours| ours.asks());
    for one in asking.chain(ours.iter().take(usize::from(!ours.iter().any(Ours::asks)))) {
        let config = config(one);
        if !found.iter().any(|(line, other)| line.module == one.line.module && *other == config) {
            found.push((one.line, config));
        }
    }
    found
}

/// Checks everything that one line of the module uses. Returns the longest time of a login through it, if
/// known.
fn look_at_line(
    line: &Line,
    config: &Path,
    service: &Service,
    who: Who<'_>,
) -> (Vec<Finding>, Option<Duration>) {
    let mut findings = files::module(&line.module);
    let (of_files, usable) = files::configuration(config);
    findings.extend(of_files);
    if let Some((config, access)) = &usable {
        findings.extend(files::authorities(&config.ca, wall_us() / 1_000_000));
        findings.extend(status::findings(config, access));
    }
    let has_fault = kbmfa_finding::faults(&findings).next().is_some();
    let dry_run = if usable.is_some() && !line.is_missing {
        dry_run::run(line, config, service, (who, has_fault))
    } else {
        dry_run::not_tried()
    };
    findings.push(dry_run);
    (findings, usable.map(|(config, _)| config.deadline))
}

/// sshd's settings in force, if the stack is sshd's.
fn of_sshd(args: &Args, findings: &mut Vec<Finding>) -> Option<sshd::Effective> {
    let own = args.sshd.sshd.file_name().is_some_and(|name| {
        args.service.as_ref().is_none_or(|service| service.as_str() == name.to_ascii_lowercase())
    });
    if !own {
        return None;
    }
    match sshd::effective(&args.sshd) {
        Ok(effective) => Some(effective),
        Err(error) => {
            let fix = "`sshd -t` prints details; --sshd and --sshd-config select another program and file";
            findings.push(Finding::fault("sshd -T", error).fix(fix));
            None
        }
    }
}

/// The service whose stack is checked.
fn service(args: &Args, effective: Option<&sshd::Effective>, findings: &mut Vec<Finding>) -> Option<Service> {
    if let Some(service) = &args.service {
        return Some(service.clone());
    }
    let name = effective.map_or_else(|| "sshd".into(), |effective| effective.service(&args.sshd.sshd));
    match name.parse() {
        Ok(service) => Some(service),
        Err(error) => {
            findings.push(Finding::fault("PAMServiceName", error).fix("a plain name in sshd_config"));
            None
        }
    }
}
