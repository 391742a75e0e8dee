//! Measures the time from an answer to its effect: until the module returns, and until a real ssh has its
//! shell, beside sshd alone. The time starts when the audit log has the answer, which is before its commit is
//! on disk.

use kbmfa_tests::builder::Root;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::{FREE, Phase};
use kbmfa_tests::world::World;

use crate::client::{Client, ms, wall_us};
use crate::figures::row;
use crate::joined::Joined;
use crate::sshd;

/// Limits for one user who logs in much more often than people do.
pub(crate) const LIMITS: [(&str, &str, &str); 2] =
    [("login", "asks_per_user", "1000"), ("login", "asks_per_machine", "1000")];

/// Measures and prints everything in this file.
pub(crate) fn measure(logins: usize) {
    let world = World::with(&LIMITS);
    let joined = Joined::new(&world, "desk");
    let (mut returns, mut collected) = (Vec::new(), Vec::new());
    for _ in 0..logins {
        let process = joined.log_in("kbmfa");
        let id = world.admin.pending();
        world.admin.approve(&id);
        let told = process.told();
        assert_eq!(told["code"], 0, "{told}");
        let approved = at(&world, "login.approved");
        returns.push(ms(approved, told["returned_us"].as_i64().unwrap()));
        collected.push(ms(approved, at(&world, "login.collected")));
    }
    println!("\nApproved at the console, from the answer, ms");
    row("until the module returns", &[&returns]);
    row("of which until the machine learns of it", &[&collected]);
    let machine = world.machine().start();
    let shell: Vec<f64> = (0..logins).map(|_| to_shell(&world, &machine)).collect();
    machine.assert_nothing_left();
    row("until the shell of a real ssh", &[&shell]);
    let alone = Machine::stand_in(Root::Debian12, Phase::Account, FREE);
    row("sshd alone, account phase to the shell", &[&sshd::account_to_shell(&alone)]);
}

fn to_shell(world: &World, machine: &Machine) -> f64 {
    let mut client = Client::start(machine);
    world.admin.approve(&world.admin.pending());
    client.read_shell();
    let shell = wall_us();
    client.end();
    ms(at(world, "login.approved"), shell)
}

/// Time of the newest event of this kind, in microseconds since 1970.
fn at(world: &World, kind: &str) -> i64 {
    let newest = world.admin.json(&["audit", "search", "--kind", kind, "--limit", "1"]);
    newest[0]["at"].as_i64().unwrap()
}
