//! The configuration file that `init` writes: a pure function of what was asked for. The operator goes on from there by
//! hand; nothing ever writes it again.

use kbmfa_proto::names::KeybaseName;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::channels::keybase::settings::Place;
use crate::source::Range;

/// What the file is to say.
#[derive(Debug, Clone)]
pub(in crate::admin) struct Draft {
    /// Where machines connect.
    pub(in crate::admin) listen: SocketAddr,
    /// Where the operator's own tools ask.
    pub(in crate::admin) status_listen: SocketAddr,
    /// Where everything is kept.
    pub(in crate::admin) state_dir: PathBuf,
    /// Names and addresses of the server.
    pub(in crate::admin) names: Vec<String>,
    /// The old tool's `AUTH_TOKEN`, if it is to be accepted.
    pub(in crate::admin) auth_token: Option<AuthToken>,
    /// Where asks go.
    pub(in crate::admin) relay: Relay,
}

/// The file that holds the token, and where it counts.
#[derive(Debug, Clone)]
pub(in crate::admin) struct AuthToken {
    pub(in crate::admin) file: PathBuf,
    pub(in crate::admin) from: Vec<Range>,
}

/// Where asks go.
#[derive(Debug, Clone)]
pub(in crate::admin) enum Relay {
    /// To the server's own console.
    Console,
    /// To Keybase.
    Keybase {
        /// The bot.
        username: KeybaseName,
        /// Where it asks.
        place: Place,
        /// The file that holds its paper key.
        paperkey_file: PathBuf,
    },
}

impl Draft {
    /// The whole file.
    pub(in crate::admin) fn toml(&self) -> String {
        format!(
            "# kbmfa-server's configuration. `kbmfa-server check` reads it; SIGHUP makes the server read it again.\n\n\
             [server]\nlisten = \"{}\"\nstatus_listen = \"{}\"\nstate_dir = {}\nnames = {}\n{}\n\
             [login]\nwindow = \"60s\"\npoll_grace = \"15s\"\n\n\
             [policy]\napprovers = \"anyone\"\n\n{}",
            self.listen,
            self.status_listen,
            path(&self.state_dir),
            list(&self.names),
            self.auth_token.as_ref().map(AuthToken::toml).unwrap_or_default(),
            self.relay.toml(),
        )
    }
}

impl AuthToken {
    fn toml(&self) -> String {
        format!("auth_token_file = {}\nauth_token_from = {}\n", path(&self.file), list(&self.from))
    }
}

impl Relay {
    fn toml(&self) -> String {
        let Self::Keybase { username, place, paperkey_file } = self else {
            return "[relay]\nkind = \"console\"\n".to_owned();
        };
        let place = match place {
            Place::Channel(team, channel) => {
                format!("type = \"team\"\nteam = \"{team}\"\nchannel = \"{channel}\"")
            }
            Place::Private(user) => format!("type = \"private\"\nuser = \"{user}\""),
        };
        format!(
            "[relay]\nkind = \"keybase\"\n\n\
             [relay.keybase]\nusername = \"{username}\"\n{place}\npaperkey_file = {}\n",
            path(paperkey_file)
        )
    }
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

fn list(items: &[impl Display]) -> String {
    let items: Vec<_> = items.iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

/// A basic string of TOML (<https://toml.io/en/v1.0.0#string>).
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels;
    use crate::config::Config;

    fn draft(relay: Relay) -> Draft {
        Draft {
            listen: "0.0.0.0:8443".parse().unwrap(),
            status_listen: "127.0.0.1:8444".parse().unwrap(),
            state_dir: "/srv/k\"b\\m\tfa".into(),
            names: vec!["kbmfa.example".into(), "2001:db8::1".into()],
            auth_token: None,
            relay,
        }
    }

    fn read_back(draft: &Draft) -> Config {
        Config::parse(Path::new("server.toml"), &draft.toml()).unwrap()
    }

    #[test]
    fn what_is_written_reads_back_whatever_is_in_it() {
        let draft = draft(Relay::Console);
        let config = read_back(&draft);
        assert_eq!((config.state_dir, config.http.names), (draft.state_dir, draft.names));
        assert_eq!((config.http.listen, config.http.status_listen), (draft.listen, draft.status_listen));
        assert_eq!(config.relay, channels::Settings::Console);
    }

    #[test]
    fn each_place_of_keybase_reads_back() {
        for text in ["acme#general", "acme.ops#SSH", "@alice"] {
            let place: Place = text.parse().unwrap();
            let username = "sshbot".parse().unwrap();
            let paperkey_file = PathBuf::from("/run/secrets/paperkey");
            let config = read_back(&draft(Relay::Keybase { username, place, paperkey_file }));
            assert_eq!(config.policy.default.destination, text);
            let channels::Settings::Keybase(settings) = config.relay else { panic!("{text}") };
            assert_eq!(settings.username.as_str(), "sshbot");
            assert_eq!(settings.paperkey_file.as_deref(), Some(Path::new("/run/secrets/paperkey")));
        }
    }

    #[test]
    fn the_token_goes_with_its_ranges() {
        let from = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let auth_token = Some(AuthToken { file: "/etc/kbmfa/auth_token".into(), from });
        let text = Draft { auth_token, ..draft(Relay::Console) }.toml();
        let lines = "auth_token_file = \"/etc/kbmfa/auth_token\"\n\
                     auth_token_from = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n\n[login]";
        assert!(text.contains(lines), "{text}");
    }
}
