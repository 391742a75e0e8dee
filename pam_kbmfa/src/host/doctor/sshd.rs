//! What sshd itself would do: its effective configuration (`sshd -T`), and which ways in do not lead past our lines.

use kbmfa_proto::finding::Finding;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::bypass::{Hooks, Ours};
use super::stack::Group;
use crate::args::Proof;

/// What has to be left of sshd's patience when ours is over.
const GRACE_REST: Duration = Duration::from_secs(20);

/// With so many logins waiting, or fewer, sshd drops new ones: it is Debian's default.
const WAITING_FEW: u32 = 10;

/// Settings that are in force, by their names in small letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Effective(BTreeMap<String, String>);

/// Asks sshd what is in force for this user, coming from this machine.
pub(super) fn effective(program: &Path, user: &str) -> Result<Effective, String> {
    let who = format!("user={user},host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22");
    let output =
        run(program, &["-T", "-C", &who]).map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(Effective::parse(&output))
}

#[expect(clippy::disallowed_methods, reason = "the one program that is started here")]
fn run(program: &Path, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(program).args(arguments).env_clear().output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

impl Effective {
    pub(super) fn parse(text: &str) -> Self {
        Self(
            text.lines().filter_map(|line| line.split_once(' ')).map(|(k, v)| (k.into(), v.into())).collect(),
        )
    }

    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn is_on(&self, key: &str) -> bool {
        self.get(key) == "yes"
    }

    /// Which of PAM's services sshd is: its own name, unless it says otherwise, which it can from 9.8 on.
    pub(super) fn service(&self) -> &str {
        match self.get("pamservicename") {
            "" => "sshd",
            name => name,
        }
    }
}

/// Judges what is in force, where people are asked at `hooks`, and a login may take until `deadline`.
pub(super) fn judge(sshd: &Effective, hooks: Hooks, ours: &[Ours<'_>], deadline: Duration) -> Vec<Finding> {
    if !sshd.is_on("usepam") {
        return vec![
            Finding::fault("UsePAM", "is off: sshd never calls the module").fix("UsePAM yes in sshd_config"),
        ];
    }
    let mut findings = vec![Finding::ok("UsePAM", "is on")];
    if hooks.auth || hooks.account {
        findings.push(grace_time(sshd, deadline));
        findings.extend(max_startups(sshd));
    }
    if hooks.auth {
        let stack =
            |ours: &Ours<'_>| ours.line.group == Group::Auth && ours.args.first_factor == Proof::Stack;
        findings.extend(methods(sshd, hooks, ours.iter().any(stack)));
    }
    findings
}

fn grace_time(sshd: &Effective, deadline: Duration) -> Finding {
    let Ok(grace_s) = sshd.get("logingracetime").parse() else {
        return Finding::fault("LoginGraceTime", format!("is {:?}", sshd.get("logingracetime")));
    };
    let grace = Duration::from_secs(grace_s);
    let deadline_s = deadline.as_secs();
    let found = format!("is {grace_s}s; the module takes up to {deadline_s}s (deadline in pam.toml)");
    let fix = format!("LoginGraceTime {} in sshd_config", (deadline + GRACE_REST).as_secs().max(120));
    if grace_s == 0 {
        Finding::ok("LoginGraceTime", "is off: sshd waits for ever, and the module ends each wait itself")
    } else if grace <= deadline {
        Finding::fault("LoginGraceTime", format!("{found}: sshd ends logins that could still be approved"))
            .fix(fix)
    } else if grace < deadline + GRACE_REST {
        Finding::weak("LoginGraceTime", format!("{found}: little is left for the rest of a login")).fix(fix)
    } else {
        Finding::ok("LoginGraceTime", found)
    }
}

fn max_startups(sshd: &Effective) -> Option<Finding> {
    let value = sshd.get("maxstartups");
    let begin: u32 = value.split(':').next()?.parse().ok()?;
    let found = format!("is {value}: while {begin} logins wait, sshd begins to drop new connections");
    Some(if begin <= WAITING_FEW {
        Finding::weak("MaxStartups", found).fix("MaxStartups 100:30:300 in sshd_config")
    } else {
        Finding::ok("MaxStartups", found)
    })
}

/// Whether each way of authenticating leads through our auth line, or through another line of ours.
fn methods(sshd: &Effective, hooks: Hooks, by_stack: bool) -> Vec<Finding> {
    const WHAT: &str = "AuthenticationMethods";
    const FIX: &str =
        "AuthenticationMethods publickey,keyboard-interactive:pam in sshd_config, and no other list";
    let value = sshd.get("authenticationmethods");
    let lists: Vec<Vec<&str>> = match value {
        "" | "any" => Vec::new(),
        lists => lists.split_whitespace().map(|list| list.split(',').collect()).collect(),
    };
    let elsewhere = hooks.account || hooks.session;
    let by_pam = |method: &str| method.starts_with("keyboard-interactive") || method == "password";
    let mut findings = Vec::new();
    let past = lists.iter().find(|list| !list.iter().any(|method| by_pam(method)));
    if let (true, false) = (lists.is_empty(), elsewhere) {
        findings.push(
            Finding::fault(WHAT, "says nothing: with a key alone the auth line is never called").fix(FIX),
        );
    } else if let (Some(past), false) = (past, elsewhere) {
        findings.push(Finding::fault(WHAT, format!("{} leads past the auth line", past.join(","))).fix(FIX));
    }
    if !lists.is_empty() && !by_stack && lists.iter().any(|list| list.first() != Some(&"publickey")) {
        let found =
            format!("is {value}: who begins without a key is refused, since nothing proves who that is");
        findings.push(Finding::weak(WHAT, found).fix(FIX));
    }
    let interactive = lists.iter().flatten().any(|method| method.starts_with("keyboard-interactive"));
    if interactive && !sshd.is_on("kbdinteractiveauthentication") {
        findings.push(
            Finding::fault("KbdInteractiveAuthentication", "is off, and AuthenticationMethods asks for it")
                .fix("KbdInteractiveAuthentication yes in sshd_config"),
        );
    }
    let passwords = lists.is_empty() || lists.iter().flatten().any(|method| *method == "password");
    if passwords && sshd.is_on("passwordauthentication") {
        let found =
            "is on beside keyboard-interactive: people are asked twice about one login, and see nothing";
        findings.push(
            Finding::weak("PasswordAuthentication", found).fix("PasswordAuthentication no in sshd_config"),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok(WHAT, format!("{value}: every way in leads through the module")));
    }
    findings
}

#[cfg(test)]
mod tests;
