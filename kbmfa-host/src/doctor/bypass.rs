//! Finds ways around the module: lines of a PAM stack that let a person in without our line, or after our
//! line refused.

use kbmfa_finding::Finding;
use std::ffi::CString;

mod modules;
mod paths;

use super::stack::{Action, Group, Line};
use modules::MODULE_UNKNOWN;
use pam_kbmfa::args::{Args, Proof, Purpose};

/// The phases in which the module asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hooks {
    pub(super) auth: bool,
    pub(super) account: bool,
    pub(super) session: bool,
}

/// One line of the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ours<'a> {
    pub(super) line: &'a Line,
    /// Its index among all lines.
    index: usize,
    pub(super) args: Args,
}

impl Ours<'_> {
    /// True if it asks; otherwise it is `log_only`.
    pub(super) fn asks(&self) -> bool {
        self.args.purpose == Purpose::Ask && self.line.group != Group::Password
    }
}

/// The module's lines, and faults for invalid arguments.
pub(super) fn ours(stack: &[Line]) -> (Vec<Ours<'_>>, Vec<Finding>) {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for (index, line) in stack.iter().enumerate().filter(|(_, line)| line.is_ours()) {
        match parse(&line.args) {
            Ok(args) => found.push(Ours { line, index, args }),
            Err(why) => faults.push(
                Finding::fault("PAM arguments", format!("{line}: {why}: it refuses every login"))
                    .fix("docs/recipes.md has the list of arguments"),
            ),
        }
    }
    (found, faults)
}

fn parse(words: &[String]) -> Result<Args, String> {
    let words: Result<Vec<CString>, _> = words.iter().map(|word| CString::new(word.as_str())).collect();
    let words = words.map_err(|error| error.to_string())?;
    let words: Vec<_> = words.iter().map(CString::as_c_str).collect();
    Args::parse(&words).map_err(|bad| bad.to_string())
}

/// The phases in which the module's lines ask.
pub(super) fn hooks(ours: &[Ours<'_>]) -> Hooks {
    let asks = |group| ours.iter().any(|ours| ours.asks() && ours.line.group == group);
    Hooks { auth: asks(Group::Auth), account: asks(Group::Account), session: asks(Group::Session) }
}

/// Checks every line of the module, and the lines around it.
pub(super) fn judge(service: &str, stack: &[Line], ours: &[Ours<'_>]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = ours.iter().flat_map(|one| by_itself(stack, one, ours)).collect();
    for group in [Group::Auth, Group::Account, Group::Session] {
        let mut in_group = ours.iter().filter(|ours| ours.line.group == group).peekable();
        if in_group.peek().is_none() {
            continue;
        }
        let faults = paths::judge(service, stack, ours, group);
        if let (true, Some(first)) = (faults.is_empty(), in_group.find(|ours| ours.asks())) {
            findings.push(Finding::ok("PAM stack", format!("no path through it avoids {}", first.line)));
        }
        findings.extend(faults);
    }
    findings.extend(stack.iter().filter_map(|line| not_there(service, line)));
    // A misspelt line that refuses everybody is another kind of fault than one that asks nobody.
    let called: &[Group] = if service == "sshd" { &[Group::Account] } else { &[Group::Auth, Group::Account] };
    let is_misspelt = |group: Group| {
        stack.iter().any(|line| line.group == group && line.is_missing)
            && paths::is_closed(service, stack, group)
    };
    if hooks(ours) == Hooks::default() && !called.iter().any(|&group| is_misspelt(group)) {
        findings.push(
            Finding::fault("PAM stack", "no line of it asks the server: nobody needs an approval")
                .fix("docs/recipes.md has the lines; `account required pam_kbmfa.so` is the usual one"),
        );
    }
    findings
}

/// Whether a line with a missing module makes its stack fail in any case.
fn ends_in_failure(line: &Line) -> bool {
    matches!(line.action(MODULE_UNKNOWN), None | Some(Action::Bad | Action::Die))
}

/// The finding about a line whose module is missing, unless its control ignores that.
fn not_there(service: &str, line: &Line) -> Option<Finding> {
    if !line.is_missing || line.is_ours() || !ends_in_failure(line) {
        return None; // the module's own file is checked separately
    }
    let found = format!("{line}: the module is missing: a login that reaches this line is refused");
    let fix = format!("correct the name at {}, or install the package that has it", line.place());
    // sshd does not call auth lines for a key login, and a login does not change a password.
    let is_called = line.group != Group::Password && (service != "sshd" || line.group != Group::Auth);
    let finding = if is_called { Finding::fault } else { Finding::weak };
    Some(finding("PAM stack", found).fix(fix))
}

/// Checks one line of the module. The other lines of its group do not matter here.
fn by_itself(stack: &[Line], one: &Ours<'_>, all: &[Ours<'_>]) -> Vec<Finding> {
    let (what, line) = ("PAM stack", one.line);
    match (one.args.purpose, line.group) {
        (_, Group::Password) => vec![
            Finding::fault(what, format!("{line} changes no password: it refuses them all"))
                .fix("remove the line"),
        ],
        (Purpose::LogOnly, Group::Session) => reporting(one, all),
        (Purpose::LogOnly, _) => vec![
            Finding::fault(what, format!("{line} has log_only, which asks nobody"))
                .fix("remove log_only when you have finished the trial"),
        ],
        (Purpose::DryRun, _) => vec![
            Finding::fault("PAM arguments", format!("{line}: the argument rehearsal lets nobody in"))
                .fix("remove rehearsal; only `kbmfa-host doctor` needs it"),
        ],
        (Purpose::Ask, Group::Session) => {
            let before = stack.iter().take(one.index).filter(|other| other.group == Group::Session);
            environment(before, line).into_iter().collect()
        }
        (Purpose::Ask, Group::Auth) if one.args.first_factor == Proof::Publickey => {
            let mut before = stack.iter().take(one.index).filter(|other| other.group == Group::Auth);
            before
                .find(|other| reads_peoples_files(other))
                .map(|env| forged_key(line, env))
                .into_iter()
                .collect()
        }
        (Purpose::Ask, _) => Vec::new(),
    }
}

/// Warns about `pam_env` before a session line: it can change the key that the ask shows.
fn environment<'a>(mut before: impl Iterator<Item = &'a Line>, line: &Line) -> Option<Finding> {
    let env = before.find(|other| other.name() == "pam_env.so")?;
    let found = format!("{line}: {env} comes before it and may read variables that people write themselves");
    Some(Finding::weak("PAM stack", found).fix(format!("put our line before {}", env.place())))
}

/// True if this `pam_env` line reads variables from a file in people's homes.
fn reads_peoples_files(line: &Line) -> bool {
    line.name() == "pam_env.so" && line.args.iter().any(|word| word == "user_readenv=1")
}

/// The fault of `pam_env` before an auth line: it could set `SSH_AUTH_INFO_0`, which counts there as proof of
/// a first factor and cannot be checked.
fn forged_key(line: &Line, env: &Line) -> Finding {
    let found = format!(
        "{line}: {env} comes before it, and lets people claim in SSH_AUTH_INFO_0 that they have proven a key"
    );
    Finding::fault("PAM stack", found).fix(format!("remove user_readenv=1 from {}", env.place()))
}

/// The findings about a line that only reports sessions.
fn reporting(ours: &Ours<'_>, all: &[Ours<'_>]) -> Vec<Finding> {
    let asks = |other: &&Ours<'_>| other.asks() && other.line.group == Group::Session;
    let Some(asking) = all.iter().find(asks) else {
        return vec![Finding::ok("sessions", format!("{} reports them", ours.line))];
    };
    if asking.index > ours.index {
        let found =
            format!("{} comes before {}: it reports sessions that are then refused", ours.line, asking.line);
        return vec![Finding::weak("sessions", found).fix("swap the two lines")];
    }
    if asking.line.action("session_err") != Some(Action::Die) {
        let found = format!("after {} PAM goes on: refused sessions are reported as opened", asking.line);
        return vec![
            Finding::weak("sessions", found).fix(format!("write `requisite` at {}", asking.line.place())),
        ];
    }
    vec![Finding::ok("sessions", format!("{} reports them", ours.line))]
}

#[cfg(test)]
mod tests;
