//! Counts the write transactions of a login, for each way in which it can end: with the outbox, a chat, and a
//! machine that waits.

use kbmfa_proto::login::{LoginReply, State as WireState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

use super::*;
use crate::channels::{Ask as Posted, LiveAnswer, Notice as PostedNotice, State as Health};
use crate::db::testing::{Fixture, block_on, fixture};
use crate::logins::decide;
use crate::logins::store::reach;
use crate::logins::tests::{alice, login_id};
use crate::long_poll::BrokenPoll;
use crate::machines::caller::Credential;
use crate::policy::{Approver, Rule, Says, Scope};
use crate::progress::Registry;
use crate::serve::sweep;
use crate::shared::Shared;
use crate::usecases::testing::{joined, rules};

/// Transactions that happen even if nobody logs in: those of the monitor, including the daily head of the
/// audit log.
const BESIDES: [&str; 5] = ["outbox.lease", "relay.state", "head.told", "notice.posted", "test"];

/// Longest wait: more than enough on a busy computer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A chat in which one person answers at once, or nobody.
#[derive(Clone)]
struct OneAnswer {
    answer: Option<Answer>,
    /// Number of posts that are still to fail without telling whether the message arrived.
    failing: Arc<Shared<u32>>,
    arrived: Arc<Shared<Vec<String>>>,
    events: Arc<Shared<Vec<Message>>>,
    event_there: Arc<Notify>,
}

impl OneAnswer {
    fn new(answer: Option<Answer>) -> Self {
        let (failing, arrived, events, event_there) = Default::default();
        Self { answer, failing, arrived, events, event_there }
    }

    fn live(&self) -> Answers {
        let person: Approver = "keybase:bob".parse().unwrap();
        let live = self.answer.map(|answer| LiveAnswer { person, answer, rejection: None });
        Answers { live: live.into_iter().collect(), ..Answers::default() }
    }
}

impl Chat for OneAnswer {
    fn channel(&self) -> Channel {
        Channel::Keybase
    }

    async fn post(&self, ask: &Posted) -> Result<Message, channels::Error> {
        self.arrived.with(|arrived| arrived.push(ask.id.clone()));
        let fails = self.failing.with(|failing| std::mem::replace(failing, failing.saturating_sub(1)) > 0);
        if fails { Err(channels::Error("the reply was lost".into())) } else { Ok(Message(ask.id.clone())) }
    }

    async fn add_buttons(&self, message: &Message) -> Result<(), channels::Error> {
        if self.answer.is_some() {
            self.events.with(|events| events.push(message.clone()));
            self.event_there.notify_one();
        }
        Ok(())
    }

    async fn find(&self, ask: &Posted) -> Result<Vec<Message>, channels::Error> {
        Ok(self.arrived.get().into_iter().filter(|id| *id == ask.id).map(Message).collect())
    }

    async fn identify(&self, _message: &Message) -> Result<Option<String>, channels::Error> {
        Ok(None)
    }

    async fn edit_copy(&self, _ask: &Posted, _message: &Message, _text: &str) -> Result<(), channels::Error> {
        Ok(())
    }

    async fn edit(&self, _ask: &Posted, _message: &Message, _verdict: &str) -> Result<(), channels::Error> {
        Ok(())
    }

    async fn notify(&self, _notice: &PostedNotice) -> Result<(), channels::Error> {
        Ok(())
    }

    async fn answers(&self, _ask: &Posted, _messages: &[Message]) -> Result<Answers, channels::Error> {
        Ok(self.live())
    }

    async fn confirmed_answers(
        &self,
        _ask: &Posted,
        _messages: &[Message],
    ) -> Result<Answers, channels::Error> {
        Ok(self.live())
    }

    fn how_to_answer(&self) -> &'static str {
        "react"
    }

    async fn next_event(&self) -> ChatEvent {
        loop {
            if let Some(event) = self.try_next_event() {
                return event;
            }
            self.event_there.notified().await;
        }
    }

    fn try_next_event(&self) -> Option<ChatEvent> {
        self.events.with(Vec::pop).map(ChatEvent::Changed)
    }

    fn set_leader(&self, _is_mine: bool) {}

    fn state(&self) -> Health {
        Health::Up
    }

    fn members(&self) -> Option<Vec<Approver>> {
        None
    }
}

/// A server on a database of its own, with a machine. Its outbox runs if it has a chat.
struct Bed {
    fixture: Fixture,
    logins: Logins,
    web1: Credential,
    broken: Shared<mpsc::UnboundedReceiver<BrokenPoll>>,
    _closing: watch::Sender<bool>,
}

impl Bed {
    fn new(chat: Option<Channel>) -> Self {
        let fixture = fixture();
        let web1 = Credential::Own(joined(&fixture.db, "web1"));
        let mut rules = rules();
        if let Some(chat) = chat {
            (rules.chat, rules.policy.default.channels) = (Some(chat), vec![chat]);
            let is_up = move |tx: &Tx<'_>| Ok::<_, Error>(reach::say(tx, chat, None)?);
            fixture.db.write_blocking("test", is_up).unwrap();
        }
        let (breaks, broken) = mpsc::unbounded_channel();
        let (closing, closed) = watch::channel(false);
        let logins = Logins::new(fixture.db.clone(), rules, breaks, closed);
        fixture.db.take_written();
        Self { fixture, logins, web1, broken: Shared::new(broken), _closing: closing }
    }

    /// Runs the outbox and, once that has its lease, the story. Returns the names of the transactions.
    fn run(
        &self,
        chat: OneAnswer,
        story: impl AsyncFnOnce(&Self, &mut Vec<&'static str>),
    ) -> Vec<&'static str> {
        let mut written = Vec::new();
        block_on(async {
            let registry = Registry::default();
            let progress = registry.register("relay worker", BOUND);
            let outbox = run(self.logins.clone(), chat, lease::Holder::this_process(), progress);
            let told = async {
                self.until("outbox.lease", &mut written).await;
                self.logins.set_carries_asks(true);
                story(self, &mut written).await;
            };
            tokio::select! {
                () = outbox => panic!("the outbox ended"),
                () = told => {}
            }
        });
        written.retain(|name| !BESIDES.contains(name));
        written
    }

    /// Waits until a transaction of this name was written. Adds all names to `written`.
    async fn until(&self, name: &str, written: &mut Vec<&'static str>) {
        let seen = async {
            while !written.contains(&name) {
                written.extend(self.fixture.db.take_written());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("no {name}"));
    }

    async fn open(&self) -> LoginReply {
        self.logins.open(self.web1.clone(), login_id(1), alice(1)).await.unwrap()
    }

    async fn wait(&self, seconds: u64) -> LoginReply {
        self.logins.wait(self.web1.clone(), login_id(1), Duration::from_secs(seconds)).await.unwrap()
    }

    fn written(&self) -> Vec<&'static str> {
        self.fixture.db.take_written().into_iter().filter(|name| !BESIDES.contains(name)).collect()
    }
}

/// The transactions of a login in Keybase that somebody answers while the machine's first poll is held.
fn answered(answer: Answer, expected: WireState) -> Vec<&'static str> {
    let bed = Bed::new(Some(Channel::Keybase));
    bed.run(OneAnswer::new(Some(answer)), async |bed, written| {
        assert_eq!(bed.open().await.state, WireState::Pending);
        assert_eq!(bed.wait(20).await.state, expected);
        bed.until("ask.closed", written).await;
    })
}

#[test]
fn an_approval_in_keybase_within_the_first_poll_takes_five_write_transactions() {
    let written = answered(Answer::Approve, WireState::Approved);
    let mut sorted = written.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["ask.closed", "ask.posted", "ask.settle", "login.open", "login.poll"], "{written:?}");
}

#[test]
fn a_denial_in_keybase_takes_as_many() {
    let mut written = answered(Answer::Deny, WireState::Denied);
    written.sort_unstable();
    assert_eq!(written, ["ask.closed", "ask.posted", "ask.settle", "login.open", "login.poll"]);
}

#[test]
fn a_login_that_is_given_up_in_keybase_takes_four() {
    let bed = Bed::new(Some(Channel::Keybase));
    let written = bed.run(OneAnswer::new(None), async |bed, written| {
        bed.open().await;
        bed.until("ask.posted", written).await;
        bed.logins.cancel(bed.web1.clone(), login_id(1)).await.unwrap();
        bed.until("ask.closed", written).await;
    });
    assert_eq!(written, ["login.open", "ask.posted", "login.cancel", "ask.closed"]);
}

#[test]
fn an_answer_at_the_console_takes_three_and_without_a_chat_nothing_is_left_to_do() {
    let bed = Bed::new(None);
    block_on(async {
        bed.open().await;
        let answered = async {
            bed.until("login.open", &mut Vec::new()).await;
            let (rules, person) = (bed.logins.rules(), "console:root".parse().unwrap());
            let answer =
                move |tx: &Tx<'_>| decide::answer(tx, &rules, &login_id(1), &person, Answer::Approve, None);
            bed.fixture.db.write("login.answer", answer).await.unwrap();
            bed.logins.ended(&login_id(1));
        };
        let (reply, ()) = tokio::join!(bed.wait(20), answered);
        assert_eq!(reply.state, WireState::Approved);
    });
    assert_eq!(bed.written(), ["login.answer", "login.poll"]);
    let unfinished = bed.fixture.db.read_blocking(store::first_unfinished_event).unwrap();
    assert_eq!(unfinished, None, "the audit log may be archived");
}

#[test]
fn what_policy_decides_takes_one() {
    let mut rules = rules();
    let says = Says::Exempt;
    rules.policy.rules = vec![Rule { line: 1, scope: Scope::default(), says }];
    let bed = Bed::new(None);
    bed.logins.set_rules(rules);
    block_on(async { assert_eq!(bed.open().await.state, WireState::Approved) });
    assert_eq!(bed.written(), ["login.open"]);
    let down = Bed::new(Some(Channel::Keybase));
    let is_down = |tx: &Tx<'_>| Ok::<_, Error>(reach::say(tx, Channel::Keybase, Some("offline"))?);
    down.fixture.db.write_blocking("test", is_down).unwrap();
    block_on(async { assert_eq!(down.open().await.state, WireState::Denied) });
    assert_eq!(down.written(), ["login.open"]);
}

#[test]
fn the_first_poll_writes_nothing_and_each_further_one_once() {
    let bed = Bed::new(None);
    block_on(async {
        bed.open().await;
        bed.written();
        assert_eq!(bed.wait(1).await.state, WireState::Pending);
        assert_eq!(bed.written(), [] as [&str; 0], "the opening told of it");
        for _ in 0..2 {
            assert_eq!(bed.wait(1).await.state, WireState::Pending);
            assert_eq!(bed.written(), ["login.poll"]);
        }
    });
}

#[test]
fn a_first_poll_is_written_down_where_the_login_was_not_opened_or_opened_long_ago() {
    let bed = Bed::new(None);
    let (broken, _) = mpsc::unbounded_channel();
    let (_closing, closed) = watch::channel(false);
    let other = Logins::new(bed.fixture.db.clone(), (*bed.logins.rules()).clone(), broken, closed);
    block_on(async {
        bed.open().await;
        bed.written();
        let wait = Duration::from_secs(1);
        other.wait(bed.web1.clone(), login_id(1), wait).await.unwrap();
        assert_eq!(bed.written(), ["login.poll"], "another server may hold one of the same number");
        bed.fixture.clock.advance(Duration::from_secs(40));
        bed.wait(1).await;
        assert_eq!(bed.written(), ["login.poll"]);
    });
}

#[test]
fn a_first_poll_that_breaks_gives_the_machine_no_more_than_its_grace() {
    let bed = Bed::new(None);
    block_on(async {
        bed.open().await;
        let held = bed.wait(20);
        assert!(tokio::time::timeout(Duration::from_millis(200), held).await.is_err(), "it was answered");
        let broken = bed.broken.with(mpsc::UnboundedReceiver::try_recv).expect("nobody was told");
        sweep::note(&bed.logins, broken).await.unwrap();
        let login = bed.fixture.db.read(|tx| Ok::<_, Error>(store::by_id(tx, &login_id(1))?)).await.unwrap();
        let grace = bed.logins.rules().grace.length;
        assert_eq!(login.unwrap().life.lapses_at, bed.fixture.db.now() + grace);
    });
}

#[test]
fn a_post_whose_reply_is_lost_is_looked_for_and_not_posted_again() {
    let bed = Bed::new(Some(Channel::Keybase));
    let chat = OneAnswer::new(None);
    chat.failing.with(|failing| *failing = 1);
    let arrived = Arc::clone(&chat.arrived);
    let written = bed.run(chat, async |bed, written| {
        bed.open().await;
        bed.until("ask.sending", written).await;
        bed.fixture.clock.advance(URGENT_PAUSE_MAX);
        bed.until("ask.posted", written).await;
    });
    assert_eq!(written, ["login.open", "ask.sending", "ask.posted"]);
    assert_eq!(arrived.get().len(), 1);
}

#[test]
fn an_ask_of_another_servers_login_is_looked_for_before_it_is_posted() {
    let bed = Bed::new(Some(Channel::Keybase));
    let chat = OneAnswer::new(None);
    // The server that held the lease at the opening posted the ask, and died before it could record that.
    bed.logins.set_carries_asks(true);
    block_on(async { drop(bed.open().await) });
    let ask = bed.fixture.db.read_blocking(|tx| asks::of(tx, &login_id(1))).unwrap().remove(0);
    assert_eq!((ask.sends, ask.sent_at), (1, Some(ask.asked_at)));
    chat.arrived.with(|arrived| arrived.push(ask.id.clone()));
    let arrived = Arc::clone(&chat.arrived);
    bed.fixture.clock.advance(Duration::from_millis(1));
    bed.run(chat, async |bed, written| bed.until("ask.posted", written).await);
    assert_eq!(arrived.get(), [ask.id]);
}
