//! Looks at the whole way to Keybase, step by step, for `doctor`. It starts no service: it uses the one that runs.

use super::answers;
use super::client::Client;
use super::heart::Heart;
use super::rooms::{self, People};
use super::service;
use super::settings::{Place, Settings};
use super::trouble::Trouble;

/// Looks at program, login, conversations and their people, and at a message that goes there and back. Each comes with what
/// was found, or what is wrong.
pub async fn examine(settings: &Settings, destinations: &[String]) -> Vec<(String, Result<String, String>)> {
    let client = Client::new(settings);
    let mut all = vec![("program".to_owned(), version(&client).await)];
    if all.iter().any(|(_, looked)| looked.is_err()) {
        return all;
    }
    all.push(("login".to_owned(), login(&client, settings).await));
    if all.iter().any(|(_, looked)| looked.is_err()) {
        return all;
    }
    for destination in destinations {
        all.push((destination.clone(), room(&client, settings, destination).await));
    }
    all.push(("message".into(), there_and_back(&client, settings).await));
    client.end().await;
    all
}

async fn version(client: &Client) -> Result<String, String> {
    let found = client.program.run(&["version", "-S", "-f", "s"], None, super::program::VERB_TIME).await;
    let found = found.map_err(|error| format!("{error}: install Keybase, or set [relay.keybase] program"))?;
    Ok(format!("version {}", found.trim()))
}

async fn login(client: &Client, settings: &Settings) -> Result<String, String> {
    match service::bot(client, settings).await {
        Ok(uid) => Ok(format!("{} ({uid})", settings.username)),
        Err(Trouble::Fatal(why)) => Err(why),
        Err(Trouble::Passing(why)) => {
            Err(format!("{why}; a service of our own runs while kbmfa-server does"))
        }
    }
}

async fn room(client: &Client, settings: &Settings, destination: &str) -> Result<String, String> {
    let place: Place = destination.parse()?;
    let room = rooms::find(client, settings, &place).await.map_err(|trouble| trouble.why().to_owned())?;
    let People::Team(team) = room.people else { return Ok(format!("conversation {}", room.id)) };
    let members = client.team(&team).await.map_err(|error| error.to_string())?.members;
    match members.iter().filter(|member| member.why_not(settings.min_role).is_none()).count() {
        0 => Err(format!("nobody in {team} may answer: that takes a {}", settings.min_role)),
        1 => Ok("one person may answer; under \"not-self\" nobody could answer for them".to_owned()),
        count => Ok(format!("{count} people may answer")),
    }
}

/// A message in the bot's own conversation, read back as an ask would be.
async fn there_and_back(client: &Client, settings: &Settings) -> Result<String, String> {
    let begun = Heart::begin(client, settings.username.as_str()).await;
    let mut heart = begun.map_err(|error| format!("it cannot be sent: {error}"))?;
    heart.beat(client).await.map_err(|error| format!("it cannot be read back: {error}"))?;
    Ok(format!("went there and back; people answer with {}", answers::OFFERED.join(" or ")))
}
