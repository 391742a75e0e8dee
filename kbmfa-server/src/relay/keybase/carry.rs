//! What the relay does when it is asked to: post, offer, amend, tell, and read what stands.

use tokio::time::Instant;

use super::answers::{self, Electorate, OFFERED};
use super::marks::{mark, marked, marked_id};
use super::members::{Member, Role, Standing as MemberStanding};
use super::rooms::{self, People, Room};
use super::settings::Place;
use super::wire;
use super::{First, Keybase, STARTING_TIME, Turn, program};
use crate::policy::Approver;
use crate::relay::{Answers, Ask, Error, Hint, Message, Relay, State, Telling};

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

impl Relay for Keybase {
    fn name(&self) -> &'static str {
        "keybase"
    }

    async fn post(&self, ask: &Ask) -> Result<Message, Error> {
        let room = self.room(&ask.destination).await?;
        // The verdict that it becomes mentions nobody: whoever was called was called once.
        let text = format!("{}{}", ask.text, self.0.settings.mention.text());
        let sent = self.0.client.send(&room.id, &marked(&text, &ask.id), None).await;
        if sent.is_err() {
            self.0.beat_now.notify_one();
        }
        Ok(message(&room.id, sent?))
    }

    /// What lacks here is put on when the answers are read. To do it blindly a second time would take it back.
    async fn offer(&self, message: &Message) -> Result<(), Error> {
        let (room, number) = parts(message)?;
        for reaction in OFFERED {
            self.0.client.toggle(room, number, reaction).await?;
        }
        Ok(())
    }

    async fn find(&self, ask: &Ask) -> Result<Vec<Message>, Error> {
        let room = self.room(&ask.destination).await?;
        let found = self.look_for(&room.id, &ask.id, ask.since).await?;
        Ok(found.into_iter().map(|number| message(&room.id, number)).collect())
    }

    async fn identify(&self, of: &Message) -> Result<Option<String>, Error> {
        let (room, number) = parts(of)?;
        let found = self.0.client.get(room, number).await?;
        let bot = self.known(|known| known.bot.clone());
        let own = found.filter(|found| found.sender.uid == bot);
        Ok(own.and_then(|found| marked_id(found.body()?).map(str::to_owned)))
    }

    async fn mark_copy(&self, ask: &Ask, of: &Message, text: &str) -> Result<(), Error> {
        let (room, number) = parts(of)?;
        match self.0.client.edit(room, number, &marked(text, &ask.id)).await {
            Err(error) if is_gone(&error) => Ok(()),
            done => Ok(done.map(drop)?),
        }
    }

    async fn amend(&self, ask: &Ask, of: &Message, verdict: &str) -> Result<(), Error> {
        let (room, number) = parts(of)?;
        match self.0.client.edit(room, number, &marked(verdict, &ask.id)).await {
            // An admin has deleted it; the verdict is not to be lost with it.
            Err(error) if is_gone(&error) => {
                let room = self.room(&ask.destination).await?;
                if self.look_for(&room.id, &ask.id, ask.since).await?.is_empty() {
                    self.send_once(&room, verdict, &ask.id, None).await?;
                }
                Ok(())
            }
            done => Ok(done.map(drop)?),
        }
    }

    async fn tell(&self, notice: &Telling) -> Result<(), Error> {
        let reply_to = notice.reply_to.as_ref().map(parts).transpose()?;
        let room = self.room(&notice.destination).await?;
        let reply_to = reply_to.filter(|(other, _)| *other == room.id).map(|(_, number)| number);
        self.send_once(&room, &notice.text, &notice.id, reply_to).await
    }

    async fn answers(&self, ask: &Ask, messages: &[Message]) -> Result<Answers, Error> {
        let (room, numbers) = self.room_of_all(ask, messages).await?;
        let mut all = Answers { is_gone: !numbers.is_empty(), ..Answers::default() };
        for number in numbers {
            // Who deletes an ask takes everybody's chance to answer it.
            let found = self.0.client.get(&room.id, number).await?;
            let Some(found) = found.filter(|found| found.body().is_some()) else { continue };
            self.check_is_ours(&found, ask)?;
            let here = self.judge(ask, &room, &found.channel.name, found.reactions().collect()).await?;
            if here.standing.iter().all(|one| one.why_not.is_some()) {
                self.offer_what_lacks(&found, &room.id).await;
            }
            all.standing.extend(here.standing);
            all.unclear.extend(here.unclear);
            all.is_gone = false;
        }
        Ok(all)
    }

    fn how_to_answer(&self) -> &'static str {
        answers::HOW_TO_ANSWER
    }

    /// The server numbers the messages of a conversation, reactions, edits and deletions among them, and a change that we
    /// make is above everything that it had before. The service knows of that change, and so of any gap below it, which it
    /// has to ask the server to fill. So a page that holds the change holds every answer, and lacks every answer that was
    /// taken back, until then.
    async fn confirmed_answers(&self, ask: &Ask, messages: &[Message]) -> Result<Answers, Error> {
        let (room, numbers) = self.room_of_all(ask, messages).await?;
        let (Some(own), Some(oldest)) = (numbers.first().copied(), numbers.iter().min().copied()) else {
            return Ok(Answers::default());
        };
        // Without the mention of the post: an edit that mentions people notifies them again
        // (`IsNotifiableChatMessageType` in keybase/client).
        let changed = match self.0.client.edit(&room.id, own, &marked(&ask.text, &ask.id)).await {
            Err(error) if is_gone(&error) => return Ok(Answers::default()),
            changed => {
                changed?.ok_or_else(|| Error("Keybase did not say which message an edit is".into()))?
            }
        };
        let is_wanted = |found: &wire::Message| {
            let is_answer = found.reaction().is_some_and(|(target, _)| numbers.contains(&target));
            is_answer || numbers.contains(&found.id) || found.id >= changed
        };
        let since = self.all_since(&room.id, |found| found.id < oldest, is_wanted).await?;
        if since.iter().all(|found| found.id < changed) {
            return Err(Error("Keybase's service does not know yet what its server knows".into()));
        }
        let own = since.iter().filter(|found| numbers.contains(&found.id));
        let own: Vec<_> = own.filter(|found| self.check_is_ours(found, ask).is_ok()).collect();
        let Some(name) = own.first().map(|found| found.channel.name.clone()) else {
            return Ok(Answers::default());
        };
        let reactions = since.iter().filter_map(|found| {
            let (target, said) = found.reaction()?;
            own.iter().any(|ask| ask.id == target).then_some((said, found.sender.username.as_str()))
        });
        self.judge(ask, &room, &name, reactions.collect()).await
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
    pub(super) fn why_down(&self) -> Option<String> {
        self.known(|known| known.health.why_down().cloned())
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

    /// The conversation of an ask, and its messages there.
    async fn room_of_all(&self, ask: &Ask, messages: &[Message]) -> Result<(Room, Vec<u64>), Error> {
        let parts = messages.iter().map(parts).collect::<Result<Vec<_>, _>>()?;
        let id = parts.first().map_or("", |(id, _)| *id);
        let room = self.room_of(id, &ask.destination).await?;
        let numbers = parts.iter().filter(|(id, _)| *id == room.id).map(|(_, number)| *number).collect();
        Ok((room, numbers))
    }

    /// What these reactions amount to, by the members that the server lists now.
    async fn judge(
        &self,
        ask: &Ask,
        room: &Room,
        team: &str,
        reactions: Vec<(&str, &str)>,
    ) -> Result<Answers, Error> {
        let people = match &room.people {
            People::Team(_) => self.team(room, team).await?,
            People::User(_) => self.present(room).await?,
        };
        if ask.destination == self.0.settings.place.to_string() {
            self.note_members(&people);
        }
        let electorate = match &room.people {
            People::Team(_) => Electorate::Team(&people, self.0.settings.min_role),
            People::User(user) => Electorate::User(user, &people),
        };
        let (bot, reactions) = (self.0.settings.username.as_str(), reactions.into_iter());
        let standing = answers::standing(reactions.clone(), &electorate, bot);
        Ok(Answers { standing, unclear: answers::unclear(reactions, &electorate, bot), is_gone: false })
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
    async fn offer_what_lacks(&self, found: &wire::Message, room: &str) {
        let bot = self.0.settings.username.as_str();
        let has = |offered: &str| found.reactions().any(|(said, by)| said == offered && by == bot);
        for reaction in OFFERED.iter().filter(|reaction| !has(reaction)) {
            if let Err(error) = self.0.client.toggle(room, found.id, reaction).await {
                return self.0.faults.buttons.failed(format_args!("{reaction}: {error}"));
            }
        }
        self.0.faults.buttons.succeeded();
    }
}

/// An admin has deleted it.
fn is_gone(error: &program::Error) -> bool {
    matches!(error, program::Error::Refused { message, .. } if message.contains("message not found"))
}
