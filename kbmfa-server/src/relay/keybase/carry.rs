//! What the relay does when it is asked to: post, offer, amend, tell, and read what stands.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

use super::answers::{self, Electorate, OFFERED};
use super::api::CALL_TIME;
use super::client::BODY_BYTES_MAX;
use super::members::{Member, Role, Standing as MemberStanding};
use super::rooms::{self, People, Room};
use super::settings::Place;
use super::wire;
use super::{First, Keybase, STARTING_TIME, Turn, program};
use crate::clock::{Clock, SystemClock, Time};
use crate::policy::Approver;
use crate::relay::{Ask, Error, Hint, Message, Posted, Relay, Standing, State, Telling};

/// Digits of an id that stand at the end of its message, and of no other.
const MARK_DIGITS: usize = 16;

/// Pages that are read to find a message again.
const PAGES_MAX: usize = 20;

/// Messages that may not have arrived, and are looked for before they are sent again.
const UNSURE_MAX: usize = 1024;

/// How far the clocks of Keybase's servers and ours may be apart.
const CLOCKS_DIFFER: Duration = Duration::from_secs(120);

/// How long something may still arrive of which nobody said in time whether it did.
const MAY_ARRIVE: Duration = Duration::from_secs(5);

impl From<program::Error> for Error {
    fn from(error: program::Error) -> Self {
        Self(error.to_string())
    }
}

/// A message's id in ours: `conversation:number`.
fn message(room: &str, number: u64) -> Message {
    Message(format!("{room}:{number}"))
}

fn parts(Message(message): &Message) -> Result<(&str, u64), Error> {
    let parts = message.split_once(':').and_then(|(room, number)| Some((room, number.parse().ok()?)));
    parts.ok_or_else(|| Error(format!("{message:?} is no message of Keybase's")))
}

/// How a message ends that is about this id. Whatever else a message says stands before it, so that no text from outside
/// can be taken for it.
fn mark(id: &str) -> String {
    format!(" `{}`", id.get(..MARK_DIGITS).unwrap_or(id))
}

/// A text with the mark by which it is found again; the text is cut if both are longer than the server takes.
fn marked(text: &str, id: &str) -> String {
    let mark = mark(id);
    let room = BODY_BYTES_MAX.saturating_sub(mark.len()).min(text.len());
    let cut = (0..=room).rev().find_map(|end| text.get(..end)).unwrap_or_default();
    format!("{cut}{mark}")
}

impl Relay for Keybase {
    fn name(&self) -> &'static str {
        "keybase"
    }

    async fn post(&self, ask: &Ask) -> Result<Posted, Error> {
        let room = self.room(&ask.destination).await?;
        let (number, is_new) =
            self.send_once(&room, &ask.text, (&ask.id, self.is_fresh(ask)), ask.since, None).await?;
        Ok(Posted { message: message(&room.id, number), is_new })
    }

    /// What lacks here is put on when the answers are read. To do it blindly a second time would take it back.
    async fn offer(&self, message: &Message) -> Result<(), Error> {
        let (room, number) = parts(message)?;
        for reaction in OFFERED {
            self.0.client.toggle(room, number, reaction).await?;
        }
        Ok(())
    }

    async fn find(&self, ask: &Ask) -> Result<Option<Message>, Error> {
        match self.known(|known| known.unsure.get(&ask.id).copied()) {
            Some(not_before) if Instant::now() < not_before => {
                return Err(Error("it may still arrive".into()));
            }
            None if self.is_fresh(ask) => return Ok(None),
            _ => {}
        }
        let room = self.room(&ask.destination).await?;
        Ok(self.look_for(&room.id, &ask.id, ask.since).await?.map(|number| message(&room.id, number)))
    }

    async fn amend(&self, ask: &Ask, of: &Message, verdict: &str) -> Result<(), Error> {
        let (room, number) = parts(of)?;
        match self.0.client.edit(room, number, &marked(verdict, &ask.id)).await {
            // An admin has deleted it; the verdict is not to be lost with it.
            Err(program::Error::Refused { message, .. }) if message.contains("message not found") => {
                let room = self.room(&ask.destination).await?;
                self.send_once(&room, verdict, (&ask.id, false), ask.since, None).await.map(drop)
            }
            done => Ok(done?),
        }
    }

    async fn tell(&self, notice: &Telling) -> Result<(), Error> {
        let reply_to = notice.reply_to.as_ref().map(parts).transpose()?;
        let room = self.room(&notice.destination).await?;
        let reply_to = reply_to.filter(|(other, _)| *other == room.id).map(|(_, number)| number);
        let since = self.known(|known| known.up_since).unwrap_or_else(|| SystemClock.now());
        self.send_once(&room, &notice.text, (&notice.id, true), since, reply_to).await.map(drop)
    }

    async fn answers(&self, ask: &Ask, of: &Message) -> Result<Vec<Standing>, Error> {
        let (id, number) = parts(of)?;
        let room = self.room_of(id, &ask.destination).await?;
        // Who deletes an ask takes everybody's chance to answer it.
        let Some(found) = self.0.client.get(&room.id, number).await? else { return Ok(Vec::new()) };
        self.check_is_ours(&found, ask)?;
        let people = match &room.people {
            People::Team(_) => self.team(&room, &found.channel.name).await?,
            People::User(_) => self.present(&room).await?,
        };
        if ask.destination == self.0.settings.place.to_string() {
            self.note_members(&people);
        }
        let electorate = match &room.people {
            People::Team(_) => Electorate::Team(&people, self.0.settings.min_role),
            People::User(user) => Electorate::User(user, &people),
        };
        let standing = answers::standing(found.reactions(), &electorate, self.0.settings.username.as_str());
        if standing.iter().all(|one| one.why_not.is_some()) {
            self.offer_what_lacks(&found, of).await;
        }
        Ok(standing)
    }

    async fn hint(&self) -> Hint {
        loop {
            if let Some(hint) = self.next_hint() {
                return hint;
            }
            self.0.hint_there.notified().await;
        }
    }

    fn next_hint(&self) -> Option<Hint> {
        if self.known(|known| std::mem::take(&mut known.missed_hints)) {
            return Some(Hint::Any);
        }
        self.0.hinted.with(|hinted| hinted.try_recv().ok())
    }

    fn take_turn(&self, is_mine: bool) {
        let now = if is_mine { Turn::Mine } else { Turn::NotMine };
        let is_news = self.0.turn.send_if_modified(|turn| {
            let is_news = *turn != now && *turn != Turn::Ending;
            if is_news {
                *turn = now;
            }
            is_news
        });
        if is_news {
            let since = is_mine.then(Instant::now);
            self.known(|known| (known.turn_since, known.up_since) = (since, None));
        }
        if !is_mine {
            // Whoever has the turn finds what is wrong.
            self.first_ended(First::Done);
        }
    }

    fn state(&self) -> State {
        let is_mine = *self.0.turn.borrow() == Turn::Mine;
        self.known(|known| {
            let is_young = known.turn_since.is_none_or(|since| since.elapsed() < STARTING_TIME);
            if !is_mine || (known.up_since.is_none() && is_young) {
                return State::Starting;
            }
            match known.health.why_down() {
                Some(why) => State::Down(why.clone()),
                None if known.up_since.is_none() => State::Down("the listener is starting".to_owned()),
                None => State::Up,
            }
        })
    }

    fn members(&self) -> Option<Vec<Approver>> {
        self.known(|known| known.members.take())
    }
}

impl Keybase {
    fn why_down(&self) -> Option<String> {
        self.known(|known| known.health.why_down().cloned())
    }

    /// Nobody else can have posted it.
    fn is_fresh(&self, ask: &Ask) -> bool {
        self.known(|known| known.up_since).is_some_and(|up| ask.since > up)
    }

    /// The conversation at this destination, found by name if it is not known yet.
    async fn room(&self, destination: &str) -> Result<Room, Error> {
        let place: Place = destination.parse().map_err(Error)?;
        let known = self.known(|known| known.rooms.get(&place).cloned());
        if let Some(room) = known {
            return Ok(room);
        }
        if let Some(why) = self.why_down() {
            return Err(Error(why));
        }
        let found = self.find_room(&place).await;
        found.map_err(|trouble| Error(format!("{destination}: {}", trouble.fault())))
    }

    /// The conversation that a message was posted in. Its name may lead elsewhere by now.
    async fn room_of(&self, id: &str, destination: &str) -> Result<Room, Error> {
        let room = self.room(destination).await?;
        if room.id == id {
            Ok(room)
        } else {
            Err(Error(format!("{destination} is another conversation by now")))
        }
    }

    /// Everybody whose answers may count at this place, now.
    pub(super) async fn electors(&self, place: &Place) -> Result<Vec<Member>, Error> {
        let room = self.room(&place.to_string()).await?;
        match &room.people {
            People::Team(_) => {
                let name = rooms::team_of(&self.0.client, &room.id).await?;
                self.team(&room, &name).await
            }
            People::User(_) => self.present(&room).await,
        }
    }

    /// The members of a conversation's team, by the name that the conversation itself says: the one by which it was found may
    /// be another team's by now.
    async fn team(&self, room: &Room, name: &str) -> Result<Vec<Member>, Error> {
        if name.is_empty() {
            return Err(Error("the conversation does not say whose it is".into()));
        }
        if !matches!(&room.people, People::Team(known) if known == name) {
            log::warn!(
                "relay keybase: a team is called {name} now; change the configuration before the next start"
            );
            self.known(|known| {
                for renamed in known.rooms.values_mut().filter(|known| known.id == room.id) {
                    renamed.people = People::Team(name.to_owned());
                }
            });
        }
        let team = self.0.client.team(name).await?;
        rooms::trusted(&self.0.settings, name, &team).map_err(|fault| Error(fault.to_string()))?;
        Ok(team.members)
    }

    /// The user of a private chat, if it is still that user.
    async fn present(&self, room: &Room) -> Result<Vec<Member>, Error> {
        let People::User(user) = &room.people else { return Ok(Vec::new()) };
        let (client, id) = (&self.0.client, room.id.as_str());
        let (people, conversation) = (client.people(id).await?, client.conversation(id).await?);
        let conversation = conversation.ok_or_else(|| Error("the private chat is gone".into()))?;
        let reset = conversation.reset_users.unwrap_or_default();
        let is_user = |member: &Member| member.uid == user.uid && member.name == user.name;
        let was_reset = reset.iter().any(|name| name == user.name.as_str());
        Ok(people.into_iter().filter(|member| is_user(member) && !was_reset).collect())
    }

    /// Everybody who may log in where only members may.
    pub(super) fn note_members(&self, people: &[Member]) {
        let may = |member: &&Member| {
            matches!(member.standing, MemberStanding::Person(_)) && member.why_not(Role::Reader).is_none()
        };
        let members = people.iter().filter(may).map(|member| Approver::keybase(&member.name)).collect();
        self.known(|known| known.members = Some(members));
    }

    /// A message that is not the bot's, or not this ask's, approves nothing.
    fn check_is_ours(&self, found: &wire::Message, ask: &Ask) -> Result<(), Error> {
        let is_ours = self.known(|known| found.sender.uid == known.bot);
        let is_it = found.body().is_some_and(|body| body.ends_with(&mark(&ask.id)));
        if is_ours && is_it {
            Ok(())
        } else {
            Err(Error("the message is not the ask that was posted".into()))
        }
    }

    /// Puts on what people click, where it is not there. An answer counts without it.
    async fn offer_what_lacks(&self, found: &wire::Message, of: &Message) {
        let bot = self.0.settings.username.as_str();
        let has = |offered: &str| found.reactions().any(|(said, by)| said == offered && by == bot);
        let Ok((room, number)) = parts(of) else { return };
        for reaction in OFFERED.iter().filter(|reaction| !has(reaction)) {
            if let Err(error) = self.0.client.toggle(room, number, reaction).await {
                return log::warn!("relay keybase: {reaction} cannot be put on an ask: {error}");
            }
        }
    }

    /// Sends a text, unless its message is there already: after a reply that was lost, or a server that died, nobody
    /// knows. Returns the message, and whether it is new.
    async fn send_once(
        &self,
        room: &Room,
        text: &str,
        (id, is_fresh): (&str, bool),
        since: Time,
        reply_to: Option<u64>,
    ) -> Result<(u64, bool), Error> {
        if let Some(why) = self.why_down() {
            return Err(Error(why));
        }
        let unsure = self.known(|known| known.unsure.get(id).copied());
        if unsure.is_some_and(|not_before| Instant::now() < not_before) {
            return Err(Error("it may still arrive".into()));
        }
        if (unsure.is_some() || !is_fresh)
            && let Some(found) = self.look_for(&room.id, id, since).await?
        {
            return Ok((found, false));
        }
        // This may be dropped while it waits.
        let while_sent = Instant::now() + CALL_TIME + MAY_ARRIVE;
        self.known(|known| remember(&mut known.unsure, id, while_sent));
        let sent = self.0.client.send(&room.id, &marked(text, id), reply_to).await;
        // Whatever was said: it may have been posted, or be posted yet. If it was, that may not get on record.
        let not_before = if sent.is_ok() { Instant::now() } else { Instant::now() + MAY_ARRIVE };
        self.known(|known| remember(&mut known.unsure, id, not_before));
        if let Err(program::Error::Refused { pause: Some(_), .. }) = &sent {
            self.known(|known| known.unsure.remove(id));
        }
        if sent.is_err() {
            self.0.beat_now.notify_one();
        }
        Ok((sent?, true))
    }

    /// The bot's newest message that is about this id, if there is one from about that moment or later.
    async fn look_for(&self, room: &str, id: &str, since: Time) -> Result<Option<u64>, Error> {
        let (bot, mark) = (self.known(|known| known.bot.clone()), mark(id));
        let oldest_ms = since.minus(CLOCKS_DIFFER).micros() / 1000;
        let mut from = None;
        for _ in 0..PAGES_MAX {
            let (messages, next) = self.0.client.page(room, from.as_deref()).await?;
            let is_it = |found: &&wire::Message| {
                found.sender.uid == bot && found.body().is_some_and(|body| body.ends_with(&mark))
            };
            if let Some(found) = messages.iter().find(is_it) {
                return Ok(Some(found.id));
            }
            let is_old = messages.last().is_some_and(|oldest| oldest.sent_at_ms < oldest_ms);
            match next.filter(|_| !is_old) {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        Ok(None)
    }
}

/// Forgets the oldest if there are too many.
fn remember(all: &mut HashMap<String, Instant>, id: &str, not_before: Instant) {
    if all.len() >= UNSURE_MAX {
        let oldest = all.iter().min_by_key(|(_, at)| **at).map(|(id, _)| id.clone());
        oldest.and_then(|oldest| all.remove(&oldest));
    }
    all.insert(id.to_owned(), not_before);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_in_its_mark_whatever_it_says() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(marked("Login", id), "Login `0123456789abcdef`");
        let long = marked(&"\u{e9}".repeat(BODY_BYTES_MAX), id);
        assert!(long.len() <= BODY_BYTES_MAX && long.ends_with(&mark(id)));
        let other = marked("somebody is called `0123456789abcdef`", "fedcba9876543210fedcba9876543210");
        assert!(!other.ends_with(&mark(id)));
    }
}
