//! Whether a PAM stack asks everybody: what would let a person in without our line, or in spite of it.

use kbmfa_proto::finding::Finding;
use std::ffi::CString;

use super::stack::{Action, Group, Line};
use crate::args::{Args, Proof, Purpose};

/// What our lines return to refuse, in each phase, and what PAM returns for a module that it cannot load.
const REFUSALS: [&str; 5] = ["maxtries", "perm_denied", "session_err", "service_err", "module_unknown"];

/// Modules that say yes without having checked who somebody is.
const NO_FACTOR: [&str; 7] = [
    "pam_env.so",
    "pam_faildelay.so",
    "pam_faillock.so",
    "pam_nologin.so",
    "pam_permit.so",
    "pam_succeed_if.so",
    "pam_warn.so",
];

/// Where people are asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hooks {
    pub(super) auth: bool,
    pub(super) account: bool,
    pub(super) session: bool,
}

/// One line of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ours<'a> {
    pub(super) line: &'a Line,
    /// Its place among all lines.
    index: usize,
    pub(super) args: Args,
}

impl Ours<'_> {
    /// True if it asks; otherwise it only looks on.
    pub(super) fn asks(&self) -> bool {
        self.args.purpose == Purpose::Hold && self.line.group != Group::Password
    }
}

/// Our lines, and faults for those whose arguments are not understood.
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

/// Where our lines ask.
pub(super) fn hooks(ours: &[Ours<'_>]) -> Hooks {
    let asks = |group| ours.iter().any(|ours| ours.asks() && ours.line.group == group);
    Hooks { auth: asks(Group::Auth), account: asks(Group::Account), session: asks(Group::Session) }
}

/// Looks at every line of ours, and at what stands around it.
pub(super) fn judge(stack: &[Line], ours: &[Ours<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in ours {
        findings.extend(match (one.args.purpose, one.line.group) {
            (_, Group::Password) => vec![
                Finding::fault("PAM stack", format!("{} changes no password: it refuses them all", one.line))
                    .fix("take the line out"),
            ],
            (Purpose::LogOnly, Group::Session) => reporting(one, ours),
            (Purpose::LogOnly, _) => vec![
                Finding::fault("PAM stack", format!("{} only looks on: log_only asks nobody", one.line))
                    .fix("take log_only away when you have seen enough"),
            ],
            (Purpose::Rehearse, _) => vec![
                Finding::fault("PAM arguments", format!("{}: under rehearsal nobody is let in", one.line))
                    .fix("take rehearsal away; only `kbmfa-host doctor` needs it"),
            ],
            (Purpose::Hold, _) => asking(stack, one),
        });
    }
    if hooks(ours) == Hooks::default() {
        findings.push(
            Finding::fault("PAM stack", "no line of it asks: nobody needs an approval")
                .fix("docs/recipes.md has the lines; `account required pam_kbmfa.so` is the usual one"),
        );
    }
    findings
}

/// A line that asks.
fn asking(stack: &[Line], ours: &Ours<'_>) -> Vec<Finding> {
    let line = ours.line;
    let mut findings = Vec::new();
    if REFUSALS.iter().any(|refusal| !is_final(line.action(refusal))) {
        findings.push(
            Finding::fault("PAM stack", format!("{line} does not end a login that it refuses"))
                .fix("write `required` in the place of the control"),
        );
    }
    let before = || stack.iter().enumerate().take(ours.index).filter(|(_, other)| other.group == line.group);
    findings.extend(before().filter_map(|(index, other)| skips(stack, (index, other), ours)));
    findings.extend(match line.group {
        Group::Auth => first_factor(before().map(|(_, other)| other), ours),
        Group::Session => environment(before().map(|(_, other)| other), line),
        _ => None,
    });
    if findings.is_empty() {
        findings
            .push(Finding::ok("PAM stack", format!("{line} asks, and nothing before it lets anybody in")));
    }
    findings
}

/// `None`, nobody having said, is a failure to libpam.
fn is_final(action: Option<Action>) -> bool {
    matches!(action, None | Some(Action::Bad | Action::Die))
}

/// A fault, if some result of the line at `index` leaves ours out.
fn skips(stack: &[Line], (index, other): (usize, &Line), ours: &Ours<'_>) -> Option<Finding> {
    let between = || stack.iter().take(ours.index + 1).skip(index + 1).filter(|l| l.group == other.group);
    // The end of a substack is the end of its lines only.
    let ends_here = between().all(|line| line.level >= other.level);
    let result = other.actions().find(|(_, action)| match action {
        Action::Done => ends_here,
        Action::Jump(lines) => {
            ends_here && lands_beyond(between().map(|line| line.level), other.level, *lines)
        }
        _ => false,
    });
    let (result, action) = result?;
    let how = if action == Action::Done { "ends the stack" } else { "jumps over it" };
    let found = format!("{} is not always asked: before it, {other} {how} on {result}", ours.line);
    Some(Finding::fault("PAM stack", found).fix(format!("put our line before {}", other.place())))
}

/// Whether so many lines from here on take in the last of `levels`. The lines of a substack count as one.
fn lands_beyond(levels: impl Iterator<Item = usize>, level: usize, lines: usize) -> bool {
    let (mut counted, mut in_substack) = (0, false);
    for other in levels {
        if other == level || !in_substack {
            counted += 1;
        }
        in_substack = other > level;
    }
    counted <= lines
}

/// What proves who somebody is before people are asked about them.
fn first_factor<'a>(before: impl Iterator<Item = &'a Line>, ours: &Ours<'_>) -> Option<Finding> {
    if ours.args.first_factor == Proof::Publickey {
        return None;
    }
    let checks: Vec<&Line> = before.filter(|line| !NO_FACTOR.contains(&line.name())).collect();
    let line = ours.line;
    if checks.is_empty() {
        let found = format!("{line} trusts the modules before it, and there is none that checks anybody");
        return Some(Finding::fault("first factor", found).fix("put `auth requisite pam_unix.so` before it"));
    }
    let going_on = checks.into_iter().find(|check| check.action("auth_err") != Some(Action::Die))?;
    let found = format!("{line}: after {going_on} PAM goes on: a wrong password rings people");
    Some(Finding::weak("first factor", found).fix(format!("write `requisite` at {}", going_on.place())))
}

/// `pam_env` before a session line can dress up what the ask says about the key.
fn environment<'a>(mut before: impl Iterator<Item = &'a Line>, line: &Line) -> Option<Finding> {
    let env = before.find(|other| other.name() == "pam_env.so")?;
    let found = format!("{line}: before it, {env} may read variables that people write themselves");
    Some(Finding::weak("PAM stack", found).fix(format!("put our line before {}", env.place())))
}

/// A line that reports sessions.
fn reporting(ours: &Ours<'_>, all: &[Ours<'_>]) -> Vec<Finding> {
    let asks = |other: &&Ours<'_>| other.asks() && other.line.group == Group::Session;
    let Some(asking) = all.iter().find(asks) else {
        return vec![Finding::ok("sessions", format!("{} reports them", ours.line))];
    };
    if asking.index > ours.index {
        let found =
            format!("{} comes before {}: it reports sessions that are then refused", ours.line, asking.line);
        return vec![Finding::weak("sessions", found).fix("write them the other way round")];
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
