//! The login of the service: `whoami`, `status`, `oneshot`, `logout`.

use serde::Serialize;
use serde_json::{Value, json};
use std::io::{self, BufRead};

use super::client::Client;
use super::environment::get;
use super::failure::{Failure, Result, print};
use super::flags::{Flag, Flags};
use super::invocation::Invocation;
use super::json::{escape, indent};
use crate::wire::{Call, Identity, ServiceFacts};

/// The version of the real client that is modelled.
pub(crate) const VERSION: &str = "6.3.0";

const JSON: &[Flag] = &[(&["json", "j"], false), (&["uid"], false)];
const ONESHOT: &[Flag] = &[(&["username", "u"], true), (&["paperkey", "p"], true)];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "as the real client prints it")]
struct WhoAmI {
    configured: bool,
    registered: bool,
    logged_in: bool,
    session_is_valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
    device_name: String,
}

#[derive(Serialize)]
struct User {
    uid: String,
    username: String,
}

/// Prints who is logged in.
pub(crate) fn whoami(invocation: &Invocation, words: &[&str]) -> Result<()> {
    let (flags, _) = Flags::read(JSON, words)?;
    invocation.note("whoami", true, Vec::new())?;
    let who = who(&mut Client::dial(invocation)?)?;
    if !flags.is_on("json") {
        let who = who.ok_or_else(|| Failure::new("logged out"))?;
        return print(&format!("{}\n", if flags.is_on("uid") { who.uid } else { who.username }));
    }
    let is_in = who.is_some();
    let device_name = who.as_ref().map(|who| who.device_name.clone()).unwrap_or_default();
    let user = who.map(|Identity { uid, username, .. }| User { uid, username });
    let answer = WhoAmI {
        configured: is_in,
        registered: is_in,
        logged_in: is_in,
        session_is_valid: is_in,
        user,
        device_name,
    };
    print_pretty(&answer)
}

/// Prints the state of login and service.
pub(crate) fn status(invocation: &Invocation, words: &[&str]) -> Result<()> {
    let (flags, _) = Flags::read(JSON, words)?;
    invocation.note("status", true, Vec::new())?;
    let mut client = Client::dial(invocation)?;
    let who = who(&mut client)?;
    let facts: ServiceFacts = client.call(&Call::Ping).map_err(Failure::new)?;
    if !flags.is_on("json") {
        let name = who.as_ref().map_or("", |who| who.username.as_str());
        return print(&format!(
            "Username:      {name}\nLogged in:     {}\n",
            if name.is_empty() { "no" } else { "yes" }
        ));
    }
    print_pretty(&status_json(invocation, who.as_ref(), &facts))
}

fn status_json(invocation: &Invocation, who: Option<&Identity>, facts: &ServiceFacts) -> Value {
    let device = who.map(|who| {
        json!({
            "type": "backup", "name": who.device_name, "deviceID": who.device_id, "deviceNumberOfType": 0, "cTime": 0, "mTime": 0,
            "lastUsedTime": 0, "encryptKey": "", "verifyKey": "", "status": 0,
        })
    });
    json!({
        "Username": who.map_or("", |who| &who.username),
        "UserID": who.map_or("", |who| &who.uid),
        "LoggedIn": who.is_some(),
        "SessionIsValid": who.is_some(),
        "Device": device,
        "Client": {"Version": VERSION},
        "Service": {"Version": VERSION, "Running": true, "Pid": facts.pid.to_string(), "Log": ""},
        "ConfigPath": invocation.place.config_dir.join("config.json"),
        "DefaultUsername": "",
        "ProvisionedUsernames": null,
        "Clients": null,
        "PlatformInfo": {"os": "linux"},
    })
}

/// Logs the service in with a paper key, until the service ends.
pub(crate) fn oneshot(invocation: &Invocation, words: &[&str]) -> Result<()> {
    let (flags, _) = Flags::read(ONESHOT, words)?;
    invocation.note("oneshot", true, Vec::new())?;
    let username = flags.value("username").map(str::to_owned).or_else(|| get("KEYBASE_USERNAME"));
    let missing = || Failure::new("Need a --username option or a KEYBASE_USERNAME environment variable");
    let username = username.ok_or_else(missing)?;
    let paper_key = paper_key(flags.value("paperkey"))?;
    let mut client = Client::dial(invocation)?;
    let logged_in: std::result::Result<(), String> =
        client.call(&Call::Login { username, paper_key }).map_err(Failure::new)?;
    logged_in.map_err(Failure::new)
}

/// The paper key: from a flag, the environment, or a line on stdin.
pub(crate) fn paper_key(flag: Option<&str>) -> Result<String> {
    if let Some(key) = flag.map(str::to_owned).or_else(|| get("KEYBASE_PAPERKEY")) {
        return Ok(key);
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Logs the service out.
pub(crate) fn logout(invocation: &Invocation) -> Result<()> {
    invocation.note("logout", true, Vec::new())?;
    Client::dial(invocation)?.call(&Call::Logout).map_err(Failure::new)
}

/// Does nothing. The official libraries call it to turn typing notifications off.
pub(crate) fn notification_settings(invocation: &Invocation) -> Result<()> {
    invocation.note("chat notification-settings", true, Vec::new())?;
    let who = who(&mut Client::dial(invocation)?)?;
    who.map(|_| ()).ok_or_else(|| Failure::new("Login required"))
}

fn who(client: &mut Client<'_>) -> Result<Option<Identity>> {
    client.call(&Call::Who).map_err(Failure::new)
}

fn print_pretty(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| Failure::new(error.to_string()))?;
    print(&(escape(&indent(&text)) + "\n"))
}
