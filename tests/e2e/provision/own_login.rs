//! The server's own logins to machines whose module asks about everybody else.

use kbmfa_tests::between::{Between, Order, Stage};
use kbmfa_tests::delivery::{self, KEYS, Sudo, deliver, dora, status, until_state};
use kbmfa_tests::login::{Finished, Login};
use kbmfa_tests::machine::Machine;
use kbmfa_tests::process::Stopped;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::slow_line::SlowLine;
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// A machine with the module in this phase, which also reports sessions.
fn asking(world: &World, phase: Phase) -> Machine {
    let machine = world.machine().phase(phase).reporting().sshd_lines(KEYS);
    delivery::machine_from(world, machine, Sudo::Free)
}

/// Somebody who has the server's key logs in with it at this port of 127.0.0.1.
fn thief(world: &World, machine: &Machine, port: u16) -> Login {
    let key = world.server.config.with_file_name("state").join("ssh_admin_key");
    assert!(key.exists(), "{}", key.display());
    let (key, port) = (key.display().to_string(), format!("Port={port}"));
    let known = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", &port];
    machine.ssh_with("ssh-admin", &[&["-i", &key], &known[..]].concat(), &["echo", "in"])
}

/// People are asked about this login, and deny it.
fn is_asked_about(world: &World, login: Login) -> Finished {
    let id = world.admin.pending();
    assert_eq!(world.admin.login(&id)["user"], "ssh-admin");
    world.admin.deny(&id);
    let finished = login.wait();
    assert!(finished.code != 0 && finished.stdout.is_empty(), "{finished:?}");
    finished
}

/// A port that passes one connection on to the machine, from this end.
fn relay_from(end: SocketAddrV4, machine: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let far = until("a connection from the old port", || connected(end, machine).ok());
    thread::spawn(move || {
        let (near, _) = listener.accept().unwrap();
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            thread::spawn(move || {
                io::copy(&mut from, &mut to).ok();
                to.shutdown(Shutdown::Write).ok();
            });
        }
    });
    port
}

fn connected(end: SocketAddrV4, machine: u16) -> io::Result<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &end)?;
    connect(&socket, &SocketAddrV4::new(*end.ip(), machine))?;
    Ok(socket.into())
}

/// The near ends of the established connections to this port of 127.0.0.1.
fn ends_of_connections_to(port: u16) -> Vec<SocketAddrV4> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let hex = |text: &str| u32::from_str_radix(text, 16).unwrap();
    let end = |text: &str| {
        let (address, port) = text.split_once(':').unwrap();
        SocketAddrV4::new(hex(address).to_ne_bytes().into(), u16::try_from(hex(port)).unwrap())
    };
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let established = lines.filter(|words| words[3] == "01" && end(words[2]).port() == port);
    established.map(|words| end(words[1])).collect()
}

fn in_phase(phase: Phase) {
    let world = World::new();
    let machine = asking(&world, phase);
    dora(&world, &[&machine]);
    deliver(&world, &[&machine], "system");
    // One pass, one event.
    let kinds = || world.admin.audit().into_iter().map(|event| event.kind).collect::<Vec<_>>();
    let before = kinds().len();
    let ran = world.admin.run(&["provision", "run", "web1"]);
    assert!(ran.contains("had everything already"), "{ran}");
    until("the event", || (kinds().len() > before).then_some(()));
    assert_eq!(kinds()[before..], ["delivery.login"]);
    assert_eq!(world.admin.logins(&[]), []);
    let events = ["login.opened", "ask.posted", "session.opened", "session.closed"];
    assert_eq!(world.admin.count(events), [0; 4]);

    // Everybody else waits for a human, also with the server's own key and from the server's address.
    let login = machine.ssh("dora", &["id", "-un"]);
    let id = world.admin.pending();
    world.admin.approve(&id);
    assert_eq!(login.wait().stdout, "dora\n");
    is_asked_about(&world, thief(&world, &machine, machine.port.number));
    // That denial does not keep the server out.
    world.admin.run(&["provision", "run", "web1"]);
    machine.assert_nothing_left();
    world.admin.audit_verify();
}

#[test]
fn the_server_passes_the_module_in_the_account_phase_while_everybody_else_waits() {
    in_phase(Phase::Account);
}

#[test]
fn the_server_passes_the_module_in_the_auth_phase_while_everybody_else_waits() {
    in_phase(Phase::Auth);
}

#[test]
fn the_server_passes_the_module_in_the_session_phase_while_everybody_else_waits() {
    in_phase(Phase::Session);
}

#[test]
fn a_local_user_who_reuses_the_servers_port_with_its_key_is_asked_about() {
    let world = World::new();
    let machine = asking(&world, Phase::Account);
    // The connection breaks while the module asks, and the server gets in with another one.
    let between = Between::stopping(&world, &machine, "PUT", Stage::Asked);
    world.admin.run(&["provision", "enable", "web1", "--keys", "system"]);
    between.reached();
    let ends = || ends_of_connections_to(machine.port.number);
    let end = ends().pop().expect("the server's connection");
    for session in &machine.processes()[1..] {
        // Each ends when the other does.
        let session = Pid::from_raw(i32::try_from(*session).unwrap()).unwrap();
        kill_process(session, Signal::KILL).ok();
    }
    until("the connection to be gone", || (!ends().contains(&end)).then_some(()));
    between.order(Order::Reset);
    until_state(&world, "web1", "confirmed");
    assert_eq!(world.admin.logins(&[]), []);

    let port = relay_from(end, machine.port.number);
    is_asked_about(&world, thief(&world, &machine, port));
}

#[test]
fn behind_nat_the_server_is_asked_about_until_a_rule_names_its_address() {
    let world = World::with(&[("login", "cool_down", "\"0s\"")]);
    let machine = asking(&world, Phase::Account);
    let nat = SlowLine::to(machine.port.number, Duration::ZERO);
    let port = nat.port().to_string();
    world.admin.run(&["machine", "set", "web1", "--port", &port]);
    world.admin.run(&["provision", "enable", "web1", "--keys", "system"]);
    let id = world.admin.pending();
    world.admin.deny(&id);
    let failing = until_state(&world, "web1", "failing");
    assert_eq!(failing["failure"], "authentication", "{failing}");
    assert!(failing.to_string().contains("[[provision.nat]]"), "{failing}");

    world.server.append("[[provision.nat]]\nmachines = [\"web1\"]\nfrom = [\"127.0.0.1\"]\n");
    world.server.reload();
    world.admin.run(&["provision", "run", "web1"]);
    until_state(&world, "web1", "confirmed");
    assert_eq!(world.admin.logins(&[]).len(), 1);
    // Somebody with the key behind the same NAT.
    is_asked_about(&world, thief(&world, &machine, nat.port()));

    // Also at the moment at which the server connects: one connection is let in.
    let between = Between::stopping(&world, &machine, "PUT", Stage::Answered);
    thread::scope(|scope| {
        let pass = scope.spawn(|| world.admin.run(&["provision", "run", "web1"]));
        between.reached();
        is_asked_about(&world, thief(&world, &machine, nat.port()));
        between.order(Order::Pass);
        let ran = pass.join().unwrap();
        assert!(ran.contains("had everything already"), "{ran}");
    });
    assert_eq!(world.admin.count(["delivery.login"]), [2]);
}

#[test]
fn what_a_killed_server_announced_lets_nobody_in_after_a_minute() {
    let (world, clock) = World::on_clock(&[]);
    let machine = asking(&world, Phase::Account);
    // Connections are accepted by the kernel, and nobody answers them.
    let sshd = Stopped::stop(machine.processes()[0]);
    world.admin.run(&["provision", "enable", "web1", "--keys", "system"]);
    let end = until("the server's connection", || ends_of_connections_to(machine.port.number).pop());
    world.server.kill();
    sshd.go_on();
    world.server.start();
    until_state(&world, "web1", "confirmed");
    assert_eq!(world.admin.logins(&[]), []);

    clock.set(61);
    let port = relay_from(end, machine.port.number);
    is_asked_about(&world, thief(&world, &machine, port));
}

#[test]
fn a_login_is_recognised_by_every_server_on_the_same_state() {
    let world = World::new();
    let second = world.server.twin();
    second.start();
    let machine = asking(&world, Phase::Account);
    for server in [&second, &world.server] {
        machine.set("servers", &format!("[\"https://127.0.0.1:{}\"]", server.port));
        deliver(&world, &[&machine], "system");
        world.admin.run(&["provision", "run", "web1"]);
    }
    assert_eq!(world.admin.logins(&[]), []);
    assert_eq!(status(&world, "web1")["state"], "confirmed");
}
