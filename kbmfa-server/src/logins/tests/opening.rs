//! Opening a login: for the first time, again, by another machine, and on a connection that was decided
//! before.

use super::*;

#[test]
fn an_approved_login_is_collected_once_and_may_be_read_again_for_a_while() {
    let world = World::new();
    check(&world.open(1, alice(1)).unwrap(), WireState::Pending, None);
    assert!(decided(&world.answer(1, "console:root", Answer::Approve)));
    check(&world.poll(1, 25), WireState::Approved, None);
    check(&world.poll(1, 25), WireState::Approved, None);
    world.pass(15);
    check(&world.poll(1, 25), WireState::Expired, Some("lapsed"));
    assert_eq!(world.story(1), ["ask.posted", "answer.given", "login.approved", "login.collected"]);
}

#[test]
fn a_denied_login_stays_denied_for_the_connection_and_for_no_other() {
    let world = World::new();
    world.open(1, alice(1)).unwrap();
    world.answer(1, "console:root", Answer::Deny);
    check(&world.poll(1, 0), WireState::Denied, Some("denied"));
    assert!(!decided(&world.answer(1, "console:root", Answer::Approve)));
    check(&world.open(2, alice(1)).unwrap(), WireState::Denied, Some("denied-before"));
    check(&world.open(3, alice(2)).unwrap(), WireState::Pending, None);
    assert_eq!(world.story(2), ["login.denied"]);
}

#[test]
fn opening_again_is_harmless_and_opening_otherwise_is_a_conflict() {
    let world = World::new();
    world.open(1, alice(1)).unwrap();
    check(&world.open(1, alice(1)).unwrap(), WireState::Pending, None);
    assert!(matches!(world.open(1, alice(2)), Err(Error::Conflict(_))));
    let asks = world.fixture.db.read_blocking(|tx| store::asks::of(tx, &login_id(1))).unwrap();
    assert_eq!(asks.len(), 1);
}

#[test]
fn another_machine_sees_nothing_of_it() {
    let mut world = World::new();
    world.open(1, alice(1)).unwrap();
    world.caller = enter_machine(&world.fixture, "db1");
    assert!(matches!(world.open(1, alice(1)), Err(Error::Conflict(_))));
    let polled =
        world.act(|tx, rules, caller| service::poll(tx, rules, caller, &login_id(1), Duration::ZERO));
    assert!(matches!(polled, Err(Error::NotFound(_))));
    let cancelled = world.act(|tx, rules, caller| service::cancel(tx, rules, caller, &login_id(1)));
    assert!(matches!(cancelled, Err(Error::NotFound(_))));
}

#[test]
fn one_approval_serves_every_phase_of_the_connection_and_nothing_beyond_it() {
    let mut world = World::new();
    world.rules.policy.limits.pending_per_user = 9;
    world.rules.policy.limits.pending_per_machine = 9;
    world.open(1, alice(1)).unwrap();
    world.answer(1, "console:root", Answer::Approve);
    let account = || OpenLogin { phase: Phase::Account, ..alice(1) };
    check(&world.open(2, account()).unwrap(), WireState::Pending, None);
    world.poll(1, 0);
    check(&world.open(3, account()).unwrap(), WireState::Approved, None);
    let bob = OpenLogin { user: "bob".parse().unwrap(), ..alice(1) };
    check(&world.open(4, bob).unwrap(), WireState::Pending, None);
    check(
        &world.open(5, OpenLogin { service: "sudo".into(), ..alice(1) }).unwrap(),
        WireState::Pending,
        None,
    );
    check(&world.open(6, alice(2)).unwrap(), WireState::Pending, None);
    world.pass(300);
    check(&world.open(7, account()).unwrap(), WireState::Pending, None);
}

#[test]
fn a_process_that_is_no_ssh_connection_never_carries_a_decision_over() {
    let world = World::new();
    let daemon = || {
        let connection = Connection { id: "boot.1".into(), ssh: None };
        OpenLogin { connection, ..alice(1) }
    };
    world.open(1, daemon()).unwrap();
    world.answer(1, "console:root", Answer::Approve);
    world.poll(1, 0);
    check(&world.open(2, daemon()).unwrap(), WireState::Pending, None);
    world.answer(2, "console:root", Answer::Deny);
    check(&world.open(3, daemon()).unwrap(), WireState::Pending, None);
}

#[test]
fn nobody_is_asked_about_an_account_that_does_not_exist_and_it_takes_as_long() {
    let world = World::new();
    let ghost = OpenLogin { account: Account::Missing, ..alice(1) };
    check(&world.open(1, ghost).unwrap(), WireState::Pending, None);
    assert!(!decided(&world.answer(1, "console:root", Answer::Approve)));
    world.poll(1, 30);
    world.pass(40);
    world.poll(1, 30);
    world.pass(20);
    check(&world.poll(1, 30), WireState::Expired, Some("no-answer"));
    assert_eq!(world.story(1), ["answer.rejected", "login.expired"]);
}

#[test]
fn a_rehearsal_lets_nobody_in_and_asks_nobody() {
    let world = World::new();
    check(&world.open(1, OpenLogin { rehearsal: true, ..alice(1) }).unwrap(), WireState::Rehearsed, None);
    assert!(!decided(&world.answer(1, "console:root", Answer::Approve)));
    assert_eq!(world.story(1), ["login.rehearsed", "answer.rejected"]);
}

#[test]
fn a_key_is_shown_by_its_fingerprint_and_nonsense_is_refused() {
    let world = World::new();
    let with_key =
        |key: &str| OpenLogin { first_factor: FirstFactor::Publickey { key: key.into() }, ..alice(1) };
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJwG6WgNbhLK6oNFPMKm2Kh9OZC4rJBqXEBbSJ1sYhYI";
    world.open(1, with_key(key)).unwrap();
    let login = world.fixture.db.read_blocking(|tx| service::find(tx, "0101")).unwrap();
    assert!(login.key.unwrap().starts_with("SHA256:"));
    assert!(matches!(world.open(2, with_key("ssh-ed25519 nonsense")), Err(Error::Bad(_))));
    assert!(matches!(world.open(2, with_key(&"x".repeat(4097))), Err(Error::Bad(_))));
}

#[test]
fn a_login_is_found_by_an_unambiguous_beginning_and_by_nothing_else() {
    let world = World::new();
    world.open(0x11, alice(1)).unwrap();
    world.open(0x12, alice(2)).unwrap();
    let find = |prefix: &str| world.fixture.db.read_blocking(|tx| service::find(tx, prefix));
    assert_eq!(find("11").unwrap().id, login_id(0x11));
    assert!(matches!(find("1"), Err(Error::Ambiguous(_))));
    for prefix in ["", "2", "%", "11' OR 1=1", "1_"] {
        assert!(matches!(find(prefix), Err(Error::NotFound(_))), "{prefix:?}");
    }
}

#[test]
fn an_exempt_login_is_let_in_and_on_record_with_its_rule() {
    let mut world = World::new();
    let scope = Scope { from: vec!["192.0.2.0/24".parse().unwrap()], ..Scope::default() };
    world.rules.policy.rules.push(Rule { line: 7, scope, says: Says::Exempt });
    check(&world.open(1, alice(1)).unwrap(), WireState::Approved, None);
    assert_eq!(world.story(1), ["login.approved", "login.collected"]);
}

#[test]
fn time_is_kept_to_the_microsecond_in_the_row() {
    let world = World::new();
    world.open(1, alice(1)).unwrap();
    let login = world.fixture.db.read_blocking(|tx| store::by_id(tx, &login_id(1))).unwrap().unwrap();
    assert_eq!(login.opened_at, Time::from_micros(crate::db::testing::START));
    assert_eq!(login.life.expires_at.since(login.opened_at), WINDOW);
}

#[test]
fn machines_that_go_by_the_auth_token_share_one_cap_and_no_login() {
    let mut world = World::new();
    let claimed = |name: &str, secret: &str| {
        let name = name.parse::<MachineName>().unwrap().claimed();
        let (token, login) = (SecretHash::of("token"), SecretHash::of(secret));
        let claim = Claim { token, name, login, address: "192.0.2.1".parse().unwrap() };
        let caller = world
            .fixture
            .db
            .write_blocking("test", move |tx| machines::service::claimed(tx, &claim, Some("0.1.0")));
        caller.unwrap().unwrap()
    };
    let callers = [claimed("web1", "a"), claimed("web1", "b"), claimed("web2", "a")];
    let user = |id: u8| OpenLogin { user: format!("user{id}").parse().unwrap(), ..alice(u16::from(id)) };
    assert_eq!(callers[0].machine_id, callers[1].machine_id);
    assert_eq!(callers[0].name.as_str(), "claimed:web1");
    for id in 1..=5 {
        world.caller = callers[usize::from(id) % 2].clone();
        assert_eq!(world.open(id, user(id)).unwrap().state, WireState::Pending);
    }
    world.caller = callers[0].clone();
    assert!(matches!(world.open(1, user(1)), Err(Error::Conflict(_))), "it was opened with another secret");
    world.caller = callers[2].clone();
    assert_eq!(world.open(6, user(6)).unwrap().reason.unwrap().as_str(), "too-many-pending");
}
