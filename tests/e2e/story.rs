//! Tests that are the same in every phase and with every OpenSSH. Each checks what the person saw, the audit
//! log, and that nothing is left behind.

use kbmfa_tests::admin::Admin;
use kbmfa_tests::builder::Root;
use kbmfa_tests::impostor::{Babbler, Stranger};
use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::transcript;
use kbmfa_tests::wait;
use kbmfa_tests::world::World;
use std::time::Duration;

/// The events of a login that was let in.
pub(crate) const LET_IN: [&str; 5] =
    ["login.opened", "ask.posted", "answer.given", "login.approved", "login.collected"];
/// The events of a login that was denied.
pub(crate) const TURNED_AWAY: [&str; 4] = ["login.opened", "ask.posted", "answer.given", "login.denied"];
/// The events of a login that was cancelled.
pub(crate) const CANCELLED: [&str; 3] = ["login.opened", "ask.posted", "login.cancelled"];
const EXPIRED: [&str; 3] = ["login.opened", "ask.posted", "login.expired"];

/// The shortest times that the server allows, so that a login without a decision ends soon.
pub(crate) const SHORT_WINDOW: [(&str, &str, &str); 2] =
    [("login", "window", "\"7s\""), ("login", "poll_grace", "\"6s\"")];

/// The shortest grace that the server allows for a silent machine.
pub(crate) const SHORT_GRACE: [(&str, &str, &str); 1] = [("login", "poll_grace", "\"6s\"")];
const LONGER_THAN_THE_GRACE: Duration = Duration::from_secs(8);
const LONG_ENOUGH_TO_READ: Duration = Duration::from_secs(2);

/// The text that the person reads in the auth phase.
pub(crate) const ASKED: &str = "Login <id> needs an approval; asked for one (up to <seconds> s).\n";
const NO_USE: &str = "Your login needs an approval, and the approval server does not work properly.";

/// Answers that must never count as an approval: not HTTP at all, an approval without a login, one of another
/// login, and one with the status of an error.
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

/// Declares one story as a test.
macro_rules! tell {
    ($name:ident, $story:path, $case:expr $(, $when:meta)?) => {
        #[test]
        $(#[$when])?
        fn $name() {
            $story($case);
        }
    };
}
pub(crate) use tell;

/// Declares the stories of one case as tests of the module in which this is used. The first attribute is for
/// the short ones, the second for the long ones. `tests/tidy` reads the names here.
macro_rules! stories {
    ($case:expr) => {
        $crate::story::stories!($case, short: [], long: []);
    };
    ($case:expr, short: [$($short:meta)?], long: [$($long:meta)?]) => {
        use $crate::story::tell;

        tell!(an_approved_login_gets_in, $crate::story::approved, $case $(, $short)?);
        tell!(a_denied_login_is_told_so, $crate::story::denied, $case $(, $short)?);
        tell!(a_login_that_nobody_answers_expires, $crate::story::expired, $case $(, $short)?);
        tell!(ctrl_c_cancels_the_login, $crate::story::interrupted, $case $(, $short)?);
        tell!(a_killed_client_cancels_the_login, $crate::story::killed, $case $(, $long)?);
        tell!(no_server_means_no_login, $crate::story::server_down, $case $(, $long)?);
        tell!(a_server_with_a_wrong_certificate_lets_nobody_in, $crate::story::wrong_certificate, $case $(, $long)?);
        tell!(nonsense_from_the_server_lets_nobody_in, $crate::story::nonsense, $case $(, $long)?);
        tell!(a_restart_of_the_server_loses_no_login, $crate::story::restarted, $case $(, $long)?);
        tell!(an_outage_longer_than_the_poll_grace_loses_no_login, $crate::story::long_outage, $case $(, $long)?);
        tell!(a_killed_server_loses_no_login, $crate::story::server_killed, $case $(, $long)?);
    };
}
pub(crate) use stories;

/// The phase of the module, and the Debian whose sshd is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case(pub(crate) Phase, pub(crate) Root);

impl Case {
    pub(crate) fn machine(self, world: &World) -> Machine {
        world.machine().phase(self.0).root(self.1).start()
    }

    /// True since OpenSSH 10.3. Older versions keep texts until the auth phase is over.
    fn shows_texts_at_once(self) -> bool {
        self.0 == Phase::Auth && self.1 == Root::Debian14
    }

    /// The text that the person has read while they wait.
    fn reads_meanwhile(self, login: &Login) -> &'static str {
        if !self.shows_texts_at_once() {
            return "";
        }
        wait::until("the text", || login.stderr().contains("asked for one").then_some(()));
        ASKED
    }

    /// The whole transcript of somebody who is let in. Only in the auth phase do they see that they wait.
    fn let_in(self) -> String {
        let asked = if self.0 == Phase::Auth { ASKED } else { "" };
        format!("in\n{asked}exit 0\n")
    }

    /// The whole transcript of somebody who was asked about and refused with these words.
    fn refused_with(self, words: &str) -> String {
        let asked = if self.0 == Phase::Auth { ASKED } else { "" };
        format!("{asked}{}", self.refused_at_once(words))
    }

    /// The whole transcript of somebody who was refused without an ask. In the session phase sshd has already
    /// let them in, and displays no words.
    fn refused_at_once(self, words: &str) -> String {
        match self.0 {
            Phase::Account => format!("{words}\nConnection closed by 127.0.0.1 port <port>\nexit 255\n"),
            Phase::Auth if self.shows_texts_at_once() => {
                format!("{words}\nalice@127.0.0.1: Permission denied ().\nexit 255\n")
            }
            Phase::Auth => format!("{words}\n\nalice@127.0.0.1: Permission denied ().\nexit 255\n"),
            Phase::Session => "exit 254\n".to_owned(),
        }
    }
}

/// Somebody approves the login.
pub(crate) fn approved(case: Case) {
    let world = World::new();
    let machine = case.machine(&world);
    let mut login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    assert!(login.running());
    world.admin.approve(&id);
    assert_eq!(login.wait().transcript(), case.let_in());
    world.admin.assert_story(&id, &LET_IN);
    machine.assert_nothing_left();
}

/// Somebody denies the login. There must be only one ask: the client must not begin again.
pub(crate) fn denied(case: Case) {
    let world = World::new();
    let machine = case.machine(&world);
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    world.admin.deny(&id);
    assert_eq!(login.wait().transcript(), case.refused_with("Login <id> was denied."));
    world.admin.assert_story(&id, &TURNED_AWAY);
    assert_eq!(world.admin.logins(&[]).len(), 1);
    machine.assert_nothing_left();
}

/// Nobody answers the login.
pub(crate) fn expired(case: Case) {
    let world = World::with(&SHORT_WINDOW);
    let machine = case.machine(&world);
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.only_login();
    assert_eq!(login.wait().transcript(), case.refused_with("Nobody approved login <id> in time."));
    world.admin.assert_story(&id, &EXPIRED);
    machine.assert_nothing_left();
}

/// The text that a person has read, in the auth phase, while they wait.
pub(crate) fn told_meanwhile(root: Root) -> String {
    let world = World::new();
    let case = Case(Phase::Auth, root);
    let machine = case.machine(&world);
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    wait::until_within(LONG_ENOUGH_TO_READ, || login.stderr().contains("asked for one").then_some(()));
    let meanwhile = transcript::normalised(&login.stderr());
    world.admin.approve(&id);
    assert_eq!(login.wait().transcript(), case.let_in());
    machine.assert_nothing_left();
    meanwhile
}

/// The person presses Ctrl-C. The ask ends at once, and it is too late to answer it.
pub(crate) fn interrupted(case: Case) {
    // Once ssh is logged in, it catches the signal.
    let code = if case.0 == Phase::Session { 255 } else { 130 };
    hung_up(case, Login::interrupt, code);
}

/// The client is killed.
pub(crate) fn killed(case: Case) {
    hung_up(case, Login::kill, 137);
}

fn hung_up(case: Case, end: impl FnOnce(&Login), code: i32) {
    let world = World::new();
    let machine = case.machine(&world);
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    let read = case.reads_meanwhile(&login);
    end(&login);
    assert_eq!(login.wait().transcript(), format!("{read}exit {code}\n"));
    world.admin.wait_for_state(&id, "cancelled");
    world.admin.assert_story(&id, &CANCELLED);
    // The module reports this reason. The server would have noticed later, with another reason.
    assert_eq!(world.admin.login(&id)["reason"], "hung-up");
    machine.assert_nothing_left();
}

/// No server is running.
pub(crate) fn server_down(case: Case) {
    let world = World::new();
    let machine = case.machine(&world);
    world.server.stop();
    let words = "Your login needs an approval, and the approval server cannot be reached.";
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().transcript(), case.refused_at_once(words));
    machine.assert_nothing_left();
}

/// A server is running, but another CA has signed its certificate.
pub(crate) fn wrong_certificate(case: Case) {
    let world = World::new();
    let machine = case.machine(&world);
    world.server.stop();
    let stranger = Stranger::in_place_of(&world);
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().transcript(), case.refused_at_once(NO_USE));
    assert!(Admin::new(stranger.server.config.clone()).logins(&[]).is_empty());
    machine.assert_nothing_left();
}

/// The right server sends nonsense, some of which resembles an approval.
pub(crate) fn nonsense(case: Case) {
    let world = World::new();
    let machine = case.machine(&world);
    world.server.stop();
    for answer in NONSENSE {
        let babbler = Babbler::in_place_of(&world, answer);
        assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().transcript(), case.refused_at_once(NO_USE));
        assert!(babbler.heard() > 0, "the module did not ask");
    }
    machine.assert_nothing_left();
}

/// The server restarts while somebody waits, and the approval comes afterwards.
pub(crate) fn restarted(case: Case) {
    outage(case, &[], |world| world.server.restart());
}

/// The server is down for longer than the poll grace of a machine.
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
    // The person sees nothing of the outage.
    assert_eq!(login.wait().transcript(), case.let_in());
    world.admin.assert_story(&id, &LET_IN);
    machine.assert_nothing_left();
}
