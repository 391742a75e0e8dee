//! The cost of look-backs, in steps of SQLite's virtual machine, which are the same on every computer.

use super::*;
use crate::db::steps;
use crate::db::testing::sqlite_fixture;

/// Number of existing rows of each state.
const MANY: i64 = 20_000;

/// Steps that one login takes, from its opening to its approval.
fn steps_of_a_login(world: &World, id: u8) -> i64 {
    world
        .act(move |tx, rules, caller| {
            let (done, steps) = steps::of(|| {
                service::open(tx, rules, caller, &login_id(id), &alice(id.into()))?;
                let root = "console:root".parse().unwrap();
                decide::answer(tx, rules, &login_id(id), &root, Answer::Approve, None)?;
                service::poll(tx, rules, caller, &login_id(id), Duration::ZERO)
            });
            check(&done?.1, WireState::Approved, None);
            Ok(steps)
        })
        .unwrap()
}

/// A login takes no more steps if many logins of the same account, address and connection have ended: at
/// `machine`, in these states.
fn costs_no_more_beside(machine: &'static str, states: [&'static str; 3]) {
    let mut world = World::of(sqlite_fixture());
    world.rules.cool_down = Duration::from_secs(30);
    let most = 1_000_000;
    world.rules.policy.limits = Limits {
        pending_per_user: most,
        pending_per_machine: most,
        asks_per_user: most,
        asks_per_machine: most,
        asks_per_user_everywhere: most,
    };
    steps_of_a_login(&world, 1);
    let alone = steps_of_a_login(&world, 2);
    let own = world.caller.clone();
    if machine != "web1" {
        world.caller = enter_machine(&world.fixture, machine);
    }
    for state in states {
        let machine_id = world.caller.machine_id.clone();
        let filled =
            world.act(move |tx, _, _| Ok(store::testing::fill(tx, &machine_id, ("boot.3", state), MANY)?));
        filled.unwrap();
    }
    world.caller = own;
    world.pass(120);
    let beside = steps_of_a_login(&world, 3);
    assert!(beside <= alone + alone / 4, "{beside} steps beside many {states:?} logins, {alone} alone");
}

#[test]
fn a_login_costs_no_more_beside_sixty_thousand_of_the_same_connection() {
    costs_no_more_beside("web1", ["cancelled", "approved", "expired"]);
}

#[test]
fn a_login_costs_no_more_beside_sixty_thousand_of_another_machine() {
    costs_no_more_beside("web2", ["cancelled", "approved", "denied"]);
}
