//! The conversations in which asks are posted. Each is found by name once, and known by id from then on. The
//! bot never posts to a team's channel that does not exist, because Keybase would create it.

use kbmfa_proto::names::KeybaseName;

use super::client::{Client, Team};
use super::error::{self, Failure, Fault};
use super::members::Member;
use super::process::program::Error;
use super::settings::{Place, Settings};

/// A conversation whose name was resolved.
#[derive(Debug, Clone)]
pub(super) struct Conversation {
    /// Keybase's id, which remains the same if the conversation is renamed.
    pub(super) id: String,
    /// The people whose answers count in it.
    pub(super) people: People,
}

/// The people whose answers count in a conversation.
#[derive(Debug, Clone)]
pub(super) enum People {
    /// Members of the team with this current name.
    Team(String),
    /// This user of a private chat.
    User(Member),
}

/// Finds a conversation, and checks that the bot may post there. A conversation that is already known keeps
/// its id, even if it was renamed.
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

/// The current name of the team to which a conversation belongs.
pub(super) async fn team_of(client: &Client, conversation: &str) -> Result<String, Error> {
    let found = client.conversation(conversation).await?;
    let name = found.map(|found| found.channel.name).unwrap_or_default();
    if name.is_empty() {
        Err(Error::refused(format!(
            "the conversation {conversation} no longer exists; if it was created again, restart the server"
        )))
    } else {
        Ok(name)
    }
}

async fn private(client: &Client, settings: &Settings, user: &KeybaseName) -> Result<Conversation, Failure> {
    let names = format!("{},{user}", settings.username);
    let conversation = client.open_private(&names).await;
    let fix =
        || "name an existing Keybase user in [relay.keybase] user, or in the rule's destination".to_owned();
    let conversation =
        conversation.map_err(|error| error::classify_refusal(&error, &format!("a chat with {user}"), fix))?;
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
    let found = found.map_err(|error| error::classify_refusal(&error, &format!("team {team}"), join))?;
    check_trusted(settings, team, &found).map_err(Failure::Permanent)?;
    let kind = found.members.iter().find(|member| member.name == *bot).map(|member| member.kind);
    error::bot_fault(bot, team, kind).map_or(Ok(()), |fault| Err(Failure::Permanent(fault)))
}

/// Returns a fault for an open team that the configuration does not name in `open_teams`.
pub(super) fn check_trusted(settings: &Settings, team: &str, found: &Team) -> Result<(), Fault> {
    let is_named = settings.open_teams.iter().any(|open| open.as_str() == team);
    if found.is_open && !is_named { Err(error::open_team(team)) } else { Ok(()) }
}

async fn channel(client: &Client, settings: &Settings, place: &Place) -> Result<String, Failure> {
    let Place::Channel(team, channel) = place else {
        return Err(Failure::Transient("the destination is not a team's channel".into()));
    };
    let known = client.conversations(place, settings.username.as_str()).await?;
    let found = known.into_iter().find(|known| known.channel.topic_name == channel.as_str());
    let Some(found) = found else {
        return Err(Failure::Permanent(error::no_channel(team.as_str(), channel.as_str())));
    };
    if found.member_status != "active" {
        client.join(&found.id).await?;
    }
    Ok(found.id)
}
