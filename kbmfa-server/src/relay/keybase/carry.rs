//! What the relay does when it is asked to: post, offer, amend, tell, and read what stands.

use std::collections::HashSet;

use super::answers::{self, Electorate, OFFERED};
use super::members::{Member, Role, Standing as MemberStanding};
use super::rooms::{self, People, Room};
use super::settings::Place;
use super::wire;
use super::{First, Keybase, program};
use crate::policy::Approver;
use crate::relay::{Ask, Error, Hint, Message, Posted, Relay, Standing, State, Telling};

/// Digits of an ask's id that stand in its message, and in no other.
const MARK_DIGITS: usize = 16;

/// Pages that are read to find a message again.
const PAGES_MAX: usize = 5;

/// Things that may not have been done, and are looked at before they are done again. Beyond that all are forgotten.
const UNSURE_MAX: usize = 256;

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

fn mark(ask: &Ask) -> &str {
    ask.id.get(..MARK_DIGITS).unwrap_or(&ask.id)
}

/// The ask, or the verdict that it becomes, with the mark by which it is found again.
fn marked(text: &str, ask: &Ask) -> String {
    format!("{text} `{}`", mark(ask))
}

fn remember(all: &mut HashSet<String>, one: &str) {
    if all.len() >= UNSURE_MAX {
        all.clear();
    }
    all.insert(one.to_owned());
}

impl Relay for Keybase {
    fn name(&self) -> &'static str {
        "keybase"
    }

    async fn post(&self, ask: &Ask) -> Result<Posted, Error> {
        let room = self.room(&ask.destination).await?;
        let is_fresh = self.known().up_since.is_some_and(|up| ask.since > up);
        let (number, is_new) =
            self.send_once(&room, &marked(&ask.text, ask), (mark(ask), is_fresh), None).await?;
        Ok(Posted { message: message(&room.id, number), is_new })
    }

    /// A reaction that is there already would be taken back: on a message that is not new it is looked first.
    async fn offer(&self, posted: &Posted) -> Result<(), Error> {
        let Message(message) = &posted.message;
        remember(&mut self.known().unoffered, message);
        let (room, number) = parts(&posted.message)?;
        let there = if posted.is_new { Some(Vec::new()) } else { self.offered(room, number).await? };
        let Some(there) = there else { return Ok(()) };
        for reaction in OFFERED.iter().filter(|reaction| !there.contains(&(**reaction).to_owned())) {
            self.0.client.toggle(room, number, reaction).await?;
        }
        self.known().unoffered.remove(message);
        Ok(())
    }

    async fn find(&self, ask: &Ask) -> Result<Option<Message>, Error> {
        let room = self.room(&ask.destination).await?;
        Ok(self.look_for(&room.id, mark(ask)).await?.map(|number| message(&room.id, number)))
    }

    async fn amend(&self, ask: &Ask, of: &Message, verdict: &str) -> Result<(), Error> {
        let (room, number) = parts(of)?;
        let body = marked(verdict, ask);
        match self.0.client.edit(room, number, &body).await {
            // An admin has deleted it; the verdict is not to be lost with it.
            Err(program::Error::Refused { message, .. }) if message.contains("message not found") => {
                let room = self.room(&ask.destination).await?;
                self.send_once(&room, &body, (mark(ask), false), None).await.map(drop)
            }
            done => Ok(done?),
        }
    }

    async fn tell(&self, notice: &Telling) -> Result<(), Error> {
        let reply_to = notice.reply_to.as_ref().map(parts).transpose()?;
        let room = self.room(&notice.destination).await?;
        let reply_to = reply_to.filter(|(other, _)| *other == room.id).map(|(_, number)| number);
        let is_fresh = !self.known().unsure.contains(&notice.text);
        self.send_once(&room, &notice.text, (&notice.text, is_fresh), reply_to).await.map(drop)
    }

    async fn answers(&self, ask: &Ask, of: &Message) -> Result<Vec<Standing>, Error> {
        let (id, number) = parts(of)?;
        let room = self.room_of(id, &ask.destination).await?;
        if self.known().unoffered.contains(&of.0) {
            self.offer(&Posted { message: of.clone(), is_new: false }).await?;
        }
        let (found, people) = tokio::join!(self.0.client.get(&room.id, number), self.people_of(&room));
        // Who deletes an ask takes everybody's chance to answer it.
        let Some(found) = found? else { return Ok(Vec::new()) };
        self.check_is_ours(&found, ask)?;
        let people = match (&room.people, people?) {
            // It was renamed meanwhile: the conversation is still the same, and says whose it is.
            (People::Team(name), _) if !found.channel.name.is_empty() && found.channel.name != *name => {
                self.rename(&room, &found.channel.name);
                self.0.client.team(&found.channel.name).await?.members
            }
            (_, people) => people,
        };
        if ask.destination == self.0.settings.place.to_string() {
            self.note_members(&people);
        }
        let electorate = match &room.people {
            People::Team(_) => Electorate::Team(&people, self.0.settings.min_role),
            People::User(user) => Electorate::User(user, &people),
        };
        Ok(answers::standing(found.reactions(), &electorate, self.0.settings.username.as_str()))
    }

    async fn hint(&self) -> Hint {
        if std::mem::take(&mut self.known().missed_hints) {
            return Hint::Any;
        }
        self.0.hinted.lock().await.recv().await.unwrap_or(Hint::Any)
    }

    fn take_turn(&self, is_mine: bool) {
        self.0.turn.send_if_modified(|turn| std::mem::replace(turn, is_mine) != is_mine);
        if !is_mine {
            // Whoever has the turn finds what is wrong.
            self.0.first.send_if_modified(|first| {
                let is_first = *first == First::UnderWay;
                if is_first {
                    *first = First::Done;
                }
                is_first
            });
        }
    }

    fn state(&self) -> State {
        match self.why_down() {
            None => State::Up,
            Some(_) if *self.0.first.borrow() == First::UnderWay => State::Starting,
            Some(why) => State::Down(why),
        }
    }

    fn members(&self) -> Option<Vec<Approver>> {
        self.known().members.take()
    }
}

impl Keybase {
    fn why_down(&self) -> Option<String> {
        self.known().health.why_down().cloned()
    }

    /// The conversation at this destination, found by name if it is not known yet.
    async fn room(&self, destination: &str) -> Result<Room, Error> {
        let place: Place = destination.parse().map_err(Error)?;
        let known = self.known().rooms.get(&place).cloned();
        if let Some(room) = known {
            return Ok(room);
        }
        if let Some(why) = self.why_down() {
            return Err(Error(why));
        }
        let found = rooms::find(&self.0.client, &self.0.settings, &place).await;
        let room = found.map_err(|trouble| Error(format!("{destination}: {}", trouble.why())))?;
        self.known().rooms.insert(place, room.clone());
        Ok(room)
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

    fn rename(&self, room: &Room, name: &str) {
        log::warn!(
            "relay keybase: a team is called {name} now; change the configuration before the next start"
        );
        let mut known = self.known();
        for known in known.rooms.values_mut().filter(|known| known.id == room.id) {
            known.people = People::Team(name.to_owned());
        }
    }

    /// Everybody whose answers may count at this place, now.
    pub(super) async fn electors(&self, place: &Place) -> Result<Vec<Member>, Error> {
        let room = self.room(&place.to_string()).await?;
        let people = self.people_of(&room).await?;
        Ok(match room.people {
            People::Team(_) => people,
            People::User(user) => people.into_iter().filter(|member| member.uid == user.uid).collect(),
        })
    }

    /// Everybody who may log in where only members may.
    pub(super) fn note_members(&self, people: &[Member]) {
        let members = people.iter().filter(|member| member.why_not(Role::Reader).is_none());
        self.known().members = Some(members.map(|member| Approver::keybase(&member.name)).collect());
    }

    async fn people_of(&self, room: &Room) -> Result<Vec<Member>, Error> {
        let client = &self.0.client;
        match &room.people {
            People::Team(name) => Ok(client.team(name).await?.members),
            People::User(_) => {
                let (mut people, conversation) =
                    (client.people(&room.id).await?, client.conversation(&room.id).await?);
                let reset = conversation.and_then(|found| found.reset_users).unwrap_or_default();
                for member in &mut people {
                    if reset.iter().any(|name| name == member.name.as_str()) {
                        member.standing = MemberStanding::Keyless;
                    }
                }
                people.retain(|member| member.standing != MemberStanding::Keyless);
                Ok(people)
            }
        }
    }

    /// A message that is not the bot's, or not this ask's, approves nothing.
    fn check_is_ours(&self, found: &wire::Message, ask: &Ask) -> Result<(), Error> {
        let is_ours = found.sender.uid == self.known().bot;
        let is_it = found.body().is_some_and(|body| body.contains(mark(ask)));
        if is_ours && is_it {
            Ok(())
        } else {
            Err(Error("the message is not the ask that was posted".into()))
        }
    }

    /// Which of our own reactions a message has; `None` if it is gone.
    async fn offered(&self, room: &str, number: u64) -> Result<Option<Vec<String>>, Error> {
        let bot = self.0.settings.username.as_str();
        let found = self.0.client.get(room, number).await?;
        let own = |found: wire::Message| {
            found.reactions().filter(|(_, by)| *by == bot).map(|(said, _)| said.to_owned()).collect()
        };
        Ok(found.map(own))
    }

    /// Sends a text, unless a message with this mark is there already: after a reply that was lost, or a server that
    /// died, nobody knows. Returns the message, and whether it is new.
    async fn send_once(
        &self,
        room: &Room,
        body: &str,
        (mark, is_fresh): (&str, bool),
        reply_to: Option<u64>,
    ) -> Result<(u64, bool), Error> {
        if let Some(why) = self.why_down() {
            return Err(Error(why));
        }
        let is_sure = is_fresh && !self.known().unsure.contains(mark);
        if !is_sure && let Some(found) = self.look_for(&room.id, mark).await? {
            self.known().unsure.remove(mark);
            return Ok((found, false));
        }
        remember(&mut self.known().unsure, mark);
        match self.0.client.send(&room.id, body, reply_to).await {
            Ok(number) => {
                self.known().unsure.remove(mark);
                Ok((number, true))
            }
            Err(error) => {
                self.0.beat_now.notify_one();
                Err(error.into())
            }
        }
    }

    /// The bot's newest message with this mark.
    async fn look_for(&self, room: &str, mark: &str) -> Result<Option<u64>, Error> {
        let bot = self.known().bot.clone();
        let mut from = None;
        for _ in 0..PAGES_MAX {
            let (messages, next) = self.0.client.page(room, from.as_deref()).await?;
            let is_it = |found: &&wire::Message| {
                found.sender.uid == bot && found.body().is_some_and(|body| body.contains(mark))
            };
            if let Some(found) = messages.iter().find(is_it) {
                return Ok(Some(found.id));
            }
            match next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        Ok(None)
    }
}
