//! The demo: a key that is enrolled, a login that waits and is approved, one that is denied, and the audit events of both. Real sshd,
//! real PAM and a real server, in their own namespaces; nothing on the host changes.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a demo prints, and fails by a loud panic"
)]

use kbmfa_tests::builder::Root;
use kbmfa_tests::files::put;
use kbmfa_tests::laptop::Laptop;
use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::world::World;
use serde_json::Value;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, stdin};

mod chat;

fn main() {
    match env::var("RELAY").as_deref() {
        Ok("keybase") => chat::show(),
        Ok("console") | Err(_) => at_the_console(),
        Ok(other) => panic!("RELAY is console or keybase, not {other:?}"),
    }
    say("Stopping everything.");
}

fn at_the_console() {
    say("A server with a private CA, and a machine, web1, with its own sshd (OpenSSH 9.2).");
    let world = World::new();
    let machine = join(&world);
    enrol(&world, &machine);

    say("Alice logs in, and waits:");
    let login = log_in(&machine);
    let id = world.admin.pending();
    server(&world, &["login", "list", "--state", "pending"]);
    say("Somebody approves it, and her shell goes on:");
    server(&world, &["login", "approve", short(&id), "--reason", "she called me"]);
    show(login);

    say("She logs in again. This time somebody denies the login, and the connection is closed:");
    let login = log_in(&machine);
    let id = world.admin.pending();
    server(&world, &["login", "deny", short(&id)]);
    show(login);
    record(&world, &machine);
}

fn join(world: &World) -> Machine {
    let machine = world.machine().root(Root::Debian12).phase(Phase::Account).start();
    say("web1 has joined. /etc/pam.d/sshd there says:  account required pam_kbmfa.so");
    server(world, &["machine", "list"]);
    machine
}

/// Alice's key is enrolled from her computer, with an invite.
fn enrol(world: &World, machine: &Machine) {
    say("Alice is invited to enrol the ssh key of her computer:");
    let alice = ["employee", "add", "alice@example.com", "--name", "Alice Liddell", "--unix-name", "alice"];
    server(world, &alice);
    server(world, &["pool", "add", "web", "--machine", "web1", "--employee", "alice@example.com"]);
    let invited = world.admin.json(&["employee", "invite", "alice@example.com"]);
    println!("  server$ kbmfa-server employee invite alice@example.com");
    let laptop = Laptop::of(world);
    put(
        &laptop.path("invite"),
        0o600,
        invited.pointer("/invite").and_then(Value::as_str).expect("an invite"),
    );
    for (name, mode) in [("id_ed25519", 0o600), ("id_ed25519.pub", 0o644)] {
        put(&laptop.path(name), mode, fs::read(machine.local_file(name)).expect("alice's key"));
    }
    say("She types the line that came with the invite, and chooses her key (here by options):");
    println!("  alice$ {} ..", invited.pointer("/command").and_then(Value::as_str).expect("a command"));
    let (key, invite) = (laptop.path("id_ed25519"), laptop.path("invite"));
    let files = ["--key".as_ref(), key.as_os_str(), "--invite-file".as_ref(), invite.as_os_str()];
    let usual = ["--email", "alice@example.com", "--device", "laptop", "--yes"].map(OsStr::new);
    let output = laptop.enroll(&[&laptop.server().map(OsStr::new)[..], &files, &usual].concat());
    assert!(output.status.success(), "{output:?}");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        println!("  {line}");
    }
    server(world, &["access", "of", "alice@example.com"]);
}

fn record(world: &World, machine: &Machine) {
    say("The audit log, sealed event by event, and its verification:");
    server(world, &["audit", "search"]);
    server(world, &["audit", "verify"]);
    if env::var_os("HOLD").is_some_and(|hold| hold == "1") {
        hold(world, machine);
    }
}

fn say(text: &str) {
    println!("\n\x1b[1m{text}\x1b[0m");
}

/// Prints and runs the command that alice types.
fn log_in(machine: &Machine) -> Login {
    println!("  alice$ ssh web1 'echo I am in, as $(id -un) on $(hostname)'");
    machine.ssh("alice", &["echo I am in, as $(id -un) on $(hostname)"])
}

/// Prints what alice sees.
fn show(login: Login) {
    let finished = login.wait();
    for line in finished.stdout.lines().chain(finished.stderr.lines()) {
        println!("  {line}");
    }
    println!("  alice$ echo $?\n  {}", finished.code);
}

/// Prints and runs a command on the server, and prints its output.
fn server(world: &World, arguments: &[&str]) {
    let quoted = |word: &&str| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() };
    println!("  server$ kbmfa-server {}", arguments.iter().map(quoted).collect::<Vec<_>>().join(" "));
    for line in world.admin.run(arguments).lines() {
        println!("  {line}");
    }
}

fn short(id: &str) -> &str {
    id.get(..8).expect("an id")
}

fn hold(world: &World, machine: &Machine) {
    say("Still running. Try it by hand, in other terminals of this user:");
    println!("  {}", machine.ssh_command("alice"));
    let server = kbmfa_tests::built::server();
    for verb in ["login watch", "login approve ID", "login deny ID", "audit search", "audit verify"] {
        println!("  {} --config {} {verb}", server.display(), world.server.config.display());
    }
    say("Enter or Ctrl-C ends it.");
    let _ = stdin().lock().read_line(&mut String::new());
}
