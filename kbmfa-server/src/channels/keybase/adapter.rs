//! Implements [`Chat`] for Keybase: posts and edits asks, posts notices, and reads the answers.

use tokio::time::Instant;

use super::answers::{self, BUTTONS, Eligible};
use super::conversations::{self, Conversation, People};
use super::marks::{mark, marked, marked_id};
use super::members::{Member, MemberKind, Role};
use super::process::program;
use super::settings::Place;
use super::wire;
use super::{FirstStart, Keybase, Leadership, STARTING_TIME};
use crate::channels::{Answers, Ask, Chat, ChatEvent, Error, Message, Notice, State};
use crate::policy::{Approver, Channel};

impl From<program::Error> for Error {
    fn from(error: program::Error) -> Self {
        Self(error.to_string())
    }
}

/// The id of a message for [`Chat`]: `conversation:number`.
fn message(conversation: &str, number: u64) -> Message {
    Message(format!("{conversation}:{number}"))
}

fn parts(Message(message): &Message) -> Result<(&str, u64), Error> {
    let parts =
        message.split_once(':').and_then(|(conversation, number)| Some((conversation, number.parse().ok()?)));
    parts.ok_or_else(|| Error(format!("{message:?} is not the id of a Keybase message")))
}

impl Chat for Keybase {
    fn channel(&self) -> Channel {
        Channel::Keybase
    }

    async fn post(&self, ask: &Ask) -> Result<Message, Error> {
        let conversation = self.conversation(&ask.destination).await?;
        // Only the post mentions people. The edit to the decision has no mention, so that it notifies nobody
        // again.
        let text = format!("{}{}", ask.text, self.0.settings.mention.text());
        let sent = self.0.client.send(&conversation.id, &marked(&text, &ask.id), None).await;
        if sent.is_err() {
            self.0.check_now.notify_one();
        }
        Ok(message(&conversation.id, sent?))
    }

    /// Not retried after an error, because a second call would remove the reaction. [`Chat::answers`] adds
    /// missing buttons.
    async fn add_buttons(&self, message: &Message) -> Result<(), Error> {
        let (conversation, number) = parts(message)?;
        for reaction in BUTTONS {
            self.0.client.toggle(conversation, number, reaction).await?;
        }
        Ok(())
    }

    async fn find(&self, ask: &Ask) -> Result<Vec<Message>, Error> {
        let conversation = self.conversation(&ask.destination).await?;
        let found = self.find_by_mark(&conversation.id, &ask.id, ask.since).await?;
        Ok(found.into_iter().map(|number| message(&conversation.id, number)).collect())
    }

    async fn identify(&self, of: &Message) -> Result<Option<String>, Error> {
        let (conversation, number) = parts(of)?;
        let found = self.0.client.get(conversation, number).await?;
        let bot = self.known(|known| known.bot.clone());
        let own = found.filter(|found| found.sender.uid == bot);
        Ok(own.and_then(|found| marked_id(found.body()?).map(str::to_owned)))
    }

    async fn edit_copy(&self, ask: &Ask, of: &Message, text: &str) -> Result<(), Error> {
        let (conversation, number) = parts(of)?;
        match self.0.client.edit(conversation, number, &marked(text, &ask.id)).await {
            Err(error) if is_gone(&error) => Ok(()),
            done => Ok(done.map(drop)?),
        }
    }

    async fn edit(&self, ask: &Ask, of: &Message, decision: &str) -> Result<(), Error> {
        let (conversation, number) = parts(of)?;
        match self.0.client.edit(conversation, number, &marked(decision, &ask.id)).await {
            // A team's admin deleted the ask: post the decision as a new message.
            Err(error) if is_gone(&error) => {
                let conversation = self.conversation(&ask.destination).await?;
                if self.find_by_mark(&conversation.id, &ask.id, ask.since).await?.is_empty() {
                    self.send_once(&conversation, decision, &ask.id, None).await?;
                }
                Ok(())
            }
            done => Ok(done.map(drop)?),
        }
    }

    async fn notify(&self, notice: &Notice) -> Result<(), Error> {
        let reply_to = notice.reply_to.as_ref().map(parts).transpose()?;
        let conversation = self.conversation(&notice.destination).await?;
        let reply_to = reply_to.filter(|(other, _)| *other == conversation.id).map(|(_, number)| number);
        self.send_once(&conversation, &notice.text, &notice.id, reply_to).await
    }

    async fn answers(&self, ask: &Ask, messages: &[Message]) -> Result<Answers, Error> {
        let (conversation, numbers) = self.conversation_of_all(ask, messages).await?;
        let mut all = Answers { is_gone: !numbers.is_empty(), ..Answers::default() };
        for number in numbers {
            // Nobody can answer a message that was deleted.
            let found = self.0.client.get(&conversation.id, number).await?;
            let Some(found) = found.filter(|found| found.body().is_some()) else { continue };
            self.check_is_ours(&found, ask)?;
            let here =
                self.evaluate(ask, &conversation, &found.channel.name, found.reactions().collect()).await?;
            if here.live.iter().all(|one| one.rejection.is_some()) {
                self.add_missing_buttons(&found, &conversation.id).await;
            }
            all.live.extend(here.live);
            all.unclear.extend(here.unclear);
            all.is_gone = false;
        }
        Ok(all)
    }

    fn how_to_answer(&self) -> &'static str {
        answers::HOW_TO_ANSWER
    }

    /// Edits the ask, then reads the conversation back to the ask. Keybase's server numbers all messages of a
    /// conversation, and reactions, edits and deletions are messages, too. So the edit has a higher number
    /// than everything before it. The local service knows the edit, and so detects every gap below it, which
    /// it must fetch from the server. Therefore pages that include the edit are up to date: they contain
    /// every answer that was given before the edit, and none that was taken back before it.
    async fn confirmed_answers(&self, ask: &Ask, messages: &[Message]) -> Result<Answers, Error> {
        let (conversation, numbers) = self.conversation_of_all(ask, messages).await?;
        let (Some(own), Some(oldest)) = (numbers.first().copied(), numbers.iter().min().copied()) else {
            return Ok(Answers::default());
        };
        // Without the post's mention, because an edit that mentions people notifies them again
        // (`IsNotifiableChatMessageType` in keybase/client).
        let edit = match self.0.client.edit(&conversation.id, own, &marked(&ask.text, &ask.id)).await {
            Err(error) if is_gone(&error) => return Ok(Answers::default()),
            edit => edit?.ok_or_else(|| Error("Keybase did not return the number of an edit".into()))?,
        };
        let is_wanted = |found: &wire::Message| {
            let is_answer = found.reaction().is_some_and(|(target, _)| numbers.contains(&target));
            is_answer || numbers.contains(&found.id) || found.id >= edit
        };
        let since = self.messages_since(&conversation.id, |found| found.id < oldest, is_wanted).await?;
        if since.iter().all(|found| found.id < edit) {
            return Err(Error(
                "the Keybase service has not received the newest messages from its server yet".into(),
            ));
        }
        let own = since.iter().filter(|found| numbers.contains(&found.id));
        let own: Vec<_> = own.filter(|found| self.check_is_ours(found, ask).is_ok()).collect();
        let Some(name) = own.first().map(|found| found.channel.name.clone()) else {
            return Ok(Answers::default());
        };
        let reactions = since.iter().filter_map(|found| {
            let (target, text) = found.reaction()?;
            own.iter().any(|ask| ask.id == target).then_some((text, found.sender.username.as_str()))
        });
        self.evaluate(ask, &conversation, &name, reactions.collect()).await
    }

    async fn next_event(&self) -> ChatEvent {
        loop {
            if let Some(event) = self.try_next_event() {
                return event;
            }
            self.0.event_there.notified().await;
        }
    }

    fn try_next_event(&self) -> Option<ChatEvent> {
        if self.known(|known| std::mem::take(&mut known.missed_events)) {
            return Some(ChatEvent::Missed);
        }
        self.0.events.with(|events| events.try_recv().ok())
    }

    fn set_leader(&self, is_leader: bool) {
        let now = if is_leader { Leadership::Leader } else { Leadership::Follower };
        let has_changed = self.0.leadership.send_if_modified(|role| {
            let has_changed = *role != now && *role != Leadership::Ending;
            if has_changed {
                *role = now;
            }
            has_changed
        });
        if has_changed {
            let since = is_leader.then(Instant::now);
            self.known(|known| (known.leader_since, known.up_since) = (since, None));
        }
        if !is_leader {
            // A follower may start without this check, because the leader finds the faults.
            self.finish_first_start(FirstStart::Done);
        }
    }

    fn state(&self) -> State {
        let is_leader = *self.0.leadership.borrow() == Leadership::Leader;
        self.known(|known| {
            let is_new = known.leader_since.is_none_or(|since| since.elapsed() < STARTING_TIME);
            if !is_leader || (known.up_since.is_none() && is_new) {
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

    /// The conversation at this destination. Searches for it by name if its id is not known yet.
    async fn conversation(&self, destination: &str) -> Result<Conversation, Error> {
        let place: Place = destination.parse().map_err(Error)?;
        let known = self.known(|known| known.conversations.get(&place).cloned());
        if let Some(conversation) = known {
            return Ok(conversation);
        }
        if let Some(why) = self.why_down() {
            return Err(Error(why));
        }
        let found = self.find_conversation(&place).await;
        found.map_err(|failure| Error(format!("{destination}: {}", failure.fault())))
    }

    /// The conversation in which a message was posted. An error if the destination's name now belongs to
    /// another one.
    async fn conversation_of(&self, id: &str, destination: &str) -> Result<Conversation, Error> {
        let conversation = self.conversation(destination).await?;
        if conversation.id == id {
            Ok(conversation)
        } else {
            Err(Error(format!("{destination} is another conversation now")))
        }
    }

    /// The conversation of an ask, and the numbers of its messages there.
    async fn conversation_of_all(
        &self,
        ask: &Ask,
        messages: &[Message],
    ) -> Result<(Conversation, Vec<u64>), Error> {
        let parts = messages.iter().map(parts).collect::<Result<Vec<_>, _>>()?;
        let id = parts.first().map_or("", |(id, _)| *id);
        let conversation = self.conversation_of(id, &ask.destination).await?;
        let numbers =
            parts.iter().filter(|(id, _)| *id == conversation.id).map(|(_, number)| *number).collect();
        Ok((conversation, numbers))
    }

    /// Reads these reactions as answers, with the members that Keybase's server lists now.
    async fn evaluate(
        &self,
        ask: &Ask,
        conversation: &Conversation,
        team: &str,
        reactions: Vec<(&str, &str)>,
    ) -> Result<Answers, Error> {
        let people = match &conversation.people {
            People::Team(_) => self.team_members(conversation, team).await?,
            People::User(_) => self.private_user(conversation).await?,
        };
        if ask.destination == self.0.settings.place.to_string() {
            self.publish_members(&people);
        }
        let eligible = match &conversation.people {
            People::Team(_) => Eligible::Team(&people, self.0.settings.min_role),
            People::User(user) => Eligible::User(user, &people),
        };
        let (bot, reactions) = (self.0.settings.username.as_str(), reactions.into_iter());
        let live = answers::live_answers(reactions.clone(), &eligible, bot);
        Ok(Answers { live, unclear: answers::unclear(reactions, &eligible, bot), is_gone: false })
    }

    /// The people in this place now. Their role decides whether their answers count.
    pub(super) async fn people_at(&self, place: &Place) -> Result<Vec<Member>, Error> {
        let conversation = self.conversation(&place.to_string()).await?;
        match &conversation.people {
            People::Team(_) => {
                let name = conversations::team_of(&self.0.client, &conversation.id).await?;
                self.team_members(&conversation, &name).await
            }
            People::User(_) => self.private_user(&conversation).await,
        }
    }

    /// The members of a conversation's team. `name` is the team's name in the conversation itself. The name
    /// by which the conversation was found may belong to another team now.
    async fn team_members(&self, conversation: &Conversation, name: &str) -> Result<Vec<Member>, Error> {
        if name.is_empty() {
            return Err(Error("the conversation does not name its team".into()));
        }
        if !matches!(&conversation.people, People::Team(known) if known == name) {
            log::warn!(
                "keybase: a team was renamed to {name}; change the configuration before the next start"
            );
            self.known(|known| {
                for renamed in known.conversations.values_mut().filter(|known| known.id == conversation.id) {
                    renamed.people = People::Team(name.to_owned());
                }
            });
        }
        let team = self.0.client.team(name).await?;
        conversations::check_trusted(&self.0.settings, name, &team)
            .map_err(|fault| Error(fault.to_string()))?;
        Ok(team.members)
    }

    /// The user of a private chat; empty if the account was replaced or reset, or has left.
    async fn private_user(&self, conversation: &Conversation) -> Result<Vec<Member>, Error> {
        let People::User(user) = &conversation.people else { return Ok(Vec::new()) };
        let (client, id) = (&self.0.client, conversation.id.as_str());
        let (people, conversation) = (client.people(id).await?, client.conversation(id).await?);
        let conversation = conversation.ok_or_else(|| Error("the private chat no longer exists".into()))?;
        let reset = conversation.reset_users.unwrap_or_default();
        let is_user = |member: &Member| member.uid == user.uid && member.name == user.name;
        let was_reset = reset.iter().any(|name| name == user.name.as_str());
        Ok(people.into_iter().filter(|member| is_user(member) && !was_reset).collect())
    }

    /// Publishes who counts as a member for `require_member`.
    pub(super) fn publish_members(&self, people: &[Member]) {
        let may = |member: &&Member| {
            matches!(member.kind, MemberKind::Person(_)) && member.rejection_reason(Role::Reader).is_none()
        };
        let members = people.iter().filter(may).map(|member| Approver::keybase(&member.name)).collect();
        self.known(|known| known.members = Some(members));
    }

    /// Returns an error unless the bot posted this message for this ask: reactions to any other message must
    /// not count.
    fn check_is_ours(&self, found: &wire::Message, ask: &Ask) -> Result<(), Error> {
        let is_ours = self.known(|known| found.sender.uid == known.bot);
        let has_mark = found.body().is_some_and(|body| body.ends_with(&mark(&ask.id)));
        if is_ours && has_mark { Ok(()) } else { Err(Error("the message is not the posted ask".into())) }
    }

    /// Adds buttons that are missing. Answers count without them, so an error is only logged.
    async fn add_missing_buttons(&self, found: &wire::Message, conversation: &str) {
        let bot = self.0.settings.username.as_str();
        let has = |button: &str| found.reactions().any(|(text, by)| text == button && by == bot);
        for reaction in BUTTONS.iter().filter(|reaction| !has(reaction)) {
            if let Err(error) = self.0.client.toggle(conversation, found.id, reaction).await {
                return self.0.faults.buttons.failed(format_args!("{reaction}: {error}"));
            }
        }
        self.0.faults.buttons.succeeded();
    }
}

/// True if the message was deleted, for example by a team's admin.
fn is_gone(error: &program::Error) -> bool {
    matches!(error, program::Error::Refused { message, .. } if message.contains("message not found"))
}
