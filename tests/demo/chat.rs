//! The demo with the model of Keybase: people answer by a click in their team's channel.

use kbmfa_tests::chat::{ChatWorld, ROOM};

use super::{join, log_in, record, say, server, show as show_end};

pub(super) fn show() {
    say(
        "A server whose bot is in Keybase, in the channel #sudo of the team acme (a model of Keybase: nothing leaves this computer).",
    );
    let world = ChatWorld::new();
    let machine = join(&world);
    server(&world, &["doctor"]);

    say("Alice logs in, and waits. The channel shows:");
    let login = log_in(&machine);
    let ask = world.chat.ask(&world.admin.pending());
    channel(&world);
    say("bob clicks on Approve, and her shell goes on:");
    world.chat.answer("bob", ask, "Approve");
    show_end(login);

    say("She logs in again. carol is only a reader in the team; then dave clicks on Deny:");
    let login = log_in(&machine);
    let ask = world.chat.ask(&world.admin.pending());
    world.chat.answer("carol", ask, "Approve");
    world.chat.message("`carol`: this approve does not count now");
    world.chat.answer("dave", ask, "Deny");
    show_end(login);
    say("The asks were edited into the decisions, and the channel is the log:");
    world.chat.message("was *denied*");
    channel(&world);
    record(&world, &machine);
}

/// Prints the channel as its members see it.
fn channel(world: &ChatWorld) {
    println!("  {ROOM}");
    for line in world.chat.view(ROOM).expect("a channel").lines() {
        println!("  | {line}");
    }
}
