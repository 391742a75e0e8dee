//! sshd's effective configuration (`sshd -T`), and ways to log in that skip our PAM lines.

use kbmfa_finding::Finding;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::bypass::{self, Ours};
use super::dry_run::Who;
use super::stack::Group;
use pam_kbmfa::args::Proof;

/// Time that LoginGraceTime must leave after the module's deadline.
const GRACE_REST: Duration = Duration::from_secs(20);

/// Debian's default of MaxStartups, from which on sshd drops new connections.
const WAITING_FEW: u32 = 10;

/// Settings in force for one connection, by their names in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Effective(BTreeMap<String, String>);

/// The sshd program, and the connection whose settings are read.
#[derive(Debug, clap::Args)]
pub(super) struct Question {
    /// The sshd program to check
    #[arg(long, default_value = "/usr/sbin/sshd", value_name = "FILE")]
    pub(super) sshd: PathBuf,
    /// sshd's configuration
    #[arg(long, default_value = "/etc/ssh/sshd_config", value_name = "FILE")]
    pub(super) sshd_config: PathBuf,
    /// The account for the dry run and for sshd's `Match` blocks; root by default
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The address that this person logs in from, for `Match` blocks
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub(super) from: IpAddr,
    /// The port of sshd that they connect to, for `Match` blocks
    #[arg(long, default_value = "22", value_name = "PORT")]
    pub(super) port: u16,
}

impl Question {
    /// The connection that the answer applies to.
    fn whom(&self) -> String {
        format!("for {} from {}", self.who().user, self.from)
    }

    /// The account whose login is checked.
    pub(super) fn who(&self) -> Who<'_> {
        Who { user: self.user.as_deref().unwrap_or("root"), is_named: self.user.is_some(), from: self.from }
    }
}

/// Reads the settings in force from sshd.
pub(super) fn effective(question: &Question) -> Result<Effective, String> {
    let Question { sshd, sshd_config, from, port, .. } = question;
    let user = question.who().user;
    let who = format!("user={user},host={from},addr={from},laddr=127.0.0.1,lport={port}");
    let config = sshd_config.display().to_string();
    let output = run(sshd, &["-T", "-f", &config, "-C", &who]);
    Ok(Effective::parse(&output.map_err(|error| format!("{}: {error}", sshd.display()))?))
}

/// The files of the keys by which sshd proves which machine it is, as its configuration names them.
pub(crate) fn host_key_files(sshd: &Path, config: &Path) -> io::Result<Vec<PathBuf>> {
    let settings = run(sshd, &["-T", "-f", &config.display().to_string()])?;
    let files = settings.lines().filter_map(|line| line.strip_prefix("hostkey "));
    Ok(files.map(PathBuf::from).collect())
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

    /// sshd's PAM service: the name of its program, or `PAMServiceName` from 9.8 on.
    pub(super) fn service(&self, program: &Path) -> String {
        match self.get("pamservicename") {
            "" => {
                program.file_name().map_or_else(|| "sshd".into(), |name| name.to_string_lossy().into_owned())
            }
            name => name.to_owned(),
        }
    }
}

/// Checks the settings together with the module's lines. `deadline` is the longest time of a login, if known.
pub(super) fn judge(
    sshd: &Effective,
    question: &Question,
    ours: &[Ours<'_>],
    deadline: Option<Duration>,
) -> Vec<Finding> {
    if !sshd.is_on("usepam") {
        return vec![
            Finding::fault("UsePAM", "is off: sshd never calls the module").fix("UsePAM yes in sshd_config"),
        ];
    }
    let hooks = bypass::hooks(ours);
    let mut findings = vec![Finding::ok("UsePAM", "is on")];
    if hooks.auth || hooks.account {
        findings.extend(deadline.map(|deadline| grace_time(sshd, deadline)));
        findings.extend(max_startups(sshd));
    }
    if hooks.auth {
        let by_stack =
            ours.iter().any(|ours| ours.line.group == Group::Auth && ours.args.first_factor == Proof::Stack);
        let methods = Methods::of(sshd);
        let found = methods.judge(sshd, hooks.account || hooks.session, by_stack);
        if found.is_empty() {
            let found = format!(
                "{}: every authentication method leads through the module, {}",
                methods.value,
                question.whom()
            );
            findings.push(Finding::ok(METHODS, found));
        }
        findings.extend(found);
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
        Finding::ok(
            "LoginGraceTime",
            "is off: sshd has no limit of its own, and the module ends each wait itself",
        )
    } else if grace <= deadline {
        Finding::fault("LoginGraceTime", format!("{found}: sshd ends logins that could still be approved"))
            .fix(fix)
    } else if grace < deadline + GRACE_REST {
        Finding::weak("LoginGraceTime", format!("{found}: the rest of a login has little time left")).fix(fix)
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

const METHODS: &str = "AuthenticationMethods";

/// The lists of authentication methods. Somebody who succeeds with every method of one list is authenticated.
struct Methods<'a> {
    value: &'a str,
    /// By default each enabled method is a list by itself.
    lists: Vec<Vec<&'a str>>,
}

impl<'a> Methods<'a> {
    fn of(sshd: &'a Effective) -> Self {
        const ALONE: [(&str, &str); 5] = [
            ("publickey", "pubkeyauthentication"),
            ("password", "passwordauthentication"),
            ("keyboard-interactive", "kbdinteractiveauthentication"),
            ("hostbased", "hostbasedauthentication"),
            ("gssapi-with-mic", "gssapiauthentication"),
        ];
        let value = sshd.get("authenticationmethods");
        let lists = match value {
            "" | "any" => {
                ALONE.iter().filter(|(_, key)| sshd.is_on(key)).map(|(method, _)| vec![*method]).collect()
            }
            lists => lists.split_whitespace().map(|list| list.split(',').collect()).collect(),
        };
        Self { value, lists }
    }

    /// Faults of a module that asks in the auth phase. `elsewhere` is true if it also asks in another phase.
    fn judge(&self, sshd: &Effective, elsewhere: bool, by_stack: bool) -> Vec<Finding> {
        const FIX: &str =
            "AuthenticationMethods publickey,keyboard-interactive:pam in sshd_config, and no other list";
        // With Kerberos enabled, sshd tries Kerberos first, and calls PAM only if that fails.
        let kerberos = sshd.is_on("kerberosauthentication");
        let by_pam = |method: &str| is_interactive(method) || method == "password" && !kerberos;
        let mut findings = Vec::new();
        let past = self.lists.iter().find(|list| !list.iter().any(|method| by_pam(method)));
        if let (Some(past), false) = (past, elsewhere) {
            let found = format!("{}: {} alone avoids the auth line", self.value, past.join(","));
            findings.push(Finding::fault(METHODS, found).fix(FIX));
        }
        let said = !matches!(self.value, "" | "any");
        if said && !by_stack && self.lists.iter().any(|list| list.first() != Some(&"publickey")) {
            let found = format!(
                "is {}: a login that begins without a key is refused, since nothing proves who it is",
                self.value
            );
            findings.push(Finding::weak(METHODS, found).fix(FIX));
        }
        let interactive = self.lists.iter().flatten().any(|method| is_interactive(method));
        if interactive && !sshd.is_on("kbdinteractiveauthentication") {
            findings.push(
                Finding::fault(
                    "KbdInteractiveAuthentication",
                    "is off, and AuthenticationMethods asks for it",
                )
                .fix("KbdInteractiveAuthentication yes in sshd_config"),
            );
        }
        let passwords = self.lists.iter().flatten().any(|method| *method == "password");
        if passwords && interactive && sshd.is_on("passwordauthentication") {
            let found = "is on beside keyboard-interactive: approvers are asked twice about one login, and \
                         the person sees nothing";
            findings.push(
                Finding::weak("PasswordAuthentication", found)
                    .fix("PasswordAuthentication no in sshd_config"),
            );
        }
        findings
    }
}

fn is_interactive(method: &str) -> bool {
    method.starts_with("keyboard-interactive")
}

#[cfg(test)]
mod tests;
