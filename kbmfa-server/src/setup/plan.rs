//! What is to be done on a machine, from what it has and what it should have. Pure.

use sha2::{Digest, Sha256};

use super::report::{Config, Found, PasswordState, Report};
use super::step::{File, Step};
use super::{SudoLevel, Wanted};
use crate::deliveries::Place;
use crate::provision;
use crate::provision::ssh::HELPER;
use crate::random::to_hex;

/// The file that sshd reads.
pub const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-kbmfa-keys.conf";

/// The file of revoked keys.
pub const REVOKED: &str = "/etc/ssh/kbmfa/revoked";

/// Where sshd finds keys that root owns.
const KEYS: &str = "/etc/ssh/kbmfa/keys/%u";

/// Shells that end at once.
const NO_SHELLS: &[&str] = &["nologin", "false", "true", "sync"];

/// Systems that are tested; others with the same tools are served, too, with a note.
const KNOWN: &[&str] = &["debian", "ubuntu", "rhel", "centos", "fedora", "rocky", "almalinux", "ol", "amzn"];

/// What is to be done, in order; empty if nothing is.
///
/// # Errors
/// What has to be changed by a person first. Nothing may be done then.
pub fn plan(wanted: &Wanted, report: &Report) -> Result<Vec<Step>, Vec<String>> {
    if report.is_armed {
        // What else is there is seen when sshd's files are as they were.
        return Ok(vec![Step::Undo]);
    }
    let obstacles = obstacles(wanted, report);
    if !obstacles.is_empty() {
        return Err(obstacles);
    }
    let mut steps = Vec::new();
    if !report.has_directories {
        steps.push(Step::Directories);
    }
    if report.account.is_none() {
        steps.push(Step::Account);
    }
    // Before the line RevokedKeys: sshd refuses every key if the file that it names is missing.
    if report.files.get(&File::Revoked) == Some(&Found::Nothing) {
        steps.push(Step::Write { file: File::Revoked, content: String::new() });
    }
    let policy = policy(wanted, report);
    match wanted.place {
        Place::System => write(&mut steps, report, File::Key, format!("{}\n", wanted.key_line)),
        Place::Home if !report.has_home_key => steps.push(Step::HomeKey),
        Place::Home => {}
    }
    if policy != report.policy {
        write(&mut steps, report, File::Policy, policy);
    }
    write(&mut steps, report, File::Signers, format!("{}\n", wanted.signers_line));
    if wanted.sudo == SudoLevel::Helper {
        write(&mut steps, report, File::Helper, provision::helper());
    }
    let has_password = report.account.as_ref().is_some_and(|found| found.password == PasswordState::Set);
    if wanted.sudo == SudoLevel::Password && !has_password {
        steps.push(Step::Password);
    }
    write(&mut steps, report, File::Rule, rule(wanted));
    let mut sshd = Vec::new();
    write(&mut sshd, report, File::DropIn, drop_in(wanted, report));
    if !report.has_include {
        sshd.push(Step::Include);
    }
    if !sshd.is_empty() {
        steps.push(Step::Arm);
        steps.append(&mut sshd);
        steps.extend([Step::Reload, Step::Confirm]);
    }
    Ok(steps)
}

/// What an operator should know, and what is left as it is.
pub fn notes(wanted: &Wanted, report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let (id, like) = &report.system;
    if !KNOWN.contains(&id.as_str()) && !like.split(',').any(|like| KNOWN.contains(&like)) {
        notes.push(format!(
            "the system {id:?} is not one of Debian, Ubuntu and the RHEL family; kbmfa is not tested there"
        ));
    }
    if wanted.sudo == SudoLevel::Helper {
        notes.extend(report.other_sudo.iter().map(|place| {
            format!(
                "sudo allows {} more than the helper, by {place}: that is left as it is; take it out for the level \"helper\"",
                wanted.admin
            )
        }));
    }
    notes
}

fn obstacles(wanted: &Wanted, report: &Report) -> Vec<String> {
    let mut found = Vec::new();
    if !report.missing.is_empty() {
        found.push(format!(
            "these programs are missing: {}; install sudo and openssh-server",
            report.missing.join(" ")
        ));
    }
    match &report.config {
        Config::Odd => found.push("/etc/ssh/sshd_config is missing, or no regular file".to_owned()),
        Config::Broken(text) => {
            let text: Vec<_> = text.lines().take(5).map(super::report::cut).collect();
            found.push(format!("sshd refuses its own configuration; repair it first: {}", text.join(" / ")));
        }
        Config::Ok(values) => {
            let value = |name: &str| values.get(name).map_or("", String::as_str);
            if value("pubkeyauthentication") == "no" {
                found.push(format!("sshd accepts no keys from {}: PubkeyAuthentication is no", wanted.admin));
            }
            if !["", "none", REVOKED].contains(&value("revokedkeys")) {
                found.push(format!(
                    "sshd has the revoked keys in {}; move them to {REVOKED}, or that file would be ignored",
                    super::report::cut(value("revokedkeys"))
                ));
            }
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" /._%-".contains(&byte);
            if !value("authorizedkeysfile").bytes().all(is_plain) {
                found.push("sshd's AuthorizedKeysFile has unusual characters".to_owned());
            }
        }
    }
    if report.reload == "none" {
        found.push("no running sshd was found that could read its files again".to_owned());
    }
    if !report.has_sudoers_directory {
        found.push(
            "/etc/sudoers does not name its directory; add the line `@includedir /etc/sudoers.d`".to_owned(),
        );
    }
    for (file, _) in report.files.iter().filter(|(_, found)| **found == Found::Odd) {
        found.push(format!("{} is a link, a directory or not root's", file.path(wanted)));
    }
    if let Some(account) = &report.account {
        let admin = &wanted.admin;
        if account.uid == 0 {
            found.push(format!("the account {admin} is root"));
        }
        if NO_SHELLS.contains(&account.shell.rsplit('/').next().unwrap_or_default()) {
            found.push(format!("the account {admin} has no shell: usermod -s /bin/sh {admin}"));
        }
        let is_known = wanted.password.as_ref().is_some_and(|password| password.is_known);
        match account.password {
            PasswordState::Empty => found.push(format!("the account {admin} has an empty password: passwd -l {admin}")),
            PasswordState::Set if wanted.sudo == SudoLevel::Password && !is_known => found.push(format!(
                "the account {admin} has a password that this server does not know: log in as {admin} with --ask-password, or \
                 choose another --sudo-level"
            )),
            _ => {}
        }
    }
    found
}

/// Adds the step if the file has another content.
fn write(steps: &mut Vec<Step>, report: &Report, file: File, content: String) {
    let hash = to_hex(&Sha256::digest(&content));
    if report.files.get(&file) != Some(&Found::File(hash)) {
        steps.push(Step::Write { file, content });
    }
}

/// What the machine has, and a line for each profile that it should accept from now on.
fn policy(wanted: &Wanted, report: &Report) -> String {
    let mut text = report.policy.clone();
    for (name, rules) in &wanted.profiles {
        let line = format!("sudo {name} {}", to_hex(&Sha256::digest(rules)));
        if !text.lines().any(|known| known == line) {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

fn rule(wanted: &Wanted) -> String {
    let admin = &wanted.admin;
    match wanted.sudo {
        SudoLevel::Password => format!("{admin} ALL=(ALL) ALL\n"),
        SudoLevel::Nopasswd => format!("{admin} ALL=(ALL) NOPASSWD: ALL\n"),
        // The empty argument forbids all others.
        SudoLevel::Helper => format!("{admin} ALL=(root) NOPASSWD: {HELPER} \"\"\n"),
    }
}

/// What sshd reads. Where keys are found today they are found from then on, too.
fn drop_in(wanted: &Wanted, report: &Report) -> String {
    let mut text = "# Written by `kbmfa-server machine bootstrap`.\n".to_owned();
    if wanted.place == Place::System {
        let Config::Ok(values) = &report.config else { return text };
        let present = values.get("authorizedkeysfile").map_or("", String::as_str).split(' ');
        let others = present.filter(|place| !["", "none", KEYS].contains(place));
        let places: Vec<_> = std::iter::once(KEYS).chain(others).collect();
        text = text + "AuthorizedKeysFile " + &places.join(" ") + "\n";
    }
    text + "RevokedKeys " + REVOKED + "\n"
}
