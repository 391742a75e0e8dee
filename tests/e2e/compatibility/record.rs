//! Records the messages between the current programs, for later versions.

use kbmfa_tests::between::Between;
use kbmfa_tests::builder::MachineBuilder;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::{FREE, PASSWORD_OF_BOB, Phase, SUDOERS};
use kbmfa_tests::recording::{self, Exchange};
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;

use crate::auth_token::{self, HERE, has_only_the_token};

/// The messages of one machine, from its joining on.
pub(super) type Story = (&'static str, fn() -> Vec<Exchange>);

pub(super) const STORIES: [Story; 8] = [
    ("host", host),
    ("account", || phase(Phase::Account)),
    ("auth", || phase(Phase::Auth)),
    ("session", || phase(Phase::Session)),
    ("sudo", sudo),
    ("hung-up", hung_up),
    ("late-reports", late_reports),
    ("token", token),
];

#[test]
#[ignore = "make record-wire"]
fn record() {
    for (story, tell) in STORIES {
        recording::save(story, &tell());
    }
}

/// All messages between this world's server and its only machine.
struct Recorder {
    world: World,
    between: Between,
    machine: Machine,
}

impl Recorder {
    fn of(world: World, describe: impl FnOnce(MachineBuilder) -> MachineBuilder) -> Self {
        let between = Between::recording(&world);
        let machine = describe(world.machine()).by_way_of(between.url()).start();
        Self { world, between, machine }
    }

    fn approved(&self) {
        let login = self.machine.ssh("alice", &["true"]);
        self.world.admin.approve(&self.world.admin.pending());
        assert_eq!(login.wait().code, 0);
    }

    /// Waits until this many exchanges with this route have their answers.
    fn wait_for(&self, route: &str, count: usize) {
        let heard = || self.between.recorded().iter().filter(|exchange| exchange.route() == route).count();
        until("the machine to be answered", || (heard() == count).then_some(()));
    }

    fn finish(self) -> Vec<Exchange> {
        self.machine.assert_nothing_left();
        self.between.recorded()
    }
}

/// The messages of `kbmfa-host`, with a dry run.
fn host() -> Vec<Exchange> {
    let recorder = Recorder::of(World::new(), |machine| machine.phase(Phase::Account).reporting());
    for verb in ["status", "refresh", "doctor"] {
        recorder.machine.try_exec(&["kbmfa-host", verb]);
    }
    recorder.finish()
}

/// A login that is approved, with its session, and one that is denied.
fn phase(phase: Phase) -> Vec<Exchange> {
    let recorder = Recorder::of(World::new(), |machine| machine.phase(phase).reporting());
    recorder.approved();
    recorder.wait_for("POST /v1/sessions", 2);
    let login = recorder.machine.ssh("alice", &["true"]);
    recorder.world.admin.deny(&recorder.world.admin.pending());
    assert_ne!(login.wait().code, 0);
    recorder.finish()
}

fn sudo() -> Vec<Exchange> {
    let recorder = Recorder::of(World::new(), |machine| machine.pam_stack(FREE).sudo(SUDOERS));
    let typed = format!("printf '{PASSWORD_OF_BOB}\\n' | sudo -S -p '' id -u");
    let login = recorder.machine.ssh("bob", &[&typed]);
    recorder.world.admin.approve(&recorder.world.admin.pending());
    assert_eq!(login.wait().stdout, "0\n");
    recorder.finish()
}

/// A person leaves without waiting for an answer.
fn hung_up() -> Vec<Exchange> {
    let recorder = Recorder::of(World::new(), |machine| machine);
    let login = recorder.machine.ssh("alice", &["true"]);
    let id = recorder.world.admin.pending();
    login.kill();
    recorder.world.admin.wait_for_state(&id, "cancelled");
    recorder.wait_for("DELETE /v1/logins/{id}", 1);
    let mut exchanges = recorder.finish();
    // The module has abandoned its poll. Whether that is answered is random, and nobody reads the answer.
    exchanges.retain(|exchange| !exchange.route().starts_with("GET /v1/logins"));
    exchanges
}

/// Somebody is let in without a server. The alarm and the session are reported with the next login.
fn late_reports() -> Vec<Exchange> {
    let recorder = Recorder::of(World::new(), |machine| machine.phase(Phase::Account).reporting());
    recorder.machine.set("on_unreachable", "\"allow\"");
    recorder.machine.set("servers", "[\"https://127.0.0.1:1\"]");
    assert_eq!(recorder.machine.ssh("bob", &["true"]).wait().code, 0);
    recorder.machine.set("servers", &format!("[\"{}\"]", recorder.between.url()));
    recorder.approved();
    recorder.wait_for("POST /v1/reports", 1);
    recorder.wait_for("POST /v1/sessions", 2);
    recorder.finish()
}

/// A machine that has only the `AUTH_TOKEN`.
fn token() -> Vec<Exchange> {
    let recorder = Recorder::of(auth_token::world(HERE), |machine| machine);
    has_only_the_token(&recorder.machine);
    recorder.machine.exec(&["kbmfa-host", "status"]);
    recorder.approved();
    recorder.finish()
}
