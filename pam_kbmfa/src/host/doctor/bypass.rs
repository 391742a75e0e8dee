//! Whether a PAM stack asks everybody: what would let a person in without our line, or in spite of it.

use kbmfa_proto::finding::Finding;
use std::ffi::CString;

use super::dispatch::{self, End, Returned, Way};
use super::stack::{Action, Group, Line};
use crate::args::{Args, Proof, Purpose};

/// Modules that succeed only if somebody has proven who they are.
const CHECK: [&str; 20] = [
    "pam_fprintd.so",
    "pam_google_authenticator.so",
    "pam_himmelblau.so",
    "pam_kanidm.so",
    "pam_krb5.so",
    "pam_ldap.so",
    "pam_ldapd.so",
    "pam_oath.so",
    "pam_p11.so",
    "pam_pkcs11.so",
    "pam_radius_auth.so",
    "pam_ssh_agent_auth.so",
    "pam_sss.so",
    "pam_systemd_home.so",
    "pam_tacplus.so",
    "pam_u2f.so",
    "pam_unix.so",
    "pam_userdb.so",
    "pam_winbind.so",
    "pam_yubico.so",
];

/// Modules that say yes to whoever it is.
const NO_CHECK: [&str; 28] = [
    "pam_access.so",
    "pam_cap.so",
    "pam_debug.so",
    "pam_echo.so",
    "pam_env.so",
    "pam_faildelay.so",
    "pam_faillock.so",
    "pam_group.so",
    "pam_issue.so",
    "pam_keyinit.so",
    "pam_lastlog.so",
    "pam_limits.so",
    "pam_listfile.so",
    "pam_localuser.so",
    "pam_mail.so",
    "pam_motd.so",
    "pam_nologin.so",
    "pam_permit.so",
    "pam_securetty.so",
    "pam_selinux.so",
    "pam_shells.so",
    "pam_succeed_if.so",
    "pam_tally2.so",
    "pam_time.so",
    "pam_umask.so",
    "pam_usertype.so",
    "pam_warn.so",
    "pam_wheel.so",
];

/// Results that are failures, as pam.conf(5) names them; the first stands for all that nobody mentions.
const FAILURES: [&str; 26] = [
    "system_err",
    "open_err",
    "symbol_err",
    "service_err",
    "buf_err",
    "perm_denied",
    "auth_err",
    "cred_insufficient",
    "authinfo_unavail",
    "user_unknown",
    "maxtries",
    "acct_expired",
    "session_err",
    "cred_unavail",
    "cred_expired",
    "cred_err",
    "no_module_data",
    "conv_err",
    "authtok_err",
    "authtok_recover_err",
    "authtok_lock_busy",
    "authtok_disable_aging",
    "try_again",
    "abort",
    "authtok_expired",
    "module_unknown",
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
    let mut findings: Vec<Finding> = ours.iter().flat_map(|one| by_itself(stack, one, ours)).collect();
    for group in [Group::Auth, Group::Account, Group::Session] {
        if let Some(first) = ours.iter().find(|ours| ours.asks() && ours.line.group == group) {
            let faults = asking(stack, ours, group);
            if faults.is_empty() {
                findings
                    .push(Finding::ok("PAM stack", format!("no way through it leads past {}", first.line)));
            }
            findings.extend(faults);
        }
    }
    if hooks(ours) == Hooks::default() {
        findings.push(
            Finding::fault("PAM stack", "no line of it asks: nobody needs an approval")
                .fix("docs/recipes.md has the lines; `account required pam_kbmfa.so` is the usual one"),
        );
    }
    findings
}

/// What can be said of a line without the others of its group.
fn by_itself(stack: &[Line], one: &Ours<'_>, all: &[Ours<'_>]) -> Vec<Finding> {
    let (what, line) = ("PAM stack", one.line);
    match (one.args.purpose, line.group) {
        (_, Group::Password) => vec![
            Finding::fault(what, format!("{line} changes no password: it refuses them all"))
                .fix("take the line out"),
        ],
        (Purpose::LogOnly, Group::Session) => reporting(one, all),
        (Purpose::LogOnly, _) => vec![
            Finding::fault(what, format!("{line} only looks on: log_only asks nobody"))
                .fix("take log_only away when you have seen enough"),
        ],
        (Purpose::Rehearse, _) => vec![
            Finding::fault("PAM arguments", format!("{line}: under rehearsal nobody is let in"))
                .fix("take rehearsal away; only `kbmfa-host doctor` needs it"),
        ],
        (Purpose::Hold, Group::Session) => {
            let before = stack.iter().take(one.index).filter(|other| other.group == Group::Session);
            environment(before, line).into_iter().collect()
        }
        (Purpose::Hold, _) => Vec::new(),
    }
}

/// The lines of one group that ask, by every way through that group.
fn asking(stack: &[Line], ours: &[Ours<'_>], group: Group) -> Vec<Finding> {
    let group = Lines::of(stack, ours, group);
    let ways = dispatch::ways(
        &group.lines,
        Seen::default(),
        |at| group.returns(at),
        |s, at, r| group.note(s, at, r),
    );
    let is_in = |way: &&Way<Seen>| match way.end {
        End::Success => true,
        // sshd goes on with somebody whose password has expired.
        End::NewPassword => group.group == Group::Account,
        End::Failure => false,
    };
    let mut findings: Vec<Finding> = ways.iter().filter(is_in).filter_map(|way| group.unasked(way)).collect();
    if !ways.iter().any(|way| is_in(&way)) {
        let found =
            format!("{:?} lines: whatever the modules say, nobody gets in", group.group).to_lowercase();
        findings.push(Finding::fault("PAM stack", found).fix("docs/recipes.md has whole stacks"));
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

/// What is remembered of a way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Seen {
    asked: Asked,
    checked: Checked,
}

/// What became of our lines that ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Asked {
    #[default]
    Never,
    Approved,
    Refused,
}

/// What other modules found out about the person, the best of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Checked {
    #[default]
    Nothing,
    /// A module that checks has said no.
    Failed,
    /// A module of which we do not know whether it checks has said yes.
    Perhaps,
    Passed,
}

/// The lines of one group.
struct Lines<'a> {
    group: Group,
    lines: Vec<&'a Line>,
    /// For each line, what it is for if it is ours.
    ours: Vec<Option<&'a Ours<'a>>>,
}

impl<'a> Lines<'a> {
    fn of(stack: &'a [Line], ours: &'a [Ours<'a>], group: Group) -> Self {
        let lines: Vec<&Line> = stack.iter().filter(|line| line.group == group).collect();
        let find = |line: &&Line| ours.iter().find(|ours| std::ptr::eq(ours.line, *line));
        let ours = lines.iter().map(find).collect();
        Self { group, lines, ours }
    }

    fn line(&self, at: usize) -> Option<&'a Line> {
        self.lines.get(at).copied()
    }

    fn is_asking(&self, at: usize) -> bool {
        self.ours.get(at).copied().flatten().is_some_and(Ours::asks)
    }

    /// What the module of a line may return: one of each kind of result that the line tells apart.
    fn returns(&self, at: usize) -> Vec<Returned> {
        let Some(line) = self.line(at) else { return Vec::new() };
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
            (_, Some(Purpose::Rehearse)) => vec![Returned::Failure(self.refusal())],
            (_, Some(Purpose::Hold)) => {
                vec![
                    Returned::Success,
                    Returned::Failure(self.refusal()),
                    Returned::Failure("module_unknown"),
                ]
            }
            ("pam_permit.so", None) => vec![Returned::Success],
            // Whoever is root already needs nobody's leave: what is asked is what becomes of everybody else.
            ("pam_deny.so" | "pam_rootok.so", None) => failures().collect(),
            (_, None) => {
                let mut all = vec![Returned::Success];
                all.extend(failures());
                all.extend((!checks || account).then_some(Returned::Ignore));
                all.extend(account.then_some(Returned::NewPassword));
                all
            }
        }
    }

    /// What our module returns to refuse.
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
            Returned::Success | Returned::Ignore if !NO_CHECK.contains(&name) => Checked::Perhaps,
            _ => Checked::Nothing,
        };
        // What was found out before we ask is what counts.
        if seen.asked == Asked::Never { Seen { checked: seen.checked.max(found), ..seen } } else { seen }
    }

    /// A fault, if this way lets somebody in whom our line was not asked about, or refused.
    fn unasked(&self, way: &Way<Seen>) -> Option<Finding> {
        let ours = self.lines.get((0..self.lines.len()).find(|&at| self.is_asking(at))?)?;
        let called = || way.calls.iter().filter_map(|(at, returned)| Some((*at, self.line(*at)?, *returned)));
        let fault = |found: String, fix: String| Some(Finding::fault("PAM stack", found).fix(fix));
        match way.noted.asked {
            Asked::Approved => None,
            Asked::Never => {
                let first = (0..self.lines.len()).find(|&at| self.is_asking(at))?;
                let Some((_, line, returned)) = called().take_while(|(at, ..)| *at < first).last() else {
                    return fault(format!("{ours} is never called"), "put it first".into());
                };
                let found = format!(
                    "{ours} is not always asked: {line} lets somebody past it on {}",
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
                    return fault(found, "write `required` in the place of the control".into());
                }
                let forgets = |(_, line, returned): &(usize, &Line, Returned)| {
                    line.action(returned.name()) == Some(Action::Reset)
                };
                if let Some((_, line, _)) = called().skip_while(|(other, ..)| *other <= at).find(forgets) {
                    let found = format!("{line} makes PAM forget that {refusing} refused");
                    return fault(found, format!("take `reset` out of {}", line.place()));
                }
                let hides = |(_, _, returned): &(usize, &Line, Returned)| *returned == Returned::NewPassword;
                let (_, line, _) = called().find(hides)?;
                let found = format!("{line}: an expired password there hides that {refusing} refused");
                fault(found, format!("put our line before {}", line.place()))
            }
        }
    }

    fn trusts_the_stack(&self) -> bool {
        let trusts = |ours: &&&Ours<'_>| ours.asks() && ours.args.first_factor == Proof::Stack;
        self.group == Group::Auth && self.ours.iter().flatten().any(|ours| trusts(&ours))
    }

    /// What proves who somebody is before people are asked about them.
    fn first_factor(&self, ways: &[Way<Seen>]) -> Option<Finding> {
        const WHAT: &str = "first factor";
        const FIX: &str =
            "put `auth requisite pam_unix.so` before our line, in the place of what includes others";
        let ours = self.ours.iter().flatten().find(|ours| ours.asks())?.line;
        let lets_in = |checked: &[Checked]| {
            let is_it = |way: &&Way<Seen>| way.end == End::Success && checked.contains(&way.noted.checked);
            ways.iter().any(|way| is_it(&way))
        };
        if lets_in(&[Checked::Nothing, Checked::Failed]) {
            let found = format!(
                "{ours} trusts the modules before it, and an approval lets in whom none of them has checked"
            );
            return Some(Finding::fault(WHAT, found).fix(FIX));
        }
        if lets_in(&[Checked::Perhaps]) {
            let found = format!(
                "{ours} trusts the modules before it, of which we cannot tell whether they check anybody"
            );
            return Some(
                Finding::weak(WHAT, found).fix("see that one of them does, and ends the login if it fails"),
            );
        }
        let rings =
            |way: &&Way<Seen>| way.noted.asked != Asked::Never && way.noted.checked == Checked::Failed;
        let way = ways.iter().find(rings)?;
        let (at, _) =
            way.calls.iter().find(|(at, _)| self.line(*at).is_some_and(|l| CHECK.contains(&l.name())))?;
        let found = format!("{ours}: after {} PAM goes on: a wrong password rings people", self.line(*at)?);
        Some(Finding::weak(WHAT, found).fix(FIX))
    }
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
