//! Asks and answers in Keybase, with a real sshd at one end and a model of Keybase at the other. Each test
//! checks the shell, the channel as its members see it, and the audit log. At its end the model reports every
//! call that a careful client would not have made.

mod broken;
mod channel;
mod console;
mod doctor;
mod doubled;
mod people;
mod restarted;
mod restarts;
mod stale;
mod start;

use insta::assert_snapshot;
use kbmfa_tests::builder::Root;
use kbmfa_tests::chat::{ChatWorld, ROOM};
use kbmfa_tests::login::{Finished, Login};
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::wait::until;
use keybase_double::FaultKind;

use crate::story::{LET_IN, TURNED_AWAY};

/// The shortest window, with the times that must nest in it.
const SHORT_WINDOW: [(&str, &str, &str); 2] =
    [("login", "window", "\"7s\""), ("login", "poll_grace", "\"6s\"")];

/// A login of alice at web1 that was asked about.
pub(crate) struct Asked<'a> {
    world: &'a ChatWorld,
    login: Login,
    id: String,
    message: u64,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(world: &'a ChatWorld, machine: &Machine) -> Self {
        let login = machine.ssh("alice", &["echo", "in"]);
        let id = world.admin.pending();
        let message = world.chat.ask(&id);
        Self { world, login, id, message }
    }

    fn answer(&self, user: &str, reaction: &str) {
        self.world.chat.answer(user, self.message, reaction);
    }

    /// bob approves, and alice gets in.
    pub(crate) fn approve(self) {
        self.answer("bob", "Approve");
        assert!(let_in(&self.login.wait()));
    }

    /// Checks that the login is still pending, so that no answer so far has counted.
    fn assert_waits(&self) {
        assert_eq!(self.world.admin.state(&self.id), "pending");
    }
}

fn let_in(finished: &Finished) -> bool {
    (finished.stdout.as_str(), finished.code) == ("in\n", 0)
}

/// Waits until the message shows the decision, and returns the channel's view.
fn verdict(world: &ChatWorld, state: &str) -> String {
    world.chat.message(&format!("was *{state}*"));
    world.chat.seen()
}

#[test]
fn an_approval_in_the_channel_lets_in() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    world.admin.run(&["pool", "add", "web", "--machine", "web1"]);
    let asked = Asked::new(&world, &machine);
    assert_snapshot!(world.chat.seen(), @r"
    sshbot: Head of the audit log: `<head>` (`kbmfa-server audit verify --head` checks against it) `<mark>`
    sshbot: Login `<id>`: `alice` wants to enter `web1` (`web`) by `sshd` from `127.0.0.1`. Answer within 60 s, until <time>: click Approve or Deny below, or react with :+1: or :-1:. `<mark>`
      [Approve sshbot]
      [Deny sshbot]
    ");
    asked.answer("bob", ":+1::skin-tone-3:");
    assert_eq!(asked.login.wait().transcript(), "in\nexit 0\n");
    world.admin.assert_story(&asked.id, &LET_IN);
    assert_eq!(world.admin.login(&asked.id)["decided_by"], "keybase:bob");
    assert_snapshot!(verdict(&world, "approved"), @r"
    sshbot: Head of the audit log: `<head>` (`kbmfa-server audit verify --head` checks against it) `<mark>`
    sshbot (edited): Login `<id>` was *approved* by `keybase:bob` after <seconds> s: `alice` wanted to enter `web1` (`web`) by `sshd` from `127.0.0.1`. Audit log `<head>` `<mark>`
      [Approve sshbot]
      [Deny sshbot]
      [:+1::skin-tone-3: bob]
    ");
    machine.assert_nothing_left();
}

#[test]
fn a_denial_in_the_channel_refuses_the_login() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    asked.answer("bob", "Deny");
    assert_eq!(asked.login.wait().code, 255);
    world.admin.assert_story(&asked.id, &TURNED_AWAY);
    assert_snapshot!(verdict(&world, "denied"), @r"
    sshbot: Head of the audit log: `<head>` (`kbmfa-server audit verify --head` checks against it) `<mark>`
    sshbot (edited): Login `<id>` was *denied* by `keybase:bob` after <seconds> s: `alice` wanted to enter `web1` by `sshd` from `127.0.0.1`. Audit log `<head>` `<mark>`
      [Approve sshbot]
      [Deny sshbot]
      [Deny bob]
    ");
    machine.assert_nothing_left();
}

#[test]
fn it_is_asked_and_answered_in_every_phase_and_with_openssh_10() {
    for (phase, root) in
        [(Phase::Auth, Root::Debian12), (Phase::Session, Root::Debian12), (Phase::Account, Root::Debian13)]
    {
        let world = ChatWorld::with(&[("login", "cool_down", "\"0s\"")], "");
        let machine = world.machine().phase(phase).root(root).start();
        Asked::new(&world, &machine).approve();
        let asked = Asked::new(&world, &machine);
        asked.answer("bob", "Deny");
        let denied = asked.login.wait();
        assert_eq!(denied.code, if phase == Phase::Session { 254 } else { 255 }, "{phase:?} {root:?}");
        world.admin.assert_story(&asked.id, &TURNED_AWAY);
        machine.assert_nothing_left();
    }
}

#[test]
fn of_two_current_answers_the_denial_wins() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    world.chat.fault_times(FaultKind::ListenerDrop, None, 1).unwrap();
    asked.answer("bob", "Approve");
    asked.answer("dave", ":no_entry_sign:");
    assert_eq!(asked.login.wait().code, 255);
    assert_eq!(world.admin.login(&asked.id)["decided_by"], "keybase:dave");
    world.admin.assert_story(&asked.id, &TURNED_AWAY);
    assert_snapshot!(verdict(&world, "denied"), @r"
    sshbot: Head of the audit log: `<head>` (`kbmfa-server audit verify --head` checks against it) `<mark>`
    sshbot (edited): Login `<id>` was *denied* by `keybase:dave` after <seconds> s: `alice` wanted to enter `web1` by `sshd` from `127.0.0.1`. Audit log `<head>` `<mark>`
      [Approve sshbot]
      [Deny sshbot]
      [Approve bob]
      [:no_entry_sign: dave]
    ");
    machine.assert_nothing_left();
}

#[test]
fn an_approval_that_comes_before_the_post_is_acknowledged_counts() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    world.chat.arm_reaction("bob", "wants to enter", ":white_check_mark:").unwrap();
    assert!(let_in(&machine.ssh("alice", &["echo", "in"]).wait()));
    world.admin.assert_story(&world.admin.only_login(), &LET_IN);
    machine.assert_nothing_left();
}

#[test]
fn two_asks_at_once_each_have_their_own_answer() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let logins = [machine.ssh("alice", &["echo", "in"]), machine.ssh("bob", &["echo", "in"])];
    let pending = world.admin.pending_logins(2);
    let ask = |user: &str| {
        let (id, _) = pending.iter().find(|(_, of)| of == user).unwrap();
        world.chat.ask(id)
    };
    let (of_alice, of_bob) = (ask("alice"), ask("bob"));
    world.chat.answer("dave", of_bob, "Deny");
    world.chat.answer("dave", of_alice, "Approve");
    let [alice, bob] = logins.map(Login::wait);
    assert!(let_in(&alice) && bob.code == 255);
    machine.assert_nothing_left();
}

#[test]
fn a_reaction_on_an_older_ask_does_not_answer_a_newer_one() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let older = Asked::new(&world, &machine);
    let message = older.message;
    older.approve();
    verdict(&world, "approved");
    let newer = Asked::new(&world, &machine);
    world.chat.answer("dave", message, ":-1:");
    world.chat.message("`dave`: this deny does not count now");
    newer.assert_waits();
    newer.answer("dave", "Deny");
    assert_eq!(newer.login.wait().code, 255);
    assert_snapshot!(verdict(&world, "denied"), @r"
    sshbot: Head of the audit log: `<head>` (`kbmfa-server audit verify --head` checks against it) `<mark>`
    sshbot (edited): Login `<id>` was *approved* by `keybase:bob` after <seconds> s: `alice` wanted to enter `web1` by `sshd` from `127.0.0.1`. Audit log `<head>` `<mark>`
      [Approve sshbot]
      [Deny sshbot]
      [Approve bob]
      [:-1: dave]
    sshbot (edited): Login `<id>` was *denied* by `keybase:dave` after <seconds> s: `alice` wanted to enter `web1` by `sshd` from `127.0.0.1`. Audit log `<head>` `<mark>`
      [Approve sshbot]
      [Deny sshbot]
      [Deny dave]
    sshbot: `dave`: this deny does not count now: `the login is approved already by keybase:bob` `<mark>`
    ");
}

/// A text such as `+:+1:` becomes a reaction to the newest message.
#[test]
fn a_quick_reaction_counts_for_the_message_that_it_lands_on_and_for_no_other() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    world.chat.post("dave", ROOM, "who is that?").unwrap();
    world.chat.post("bob", ROOM, "+:+1:").unwrap();
    // The listener delivers the next answer after it, so the server has handled everything before by then.
    asked.answer("carol", "Approve");
    world.chat.message("`carol`: this approve does not count now");
    asked.assert_waits();
    asked.approve();
    let asked = Asked::new(&world, &machine);
    world.chat.post("bob", ROOM, "+:+1:").unwrap();
    assert!(let_in(&asked.login.wait()));
}

#[test]
fn a_crowd_at_once_is_asked_about_and_let_in_one_by_one() {
    let world = ChatWorld::with(&[("login", "asks_per_user", "99"), ("login", "pending_per_user", "99")], "");
    let machine = world.machine().sshd_lines("MaxStartups 100").start();
    let logins: Vec<_> = (0..12).map(|_| machine.ssh("alice", &["echo", "in"])).collect();
    for (id, _) in world.admin.pending_logins(logins.len()) {
        world.chat.answer("bob", world.chat.ask(&id), "Approve");
    }
    assert!(logins.into_iter().all(|login| let_in(&login.wait())));
    machine.assert_nothing_left();
}

#[test]
fn an_ask_that_nobody_answers_expires_and_says_so() {
    let world = ChatWorld::with(&SHORT_WINDOW, "");
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    assert_eq!(asked.login.wait().code, 255);
    assert_snapshot!(verdict(&world, "expired"), @r"
    sshbot: Head of the audit log: `<head>` (`kbmfa-server audit verify --head` checks against it) `<mark>`
    sshbot (edited): Login `<id>` was *expired* (no-answer) after <seconds> s: `alice` wanted to enter `web1` by `sshd` from `127.0.0.1`. Audit log `<head>` `<mark>`
      [Approve sshbot]
      [Deny sshbot]
    ");
    world.chat.answer("bob", asked.message, "Approve");
    world.chat.message("`bob`: this approve does not count now");
    assert_eq!(world.admin.state(&asked.id), "expired");
    machine.assert_nothing_left();
}

#[test]
fn a_hang_up_withdraws_the_ask() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    asked.login.kill();
    assert_snapshot!(verdict(&world, "cancelled"), @r"
    sshbot: Head of the audit log: `<head>` (`kbmfa-server audit verify --head` checks against it) `<mark>`
    sshbot (edited): Login `<id>` was *cancelled* (hung-up) after <seconds> s: `alice` wanted to enter `web1` by `sshd` from `127.0.0.1`. Audit log `<head>` `<mark>`
      [Approve sshbot]
      [Deny sshbot]
    ");
    machine.assert_nothing_left();
}

#[test]
fn refusals_sessions_and_heads_are_posted_as_configured() {
    let world = ChatWorld::with(
        &[("relay.keybase", "post", "[\"refusals\", \"sessions\"]"), ("login", "cool_down", "\"60s\"")],
        "",
    );
    let machine = world.machine().reporting().start();
    Asked::new(&world, &machine).approve();
    world.chat.message("Session closed");
    let asked = Asked::new(&world, &machine);
    asked.answer("bob", "Deny");
    assert_eq!(asked.login.wait().code, 255);
    for _ in 0..2 {
        assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().code, 255);
    }
    world.chat.message("Refused: ");
    let told = world.admin.json(&["audit", "post-head"]);
    world.chat.message(told["head"].as_str().unwrap());
    world.admin.run(&["audit", "verify", "--head", told["head"].as_str().unwrap()]);
    until("both verdicts", || (world.chat.seen().matches("was *").count() == 2).then_some(()));
    assert_snapshot!(world.chat.seen(), @r"
    sshbot: Head of the audit log: `<head>` (`kbmfa-server audit verify --head` checks against it) `<mark>`
    sshbot (edited): Login `<id>` was *approved* by `keybase:bob` after <seconds> s: `alice` wanted to enter `web1` by `sshd` from `127.0.0.1`. Audit log `<head>` `<mark>`
      [Approve sshbot]
      [Deny sshbot]
      [Approve bob]
    sshbot: Session opened: `alice` at `web1` from `127.0.0.1` `<mark>`
    sshbot: Session closed: `alice` at `web1` from `127.0.0.1` `<mark>`
    sshbot (edited): Login `<id>` was *denied* by `keybase:bob` after <seconds> s: `alice` wanted to enter `web1` by `sshd` from `127.0.0.1`. Audit log `<head>` `<mark>`
      [Approve sshbot]
      [Deny sshbot]
      [Deny bob]
    sshbot: Refused: `alice` wanted to enter `web1` from `127.0.0.1` (denied-recently) `<mark>`
    sshbot: Head of the audit log: `<head>` (`kbmfa-server audit verify --head` checks against it) `<mark>`
    ");
}
