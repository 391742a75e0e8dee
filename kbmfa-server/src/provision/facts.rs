//! The facts that a check-up of a machine states, each with whether it is as it should be. Pure.

use serde::{Deserialize, Serialize};

use super::desired::Desired;
use super::report::{File, Home, Report, Signers};
use super::{files, helper_hash};
use crate::deliveries::Place;
use crate::random::to_hex;
use sha2::{Digest, Sha256};

/// Something that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What was checked.
    pub what: String,
    /// True if it is as it should be.
    pub is_right: bool,
    /// What was found.
    pub found: String,
}

fn fact(what: impl Into<String>, is_right: bool, found: impl Into<String>) -> Fact {
    Fact { what: what.into(), is_right, found: found.into() }
}

/// Checks a report. That there is one shows that ssh-admin gets in and that sudo works.
pub fn of(desired: &Desired, report: &Report, place: Place) -> Vec<Fact> {
    let mut facts = vec![fact("ssh and sudo", true, "the program ran as root")];
    facts.extend(of_program(report));
    facts.extend(of_sshd(report, place));
    let is_refused = report.refuses(&desired.revoked);
    let found = format!("{} revoked keys known", desired.revoked.len());
    facts.push(fact("revoked keys", is_refused || desired.revoked.is_empty(), found));
    for (name, account) in desired.accounts.iter().filter(|(_, account)| !account.lines.is_empty()) {
        let seen = report.accounts.get(name);
        let Some(entry) = seen.and_then(|seen| seen.entry.as_ref()) else {
            facts.push(fact(format!("account {name}"), false, "there is no such account"));
            continue;
        };
        let is_on = !entry.is_locked && entry.expires_day.is_none();
        let state = if is_on { "on" } else { "locked or expired" };
        let ours = if entry.is_ours { "made by kbmfa" } else { "not made by kbmfa" };
        let is_right = is_on && entry.is_ours && entry.uid == account.uid;
        facts.push(fact(format!("account {name}"), is_right, format!("uid {}, {ours}, {state}", entry.uid)));
        let what = format!("keys of {name}");
        let seen = seen.cloned().unwrap_or_default();
        facts.push(match (place, &seen.keys, &seen.home) {
            (Place::System, File::Absent, _) => fact(what, false, "there is no key file"),
            (Place::System, File::Odd, _) => fact(what, false, "not a regular file of root's with mode 644"),
            (Place::System, File::Present(hash), _) => {
                let wanted = to_hex(&Sha256::digest(files::system_file(&account.lines)));
                let is_right = *hash == wanted;
                let found = if is_right { "as in the roster" } else { "the file differs from the roster" };
                fact(what, is_right, found)
            }
            (Place::Home, _, Home::Present(content)) => {
                let is_right = files::block_of(content) == account.lines;
                let found = if is_right { "as in the roster" } else { "the block differs from the roster" };
                fact(what, is_right, found)
            }
            (Place::Home, _, Home::Absent | Home::Unknown) => {
                fact(what, false, "there is no authorized_keys")
            }
            (Place::Home, _, Home::NoHome) => fact(what, false, "there is no home directory"),
            (Place::Home, _, Home::Big) => fact(what, false, "authorized_keys is too large to be read"),
            (Place::Home, _, Home::Odd) => {
                fact(what, false, "a link or no file is in the way, or it cannot be read")
            }
        });
    }
    for stray in &report.strays {
        facts.push(fact("key files", false, format!("a stray file {stray:?} in /etc/ssh/kbmfa/keys")));
    }
    facts
}

/// The helper, where it is what runs, and what demands signed orders.
fn of_program(report: &Report) -> Vec<Fact> {
    let helper = report.helper.as_ref().map(|hash| {
        let is_right = *hash == helper_hash();
        let found = if is_right { "this server's version" } else { "another version than this server's" };
        fact("helper", is_right, found)
    });
    let signers = match &report.signers {
        Signers::Absent => fact("signed orders", true, "not demanded: there is no /etc/ssh/kbmfa/signers"),
        Signers::Odd => {
            fact("signed orders", false, "/etc/ssh/kbmfa/signers is not a file that root alone can write")
        }
        Signers::Present(_) => fact("signed orders", true, "demanded by /etc/ssh/kbmfa/signers"),
    };
    helper.into_iter().chain([signers]).collect()
}

/// What sshd would do for an account.
fn of_sshd(report: &Report, place: Place) -> Vec<Fact> {
    let Some(sshd) = &report.sshd else {
        return vec![fact("sshd", false, "`sshd -T` does not run")];
    };
    let value = |name: &str| sshd.get(name).map_or("none", String::as_str);
    let files = value("authorizedkeysfile");
    let is_named = match place {
        Place::System => files.split_whitespace().any(|file| file == "/etc/ssh/kbmfa/keys/%u"),
        Place::Home => files
            .split_whitespace()
            .any(|file| file == ".ssh/authorized_keys" || file == "%h/.ssh/authorized_keys"),
    };
    let revoked = value("revokedkeys");
    vec![
        fact("sshd AuthorizedKeysFile", is_named, files),
        fact("sshd RevokedKeys", revoked == "/etc/ssh/kbmfa/revoked", revoked),
        fact(
            "sshd PubkeyAuthentication",
            value("pubkeyauthentication") == "yes",
            value("pubkeyauthentication"),
        ),
        fact("sshd UsePAM", value("usepam") == "yes", value("usepam")),
    ]
}
