//! A pure function from the variables to what `init` is to make, or to the list of all faults in them.

use kbmfa_proto::names::{ChannelName, KeybaseName, TeamName};
use rustls::pki_types::ServerName;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::reading::{Fault, Given, Reading};
use super::variables::Variables;
use crate::admin::init::draft::{AuthToken, Draft, Relay};
use crate::admin::init::{LISTEN, STATE_DIR, STATUS_LISTEN};
use crate::channels::keybase::settings::Place;
use crate::config;
use crate::secret::Secret;
use crate::source::Range;

/// A set-up as the variables describe it.
#[derive(Debug)]
pub(super) struct Setup {
    /// The configuration.
    pub(super) draft: Draft,
    /// Secrets that stood in variables, and the files that they are to go into.
    pub(super) secrets: Vec<(PathBuf, Secret)>,
    /// Why the `AUTH_TOKEN` is not taken, if one was given and is not.
    pub(super) token_left_out: Option<String>,
}

/// Reads them all.
///
/// # Errors
/// Every fault in them.
pub(super) fn read(vars: &Variables) -> Result<Setup, Vec<Fault>> {
    let reading = &mut Reading::new(vars);
    let names = names(reading);
    let listen = reading.address("KBMFA_LISTEN", LISTEN);
    let status_listen = reading.address("KBMFA_STATUS_LISTEN", STATUS_LISTEN);
    if status_listen.is_some_and(|address| !address.ip().is_loopback()) {
        reading.fault("KBMFA_STATUS_LISTEN", "must be a loopback address: it answers anybody, without TLS");
    }
    let state_dir = reading.path("KBMFA_STATE_DIR").unwrap_or_else(|| STATE_DIR.into());
    let mut secrets = Secrets { dir: &state_dir, files: Vec::new() };
    let relay = relay(reading, &mut secrets);
    let token = auth_token(reading, &mut secrets);
    let secrets = secrets.files;
    let (Some(listen), Some(status_listen), Some(relay), false) =
        (listen, status_listen, relay, reading.found_faults())
    else {
        return Err(reading.take_faults());
    };
    let (auth_token, token_left_out) = token.map_or_else(|why| (None, Some(why)), |token| (token, None));
    let draft = Draft { listen, status_listen, state_dir, names, auth_token, relay };
    Ok(Setup { draft, secrets, token_left_out })
}

impl Setup {
    /// Goes on without the token.
    pub(super) fn leave_token_out(&mut self, why: String) {
        self.draft.auth_token = None;
        self.token_left_out = Some(why);
    }
}

/// The server's names, each one that a client could ask for.
fn names(reading: &mut Reading<'_>) -> Vec<String> {
    let names = reading.list::<Host>("KBMFA_NAMES");
    if names.is_empty() && !reading.is_faulty("KBMFA_NAMES") {
        let what = "missing: name what machines reach this server by, such as kbmfa.example,192.0.2.1";
        reading.fault("KBMFA_NAMES", what);
    }
    names.into_iter().map(|host| host.0).collect()
}

/// A DNS name or an address.
struct Host(String);

impl FromStr for Host {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match ServerName::try_from(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(format!("{text:?} is no DNS name or address such as kbmfa.example")),
        }
    }
}

fn relay(reading: &mut Reading<'_>, secrets: &mut Secrets<'_>) -> Option<Relay> {
    let place = place(reading);
    let username = bot(reading, place.as_ref());
    let paperkey_file = paperkey(reading, secrets);
    Some(Relay::Keybase { username: username?, place: place?, paperkey_file: paperkey_file? })
}

/// Where asks go. What the other type would need is passed over, as the old tool did.
fn place(reading: &mut Reading<'_>) -> Option<Place> {
    match reading.text("KB_TYPE") {
        Some("team") => {
            let team = reading.required::<TeamName>("KB_TEAM", "name the team that the bot asks in");
            let channel = reading.parsed_or::<ChannelName>("KB_CHANNEL", "general");
            Some(Place::Channel(team?, channel?))
        }
        Some("private") => {
            let user = reading.required::<KeybaseName>("KB_USER", "name the Keybase user whom the bot asks");
            Some(Place::Private(user?))
        }
        _ => {
            reading.fault("KB_TYPE", "write team or private");
            None
        }
    }
}

fn bot(reading: &mut Reading<'_>, place: Option<&Place>) -> Option<KeybaseName> {
    let missing = "name the bot, a Keybase account that nobody approves with";
    let bot = reading.required::<KeybaseName>("KEYBASE_USERNAME", missing)?;
    if place == Some(&Place::Private(bot.clone())) {
        reading.fault("KB_USER", "the bot would approve its own asks; name somebody else");
    }
    Some(bot)
}

/// The file that holds the paper key, or will.
fn paperkey(reading: &mut Reading<'_>, secrets: &mut Secrets<'_>) -> Option<PathBuf> {
    let given = reading.given("KEYBASE_PAPERKEY", "KEYBASE_PAPERKEY_FILE");
    match &given {
        Some(Given::Here(words)) if !words.chars().all(|c| c.is_ascii_alphanumeric() || c == ' ') => {
            reading.fault("KEYBASE_PAPERKEY", "a paper key is words of letters with blanks between them");
        }
        None if !reading.is_faulty("KEYBASE_PAPERKEY_FILE") => {
            let what =
                "missing: the bot logs in with its paper key; set this, or better KEYBASE_PAPERKEY_FILE";
            reading.fault("KEYBASE_PAPERKEY", what);
        }
        _ => {}
    }
    Some(secrets.file_of(given?, "paperkey"))
}

/// The token, or why one that was given is not taken: worth nothing, it must not keep the server down.
fn auth_token(reading: &mut Reading<'_>, secrets: &mut Secrets<'_>) -> Result<Option<AuthToken>, String> {
    let from = reading.list::<Range>("KBMFA_AUTH_TOKEN_FROM");
    let Some(given) = reading.given("AUTH_TOKEN", "AUTH_TOKEN_FILE") else {
        if !from.is_empty() && !reading.is_faulty("AUTH_TOKEN_FILE") {
            reading.fault("KBMFA_AUTH_TOKEN_FROM", "it goes with AUTH_TOKEN or AUTH_TOKEN_FILE");
        }
        return Ok(None);
    };
    if from.is_empty() {
        return Err(NO_RANGES.to_owned());
    }
    if let Given::Here(token) = &given {
        config::auth_token_hash(token)?;
    }
    Ok(Some(AuthToken { file: secrets.file_of(given, "auth_token"), from }))
}

const NO_RANGES: &str = "whoever has it can claim to be any machine, so it counts only from ranges that you name, and \
                         KBMFA_AUTH_TOKEN_FROM names none";

/// The files that are to hold what stood in variables.
struct Secrets<'a> {
    dir: &'a Path,
    files: Vec<(PathBuf, Secret)>,
}

impl Secrets<'_> {
    /// Where it lies, or will under this name.
    fn file_of(&mut self, given: Given, name: &str) -> PathBuf {
        match given {
            Given::InFile(file) => file,
            Given::Here(secret) => {
                let file = self.dir.join(name);
                self.files.push((file.clone(), Secret::new(secret + "\n")));
                file
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: &str = "KB_TYPE=private\nKB_USER=alice\n";
    const TEAM: &str = "KB_TYPE=team\nKB_TEAM=acme.ops\nKB_CHANNEL=ssh\n";
    const BOT: &str =
        "KEYBASE_USERNAME=sshbot\nKEYBASE_PAPERKEY=one two three\nKBMFA_NAMES=kbmfa.example, 192.0.2.1\n";
    const TOKEN: &str = "AUTH_TOKEN=0123456789abcdef\nKBMFA_AUTH_TOKEN_FROM=10.0.0.0/8,192.0.2.7\n";

    fn read_text(parts: &[&str]) -> Result<Setup, Vec<String>> {
        let faults = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect();
        read(&Variables::from_dotenv(&parts.concat())).map_err(faults)
    }

    fn secrets(setup: &Setup) -> Vec<(&str, &str)> {
        let secrets = setup.secrets.iter();
        secrets.map(|(path, secret)| (path.to_str().unwrap(), secret.reveal())).collect()
    }

    #[test]
    fn a_team_and_all_the_rest_become_a_configuration() {
        let setup = read_text(&[TEAM, BOT, TOKEN]).unwrap();
        insta::assert_snapshot!(setup.draft.toml(), @r#"
        # kbmfa-server's configuration. `kbmfa-server check` reads it; SIGHUP makes the server read it again.

        [server]
        listen = "0.0.0.0:8443"
        status_listen = "127.0.0.1:8444"
        state_dir = "/var/lib/kbmfa"
        names = ["kbmfa.example", "192.0.2.1"]
        auth_token_file = "/var/lib/kbmfa/auth_token"
        auth_token_from = ["10.0.0.0/8", "192.0.2.7/32"]

        [login]
        window = "60s"
        poll_grace = "15s"

        [policy]
        approvers = "anyone"

        [relay]
        kind = "keybase"

        [relay.keybase]
        username = "sshbot"
        type = "team"
        team = "acme.ops"
        channel = "ssh"
        paperkey_file = "/var/lib/kbmfa/paperkey"
        "#);
        let expected = [
            ("/var/lib/kbmfa/paperkey", "one two three\n"),
            ("/var/lib/kbmfa/auth_token", "0123456789abcdef\n"),
        ];
        assert_eq!((secrets(&setup), &setup.token_left_out), (expected.to_vec(), &None));
    }

    #[test]
    fn a_private_chat_in_other_places_with_files_of_its_own() {
        let files = "KBMFA_STATE_DIR=/srv/kbmfa\nKBMFA_LISTEN=[::]:443\nKBMFA_STATUS_LISTEN=[::1]:9000\n\
                     KEYBASE_USERNAME=sshbot\nKBMFA_NAMES=kbmfa.example\nKEYBASE_PAPERKEY_FILE=/run/secrets/paperkey\n\
                     AUTH_TOKEN_FILE=/run/secrets/token\nKBMFA_AUTH_TOKEN_FROM=10.0.0.0/8";
        let setup = read_text(&[PRIVATE, files]).unwrap();
        insta::assert_snapshot!(setup.draft.toml(), @r#"
        # kbmfa-server's configuration. `kbmfa-server check` reads it; SIGHUP makes the server read it again.

        [server]
        listen = "[::]:443"
        status_listen = "[::1]:9000"
        state_dir = "/srv/kbmfa"
        names = ["kbmfa.example"]
        auth_token_file = "/run/secrets/token"
        auth_token_from = ["10.0.0.0/8"]

        [login]
        window = "60s"
        poll_grace = "15s"

        [policy]
        approvers = "anyone"

        [relay]
        kind = "keybase"

        [relay.keybase]
        username = "sshbot"
        type = "private"
        user = "alice"
        paperkey_file = "/run/secrets/paperkey"
        "#);
        assert_eq!(secrets(&setup), []);
    }

    #[test]
    fn a_team_s_channel_is_general_and_what_the_other_type_needs_is_passed_over() {
        let check = |vars: &str, expected: &str| {
            let Relay::Keybase { place, .. } = read_text(&[vars, BOT]).unwrap().draft.relay else { panic!() };
            assert_eq!(place.to_string(), expected);
        };
        check("KB_TYPE=team\nKB_TEAM=acme\nKB_USER=alice\n", "acme#general");
        check("KB_TYPE=private\nKB_TEAM=acme\nKB_CHANNEL=!\nKB_USER=alice\n", "@alice");
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let nothing = read_text(&["KB_TYPE=pigeon"]).unwrap_err();
        insta::assert_snapshot!(nothing.join("\n"), @r#"
        KBMFA_NAMES: missing: name what machines reach this server by, such as kbmfa.example,192.0.2.1
        KB_TYPE: write team or private
        KEYBASE_USERNAME: missing: name the bot, a Keybase account that nobody approves with
        KEYBASE_PAPERKEY: missing: the bot logs in with its paper key; set this, or better KEYBASE_PAPERKEY_FILE
        "#);
        let bad = "KB_TYPE=team\nKB_TEAM=Acme\nKB_CHANNEL=ssh log\nKEYBASE_USERNAME=ssh-bot\nKEYBASE_PAPERKEY=one-two\n\
                   KBMFA_NAMES=kb mfa,a.example,-\nKBMFA_LISTEN=8443\nKBMFA_STATUS_LISTEN=0.0.0.0:1\n\
                   KBMFA_STATE_DIR=state\nAUTH_TOKEN_FILE=token\nKBMFA_AUTH_TOKEN_FROM=here";
        insta::assert_snapshot!(read_text(&[bad]).unwrap_err().join("\n"), @r#"
        KBMFA_NAMES: "kb mfa" is no DNS name or address such as kbmfa.example
        KBMFA_NAMES: "-" is no DNS name or address such as kbmfa.example
        KBMFA_LISTEN: write an address and a port, such as 0.0.0.0:8443
        KBMFA_STATUS_LISTEN: must be a loopback address: it answers anybody, without TLS
        KBMFA_STATE_DIR: write the whole path, from / on
        KB_TEAM: team name "Acme" is not valid: use the team's name as Keybase shows it in lower case, such as acme or acme.ops
        KB_CHANNEL: channel name "ssh log" is not valid: use 1 to 20 of letters, digits, hyphen and underscore
        KEYBASE_USERNAME: Keybase name "ssh-bot" is not valid: use 2 to 16 of a-z, 0-9 and underscore, starting with a letter or digit
        KEYBASE_PAPERKEY: a paper key is words of letters with blanks between them
        KBMFA_AUTH_TOKEN_FROM: "here" is no address or range such as 192.0.2.0/24
        AUTH_TOKEN_FILE: write the whole path, from / on
        "#);
    }

    #[test]
    fn a_fault_names_its_variable() {
        let check = |vars: &[&str], expected: &str| {
            let faults = read_text(vars).unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(expected), "{faults:?}");
        };
        check(&["KB_TYPE=team\n", BOT], "KB_TEAM: missing");
        check(&["KB_TYPE=private\n", BOT], "KB_USER: missing");
        check(&["KB_TYPE=private\nKB_USER=sshbot\n", BOT], "KB_USER: the bot would approve");
        check(&[TEAM, BOT, "KBMFA_NAMES=,"], "KBMFA_NAMES: missing");
        check(&[TEAM, BOT, "KEYBASE_PAPERKEY_FILE=/x"], "KEYBASE_PAPERKEY: KEYBASE_PAPERKEY_FILE is set too");
        check(&[TEAM, BOT, TOKEN, "AUTH_TOKEN_FILE=/x"], "AUTH_TOKEN: AUTH_TOKEN_FILE is set too");
        check(&[TEAM, BOT, "KBMFA_AUTH_TOKEN_FROM=10.0.0.0/8"], "KBMFA_AUTH_TOKEN_FROM: it goes with");
    }

    #[test]
    fn a_token_that_is_worth_nothing_is_left_out_and_the_rest_goes_on() {
        let check = |vars: &str, expected: &str| {
            let setup = read_text(&[TEAM, BOT, vars]).unwrap();
            assert!(setup.draft.auth_token.is_none() && setup.secrets.len() == 1, "{setup:?}");
            let why = setup.token_left_out.unwrap();
            assert!(why.contains(expected), "{why}");
        };
        check("AUTH_TOKEN=0123456789abcdef", "KBMFA_AUTH_TOKEN_FROM names none");
        check("AUTH_TOKEN_FILE=/run/secrets/token", "KBMFA_AUTH_TOKEN_FROM names none");
        check("AUTH_TOKEN=0123456789abcde\nKBMFA_AUTH_TOKEN_FROM=10.0.0.0/8", "16 to 256 visible characters");
        check("AUTH_TOKEN=0123456789 abcdef\nKBMFA_AUTH_TOKEN_FROM=10.0.0.0/8", "without a blank");
    }

    #[test]
    fn no_secret_is_printed_with_the_rest() {
        let setup = read_text(&[TEAM, BOT, TOKEN]).unwrap();
        let printed = format!("{setup:?}{}", setup.draft.toml());
        assert!(!printed.contains("one two") && !printed.contains("0123456789"), "{printed}");
    }
}
