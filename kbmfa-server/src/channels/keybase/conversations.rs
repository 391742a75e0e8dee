//! The conversations that asks go to: found by name once, known by id from then on. None is ever made by sending to it.

use kbmfa_proto::names::KeybaseName;

use super::client::{Client, Team};
use super::error::{self, Failure, Fault};
use super::members::Member;
use super::process::program::Error;
use super::settings::{Place, Settings};

/// A conversation.
#[derive(Debug, Clone)]
pub(super) struct Conversation {
    /// Its id.
    pub(super) id: String,
    /// Whose answers count in it.
    pub(super) people: People,
}

/// Whose answers count.
#[derive(Debug, Clone)]
pub(super) enum People {
    /// Members of the team, by the name that it has now.
    Team(String),
    /// This user.
    User(Member),
}

/// Finds the conversation, and makes sure that the bot may ask there. One that was known before is the same, whatever it is
/// called by now.
pub(super) async fn find(
    client: &Client,
    settings: &Settings,
    place: &Place,
    known: Option<&Conversation>,
) -> Result<Conversation, Failure> {
    match (place, known) {
        (Place::Channel(..), Some(known)) => {
            let team = team_of(client, &known.id).await?;
            check_team(client, settings, &team).await?;
            Ok(Conversation { id: known.id.clone(), people: People::Team(team) })
        }
        (Place::Channel(team, _), None) => {
            check_team(client, settings, team.as_str()).await?;
            let conversation = channel(client, settings, place).await?;
            Ok(Conversation { id: conversation, people: People::Team(team.to_string()) })
        }
        (Place::Private(_), Some(known)) => Ok(known.clone()),
        (Place::Private(user), None) => private(client, settings, user).await,
    }
}

/// The team that a conversation belongs to, by the name that it has now.
pub(super) async fn team_of(client: &Client, conversation: &str) -> Result<String, Error> {
    let found = client.conversation(conversation).await?;
    let name = found.map(|found| found.channel.name).unwrap_or_default();
    if name.is_empty() {
        Err(Error::refused(format!(
            "there is no conversation {conversation} any more; if it was made anew, restart the server"
        )))
    } else {
        Ok(name)
    }
}

async fn private(client: &Client, settings: &Settings, user: &KeybaseName) -> Result<Conversation, Failure> {
    let names = format!("{},{user}", settings.username);
    let conversation = client.private(&names).await;
    let fix =
        || "name an existing Keybase user in [relay.keybase] user, or in the rule's destination".to_owned();
    let conversation =
        conversation.map_err(|error| error::refused(&error, &format!("a chat with {user}"), fix))?;
    let found = client.people(&conversation).await?.into_iter().find(|member| member.name == *user);
    let user =
        found.ok_or_else(|| Failure::permanent(format!("{user} is not in the chat with {user}"), fix()))?;
    Ok(Conversation { id: conversation, people: People::User(user) })
}

async fn check_team(client: &Client, settings: &Settings, team: &str) -> Result<(), Failure> {
    let bot = &settings.username;
    let join = || {
        format!(
            "`keybase team create {team}` if there is none of this name; then, as an admin of it, \
             `keybase team add-member {team} --user {bot} --role bot`"
        )
    };
    let found = client.team(team).await;
    let found = found.map_err(|error| error::refused(&error, &format!("team {team}"), join))?;
    trusted(settings, team, &found).map_err(Failure::Permanent)?;
    let kind = found.members.iter().find(|member| member.name == *bot).map(|member| member.kind);
    error::of_bot(bot, team, kind).map_or(Ok(()), |fault| Err(Failure::Permanent(fault)))
}

/// An open team is trusted only by name.
pub(super) fn trusted(settings: &Settings, team: &str, found: &Team) -> Result<(), Fault> {
    let is_named = settings.open_teams.iter().any(|open| open.as_str() == team);
    if found.is_open && !is_named { Err(error::open_team(team)) } else { Ok(()) }
}

async fn channel(client: &Client, settings: &Settings, place: &Place) -> Result<String, Failure> {
    let Place::Channel(team, channel) = place else {
        return Err(Failure::Transient("not a channel".into()));
    };
    let known = client.conversations(place, settings.username.as_str()).await?;
    let is_it = |name: &str| name == channel.as_str();
    let found = known.into_iter().find(|known| is_it(&known.channel.topic_name));
    let Some(found) = found else {
        return Err(Failure::Permanent(error::no_channel(team.as_str(), channel.as_str())));
    };
    if found.member_status != "active" {
        client.join(&found.id).await?;
    }
    Ok(found.id)
}
