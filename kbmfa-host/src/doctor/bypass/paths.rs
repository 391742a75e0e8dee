//! Checks every path through the lines of one group. A path is a fault if it lets somebody in although our
//! line was not reached, our line refused, or no line before ours authenticated the person.

use kbmfa_finding::Finding;

use super::super::pam_model::{self, End, Returned, Way};
use super::super::stack::{Action, Group, Line};
use super::Ours;
use super::modules::{CALLED_BY_ANYBODY, CHECK, FAILURES, MODULE_UNKNOWN, NO_CHECK, STEP_ASIDE};
use pam_kbmfa::args::{Proof, Purpose};

/// Checks one group with lines of the module, on every path through it.
pub(super) fn judge(service: &str, stack: &[Line], ours: &[Ours<'_>], group: Group) -> Vec<Finding> {
    let group = Lines::of(service, stack, ours, group);
    let ways = pam_model::paths(
        &group.all,
        Seen::default(),
        |at| group.returns(at),
        |s, at, r| group.note(s, at, r),
    );
    let is_in = |way: &&Way<Seen>| match way.end {
        End::Success => true,
        // sshd continues with a person whose password has expired.
        End::NewPassword => group.group == Group::Account,
        End::Failure => false,
    };
    let mut findings: Vec<Finding> = ways.iter().filter(is_in).filter_map(|way| group.unasked(way)).collect();
    // A missing module that ends every login is reported separately.
    let is_said = group.all.iter().any(|line| line.is_missing && super::ends_in_failure(line));
    if !is_said && !ways.iter().any(|way| is_in(&way)) {
        let found =
            format!("{:?} lines: nobody can log in, whatever result each module returns", group.group)
                .to_lowercase();
        findings.push(Finding::fault("PAM stack", found).fix("docs/recipes.md has complete stacks"));
    }
    if group.trusts_the_stack() {
        findings.extend(group.first_factor(&ways));
    }
    let mut said = Vec::new();
    findings.retain(|finding| {
        let new = !said.contains(&finding.found);
        said.push(finding.found.clone());
        new
    });
    findings
}

/// Whether no path through the lines of this group lets anybody in.
pub(super) fn is_closed(service: &str, stack: &[Line], group: Group) -> bool {
    let group = Lines::of(service, stack, &[], group);
    let ways = pam_model::paths(
        &group.all,
        Seen::default(),
        |at| group.returns(at),
        |s, at, r| group.note(s, at, r),
    );
    !group.all.is_empty() && ways.iter().all(|way| way.end == End::Failure)
}

/// What a path has passed so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Seen {
    asked: Asked,
    checked: Checked,
}

/// The results of the module's lines that ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Asked {
    #[default]
    Never,
    Approved,
    Refused,
}

/// The best authentication by other modules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Checked {
    #[default]
    Nothing,
    /// An authenticating module has refused.
    Failed,
    /// A module that may or may not authenticate has succeeded.
    Perhaps,
    Passed,
}

/// The lines of one group.
struct Lines<'a> {
    service: &'a str,
    group: Group,
    all: Vec<&'a Line>,
    /// For each line of the module, its purpose.
    ours: Vec<Option<&'a Ours<'a>>>,
}

impl<'a> Lines<'a> {
    fn of(service: &'a str, stack: &'a [Line], ours: &'a [Ours<'a>], group: Group) -> Self {
        let all: Vec<&Line> = stack.iter().filter(|line| line.group == group).collect();
        let find = |line: &&Line| ours.iter().find(|ours| std::ptr::eq(ours.line, *line));
        let ours = all.iter().map(find).collect();
        Self { service, group, all, ours }
    }

    fn line(&self, at: usize) -> Option<&'a Line> {
        self.all.get(at).copied()
    }

    fn is_asking(&self, at: usize) -> bool {
        self.ours.get(at).copied().flatten().is_some_and(Ours::asks)
    }

    /// The results that the line's module may return: one for each kind that its control distinguishes.
    fn returns(&self, at: usize) -> Vec<Returned> {
        let Some(line) = self.line(at) else { return Vec::new() };
        if line.is_missing {
            return vec![Returned::Failure(MODULE_UNKNOWN)];
        }
        let failures = || {
            let mut told_apart = Vec::new();
            let mut kinds = FAILURES.map(|name| (name, line.action(name))).to_vec();
            kinds.retain(|(_, action)| {
                !told_apart.contains(action) && {
                    told_apart.push(*action);
                    true
                }
            });
            kinds.into_iter().map(|(name, _)| Returned::Failure(name))
        };
        let ours = self.ours.get(at).copied().flatten();
        let (checks, account) = (CHECK.contains(&line.name()), self.group == Group::Account);
        match (line.name(), ours.map(|ours| ours.args.purpose)) {
            (_, Some(Purpose::LogOnly)) => vec![Returned::Ignore],
            (_, Some(Purpose::DryRun)) => vec![Returned::Failure(self.refusal())],
            (_, Some(Purpose::Ask)) => {
                vec![Returned::Success, Returned::Failure(self.refusal()), Returned::Failure(MODULE_UNKNOWN)]
            }
            ("pam_permit.so", None) => vec![Returned::Success],
            ("pam_deny.so", None) => failures().collect(),
            // In su, pam_rootok succeeds only if root is the caller; sshd, sudo and login always run as root.
            ("pam_rootok.so", None) if CALLED_BY_ANYBODY.contains(&self.service) => failures().collect(),
            (_, None) => {
                let mut all = vec![Returned::Success];
                all.extend(failures());
                let steps_aside = line.name() != "pam_unix.so"
                    && line.args.iter().any(|arg| STEP_ASIDE.iter().any(|word| arg.starts_with(word)));
                all.extend((!checks || account || steps_aside).then_some(Returned::Ignore));
                all.extend(account.then_some(Returned::NewPassword));
                all
            }
        }
    }

    /// The result with which the module refuses.
    fn refusal(&self) -> &'static str {
        match self.group {
            Group::Auth => "maxtries",
            Group::Account => "perm_denied",
            Group::Session | Group::Password => "session_err",
        }
    }

    fn note(&self, seen: Seen, at: usize, returned: Returned) -> Seen {
        if self.is_asking(at) {
            let asked = match (seen.asked, returned) {
                (Asked::Never | Asked::Approved, Returned::Success) => Asked::Approved,
                _ => Asked::Refused,
            };
            return Seen { asked, ..seen };
        }
        let name = self.line(at).map_or("", Line::name);
        let found = match returned {
            Returned::Success if CHECK.contains(&name) => Checked::Passed,
            Returned::Failure(_) if CHECK.contains(&name) => Checked::Failed,
            Returned::Ignore if CHECK.contains(&name) => Checked::Nothing,
            Returned::Success | Returned::Ignore if !NO_CHECK.contains(&name) => Checked::Perhaps,
            _ => Checked::Nothing,
        };
        // Only authentication before the module's line counts.
        if seen.asked == Asked::Never { Seen { checked: seen.checked.max(found), ..seen } } else { seen }
    }

    /// The fault of this path, if it lets somebody in although the module's line was not reached or refused.
    fn unasked(&self, way: &Way<Seen>) -> Option<Finding> {
        let ours = self.all.get((0..self.all.len()).find(|&at| self.is_asking(at))?)?;
        let called = || way.calls.iter().filter_map(|(at, returned)| Some((*at, self.line(*at)?, *returned)));
        let fault = |found: String, fix: String| Some(Finding::fault("PAM stack", found).fix(fix));
        match way.noted.asked {
            Asked::Approved => None,
            Asked::Never => {
                let first = (0..self.all.len()).find(|&at| self.is_asking(at))?;
                let Some((_, line, returned)) = called().take_while(|(at, ..)| *at < first).last() else {
                    return fault(format!("{ours} is never called"), "put it first".into());
                };
                let found = format!(
                    "{ours} is not always reached: {line} lets somebody in before it on {}",
                    returned.name()
                );
                fault(found, format!("put our line before {}", line.place()))
            }
            Asked::Refused => {
                let refused = |(at, _, returned): &(usize, &Line, Returned)| {
                    self.is_asking(*at) && *returned != Returned::Success
                };
                let (at, refusing, refusal) = called().find(refused)?;
                let is_final =
                    matches!(refusing.action(refusal.name()), None | Some(Action::Bad | Action::Die));
                if !is_final {
                    let found = format!("{refusing} does not end a login that it refuses");
                    return fault(found, "use `required` as its control".into());
                }
                let forgets = |(_, line, returned): &(usize, &Line, Returned)| {
                    line.action(returned.name()) == Some(Action::Reset)
                };
                if let Some((_, line, _)) = called().skip_while(|(other, ..)| *other <= at).find(forgets) {
                    let found = format!("{line} discards the refusal of {refusing}");
                    return fault(found, format!("remove `reset` from {}", line.place()));
                }
                let hides = |(_, _, returned): &(usize, &Line, Returned)| *returned == Returned::NewPassword;
                let (_, line, _) = called().find(hides)?;
                let found = format!("{line}: an expired password there hides the refusal of {refusing}");
                fault(found, format!("put our line before {}", line.place()))
            }
        }
    }

    fn trusts_the_stack(&self) -> bool {
        let trusts = |ours: &&&Ours<'_>| ours.asks() && ours.args.first_factor == Proof::Stack;
        self.group == Group::Auth && self.ours.iter().flatten().any(|ours| trusts(&ours))
    }

    /// Checks that people are authenticated before approvers are asked.
    fn first_factor(&self, ways: &[Way<Seen>]) -> Option<Finding> {
        const WHAT: &str = "first factor";
        let ours = self.ours.iter().flatten().find(|ours| ours.asks())?.line;
        let lets_in = |checked: &[Checked]| {
            let is_it = |way: &&Way<Seen>| way.end == End::Success && checked.contains(&way.noted.checked);
            ways.iter().any(|way| is_it(&way))
        };
        if lets_in(&[Checked::Nothing, Checked::Failed]) {
            let found = format!(
                "{ours} trusts the modules before it, and none of them authenticates: an approval lets in \
                 anybody"
            );
            return Some(Finding::fault(WHAT, found).fix(self.check_first()));
        }
        if lets_in(&[Checked::Perhaps]) {
            let found = format!(
                "{ours} trusts the modules before it, and it is unknown whether any of them authenticates"
            );
            return Some(
                Finding::weak(WHAT, found)
                    .fix("make sure that one of them does, and ends the login if it fails"),
            );
        }
        let rings =
            |way: &&Way<Seen>| way.noted.asked != Asked::Never && way.noted.checked == Checked::Failed;
        let way = ways.iter().find(rings)?;
        let (at, _) =
            way.calls.iter().find(|(at, _)| self.line(*at).is_some_and(|l| CHECK.contains(&l.name())))?;
        let found = format!(
            "{ours}: PAM continues after {}, so a wrong password asks the approvers",
            self.line(*at)?
        );
        Some(Finding::weak(WHAT, found).fix(self.check_first()))
    }

    /// The fix that authenticates people, and refuses them if that fails, before approvers are asked.
    fn check_first(&self) -> String {
        let mut before = self.all.iter().enumerate().take_while(|(at, _)| !self.is_asking(*at));
        match before.find(|(_, line)| CHECK.contains(&line.name())).map(|(_, line)| line) {
            None => "put a module before it that authenticates, such as `auth requisite pam_unix.so`".into(),
            Some(check) if ["required", "optional"].contains(&check.control.as_str()) => {
                format!("write `requisite` at {}", check.place())
            }
            Some(check) => {
                format!("make the stack end where {} fails; docs/recipes.md has an example", check.place())
            }
        }
    }
}
