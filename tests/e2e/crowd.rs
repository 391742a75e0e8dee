//! Many logins at once. Each gets its own decision, and none affects the logins of another machine or person.

use kbmfa_tests::recipe::Phase;
use kbmfa_tests::world::World;
use std::collections::BTreeSet;

use crate::story::{LET_IN, TURNED_AWAY};

const LOGINS: usize = 12;
const ROOM_FOR_ALL: [(&str, &str, &str); 3] =
    [("login", "pending_per_user", "20"), ("login", "asks_per_user", "20"), ("login", "cool_down", "\"0s\"")];

#[test]
fn each_of_many_logins_gets_its_own_decision() {
    for (phase, refused) in [(Phase::Account, 255), (Phase::Auth, 255), (Phase::Session, 254)] {
        crowd_in(phase, refused);
    }
}

fn crowd_in(phase: Phase, refused: i32) {
    let world = World::with(&ROOM_FOR_ALL);
    let machine = world.machine().phase(phase).sshd_lines("MaxStartups 100").start();
    let mut seen = BTreeSet::new();
    let mut waiting = vec![];
    for number in 0..LOGINS {
        let user = ["alice", "bob", "carol"][number % 3];
        let login = machine.ssh(user, &["echo", &number.to_string()]);
        let pending = world.admin.pending_logins(number + 1);
        let (id, shown) = pending.into_iter().find(|(id, _)| !seen.contains(id)).unwrap();
        assert_eq!(shown, user);
        seen.insert(id.clone());
        waiting.push((number, id, login));
    }
    for (number, id, _) in waiting.iter().rev() {
        if is_welcome(*number) { world.admin.approve(id) } else { world.admin.deny(id) }
    }
    for (number, id, login) in waiting {
        let finished = login.wait();
        let expected = if is_welcome(number) { (format!("{number}\n"), 0) } else { (String::new(), refused) };
        assert_eq!((finished.stdout, finished.code), expected);
        let story: &[&str] = if is_welcome(number) { &LET_IN } else { &TURNED_AWAY };
        world.admin.assert_story(&id, story);
    }
    machine.assert_nothing_left();
}

fn is_welcome(number: usize) -> bool {
    number % 5 < 2
}

#[test]
fn two_machines_share_a_server_and_nothing_else() {
    let world = World::new();
    let (first, second) = (world.machine().start(), world.machine().start());
    let welcome = first.ssh("alice", &["hostname"]);
    let id = world.admin.pending();
    let unwelcome = second.ssh("alice", &["hostname"]);
    let other = world.admin.pending_logins(2).into_iter().find(|(other, _)| *other != id).unwrap().0;
    world.admin.deny(&other);
    world.admin.approve(&id);
    assert_eq!(welcome.wait().stdout, "web1\n");
    assert_eq!(unwelcome.wait().code, 255);
    first.assert_nothing_left();
    second.assert_nothing_left();
}
