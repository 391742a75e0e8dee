//! Sends a secret to one person: an exploding message in a private chat, which Keybase encrypts from end to end.
//!
//! It goes to an account only if Keybase's server says at this moment that the account is one of the people at the
//! default destination. So a mistyped name, or an account that was reset or deleted, gets nothing.

use kbmfa_proto::names::KeybaseName;
use std::time::Duration;

use super::Keybase;
use super::members::{Member, MemberKind};
use crate::secret::Secret;

/// Shortest and longest time after which Keybase deletes an exploding message by itself.
const LIFETIME: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(168 * 60 * 60));

/// Why a secret was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// Nothing was sent.
    #[error("{0}")]
    NotSent(String),
    /// It may have been sent, or may still be.
    #[error("it is not known whether the message was sent: {0}")]
    Unknown(String),
}

impl Keybase {
    /// Sends this text to this person alone. Keybase deletes it after the lifetime, or after a week.
    ///
    /// # Errors
    /// [`Undelivered`].
    pub async fn send_secret(
        &self,
        to: &KeybaseName,
        text: &Secret,
        lifetime: Duration,
    ) -> Result<(), Undelivered> {
        let not_sent = |why: String| Undelivered::NotSent(why);
        if let Some(why) = self.why_down() {
            return Err(not_sent(format!("Keybase cannot be reached: {why}")));
        }
        let conversation = self.chat_with(to).await.map_err(not_sent)?;
        let lifetime = lifetime.clamp(LIFETIME.0, LIFETIME.1);
        let sent = self.0.client.send_exploding(&conversation, text, lifetime).await;
        // Whatever Keybase says now may have happened after the message was posted.
        sent.map_err(|error| Undelivered::Unknown(error.to_string()))
    }

    /// The id of the private chat with this person, after a check that nobody else is in it.
    async fn chat_with(&self, to: &KeybaseName) -> Result<String, String> {
        let place = self.0.settings.place.clone();
        let people = self.people_at(&place).await.map_err(|error| error.to_string())?;
        let person = recipient(&people, to, &place.to_string())?;
        let (bot, client) = (&self.0.settings.username, &self.0.client);
        let chat = client.open_private(&format!("{bot},{to}")).await.map_err(|error| error.to_string())?;
        let found = client.people(&chat).await.map_err(|error| error.to_string())?;
        let listed = client.conversation(&chat).await.map_err(|error| error.to_string())?;
        let reset = listed.and_then(|listed| listed.reset_users).unwrap_or_default();
        check_alone(&found, person, bot, &reset)?;
        Ok(chat)
    }
}

/// The account with this name among the people at the destination, if it can read messages.
fn recipient<'a>(people: &'a [Member], to: &KeybaseName, destination: &str) -> Result<&'a Member, String> {
    let found = people.iter().find(|member| member.name == *to).ok_or_else(|| {
        format!("Keybase does not list {to} among the people at {destination}, so the account may be somebody else's")
    })?;
    match found.kind {
        MemberKind::Person(_) => Ok(found),
        MemberKind::Bot | MemberKind::RestrictedBot => Err(format!("{to} is a bot")),
        MemberKind::Keyless => {
            Err(format!("the Keybase account {to} was reset or deleted, or has no keys yet"))
        }
    }
}

/// Checks that a private chat has this person and the bot in it, and nobody else.
fn check_alone(found: &[Member], person: &Member, bot: &KeybaseName, reset: &[String]) -> Result<(), String> {
    let is_person = |member: &&Member| member.name == person.name && member.uid == person.uid;
    let others = found.iter().filter(|member| !is_person(member) && member.name != *bot).count();
    if found.iter().filter(is_person).count() != 1 || others > 0 {
        return Err(format!("the private chat with {} has other people in it", person.name));
    }
    if reset.iter().any(|name| name == person.name.as_str()) {
        return Err(format!("the Keybase account {} was reset, and has not been let in again", person.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::members::Role;
    use super::*;

    fn member(name: &str, uid: &str, kind: MemberKind) -> Member {
        Member { name: name.parse().unwrap(), uid: uid.into(), kind }
    }

    const PERSON: MemberKind = MemberKind::Person(Role::Reader);

    #[test]
    fn only_a_person_with_keys_whom_keybase_lists_gets_a_secret() {
        let people = [
            member("alice", "a", PERSON),
            member("bot", "b", MemberKind::Bot),
            member("carol", "c", MemberKind::Keyless),
        ];
        let to = |name: &str| {
            recipient(&people, &name.parse().unwrap(), "acme#sudo").map(|found| found.uid.as_str())
        };
        assert_eq!(to("alice"), Ok("a"));
        assert_eq!(to("bot"), Err("bot is a bot".to_owned()));
        assert!(to("carol").unwrap_err().contains("was reset or deleted"));
        assert!(to("alicel").unwrap_err().contains("does not list alicel among the people at acme#sudo"));
    }

    #[test]
    fn a_secret_goes_to_a_chat_with_nobody_else_in_it() {
        let (alice, bot) = (member("alice", "a", PERSON), member("bot", "b", PERSON));
        let name = bot.name.clone();
        let check = |found: &[Member], reset: &[String]| check_alone(found, &alice, &name, reset);
        assert_eq!(check(&[alice.clone(), bot.clone()], &[]), Ok(()));
        assert!(check(&[alice.clone(), bot.clone()], &["alice".to_owned()]).is_err());
        assert!(check(&[alice.clone(), bot.clone(), member("eve", "e", PERSON)], &[]).is_err());
        assert!(check(&[member("alice", "other", PERSON), bot.clone()], &[]).is_err(), "another account");
        assert!(check(&[bot], &[]).is_err());
    }
}
