//! Examines the whole way to Keybase, step by step, for `doctor`; and what of it needs no network, for `check`.

use kbmfa_finding::{Finding, Level};
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::{Path, PathBuf};

use super::answers;
use super::client::Client;
use super::conversations::{self, People};
use super::error::{Failure, Fault};
use super::health_check::HealthCheck;
use super::service::{self, Running, Stop};
use super::settings::{Place, Service, Settings};

/// What is wrong with the files that the relay needs. It starts nothing and asks nobody.
pub fn check_files(settings: &Settings) -> Vec<(&'static str, Fault)> {
    let mut faults = Vec::new();
    if program(&settings.program).is_none() {
        let fix = "install Keybase's package, or set [relay.keybase] program to where `keybase` is";
        let found = format!("there is no program {} that can be run", settings.program.display());
        faults.push(("program", Fault::new(found, fix)));
    }
    if settings.paperkey_file.is_some() || matches!(settings.service, Service::Own { .. }) {
        faults.extend(service::paperkey(settings).err().map(|fault| ("paper key", fault)));
    }
    faults
}

/// Where the program is, if it can be run: as it is named, or in PATH.
fn program(name: &Path) -> Option<PathBuf> {
    let may_run =
        |path: &PathBuf| path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok();
    if name.components().count() > 1 {
        return Some(name.to_owned()).filter(may_run);
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(may_run)
}

/// Where asks go, and whom the rules for it name as approvers.
pub struct Destination {
    /// Such as `acme#logins`.
    pub place: String,
    /// Their names in Keybase.
    pub approvers: BTreeSet<String>,
}

/// Examines program, login, conversations and their people, and a message that goes there and back. With `may_start` a
/// service of our own is started where none answers, and stopped at the end; else only one that runs is used.
pub async fn diagnose(settings: &Settings, destinations: &[Destination], may_start: bool) -> Vec<Finding> {
    let faults = check_files(settings);
    if !faults.is_empty() {
        return faults.into_iter().map(|(what, fault)| fault.finding(&format!("keybase: {what}"))).collect();
    }
    let client = Client::new(settings);
    let mut findings = vec![finding("program", version(&client).await)];
    if is_well(&findings) {
        findings.extend(with_service(&client, settings, destinations, may_start).await);
    }
    client.end().await;
    findings
}

fn is_well(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.level != Level::Fault)
}

fn finding(what: &str, found: Result<String, Fault>) -> Finding {
    let what = format!("keybase: {what}");
    match found {
        Ok(found) => Finding::ok(what, found),
        Err(fault) => fault.finding(&what),
    }
}

async fn version(client: &Client) -> Result<String, Fault> {
    let found =
        client.program.run(&["version", "-S", "-f", "s"], None, super::process::program::VERB_TIME).await;
    let fix = "install Keybase's package anew, or set [relay.keybase] program";
    let found = found.map_err(|error| Fault::new(error.to_string(), fix))?;
    Ok(format!("version {}", found.trim()))
}

async fn with_service(
    client: &Client,
    settings: &Settings,
    destinations: &[Destination],
    may_start: bool,
) -> Vec<Finding> {
    let running = if may_start { service::borrow(client, settings).await } else { Ok(Running::Ambient) };
    let mut running = match running {
        Ok(running) => running,
        Err(failure) => return vec![finding("login", Err(failure.into_fault()))],
    };
    let is_ours = matches!(running, Running::Own(_));
    let findings = tokio::select! {
        failure = running.ends() => vec![finding("login", Err(failure.into_fault()))],
        findings = logged_in(client, settings, destinations, is_ours) => findings,
    };
    running.stop(client, Stop::InOrder).await;
    findings
}

async fn logged_in(
    client: &Client,
    settings: &Settings,
    destinations: &[Destination],
    is_ours: bool,
) -> Vec<Finding> {
    if !is_ours && will_be_logged_in(client, settings).await {
        let found = "the ambient service is logged out; the server logs it in when it starts, and the rest can be examined then";
        return vec![
            Finding::weak("keybase: login", found).fix("`kbmfa-server doctor` again once the server runs"),
        ];
    }
    let bot =
        if is_ours { service::log_in(client, settings).await } else { service::bot(client, settings).await };
    let login = bot.map(|uid| format!("{} ({uid})", settings.username)).map_err(Failure::into_fault);
    let mut findings = vec![finding("login", login)];
    if is_well(&findings) {
        findings.extend(conversations(client, settings, destinations).await);
        findings.push(finding("message", there_and_back(client, settings).await));
    }
    findings
}

/// An examination does not log a service in that is not ours; a server does.
async fn will_be_logged_in(client: &Client, settings: &Settings) -> bool {
    let is_ambient = matches!(settings.service, Service::Ambient { .. });
    is_ambient && settings.paperkey_file.is_some() && client.whoami().await.is_ok_and(|who| !who.logged_in)
}

/// Each fault once: several channels of one team lack the same thing.
async fn conversations(client: &Client, settings: &Settings, destinations: &[Destination]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut faulty: BTreeMap<String, (Fault, Vec<&str>)> = BTreeMap::new();
    for destination in destinations {
        match conversation(client, settings, destination).await {
            Ok((found, strangers)) => {
                findings.push(finding(&destination.place, Ok(found)));
                findings.extend(strangers);
            }
            Err(fault) => {
                let entry = faulty.entry(fault.to_string()).or_insert((fault, Vec::new()));
                entry.1.push(&destination.place);
            }
        }
    }
    let faulty = faulty.into_values().map(|(fault, places)| finding(&places.join(", "), Err(fault)));
    findings.extend(faulty);
    findings
}

async fn conversation(
    client: &Client,
    settings: &Settings,
    destination: &Destination,
) -> Result<(String, Option<Finding>), Fault> {
    let place: Place = destination.place.parse().map_err(|why: String| Fault::from(why))?;
    let conversation =
        conversations::find(client, settings, &place, None).await.map_err(Failure::into_fault)?;
    let People::Team(team) = conversation.people else {
        return Ok((format!("conversation {}", conversation.id), None));
    };
    let members = client.team(&team).await.map_err(|error| Fault::from(error.to_string()))?.members;
    // The bot answers nothing, whatever role it has.
    let may = members.iter().filter(|member| member.name != settings.username);
    let strangers =
        not_in_team(&team, destination, &members.iter().map(|member| member.name.to_string()).collect());
    let found = match may.filter(|member| member.rejection_reason(settings.min_role).is_none()).count() {
        0 => Err(Fault::new(
            format!("nobody in {team} may answer: that takes a {}", settings.min_role),
            format!(
                "`keybase team add-member {team} --user NAME --role {0}`, or `keybase team edit-member {team} --user NAME \
                 --role {0}` for somebody who is in it",
                settings.min_role
            ),
        )),
        1 => Ok("one person may answer; under \"not-self\" nobody could answer for them".to_owned()),
        count => Ok(format!("{count} people may answer")),
    };
    Ok((found?, strangers))
}

/// Approvers whom a rule names and who can never answer.
fn not_in_team(team: &str, destination: &Destination, members: &BTreeSet<String>) -> Option<Finding> {
    let missing: Vec<_> = destination.approvers.difference(members).map(String::as_str).collect();
    (!missing.is_empty()).then(|| {
        let found =
            format!("rules name approvers who are not in {team} and cannot answer: {}", missing.join(", "));
        let fix = format!(
            "correct the name in [policy], or `keybase team add-member {team} --user NAME --role writer`"
        );
        Finding::weak(format!("keybase: {}", destination.place), found).fix(fix)
    })
}

/// A message in the bot's own conversation, read back as an ask would be.
async fn there_and_back(client: &Client, settings: &Settings) -> Result<String, Fault> {
    let begun = HealthCheck::begin(client, settings.username.as_str()).await;
    let mut check = begun.map_err(|error| Fault::from(format!("it cannot be sent: {error}")))?;
    let passed = check.run(client).await;
    passed.map_err(|error| Fault::from(format!("it cannot be read back: {error}")))?;
    Ok(format!("went there and back; people answer with {}", answers::BUTTONS.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approver_whom_a_rule_names_and_who_is_not_in_the_team_is_told() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let destination = |approvers| Destination { place: "acme#logins".to_owned(), approvers };
        let members = set(&["alice", "bob"]);
        assert!(not_in_team("acme", &destination(set(&["alice"])), &members).is_none());
        let told = not_in_team("acme", &destination(set(&["alice", "blob"])), &members).unwrap().to_string();
        assert!(told.contains("not in acme and cannot answer: blob"), "{told}");
    }
}
