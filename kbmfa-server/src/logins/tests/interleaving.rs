//! Random inputs in random order: each login still has one decision, one ask, and all its audit events.

use super::*;

#[derive(Debug, Clone, Copy)]
enum Act {
    Poll(u64),
    Cancel,
    Approve,
    Deny,
    Pass(u64),
    Sweep,
    OpenAgain,
    Restart,
    Suspend,
    Resume,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..=30_u64).prop_map(Act::Poll),
        Just(Act::Cancel),
        Just(Act::Approve),
        Just(Act::Deny),
        (1..20_u64).prop_map(Act::Pass),
        Just(Act::Sweep),
        Just(Act::OpenAgain),
        Just(Act::Restart),
        Just(Act::Suspend),
        Just(Act::Resume),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_interleaving_gives_one_decision_one_ask_and_a_whole_record(acts in prop::collection::vec(act(), 1..25)) {
        let mut world = World::new();
        employ(&world, "alice");
        world.open(1, alice(1)).unwrap();
        let (mut let_in, mut suspended) = (false, false);
        for act in acts {
            match act {
                Act::Poll(wait) => let_in |= world.poll(1, wait).state == WireState::Approved,
                Act::Cancel => let_in |= world.cancel(1).state == WireState::Approved,
                Act::Approve => drop(world.answer(1, "console:root", Answer::Approve)),
                Act::Deny => drop(world.answer(1, "console:root", Answer::Deny)),
                Act::Pass(seconds) => world.pass(seconds),
                Act::Sweep => world.sweep(),
                Act::OpenAgain => let_in |= world.open(1, alice(1)).unwrap().state == WireState::Approved,
                Act::Restart => world.restart(),
                Act::Suspend if !suspended => set_alice(&world, employees::State::Suspended),
                Act::Resume if suspended => set_alice(&world, employees::State::Active),
                Act::Suspend | Act::Resume => {}
            }
            suspended = match act {
                Act::Suspend => true,
                Act::Resume => false,
                _ => suspended,
            };
            prop_assert!(!suspended || world.poll(1, 0).state != WireState::Approved, "a suspended person was let in");
        }
        let story = world.story(1);
        let count = |kinds: &[&str]| story.iter().filter(|kind| kinds.contains(&kind.as_str())).count();
        prop_assert!(count(&["login.approved", "login.denied", "login.expired", "login.cancelled"]) <= 1, "{story:?}");
        prop_assert!(count(&["login.collected", "login.lapsed"]) <= count(&["login.approved"]), "{story:?}");
        prop_assert_eq!(let_in, count(&["login.collected"]) == 1, "{:?}", story);
        let asks = world.fixture.db.read_blocking(|tx| store::asks::of(tx, &login_id(1))).unwrap();
        prop_assert_eq!(asks.len(), 1);
        prop_assert!(world.verified());
    }
}
