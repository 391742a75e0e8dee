//! The stories that go the same way in every phase and with every OpenSSH. Each checks the exit code, the
//! audit and that nothing is left behind, and returns what the person saw, for the caller to compare.

use kbmfa_tests::admin::Admin;
use kbmfa_tests::builder::Root;
use kbmfa_tests::impostor::{Babbler, Stranger};
use kbmfa_tests::login::{Finished, Login};
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::wait;
use kbmfa_tests::world::World;
use std::time::Duration;

/// What the audit tells of a login that was let in.
pub(crate) const LET_IN: [&str; 5] =
    ["login.opened", "ask.posted", "answer.given", "login.approved", "login.collected"];
/// What the audit tells of a login that was turned away.
pub(crate) const TURNED_AWAY: [&str; 4] = ["login.opened", "ask.posted", "answer.given", "login.denied"];
const CANCELLED: [&str; 3] = ["login.opened", "ask.posted", "login.cancelled"];
const EXPIRED: [&str; 3] = ["login.opened", "ask.posted", "login.expired"];

/// The shortest times that the server takes: a login that nobody decides is over soon.
pub(crate) const SHORT_WINDOW: [(&str, &str, &str); 2] =
    [("login", "window", "\"7s\""), ("login", "poll_grace", "\"6s\"")];

const SHORT_GRACE: [(&str, &str, &str); 1] = [("login", "poll_grace", "\"6s\"")];
const LONGER_THAN_THE_GRACE: Duration = Duration::from_secs(8);

/// Words that must never pass for an approval: no HTTP at all, an approval of no login, one of another
/// login, and one with an error's status.
const NONSENSE: [&str; 4] = [
    "approved\r\n",
    concat!(
        "HTTP/1.1 200 OK\r\nKbmfa-Version: 1\r\nContent-Type: application/json\r\n",
        "Content-Length: 20\r\n\r\n{\"state\":\"approved\"}"
    ),
    concat!(
        "HTTP/1.1 200 OK\r\nKbmfa-Version: 1\r\nContent-Type: application/json\r\n",
        "Content-Length: 60\r\n\r\n{\"id\":\"00112233445566778899aabbccddeeff\",\"state\":\"approved\"}"
    ),
    concat!(
        "HTTP/1.1 400 Bad Request\r\nKbmfa-Version: 1\r\nContent-Type: application/json\r\n",
        "Content-Length: 20\r\n\r\n{\"state\":\"approved\"}"
    ),
];

/// Where the module stands, and in which sshd.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case(pub(crate) Phase, pub(crate) Root);

impl Case {
    pub(crate) fn machine(self, world: &World) -> Machine {
        world.machine().phase(self.0).root(self.1).start()
    }

    /// How the client ends when the module refuses: in the session phase sshd has let it in already.
    fn refused(self) -> i32 {
        if self.0 == Phase::Session { 254 } else { 255 }
    }
}

/// Somebody approves.
pub(crate) fn approved(case: Case) -> String {
    let world = World::new();
    let machine = case.machine(&world);
    let mut login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    assert!(login.running());
    world.admin.approve(&id);
    let finished = login.wait();
    assert_eq!(finished.code, 0);
    world.admin.assert_story(&id, &LET_IN);
    machine.assert_nothing_left();
    finished.transcript()
}

/// Somebody denies. One denial is one ask: the client must not begin again.
pub(crate) fn denied(case: Case) -> String {
    let world = World::new();
    let machine = case.machine(&world);
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    world.admin.deny(&id);
    let seen = refused(case, login);
    world.admin.assert_story(&id, &TURNED_AWAY);
    assert_eq!(world.admin.logins(&[]).len(), 1);
    machine.assert_nothing_left();
    seen
}

/// Nobody answers.
pub(crate) fn expired(case: Case) -> String {
    let world = World::with(&SHORT_WINDOW);
    let machine = case.machine(&world);
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.only_login();
    let seen = refused(case, login);
    world.admin.assert_story(&id, &EXPIRED);
    machine.assert_nothing_left();
    seen
}

/// The person presses Ctrl-C: the ask ends at once, and answering it is too late.
pub(crate) fn interrupted(case: Case) {
    // Once it is logged in ssh catches the signal.
    let code = if case.0 == Phase::Session { 255 } else { 130 };
    hung_up(case, Login::interrupt, code);
}

/// The client dies without a word.
pub(crate) fn killed(case: Case) {
    hung_up(case, Login::kill, 137);
}

fn hung_up(case: Case, end: impl FnOnce(&Login), code: i32) {
    let world = World::new();
    let machine = case.machine(&world);
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    end(&login);
    let finished = login.wait();
    assert_eq!((finished.transcript().trim(), finished.code), (format!("exit {code}").as_str(), code));
    world.admin.wait_for_state(&id, "cancelled");
    world.admin.assert_story(&id, &CANCELLED);
    // Told by the module; the server would have found out by itself, later and with another reason.
    assert_eq!(world.admin.login(&id)["reason"], "hung-up");
    machine.assert_nothing_left();
}

/// No server is there.
pub(crate) fn server_down(case: Case) -> String {
    let world = World::new();
    let machine = case.machine(&world);
    world.server.stop();
    let seen = refused(case, machine.ssh("alice", &["echo", "in"]));
    machine.assert_nothing_left();
    seen
}

/// A server is there, and another CA vouches for it.
pub(crate) fn wrong_certificate(case: Case) -> String {
    let world = World::new();
    let machine = case.machine(&world);
    world.server.stop();
    let stranger = Stranger::in_place_of(&world);
    let seen = refused(case, machine.ssh("alice", &["echo", "in"]));
    assert!(Admin::new(stranger.server.config.clone()).logins(&[]).is_empty());
    machine.assert_nothing_left();
    seen
}

/// The right server talks nonsense, also such as looks like an approval.
pub(crate) fn nonsense(case: Case) -> String {
    let world = World::new();
    let machine = case.machine(&world);
    world.server.stop();
    let mut seen = vec![];
    for answer in NONSENSE {
        let babbler = Babbler::in_place_of(&world, answer);
        seen.push(refused(case, machine.ssh("alice", &["echo", "in"])));
        assert!(babbler.heard() > 0, "the module did not ask");
    }
    machine.assert_nothing_left();
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
    seen.remove(0)
}

/// The server restarts while somebody waits; the approval comes afterwards.
pub(crate) fn restarted(case: Case) {
    outage(case, &[], |world| world.server.restart());
}

/// The server is away for longer than it would forgive a machine.
pub(crate) fn long_outage(case: Case) {
    outage(case, &SHORT_GRACE, |world| {
        world.server.stop();
        wait::pass(LONGER_THAN_THE_GRACE);
        world.server.start();
    });
}

/// The server is killed while somebody waits.
pub(crate) fn server_killed(case: Case) {
    outage(case, &[], |world| {
        world.server.kill();
        world.server.start();
    });
}

fn outage(case: Case, settings: &[(&str, &str, &str)], outage: impl FnOnce(&World)) {
    let world = World::with(settings);
    let machine = case.machine(&world);
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    outage(&world);
    world.admin.approve(&id);
    let finished = login.wait();
    // What somebody sees who knows nothing of the outage.
    let asked = "Login <id> needs an approval; asked for one (up to <seconds> s).\n";
    let asked = if case.0 == Phase::Auth { asked } else { "" };
    assert_eq!(finished.transcript(), format!("in\n{asked}exit 0\n"));
    world.admin.assert_story(&id, &LET_IN);
    machine.assert_nothing_left();
}

/// The person must not get in; returns what they saw.
fn refused(case: Case, login: Login) -> String {
    let finished: Finished = login.wait();
    assert_eq!((finished.stdout.as_str(), finished.code), ("", case.refused()), "{}", finished.stderr);
    finished.transcript()
}
