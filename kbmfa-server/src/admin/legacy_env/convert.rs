//! Converts the variables, by the table, to the set-up that `init` does, or to a list of all faults in them.
//! Pure.

use std::path::{Path, PathBuf};
use toml::Value;

use super::table::{BOT, ONLY_FOR, Row, SECRETS, STATE, TABLE, TOKEN_FROM, USER};
use super::variables::Variables;
use crate::admin::init::draft::Draft;
use crate::config;
use crate::secret::{Secret, SecretHash};

/// The set-up that the variables describe.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) draft: Draft,
    /// Secrets from variables, and the files for them.
    pub(super) secrets: Vec<(PathBuf, Secret)>,
    /// Why the `AUTH_TOKEN` is ignored, if it is. A weak token does not keep the server from starting.
    pub(super) token_left_out: Option<String>,
}

const NO_RANGES: &str = "anybody who has it can claim to be any machine, so it is accepted only from ranges \
                         that you name, and KBMFA_AUTH_TOKEN_FROM names none";

/// Converts all variables. `read_token` reads the token in the operator's own file, as the server will do.
///
/// # Errors
/// Every fault, each beginning with the name of its variable.
pub(super) fn convert(
    vars: &Variables,
    read_token: impl FnOnce(&Path) -> Result<SecretHash, String>,
) -> Result<Setup, Vec<String>> {
    let mut setup = Setup { draft: Draft::new(), secrets: Vec::new(), token_left_out: None };
    setup.draft.set(("relay", "kind"), "keybase");
    let mut faults = Vec::new();
    for row in &TABLE {
        if let Err(why) = setup.add(row, vars) {
            faults.push(format!("{}: {why}", row.0));
        }
    }
    let user = setup.draft.get(USER);
    if user.is_some() && user == setup.draft.get(BOT) {
        faults.push("KB_USER: the bot would approve its own asks; name somebody else".to_owned());
    }
    let ranges = setup.draft.get(TOKEN_FROM).and_then(Value::as_array);
    let has_ranges = ranges.is_some_and(|ranges| !ranges.is_empty());
    let why_not = match (vars.get("AUTH_TOKEN"), vars.get("AUTH_TOKEN_FILE")) {
        (None, None) if has_ranges => {
            faults.push("KBMFA_AUTH_TOKEN_FROM: it goes with AUTH_TOKEN or AUTH_TOKEN_FILE".to_owned());
            None
        }
        (None, None) => None,
        _ if !has_ranges => Some(NO_RANGES.to_owned()),
        (Some(token), _) => config::auth_token_hash(token).err(),
        (None, Some(file)) => read_token(Path::new(file)).err().map(|why| format!("{file}: {why}")),
    };
    if why_not.is_some() || !has_ranges {
        setup.draft.remove_auth_token();
        setup.secrets.retain(|(path, _)| !path.ends_with("auth_token"));
    }
    setup.token_left_out = why_not;
    if faults.is_empty() { Ok(setup) } else { Err(faults) }
}

impl Setup {
    fn add(&mut self, (name, key, convert, absent): &Row, vars: &Variables) -> Result<(), String> {
        if ONLY_FOR.iter().any(|(of, kind)| of == name && vars.get("KB_TYPE") != Some(kind)) {
            return Ok(());
        }
        let twin = format!("{name}_FILE");
        let has_twin = vars.get(&twin).is_some();
        let text = match (vars.get(name), *absent) {
            (Some(_), _) if has_twin => return Err(format!("{twin} is set too; keep one of them")),
            (Some(text), _) => text,
            (None, Err(missing)) if !has_twin => return Err(missing.to_owned()),
            (None, Err(_) | Ok("")) => return Ok(()),
            (None, Ok(default)) => default,
        };
        let mut value = convert(text)?;
        if let Some((_, file)) = SECRETS.iter().find(|(of, _)| of == name) {
            let dir = self.draft.get(STATE).and_then(Value::as_str).unwrap_or_default();
            let path = format!("{dir}/{file}");
            self.secrets.push((path.clone().into(), Secret::new(format!("{text}\n"))));
            value = path.into();
        }
        self.draft.set(*key, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEAM: &str = "KB_TYPE=team\nKB_TEAM=acme.ops\nKB_CHANNEL=ssh\n";
    const BOT: &str =
        "KEYBASE_USERNAME=sshbot\nKEYBASE_PAPERKEY=one two three\nKBMFA_NAMES=kbmfa.example, 192.0.2.1\n";
    const TOKEN: &str = "AUTH_TOKEN=0123456789abcdef\nKBMFA_AUTH_TOKEN_FROM=10.0.0.0/8,192.0.2.7\n";
    const FILES: &str = "KEYBASE_USERNAME=sshbot\nKEYBASE_PAPERKEY_FILE=/run/paperkey\nKBMFA_NAMES=kbmfa.example\n\
                         AUTH_TOKEN_FILE=/run/token\nKBMFA_AUTH_TOKEN_FROM=10.0.0.0/8\n";

    /// The files that the variables name are not there. Only `/run/token` has a token.
    fn from(parts: &[&str]) -> Result<Setup, String> {
        let read = |path: &Path| match path.to_str() {
            Some("/run/token") => Ok(SecretHash::of("0123456789abcdef")),
            _ => Err("everybody can read it".to_owned()),
        };
        convert(&Variables::from_dotenv(&parts.concat()), read).map_err(|faults| faults.join("\n"))
    }

    #[test]
    fn each_key_of_the_table_has_its_place_in_the_file() {
        for (name, key, ..) in &TABLE {
            let mut draft = Draft::new();
            draft.set(*key, "here");
            assert!(draft.toml().contains(&format!("\n{} = \"here\"\n", key.1)), "{name}");
        }
    }

    #[test]
    fn secrets_go_into_files_of_their_own_and_are_printed_nowhere() {
        let setup = from(&[TEAM, BOT, TOKEN]).unwrap();
        let secrets = setup.secrets.iter().map(|(path, secret)| (path.to_str().unwrap(), secret.reveal()));
        let paperkey = ("/var/lib/kbmfa/paperkey", "one two three\n");
        let expected = [paperkey, ("/var/lib/kbmfa/auth_token", "0123456789abcdef\n")];
        assert_eq!(secrets.collect::<Vec<_>>(), expected);
        assert_eq!(setup.token_left_out, None);
        let printed = format!("{setup:?}{}", setup.draft.toml());
        assert!(!printed.contains("one two") && !printed.contains("0123456789"), "{printed}");
    }

    #[test]
    fn the_file_has_what_counts_for_the_type_and_files_of_the_operator_stay_where_they_are() {
        let token = "auth_token_file = \"/var/lib/kbmfa/auth_token\"\nauth_token_from = [\"10.0.0.0/8\", \"192.0.2.7/32\"]\n";
        let place = "type = \"team\"\nteam = \"acme.ops\"\nchannel = \"ssh\"\n";
        let own = "paperkey_file = \"/var/lib/kbmfa/paperkey\"\n";
        let named = "auth_token_file = \"/run/token\"\nauth_token_from = [\"10.0.0.0/8\"]\n";
        for (vars, secrets, token, end) in [
            ([TEAM, BOT, TOKEN], 2, token, format!("{place}{own}")),
            (
                ["KB_TYPE=team\nKB_TEAM=acme\nKB_USER=!\n", BOT, ""],
                1,
                "",
                format!("channel = \"general\"\n{own}"),
            ),
            (
                ["KB_TYPE=private\nKB_USER=alice\nKB_TEAM=!\n", FILES, ""],
                0,
                named,
                "type = \"private\"\nuser = \"alice\"\npaperkey_file = \"/run/paperkey\"\n".to_owned(),
            ),
        ] {
            let setup = from(&vars).unwrap();
            let text = setup.draft.toml();
            assert!(text.contains(token) && text.ends_with(&end) && setup.secrets.len() == secrets, "{text}");
        }
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
            ("AUTH_TOKEN_FILE=/run/token", "KBMFA_AUTH_TOKEN_FROM names none"),
            (
                "AUTH_TOKEN_FILE=/run/open\nKBMFA_AUTH_TOKEN_FROM=10.0.0.0/8",
                "/run/open: everybody can read it",
            ),
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
