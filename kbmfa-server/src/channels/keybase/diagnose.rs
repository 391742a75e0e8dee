//! Checks the connection to Keybase step by step for `doctor`, and the files alone for `check`.

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

/// Checks the files that Keybase needs. Starts no program and uses no network.
pub fn check_files(settings: &Settings) -> Vec<(&'static str, Fault)> {
    let mut faults = Vec::new();
    if program(&settings.program).is_none() {
        let fix = "install Keybase's package, or set [relay.keybase] program to the path of `keybase`";
        let found = format!("there is no executable program {}", settings.program.display());
        faults.push(("program", Fault::new(found, fix)));
    }
    if settings.paperkey_file.is_some() || matches!(settings.service, Service::Own { .. }) {
        faults.extend(service::paperkey(settings).err().map(|fault| ("paper key", fault)));
    }
    faults
}

/// The path of the program if it is executable: the configured path, or a name found in PATH.
#[expect(clippy::disallowed_methods, reason = "the program is started by PATH, so it is looked for there")]
fn program(name: &Path) -> Option<PathBuf> {
    let is_executable =
        |path: &PathBuf| path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok();
    if name.components().count() > 1 {
        return Some(name.to_owned()).filter(is_executable);
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(is_executable)
}

/// A destination of asks, with the approvers that its rules name.
pub struct Destination {
    /// A channel or user, such as `acme#logins`.
    pub place: String,
    /// Keybase names of the approvers.
    pub approvers: BTreeSet<String>,
}

/// Checks the program, the login, the conversations and their members, and that a message can be posted and
/// read back. With `may_start` it starts the server's own service if none answers, and stops it at the end;
/// otherwise it uses only a running service.
pub async fn diagnose(settings: &Settings, destinations: &[Destination], may_start: bool) -> Vec<Finding> {
    let faults = check_files(settings);
    if !faults.is_empty() {
        return faults.into_iter().map(|(what, fault)| fault.finding(&format!("keybase: {what}"))).collect();
    }
    let client = Client::new(settings);
    let mut findings = vec![finding("program", version(&client).await)];
    if has_no_fault(&findings) {
        findings.extend(with_service(&client, settings, destinations, may_start).await);
    }
    client.end().await;
    findings
}

fn has_no_fault(findings: &[Finding]) -> bool {
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
    let fix = "reinstall Keybase's package, or set [relay.keybase] program";
    let found = found.map_err(|error| Fault::new(error.to_string(), fix))?;
    Ok(format!("version {}", found.trim()))
}

async fn with_service(
    client: &Client,
    settings: &Settings,
    destinations: &[Destination],
    may_start: bool,
) -> Vec<Finding> {
    let running =
        if may_start { service::start_or_reuse(client, settings).await } else { Ok(Running::Ambient) };
    let mut running = match running {
        Ok(running) => running,
        Err(failure) => return vec![finding("login", Err(failure.into_fault()))],
    };
    let is_ours = matches!(running, Running::Own(_));
    let findings = tokio::select! {
        failure = running.wait_for_exit() => vec![finding("login", Err(failure.into_fault()))],
        findings = check_login(client, settings, destinations, is_ours) => findings,
    };
    running.stop(client, Stop::Graceful).await;
    findings
}

async fn check_login(
    client: &Client,
    settings: &Settings,
    destinations: &[Destination],
    is_ours: bool,
) -> Vec<Finding> {
    if !is_ours && server_will_log_in(client, settings).await {
        let found = "the ambient service is logged out; the server logs it in when it starts, and the rest can be checked then";
        return vec![
            Finding::weak("keybase: login", found)
                .fix("run `kbmfa-server doctor` again while the server runs"),
        ];
    }
    let bot = if is_ours {
        service::ensure_logged_in(client, settings).await
    } else {
        service::bot_uid(client, settings).await
    };
    let login = bot.map(|uid| format!("{} ({uid})", settings.username)).map_err(Failure::into_fault);
    let mut findings = vec![finding("login", login)];
    if has_no_fault(&findings) {
        findings.extend(conversations(client, settings, destinations).await);
        findings.push(finding("message", round_trip(client, settings).await));
    }
    findings
}

/// True if the ambient service is logged out and the server has a paper key to log it in. `doctor` does not
/// log it in.
async fn server_will_log_in(client: &Client, settings: &Settings) -> bool {
    let is_ambient = matches!(settings.service, Service::Ambient { .. });
    is_ambient && settings.paperkey_file.is_some() && client.whoami().await.is_ok_and(|who| !who.logged_in)
}

/// Checks each destination. Destinations with the same fault share one finding, since they are often channels
/// of one team.
async fn conversations(client: &Client, settings: &Settings, destinations: &[Destination]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut faulty: BTreeMap<String, (Fault, Vec<&str>)> = BTreeMap::new();
    for destination in destinations {
        match conversation(client, settings, destination).await {
            Ok((found, not_members)) => {
                findings.push(finding(&destination.place, Ok(found)));
                findings.extend(not_members);
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
    // The bot never answers, not even with a role that may.
    let people = members.iter().filter(|member| member.name != settings.username);
    let not_members =
        not_in_team(&team, destination, &members.iter().map(|member| member.name.to_string()).collect());
    let found = match people.filter(|member| member.rejection_reason(settings.min_role).is_none()).count() {
        0 => Err(Fault::new(
            format!("nobody in {team} may answer: the role {} is required", settings.min_role),
            format!(
                "`keybase team add-member {team} --user NAME --role {0}`, or `keybase team edit-member {team} --user NAME \
                 --role {0}` for a member",
                settings.min_role
            ),
        )),
        1 => Ok("one person may answer; with \"not-self\" nobody could answer for that person".to_owned()),
        count => Ok(format!("{count} people may answer")),
    };
    Ok((found?, not_members))
}

/// A finding about approvers that a rule names, but who are not members and so cannot answer.
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

/// Posts a message in the bot's own conversation and reads it back, as the server does with an ask.
async fn round_trip(client: &Client, settings: &Settings) -> Result<String, Fault> {
    let posted = HealthCheck::begin(client, settings.username.as_str()).await;
    let mut check =
        posted.map_err(|error| Fault::from(format!("a test message cannot be posted: {error}")))?;
    let passed = check.run(client).await;
    passed.map_err(|error| Fault::from(format!("the test message cannot be read back: {error}")))?;
    Ok(format!("posted and read back; people answer with {}", answers::BUTTONS.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approver_who_is_not_in_the_team_is_reported() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let destination = |approvers| Destination { place: "acme#logins".to_owned(), approvers };
        let members = set(&["alice", "bob"]);
        assert!(not_in_team("acme", &destination(set(&["alice"])), &members).is_none());
        let finding =
            not_in_team("acme", &destination(set(&["alice", "blob"])), &members).unwrap().to_string();
        assert!(finding.contains("not in acme and cannot answer: blob"), "{finding}");
    }
}
