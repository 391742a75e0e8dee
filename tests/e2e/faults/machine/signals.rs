//! Signals to the process in which the module waits: sshd's monitor, or in the auth phase a child of the
//! monitor.

use kbmfa_tests::builder::Root;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::wait::timed;
use kbmfa_tests::world::World;
use rustix::process::{Pid, Signal, kill_process};

use super::{CANCELLED, SHORT_GRACE};
use crate::faults::SSHD;

fn signalled(machine: &Machine, user: &str, signal: Signal) {
    let login = machine.ssh(user, &["echo", "in"]);
    let pid = i32::try_from(machine.asking()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    let (finished, took) = timed(|| login.wait());
    assert_eq!((finished.stdout.as_str(), finished.code), ("", 255), "{}", finished.stderr);
    assert!(took <= SSHD, "it took {took:?}");
}

#[test]
fn a_signal_to_the_waiting_process_lets_nobody_in_and_cancels_the_login() {
    let world = World::with(&SHORT_GRACE);
    let cases = [Root::Debian12, Root::Debian13]
        .into_iter()
        .flat_map(|root| [Phase::Account, Phase::Auth, Phase::Session].map(|phase| (root, phase)));
    let machines: Vec<_> =
        cases.map(|(root, phase)| world.machine().root(root).phase(phase).start()).collect();
    for machine in &machines {
        signalled(machine, "alice", Signal::TERM);
        signalled(machine, "bob", Signal::ALARM);
    }
    let logins = world.admin.logins(&[]);
    assert_eq!(logins.len(), 2 * machines.len());
    for (id, _) in logins {
        world.admin.assert_story(&id, &CANCELLED);
        // The module had no time to cancel the login, so the server noticed by itself.
        assert_eq!(world.admin.login(&id)["reason"], "machine-gone");
    }
    for machine in machines {
        machine.assert_nothing_left();
    }
}
