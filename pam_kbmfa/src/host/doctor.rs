//! `kbmfa-host doctor`: looks at everything that a login needs on this machine, rehearses one, and names the fix for
//! each fault.

use comfy_table::{Table, presets};
use kbmfa_proto::finding::{Finding, Level};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

mod bypass;
mod dispatch;
mod files;
mod rehearsal;
mod sshd;
mod stack;

use super::{Error, status};
use crate::args::CONFIG;
use crate::clock::wall_us;
use crate::sys;
use bypass::Ours;
use stack::Line;

/// Where libpam of a distribution looks for stacks, in its order.
const PAM_DIRS: [&str; 2] = ["/etc/pam.d", "/usr/lib/pam.d"];

/// Look at everything that a login needs here, and rehearse one.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It changes nothing, asks nobody and lets nobody in; the rehearsal is on record at the server.\n\
                        Ends with exit code 0 if there is no fault; what is weak is said and is none."
)]
pub(super) struct Args {
    /// The module's configuration; what the module's line in the PAM stack says, unless given
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The PAM service; sshd's own, unless given. For others sshd's settings are left out
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Whose login is rehearsed, and for whom sshd's `Match` blocks are looked at
    #[arg(long, default_value = "root", value_name = "NAME")]
    user: String,
    /// The sshd whose settings count
    #[arg(long, default_value = "/usr/sbin/sshd", value_name = "FILE")]
    sshd: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<(), Error> {
    if sys::effective_uid() != 0 {
        return Err(Error::new("only root can read what has to be looked at").hint("run it as root"));
    }
    let findings = look(args);
    if args.json {
        let is_well = findings.iter().all(|finding| finding.level != Level::Fault);
        writeln!(out, "{}", json!({ "ok": is_well, "findings": findings }))?;
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["", "WHAT", "FOUND"]);
        table.add_rows(findings.iter().map(Finding::cells));
        writeln!(out, "{}", table.trim_fmt())?;
    }
    let faults = findings.iter().filter(|finding| finding.level == Level::Fault);
    let faults: Vec<String> = faults.map(|fault| format!("{}: {}", fault.what, fault.found)).collect();
    if faults.is_empty() { Ok(()) } else { Err(Error::all(&faults)) }
}

/// In the order of a login: sshd, its stack, the module's files, the servers, and then all of it at once.
fn look(args: &Args) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (service, effective) = service(args, &mut findings);
    let dirs = PAM_DIRS.map(PathBuf::from);
    let stack = stack::read(&dirs, &service).unwrap_or_else(|error| {
        findings.push(
            Finding::fault("PAM stack", error)
                .fix("pam.conf(5) has the rules; sshd refuses everybody meanwhile"),
        );
        Vec::new()
    });
    let (ours, faults) = bypass::ours(&stack);
    findings.extend(faults);
    findings.extend(bypass::judge(&stack, &ours));
    let asking = ours.iter().find(|ours| ours.asks()).or(ours.first());
    findings.extend(asking.map(|ours| files::module(&ours.line.module)));
    let path = config_path(args, asking);
    let (of_files, usable) = files::configuration(&path);
    findings.extend(of_files);
    if let (Some(effective), Some((config, _))) = (&effective, &usable) {
        findings.extend(sshd::judge(effective, bypass::hooks(&ours), &ours, config.deadline));
    }
    if let Some((config, access)) = &usable {
        findings.extend(files::authorities(&config.ca, wall_us() / 1_000_000));
        findings.extend(status::findings(config, access));
    }
    findings.push(rehearse(asking.map(|ours| ours.line), &path, &service, &args.user));
    findings
}

fn rehearse(line: Option<&Line>, config: &Path, service: &str, user: &str) -> Finding {
    match line {
        Some(line) => rehearsal::look(line, config, service, user),
        None => Finding::fault("rehearsal", "there is no line of ours to rehearse"),
    }
}

/// The stack to look at, and what sshd has in force if it is sshd's.
fn service(args: &Args, findings: &mut Vec<Finding>) -> (String, Option<sshd::Effective>) {
    if let Some(service) = args.service.as_ref().filter(|service| *service != "sshd") {
        return (service.clone(), None);
    }
    match sshd::effective(&args.sshd, &args.user) {
        Ok(effective) => {
            (args.service.clone().unwrap_or_else(|| effective.service().to_owned()), Some(effective))
        }
        Err(error) => {
            findings
                .push(Finding::fault("sshd -T", error).fix("`sshd -t` says more; --sshd names another sshd"));
            (args.service.clone().unwrap_or_else(|| "sshd".into()), None)
        }
    }
}

fn config_path(args: &Args, asking: Option<&Ours<'_>>) -> PathBuf {
    let of_line = asking.map(|ours| ours.args.config.clone());
    args.config.clone().or(of_line).unwrap_or_else(|| CONFIG.into())
}
