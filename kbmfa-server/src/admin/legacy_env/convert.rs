//! Converts the variables, by the table, to the set-up that `init` does, or to a list of all faults in them.
//! Pure.

use std::path::PathBuf;
use toml::Value;

use super::table::{BOT, Row, TABLE, TOKEN_FILE, TOKEN_FROM, USER};
use super::variables::Variables;
use crate::admin::init::draft::Draft;
use crate::config;
use crate::secret::Secret;

/// The set-up that the variables describe.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) draft: Draft,
    /// Secrets from variables, and the files for them.
    pub(super) secrets: Vec<(PathBuf, Secret)>,
    /// Why the `AUTH_TOKEN` is ignored, if it is.
    pub(super) token_left_out: Option<String>,
}

/// Converts all variables.
///
/// # Errors
/// Every fault, each beginning with the name of its variable.
pub(super) fn convert(vars: &Variables) -> Result<Setup, Vec<String>> {
    let mut setup = Setup { draft: Draft::new(), secrets: Vec::new(), token_left_out: None };
    setup.draft.set(("relay", "kind"), "keybase");
    let is_for_this_type = |row: &&Row| row.only_for.is_none_or(|kind| vars.get("KB_TYPE") == Some(kind));
    let added = TABLE.iter().filter(is_for_this_type).map(|row| (row.name, setup.add(row, vars)));
    let mut faults: Vec<_> =
        added.filter_map(|(name, added)| Some(format!("{name}: {}", added.err()?))).collect();
    let user = setup.draft.get(USER);
    if user.is_some() && user == setup.draft.get(BOT) {
        faults.push("KB_USER: the bot would approve its own asks; name somebody else".to_owned());
    }
    let ranges = setup.draft.get(TOKEN_FROM).and_then(Value::as_array);
    let has_ranges = ranges.is_some_and(|ranges| !ranges.is_empty());
    if vars.get("AUTH_TOKEN").or(vars.get("AUTH_TOKEN_FILE")).is_none() {
        if has_ranges {
            faults.push("KBMFA_AUTH_TOKEN_FROM: it goes with AUTH_TOKEN or AUTH_TOKEN_FILE".to_owned());
        }
        setup.draft.remove_auth_token();
    } else if !has_ranges {
        setup.leave_token_out(NO_RANGES.to_owned());
    } else if let Some(Err(why)) = vars.get("AUTH_TOKEN").map(config::auth_token_hash) {
        setup.leave_token_out(why);
    }
    if faults.is_empty() { Ok(setup) } else { Err(faults) }
}

const NO_RANGES: &str = "anybody who has it can claim to be any machine, so it is accepted only from ranges \
                         that you name, and KBMFA_AUTH_TOKEN_FROM names none";

impl Setup {
    fn add(&mut self, row: &Row, vars: &Variables) -> Result<(), String> {
        let twin = format!("{}_FILE", row.name);
        let has_twin = vars.get(&twin).is_some();
        let text = match (vars.get(row.name), row.absent) {
            (Some(_), _) if has_twin => return Err(format!("{twin} is set too; keep one of them")),
            (Some(text), _) => text,
            (None, Err(missing)) if !has_twin => return Err(missing.to_owned()),
            (None, Err(_) | Ok("")) => return Ok(()),
            (None, Ok(default)) => default,
        };
        let mut value = (row.convert)(text)?;
        if let Some(name) = row.file {
            let state_dir = self.draft.get(("server", "state_dir")).and_then(Value::as_str);
            let file = format!("{}/{name}", state_dir.unwrap_or_default());
            self.secrets.push((file.clone().into(), Secret::new(format!("{text}\n"))));
            value = file.into();
        }
        self.draft.set(row.key, value);
        Ok(())
    }

    /// Ignores the token, with this reason. A weak token must not keep the server from starting.
    pub(super) fn leave_token_out(&mut self, why: String) {
        let file = self.draft.get(TOKEN_FILE).and_then(Value::as_str).map(PathBuf::from);
        self.secrets.retain(|(path, _)| Some(path) != file.as_ref());
        self.draft.remove_auth_token();
        self.token_left_out = Some(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEAM: &str = "KB_TYPE=team\nKB_TEAM=acme.ops\nKB_CHANNEL=ssh\n";
    const BOT: &str =
        "KEYBASE_USERNAME=sshbot\nKEYBASE_PAPERKEY=one two three\nKBMFA_NAMES=kbmfa.example, 192.0.2.1\n";
    const TOKEN: &str = "AUTH_TOKEN=0123456789abcdef\nKBMFA_AUTH_TOKEN_FROM=10.0.0.0/8,192.0.2.7\n";

    fn from(parts: &[&str]) -> Result<Setup, String> {
        convert(&Variables::from_dotenv(&parts.concat())).map_err(|faults| faults.join("\n"))
    }

    #[test]
    fn each_key_of_the_table_has_its_place_in_the_file() {
        for row in &TABLE {
            let mut draft = Draft::new();
            draft.set(row.key, "here");
            let expected = format!("\n{} = \"here\"\n", row.key.1);
            assert!(draft.toml().contains(&expected), "{}", row.name);
        }
    }

    #[test]
    fn secrets_go_into_files_of_their_own_and_are_printed_nowhere() {
        let setup = from(&[TEAM, BOT, TOKEN]).unwrap();
        let secrets = setup.secrets.iter();
        let secrets: Vec<_> =
            secrets.map(|(path, secret)| (path.to_str().unwrap(), secret.reveal())).collect();
        let paperkey = ("/var/lib/kbmfa/paperkey", "one two three\n");
        assert_eq!(secrets, [paperkey, ("/var/lib/kbmfa/auth_token", "0123456789abcdef\n")]);
        assert_eq!(setup.token_left_out, None);
        let (debug, text) = (format!("{setup:?}"), setup.draft.toml());
        for secret in ["one two", "0123456789"] {
            assert!(!debug.contains(secret) && !text.contains(secret), "{secret} in {debug} or {text}");
        }
        let token = "auth_token_file = \"/var/lib/kbmfa/auth_token\"\nauth_token_from = [\"10.0.0.0/8\", \"192.0.2.7/32\"]\n";
        assert!(
            text.contains(token) && text.ends_with("paperkey_file = \"/var/lib/kbmfa/paperkey\"\n"),
            "{text}"
        );
    }

    #[test]
    fn a_private_chat_with_secrets_in_files_of_their_own() {
        let files = "KB_TYPE=private\nKB_USER=alice\nKB_TEAM=!\nKEYBASE_USERNAME=sshbot\nKBMFA_NAMES=kbmfa.example\n\
                     KEYBASE_PAPERKEY_FILE=/run/paperkey\nAUTH_TOKEN_FILE=/run/token\nKBMFA_AUTH_TOKEN_FROM=10.0.0.0/8";
        let setup = from(&[files]).unwrap();
        let (text, token) =
            (setup.draft.toml(), "auth_token_file = \"/run/token\"\nauth_token_from = [\"10.0.0.0/8\"]\n");
        let place = "type = \"private\"\nuser = \"alice\"\npaperkey_file = \"/run/paperkey\"\n";
        assert!(text.ends_with(place) && text.contains(token) && setup.secrets.is_empty(), "{text}");
    }

    #[test]
    fn the_channel_is_general_unless_it_is_named() {
        let text = from(&["KB_TYPE=team\nKB_TEAM=acme\nKB_USER=!\n", BOT]).unwrap().draft.toml();
        assert!(text.contains("team = \"acme\"\nchannel = \"general\"\npaperkey_file"), "{text}");
    }

    #[test]
    fn all_faults_are_reported_at_once_with_their_variables() {
        insta::assert_snapshot!(from(&["KB_TYPE=pigeon"]).unwrap_err(), @r#"
        KBMFA_NAMES: missing: name the DNS names or addresses at which machines reach this server, such as kbmfa.example,192.0.2.1
        KB_TYPE: write team or private
        KEYBASE_USERNAME: missing: name the bot, a Keybase account that no approver uses
        KEYBASE_PAPERKEY: missing: the bot logs in with its paper key; set this, or better KEYBASE_PAPERKEY_FILE
        "#);
        let bad = "KB_TYPE=team\nKB_TEAM=Acme\nKB_CHANNEL=ssh log\nKEYBASE_USERNAME=ssh-bot\nKEYBASE_PAPERKEY=one-two\n\
                   KBMFA_NAMES=kb mfa,a.example,-\nKBMFA_LISTEN=8443\nKBMFA_STATUS_LISTEN=0.0.0.0:1\n\
                   KBMFA_STATE_DIR=state\nAUTH_TOKEN_FILE=token\nKBMFA_AUTH_TOKEN_FROM=here";
        insta::assert_snapshot!(from(&[bad]).unwrap_err(), @r#"
        KBMFA_NAMES: "kb mfa" is not a DNS name or address such as kbmfa.example
        KBMFA_LISTEN: write an address and a port, such as 0.0.0.0:8443
        KBMFA_STATUS_LISTEN: must be a loopback address: it answers anybody, without TLS
        KBMFA_STATE_DIR: write the absolute path
        KB_TEAM: team name "Acme" is not valid: use the team's name as Keybase shows it in lower case, such as acme or acme.ops
        KB_CHANNEL: channel name "ssh log" is not valid: use 1 to 20 of letters, digits, hyphen and underscore
        KEYBASE_USERNAME: Keybase name "ssh-bot" is not valid: use 2 to 16 of a-z, 0-9 and underscore, starting with a letter or digit
        KEYBASE_PAPERKEY: a paper key consists of words of letters, separated by blanks
        KBMFA_AUTH_TOKEN_FROM: "here" is not an address or range such as 192.0.2.0/24
        AUTH_TOKEN_FILE: write the absolute path
        "#);
        for (vars, expected) in [
            ("KB_TYPE=team\nKB_TEAM=", "KB_TEAM: missing"),
            ("KB_TYPE=private", "KB_USER: missing"),
            ("KB_TYPE=private\nKB_USER=sshbot", "KB_USER: the bot would approve"),
            ("KBMFA_NAMES=,", "KBMFA_NAMES: missing"),
            ("KEYBASE_PAPERKEY_FILE=/x", "KEYBASE_PAPERKEY: KEYBASE_PAPERKEY_FILE is set too"),
            ("AUTH_TOKEN=x\nAUTH_TOKEN_FILE=/x", "AUTH_TOKEN: AUTH_TOKEN_FILE is set too"),
            ("KBMFA_AUTH_TOKEN_FROM=10.0.0.0/8", "KBMFA_AUTH_TOKEN_FROM: it goes with"),
        ] {
            let faults = from(&[TEAM, BOT, vars]).unwrap_err();
            assert!(faults.starts_with(expected) && faults.lines().count() == 1, "{vars}: {faults}");
        }
    }

    #[test]
    fn a_weak_token_is_ignored_and_the_rest_is_converted() {
        for (vars, expected) in [
            ("AUTH_TOKEN=0123456789abcdef", "KBMFA_AUTH_TOKEN_FROM names none"),
            ("AUTH_TOKEN_FILE=/run/secrets/token", "KBMFA_AUTH_TOKEN_FROM names none"),
            ("AUTH_TOKEN=0123456789abcde\nKBMFA_AUTH_TOKEN_FROM=10.0.0.0/8", "16 to 256 visible characters"),
            ("AUTH_TOKEN=0123456789 abcdef\nKBMFA_AUTH_TOKEN_FROM=10.0.0.0/8", "without a blank"),
        ] {
            let setup = from(&[TEAM, BOT, vars]).unwrap();
            assert!(!setup.draft.toml().contains("auth_token") && setup.secrets.len() == 1, "{setup:?}");
            let why = setup.token_left_out.unwrap();
            assert!(why.contains(expected), "{why}");
        }
    }
}
