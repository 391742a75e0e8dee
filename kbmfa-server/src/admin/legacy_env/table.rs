//! The table of variables that become part of the configuration, one row each.

use kbmfa_proto::names::{ChannelName, KeybaseName, TeamName};
use rustls::pki_types::ServerName;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use toml::Value;

use crate::admin::init::draft::Key;
use crate::admin::init::{LISTEN, STATE_DIR, STATUS_LISTEN};
use crate::source::Range;

/// The conversion of one variable.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) key: Key,
    /// Converts the variable's text to the key's value.
    pub(super) convert: fn(&str) -> Result<Value, String>,
    /// The default of an unset variable (empty for none), or the fault if it must be set.
    pub(super) absent: Result<&'static str, &'static str>,
    /// The variable counts only with this `KB_TYPE`. With another one it is ignored, as by the old tool.
    pub(super) only_for: Option<&'static str>,
    /// For a secret: the name of the file in the state directory to which the text is written. The key then
    /// names that file.
    pub(super) file: Option<&'static str>,
}

/// The old tool's variables (except [`LOG_LEVEL`]), `_FILE` variants of its secrets, and variables of our
/// own.
pub(super) const TABLE: [Row; 14] = [
    row("KBMFA_NAMES", ("server", "names"), hosts, Err(NO_NAMES)),
    row("KBMFA_LISTEN", ("server", "listen"), address, Ok(LISTEN)),
    row("KBMFA_STATUS_LISTEN", ("server", "status_listen"), loopback, Ok(STATUS_LISTEN)),
    row("KBMFA_STATE_DIR", ("server", "state_dir"), path, Ok(STATE_DIR)),
    row("KB_TYPE", ("relay.keybase", "type"), kind, Err(NO_TYPE)),
    row("KB_TEAM", ("relay.keybase", "team"), text::<TeamName>, Err(NO_TEAM)).only_for("team"),
    row("KB_CHANNEL", ("relay.keybase", "channel"), text::<ChannelName>, Ok("general")).only_for("team"),
    row("KB_USER", USER, text::<KeybaseName>, Err(NO_USER)).only_for("private"),
    row("KEYBASE_USERNAME", BOT, text::<KeybaseName>, Err(NO_BOT)),
    row("KEYBASE_PAPERKEY_FILE", PAPERKEY_FILE, path, Ok("")),
    row("KEYBASE_PAPERKEY", PAPERKEY_FILE, words, Err(NO_PAPERKEY)).in_file("paperkey"),
    row("KBMFA_AUTH_TOKEN_FROM", TOKEN_FROM, ranges, Ok("")),
    row("AUTH_TOKEN_FILE", TOKEN_FILE, path, Ok("")),
    // `convert` checks it together with its ranges. A bad token is ignored, and is no fault.
    row("AUTH_TOKEN", TOKEN_FILE, text::<String>, Ok("")).in_file("auth_token"),
];

/// The log level; not part of the configuration.
pub(super) const LOG_LEVEL: &str = "FLASK_ENV";

pub(super) const BOT: Key = ("relay.keybase", "username");
pub(super) const USER: Key = ("relay.keybase", "user");
pub(super) const TOKEN_FILE: Key = ("server", "auth_token_file");
pub(super) const TOKEN_FROM: Key = ("server", "auth_token_from");
const PAPERKEY_FILE: Key = ("relay.keybase", "paperkey_file");

const NO_NAMES: &str = "missing: name the DNS names or addresses at which machines reach this server, such \
                        as kbmfa.example,192.0.2.1";
const NO_TYPE: &str = "write team or private";
const NO_TEAM: &str = "missing: name the team that the bot asks in";
const NO_USER: &str = "missing: name the Keybase user whom the bot asks";
const NO_BOT: &str = "missing: name the bot, a Keybase account that no approver uses";
const NO_PAPERKEY: &str =
    "missing: the bot logs in with its paper key; set this, or better KEYBASE_PAPERKEY_FILE";

const fn row(
    name: &'static str,
    key: Key,
    convert: fn(&str) -> Result<Value, String>,
    absent: Result<&'static str, &'static str>,
) -> Row {
    Row { name, key, convert, absent, only_for: None, file: None }
}

impl Row {
    const fn only_for(self, kind: &'static str) -> Self {
        Self { only_for: Some(kind), ..self }
    }

    const fn in_file(self, name: &'static str) -> Self {
        Self { file: Some(name), ..self }
    }
}

fn text<T: FromStr<Err: Display> + Display>(value: &str) -> Result<Value, String> {
    let parsed: Result<T, _> = value.parse();
    parsed.map(|parsed| parsed.to_string().into()).map_err(|error| error.to_string())
}

fn hosts(value: &str) -> Result<Value, String> {
    let names = list(value, |name| match ServerName::try_from(name) {
        Ok(_) => Ok(name.into()),
        Err(_) => Err(format!("{name:?} is not a DNS name or address such as kbmfa.example")),
    })?;
    if names == Value::Array(Vec::new()) { Err(NO_NAMES.to_owned()) } else { Ok(names) }
}

fn ranges(value: &str) -> Result<Value, String> {
    list(value, text::<Range>)
}

/// A comma-separated list.
fn list(value: &str, convert: impl Fn(&str) -> Result<Value, String>) -> Result<Value, String> {
    let texts = value.split(',').map(str::trim).filter(|text| !text.is_empty());
    texts.map(convert).collect::<Result<_, _>>().map(Value::Array)
}

fn address(value: &str) -> Result<Value, String> {
    text::<SocketAddr>(value).map_err(|_| format!("write an address and a port, such as {LISTEN}"))
}

fn loopback(value: &str) -> Result<Value, String> {
    match value.parse::<SocketAddr>() {
        Ok(address) if !address.ip().is_loopback() => {
            Err("must be a loopback address: it answers anybody, without TLS".to_owned())
        }
        _ => address(value),
    }
}

/// An absolute path.
fn path(value: &str) -> Result<Value, String> {
    only_if(Path::new(value).is_absolute(), value, "write the absolute path")
}

fn kind(value: &str) -> Result<Value, String> {
    only_if(["team", "private"].contains(&value), value, NO_TYPE)
}

fn words(value: &str) -> Result<Value, String> {
    let are_words = value.chars().all(|c| c.is_ascii_alphanumeric() || c == ' ');
    only_if(are_words, value, "a paper key consists of words of letters, separated by blanks")
}

fn only_if(is_good: bool, value: &str, what_is_wrong: &str) -> Result<Value, String> {
    if is_good { Ok(value.into()) } else { Err(what_is_wrong.to_owned()) }
}
