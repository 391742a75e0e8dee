//! Reads `[relay.keybase]`: the program and its service, the bot, the destination of asks, and who may
//! answer.

use kbmfa_proto::names::{BadName, ChannelName, KeybaseName, TeamName};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::members::Role;
use crate::channels::Post;
use crate::policy::{Approver, Approvers};
use crate::settings::Section;

/// Longest home, in bytes. The service's socket is `.config/keybase/keybased.sock` in it, and the path of a
/// Unix socket has at most 107 bytes.
const HOME_BYTES_MAX: usize = 107 - "/.config/keybase/keybased.sock".len();

/// The values of `[relay.keybase]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The `keybase` program.
    pub program: PathBuf,
    /// The service that the program uses.
    pub service: Service,
    /// The bot's Keybase name.
    pub username: KeybaseName,
    /// The file with the bot's paper key; required with the server's own service.
    pub paperkey_file: Option<PathBuf>,
    /// The default destination of asks.
    pub place: Place,
    /// Teams that are trusted although anybody may join them.
    pub open_teams: Vec<TeamName>,
    /// Notices that are posted besides asks and decisions.
    pub post: Post,
    /// Minimum role of people whose answers count.
    pub min_role: Role,
    /// The people whom each ask mentions, so that Keybase notifies them. Nobody by default.
    pub mention: Mention,
}

/// The people whom an ask mentions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mention {
    /// Nobody.
    #[default]
    Nobody,
    /// Everybody in the channel who is active at that time.
    Here,
    /// Everybody in the channel.
    Channel,
    /// These people.
    People(Vec<KeybaseName>),
}

impl Mention {
    /// The mention as the end of a text: a blank and `@` before each name. Empty for nobody.
    pub fn text(&self) -> String {
        match self {
            Self::Nobody => String::new(),
            Self::Here => " @here".to_owned(),
            Self::Channel => " @channel".to_owned(),
            Self::People(people) => {
                people.iter().fold(String::new(), |text, name| text + " @" + name.as_str())
            }
        }
    }

    fn read(keybase: &Section<'_>) -> Self {
        let words = keybase.list("mention").unwrap_or_default();
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => Self::Nobody,
            ["here"] => Self::Here,
            ["channel"] => Self::Channel,
            names => {
                let parse = |name: &&str| match name.parse() {
                    _ if ["here", "channel", "everyone"].contains(name) => {
                        Err("must be the only entry".to_owned())
                    }
                    parsed => parsed.map_err(|error: BadName| error.to_string()),
                };
                let report = |name: &&str, why: String| {
                    keybase.fault(
                        "mention",
                        &format!("{name:?}: {why}; write \"here\", \"channel\" or a list of users"),
                    );
                };
                let people =
                    names.iter().filter_map(|name| parse(name).map_err(|why| report(name, why)).ok());
                Self::People(people.collect())
            }
        }
    }
}

/// The Keybase service that the server uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// The server's own service, as its child process.
    Own {
        /// The folder of the service's files: `--home`.
        home: PathBuf,
    },
    /// A service that somebody else started.
    Ambient {
        /// The folder of the service's files: `--home`; `None` for the account's home.
        home: Option<PathBuf>,
    },
}

/// A conversation by name: `acme#general`, or `@alice`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// A channel of a team.
    Channel(TeamName, ChannelName),
    /// A private chat with one user.
    Private(KeybaseName),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(team, channel) => write!(f, "{team}#{channel}"),
            Self::Private(user) => write!(f, "@{user}"),
        }
    }
}

impl FromStr for Place {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(user) = text.strip_prefix('@') {
            return Ok(Self::Private(user.parse().map_err(|e| format!("{e}"))?));
        }
        let (team, channel) = text.split_once('#').unwrap_or((text, GENERAL));
        let channel = channel.parse().map_err(|e| format!("{e}"))?;
        Ok(Self::Channel(team.parse().map_err(|e| format!("{e}"))?, channel))
    }
}

/// The channel that every team has.
const GENERAL: &str = "general";

impl Settings {
    /// Reads the section; `None` if a required key is missing.
    pub fn read(keybase: &Section<'_>, state_dir: &Path, min_role: Role) -> Option<Self> {
        let username = keybase.parsed_or_none::<KeybaseName>("username");
        if username.is_none() {
            keybase.fault("username", "name the bot, a Keybase account that nobody approves with");
        }
        let place = place(keybase);
        let service = service(keybase, state_dir);
        let paperkey_file = keybase.parsed_or_none::<PathBuf>("paperkey_file");
        if matches!(service, Some(Service::Own { .. })) && paperkey_file.is_none() {
            keybase.fault(
                "paperkey_file",
                "with service = \"own\" the server logs in with the bot's paper key: name the file that holds it",
            );
        }
        let (program, open_teams) =
            (keybase.parsed("program", PathBuf::from("keybase")), keybase.parsed_list("open_teams"));
        let (post, mention) = (post(keybase), Mention::read(keybase));
        let settings = Self {
            program,
            service: service?,
            username: username?,
            paperkey_file,
            place: place?,
            open_teams: open_teams.unwrap_or_default(),
            post,
            min_role,
            mention,
        };
        if settings.place == Place::Private(settings.username.clone()) {
            keybase.fault("user", "the bot would approve its own asks; name another user");
        }
        Some(settings)
    }

    /// Completes a destination from a rule: a channel of the default team, `team#channel`, or `@user`.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn destination(&self, text: &str) -> Result<String, String> {
        let in_default_team = |channel: &str| match &self.place {
            Place::Channel(team, _) => Ok(format!("{team}#{channel}")),
            Place::Private(_) => Err("write team#channel or @user; there is no default team".to_owned()),
        };
        let whole = match text.strip_prefix('#') {
            Some(channel) => in_default_team(channel)?,
            None if text.contains(['#', '@']) => text.to_owned(),
            None => in_default_team(text)?,
        };
        let place: Place = whole.parse()?;
        if place == Place::Private(self.username.clone()) {
            return Err("the bot would approve its own asks".to_owned());
        }
        Ok(place.to_string())
    }

    /// Why these approvers are not valid; `None` if they are. The bot must not be one of them.
    pub fn approvers_fault(&self, approvers: &Approvers) -> Option<String> {
        let bot = Approver::keybase(&self.username);
        let Approvers::List(people) = approvers else { return None };
        people.contains(&bot).then(|| format!("{bot} is the bot: it would approve its own asks"))
    }
}

fn place(keybase: &Section<'_>) -> Option<Place> {
    let kind = keybase.parsed("type", "team".to_owned());
    let team = keybase.parsed_or_none::<TeamName>("team");
    let user = keybase.parsed_or_none::<KeybaseName>("user");
    let channel = keybase.parsed_or_none::<ChannelName>("channel");
    match (kind.as_str(), team, user) {
        ("team", Some(team), None) => {
            let general = GENERAL.parse().ok();
            Some(Place::Channel(team, channel.or(general)?))
        }
        ("private", None, Some(user)) if channel.is_none() => Some(Place::Private(user)),
        ("team", _, _) => {
            keybase.fault(
                "team",
                "type \"team\" needs team, and optionally channel; user is only for \"private\"",
            );
            None
        }
        ("private", _, _) => {
            keybase.fault("user", "type \"private\" needs user, and neither team nor channel");
            None
        }
        _ => {
            keybase.fault("type", "write \"team\" or \"private\"");
            None
        }
    }
}

fn service(keybase: &Section<'_>, state_dir: &Path) -> Option<Service> {
    let kind = keybase.parsed("service", "own".to_owned());
    let home = keybase.parsed_or_none::<PathBuf>("home");
    let service = match kind.as_str() {
        "own" => Service::Own { home: home.unwrap_or_else(|| state_dir.join("keybase")) },
        "ambient" => Service::Ambient { home },
        _ => {
            keybase.fault("service", "write \"own\" or \"ambient\"");
            return None;
        }
    };
    let home = match &service {
        Service::Own { home } => Some(home),
        Service::Ambient { home } => home.as_ref(),
    };
    if home.is_some_and(|home| home.as_os_str().len() > HOME_BYTES_MAX) {
        keybase.fault(
            "home",
            &format!("must have {HOME_BYTES_MAX} bytes at most, because it contains a Unix socket"),
        );
    }
    Some(service)
}

fn post(keybase: &Section<'_>) -> Post {
    let mut post = Post::default();
    for word in keybase.list("post").unwrap_or_default() {
        match word.as_str() {
            "refusals" => post.refusals = true,
            "sessions" => post.sessions = true,
            _ => keybase.fault("post", &format!("{word:?} is neither \"refusals\" nor \"sessions\"")),
        }
    }
    post
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mentioned_name_follows_a_blank_and_an_at_sign() {
        let people = Mention::People(vec!["alice".parse().unwrap(), "bob".parse().unwrap()]);
        let texts = [Mention::Nobody, Mention::Here, Mention::Channel, people].map(|mention| mention.text());
        assert_eq!(texts, ["", " @here", " @channel", " @alice @bob"]);
    }

    #[test]
    fn a_place_is_displayed_as_it_is_parsed_and_general_is_the_default() {
        for text in ["acme#general", "acme.ops#SSH", "@alice"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        assert_eq!("acme".parse::<Place>().unwrap().to_string(), "acme#general");
        for text in ["", "@", "#general", "acme#", "Acme", "acme#a b"] {
            assert!(text.parse::<Place>().is_err(), "{text:?}");
        }
    }
}
