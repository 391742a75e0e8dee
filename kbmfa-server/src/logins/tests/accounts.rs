//! By which account a login is judged: the one that the machine resolved, not its spelling.

use kbmfa_proto::account::LocalCaller;
use kbmfa_proto::names::UserName;
use kbmfa_proto::text::SafeText;

use super::*;

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

/// A login of alice, with her name typed like this.
fn spelled(connection: u16, typed: &str) -> OpenLogin {
    OpenLogin { typed: Some(name(typed)), ..alice(connection) }
}

/// A login by su to an account, called by another account.
fn su(connection: u16, user: &str, by: &str) -> OpenLogin {
    let caller = Some(LocalCaller { uid: 1001, user: Some(name(by)), ..LocalCaller::default() });
    OpenLogin { user: name(user), service: "su".into(), caller, ..alice(connection) }
}

fn not_self(world: &mut World) {
    world.rules.policy.default.approvers = Approvers::NotSelf;
}

#[test]
fn a_suspended_employee_is_out_under_every_spelling_and_every_name_of_the_uid() {
    let world = World::new();
    employ(&world, "alice");
    set_alice(&world, employees::State::Suspended);
    let second_name = OpenLogin { user: name("deploy"), uid_user: Some(name("alice")), ..alice(3) };
    for (id, opened) in [(1, spelled(1, "ALICE")), (2, spelled(2, "alice@example.com")), (3, second_name)] {
        check(&world.open(id, opened).unwrap(), WireState::Denied, Some("suspended"));
    }
}

#[test]
fn a_module_that_does_not_resolve_accounts_lets_no_spelling_of_a_suspended_employee_pass() {
    let world = World::new();
    employ(&world, "alice");
    set_alice(&world, employees::State::Suspended);
    for (id, typed) in [(1, "Alice"), (2, "alice@example.com"), (3, "EXAMPLE\\alice")] {
        let old = OpenLogin { user: name(typed), uid: None, ..alice(id.into()) };
        check(&world.open(id, old).unwrap(), WireState::Denied, Some("suspended"));
    }
}

#[test]
fn a_suspension_ends_what_waits_under_another_spelling_or_was_asked_for_by_su() {
    let world = World::new();
    employ(&world, "alice");
    world.open(1, spelled(1, "ALICE")).unwrap();
    world.open(2, su(2, "root", "alice")).unwrap();
    set_alice(&world, employees::State::Suspended);
    for id in [1, 2] {
        check(&world.poll(id, 0), WireState::Denied, Some("suspended"));
    }
}

#[test]
fn limits_and_cool_downs_count_all_spellings_as_one() {
    let mut world = World::new();
    world.rules.cool_down = Duration::from_secs(30);
    for (id, typed) in [(1, "alice"), (2, "ALICE"), (3, "Alice")] {
        check(&world.open(id, spelled(id.into(), typed)).unwrap(), WireState::Pending, None);
    }
    check(&world.open(4, spelled(4, "aLICE")).unwrap(), WireState::Denied, Some("too-many-pending"));
    world.answer(1, "console:root", Answer::Deny);
    check(&world.open(5, spelled(5, "alicE")).unwrap(), WireState::Denied, Some("denied-recently"));
}

#[test]
fn uid_0_is_root_for_rules_under_any_name() {
    let mut world = World::new();
    let exempt = |user: &str| Rule {
        line: 1,
        scope: Scope { users: vec![name(user)], ..Scope::default() },
        says: Says::Exempt,
    };
    let toor = |connection| OpenLogin { user: name("toor"), uid: Some(0), ..alice(connection) };
    world.rules.policy.rules = vec![exempt("toor")];
    check(&world.open(1, toor(1)).unwrap(), WireState::Pending, None);
    world.rules.policy.rules = vec![exempt("root")];
    check(&world.open(2, toor(2)).unwrap(), WireState::Approved, None);
    let stored = world.fixture.db.read_blocking(|tx| store::by_id(tx, &login_id(1))).unwrap().unwrap();
    assert_eq!((stored.user(), stored.opened.typed.as_ref()), (&name("root"), Some(&name("toor"))));
    check(&world.open(1, toor(1)).unwrap(), WireState::Pending, None);
}

#[test]
fn a_second_name_of_a_uid_is_asked_about_by_the_rules_of_both_and_exempt_by_none_but_its_own() {
    let mut world = World::new();
    let second =
        |connection| OpenLogin { user: name("deploy"), uid_user: Some(name("alice")), ..alice(connection) };
    let scope = Scope { users: vec![name("alice")], ..Scope::default() };
    world.rules.policy.rules = vec![Rule { line: 1, scope: scope.clone(), says: Says::Exempt }];
    check(&world.open(1, second(1)).unwrap(), WireState::Pending, None);
    let terms = Terms { window: Duration::from_secs(7), ..world.rules.policy.default.clone() };
    world.rules.policy.rules = vec![Rule { line: 1, scope, says: Says::Ask(terms) }];
    assert_eq!(world.open(2, second(2)).unwrap().expires_in_ms, Some(7_000));
}

#[test]
fn an_account_that_has_expired_is_held_and_nobody_is_asked() {
    let world = World::new();
    check(&world.open(1, OpenLogin { expires_day: Some(0), ..alice(1) }).unwrap(), WireState::Pending, None);
    assert!(!decided(&world.answer(1, "console:root", Answer::Approve)), "nobody is asked about it");
    check(
        &world.open(2, OpenLogin { expires_day: Some(1_000_000), ..alice(2) }).unwrap(),
        WireState::Pending,
        None,
    );
    assert!(decided(&world.answer(2, "console:root", Answer::Approve)));
}

#[test]
fn under_not_self_neither_who_asks_nor_whose_account_it_is_may_approve() {
    let mut world = World::new();
    not_self(&mut world);
    for person in ["alice", "bob", "carol"] {
        employ(&world, person);
    }
    check(&world.open(1, su(1, "bob", "alice")).unwrap(), WireState::Pending, None);
    for own in ["console:alice", "console:bob"] {
        assert!(!decided(&world.answer(1, own, Answer::Approve)), "{own}");
    }
    assert!(decided(&world.answer(1, "console:carol", Answer::Approve)));
    check(&world.open(2, su(2, "root", "alice")).unwrap(), WireState::Pending, None);
    assert!(!decided(&world.answer(2, "console:alice", Answer::Approve)));
    check(&world.open(3, su(3, "root", "stranger")).unwrap(), WireState::Denied, Some("unknown-person"));
}

#[test]
fn an_answer_without_a_login_uid_does_not_count_where_approvers_are_told_apart() {
    let mut world = World::new();
    employ(&world, "alice");
    let answer = |world: &World, id, has_login| {
        let claim = Some(SafeText::new("alice"));
        let who = decide::AtConsole { person: "console:root".parse().unwrap(), claim, has_login };
        world.act(move |tx, rules, _| {
            decide::answer_at_console(tx, rules, &login_id(id), &who, Answer::Approve, None)
        })
    };
    let list = Approvers::List(vec!["console:root".parse().unwrap()]);
    for (id, approvers) in [(1, Approvers::NotSelf), (2, list), (3, Approvers::Anyone)] {
        let tells_apart = approvers != Approvers::Anyone;
        world.rules.policy.default.approvers = approvers;
        check(&world.open(id, alice(id.into())).unwrap(), WireState::Pending, None);
        match answer(&world, id, false).unwrap() {
            Answered::DidNotCount(why) => {
                assert!(tells_apart && why.contains("no login uid is set here"), "{why}");
            }
            Answered::Decided(_) => assert!(!tells_apart),
        }
        assert_eq!(decided(&answer(&world, id, true).unwrap()), tells_apart);
    }
    let filter = Filter { login: Some(login_id(1).to_string()), limit: 100, ..Filter::default() };
    let events = world.fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
    let claimed = events.iter().filter(|event| event.body.contains(r#""claim":"alice""#)).count();
    assert_eq!(claimed, 3, "both answers and the decision carry the claim");
}

#[test]
fn a_machine_whose_module_tells_no_more_than_a_spelling_is_known() {
    let world = World::new();
    let resolves =
        || world.fixture.db.read_blocking(machines::store::machines).unwrap().pop().unwrap().resolves;
    assert_eq!(resolves(), None);
    world.open(1, OpenLogin { account: Account::Missing, uid: None, ..alice(1) }).unwrap();
    assert_eq!(resolves(), None, "an account that does not exist shows nothing");
    world.open(2, OpenLogin { uid: None, ..alice(2) }).unwrap();
    assert_eq!(resolves(), Some(false));
    world.open(3, alice(3)).unwrap();
    assert_eq!(resolves(), Some(true));
}
