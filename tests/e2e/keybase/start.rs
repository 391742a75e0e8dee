//! A server that would ask in a wrong way, or nobody at all, does not start, and reports what to do.

use kbmfa_tests::chat::{BOT, ChatWorld};
use keybase_double::Role;

use super::{Asked, let_in};

fn world() -> ChatWorld {
    ChatWorld::down("team = \"acme\"\nchannel = \"sudo\"\n", "")
}

fn refuses(world: &ChatWorld, why: &str) {
    let complaint = world.server.start_in_vain();
    assert!(complaint.contains(why), "{complaint}");
}

#[test]
fn the_bot_must_be_in_the_team_and_may_write_there() {
    let world = world();
    world.chat.set_member("acme", BOT, Role::Reader).unwrap();
    refuses(&world, "sshbot is a reader in acme, and may not write there");
    world.chat.set_member("acme", BOT, Role::RestrictedBot).unwrap();
    refuses(&world, "sshbot is a restricted bot in acme");
    world.chat.remove_member("acme", BOT).unwrap();
    refuses(&world, "`keybase team add-member acme --user sshbot --role bot`");
}

#[test]
fn an_open_team_is_trusted_only_by_name() {
    let world = world();
    world.chat.set_open("acme", true).unwrap();
    refuses(&world, "team acme is open");
    world.server.set("relay.keybase", "open_teams", "[\"acme\"]");
    world.server.start();
}

#[test]
fn a_channel_that_does_not_exist_is_not_made_by_asking() {
    let world = ChatWorld::down("team = \"acme\"\nchannel = \"suod\"\n", "");
    refuses(&world, "team acme has no channel suod");
    assert!(world.chat.conversation("acme#suod").is_err());
    let world = ChatWorld::down("team = \"acne\"\n", "");
    refuses(&world, "team acne");
}

#[test]
fn a_service_that_runs_already_must_be_logged_in_as_the_bot() {
    let world = world();
    let _service = world.chat.ambient("otherbot");
    world.server.set("relay.keybase", "service", "\"ambient\"");
    world.server.set("relay.keybase", "home", &format!("\"{}\"", world.chat.ambient_home().display()));
    refuses(&world, "the service is logged in as otherbot, not as sshbot");
}

#[test]
fn and_then_it_does() {
    let world = world();
    let _service = world.chat.ambient(BOT);
    world.server.set("relay.keybase", "service", "\"ambient\"");
    world.server.set("relay.keybase", "home", &format!("\"{}\"", world.chat.ambient_home().display()));
    world.server.start();
    let machine = world.machine().start();
    Asked::new(&world, &machine).approve();
}

#[test]
fn a_rule_whose_channel_does_not_exist_is_found_before_anybody_waits_for_it() {
    let world =
        ChatWorld::down("team = \"acme\"\n", "[[policy.rule]]\nusers = [\"bob\"]\ndestination = \"opps\"\n");
    refuses(&world, "team acme has no channel opps");
}

#[test]
fn a_relay_that_was_changed_takes_a_restart_and_changes_nothing_until_then() {
    let world = world();
    world.server.start();
    world.server.set("policy", "min_role", "\"owner\"");
    world.server.reload();
    world.server.wait_for_log("[relay] and min_role have changed, which needs a restart");
    world.server.restart();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    asked.answer("bob", "Approve");
    world.chat.message("`bob`: this approve does not count now");
    asked.answer("alice", "Approve");
    assert!(let_in(&asked.login.wait()));
}
