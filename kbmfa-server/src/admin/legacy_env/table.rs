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

/// The conversion of one variable: its name, its key, a function from its text to the key's value, and the default if it
/// is unset (empty for none), or the fault if it must be set.
pub(super) type Row =
    (&'static str, Key, fn(&str) -> Result<Value, String>, Result<&'static str, &'static str>);

/// The old tool's variables (except [`LOG_LEVEL`]), `_FILE` variants of its secrets, and variables of our
/// own.
pub(super) const TABLE: [Row; 14] = [
    ("KBMFA_NAMES", ("server", "names"), hosts, Err(NO_NAMES)),
    ("KBMFA_LISTEN", ("server", "listen"), address, Ok(LISTEN)),
    ("KBMFA_STATUS_LISTEN", ("server", "status_listen"), loopback, Ok(STATUS_LISTEN)),
    ("KBMFA_STATE_DIR", STATE, path, Ok(STATE_DIR)),
    ("KB_TYPE", ("relay.keybase", "type"), kind, Err(NO_TYPE)),
    ("KB_TEAM", ("relay.keybase", "team"), text::<TeamName>, Err(NO_TEAM)),
    ("KB_CHANNEL", ("relay.keybase", "channel"), text::<ChannelName>, Ok("general")),
    ("KB_USER", USER, text::<KeybaseName>, Err(NO_USER)),
    ("KEYBASE_USERNAME", BOT, text::<KeybaseName>, Err(NO_BOT)),
    ("KEYBASE_PAPERKEY_FILE", ("relay.keybase", "paperkey_file"), path, Ok("")),
    ("KEYBASE_PAPERKEY", ("relay.keybase", "paperkey_file"), words, Err(NO_PAPERKEY)),
    ("KBMFA_AUTH_TOKEN_FROM", TOKEN_FROM, ranges, Ok("")),
    ("AUTH_TOKEN_FILE", ("server", "auth_token_file"), path, Ok("")),
    // `convert` checks it together with its ranges. A bad token is ignored, and is no fault.
    ("AUTH_TOKEN", ("server", "auth_token_file"), text::<String>, Ok("")),
];

/// Variables that count only with this `KB_TYPE`. With another one they are ignored, as by the old tool.
pub(super) const ONLY_FOR: [(&str, &str); 3] =
    [("KB_TEAM", "team"), ("KB_CHANNEL", "team"), ("KB_USER", "private")];

/// The secrets, and the file in the state directory to which each is written. Its key then names that file.
pub(super) const SECRETS: [(&str, &str); 2] =
    [("KEYBASE_PAPERKEY", "paperkey"), ("AUTH_TOKEN", "auth_token")];

/// The log level; not part of the configuration.
pub(super) const LOG_LEVEL: &str = "FLASK_ENV";

pub(super) const STATE: Key = ("server", "state_dir");
pub(super) const TOKEN_FROM: Key = ("server", "auth_token_from");
pub(super) const USER: Key = ("relay.keybase", "user");
pub(super) const BOT: Key = ("relay.keybase", "username");

const NO_NAMES: &str = "missing: name the DNS names or addresses at which machines reach this server, such \
                        as kbmfa.example,192.0.2.1";
const NO_TYPE: &str = "write team or private";
const NO_TEAM: &str = "missing: name the team that the bot asks in";
const NO_USER: &str = "missing: name the Keybase user whom the bot asks";
const NO_BOT: &str = "missing: name the bot, a Keybase account that no approver uses";
const NO_PAPERKEY: &str =
    "missing: the bot logs in with its paper key; set this, or better KEYBASE_PAPERKEY_FILE";

fn text<T: FromStr<Err: Display> + Display>(value: &str) -> Result<Value, String> {
    value.parse().map(|parsed: T| parsed.to_string().into()).map_err(|error| error.to_string())
}

fn hosts(value: &str) -> Result<Value, String> {
    let fault = |name: &str| format!("{name:?} is not a DNS name or address such as kbmfa.example");
    let names = list(value, |name| only_if(ServerName::try_from(name).is_ok(), name, &fault(name)))?;
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
    let is_open = value.parse::<SocketAddr>().is_ok_and(|address| !address.ip().is_loopback());
    only_if(!is_open, value, "must be a loopback address: it answers anybody, without TLS")?;
    address(value)
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
