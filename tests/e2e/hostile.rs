//! Strangers hold connections and send slowly. Machines must still reach the server.

use kbmfa_tests::flood::Flood;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::settings::is_thorough;
use kbmfa_tests::slow_line::SlowLine;
use kbmfa_tests::wait::timed;
use kbmfa_tests::wire::{connect, tls, try_send};
use kbmfa_tests::world::World;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::protocol::join;

/// A server that exempts everybody, so that every login that reaches it is let in.
fn world() -> World {
    let world = World::down(None);
    world.server.append(
        "[[policy.rule]]\nmachines = [\"raw1\", \"web1\", \"web2\"]\nfrom = [\"0.0.0.0/0\"]\nexempt = true\n",
    );
    world.server.start();
    world
}

fn log_in(machine: &Machine) -> Duration {
    let (finished, took) = timed(|| machine.ssh("alice", &["echo", "in"]).wait());
    assert_eq!(finished.transcript(), "in\nexit 0\n");
    took
}

/// A login as a module reports it.
fn login(credential: &str, number: usize) -> String {
    let body = format!(
        r#"{{"phase":"account","service":"sshd","user":"alice","account":"known","rhost":null,"tty":"ssh",
            "connection":{{"id":"boot.{number}","ssh":{{"client":"192.0.2.7:50000","server":"192.0.2.1:22"}}}},
            "first_factor":{{"kind":"sshd"}},"capabilities":{{"text":true,"prompt":false}},"rehearsal":false,
            "module_version":"0"}}"#
    );
    let length = body.len();
    format!(
        "PUT /v1/logins/{number:032x} HTTP/1.1\r\nHost: localhost\r\nKbmfa-Version: 1\r\n{credential}\r\n\
         Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Sends a hundred logins, four at a time, each on a connection of its own. Like the module it tries once
/// more if a connection breaks. Returns how many arrived, and how many of them at the first try.
fn send_a_hundred(world: &World, port: u16, credential: &str) -> (usize, usize) {
    let tls = tls(&world.server);
    let (arrived, at_once) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let arrives = |number| {
        let answer = try_send(&tls, port, &login(credential, number)).unwrap_or_default();
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"approved\"")
    };
    let send = |number| {
        let first = arrives(number);
        at_once.fetch_add(usize::from(first), Ordering::Relaxed);
        arrived.fetch_add(usize::from(first || arrives(number)), Ordering::Relaxed);
    };
    thread::scope(|scope| {
        for quarter in 0..4 {
            let send = &send;
            scope.spawn(move || (quarter..100).step_by(4).for_each(send));
        }
    });
    (arrived.into_inner(), at_once.into_inner())
}

#[test]
fn two_thousand_idle_connections_and_two_hundred_new_ones_a_second_keep_no_login_out() {
    let world = world();
    let machine = world.machine().phase(Phase::Account).start();
    let credential = join(&world, "kbmfa_raw");
    let line = SlowLine::to(world.server.port, Duration::from_millis(50));
    machine.set("servers", &format!("[\"https://127.0.0.1:{}\"]", line.port()));
    let flood = Flood::at(world.server.port, 2_000, 200);
    let (arrived, at_once) = send_a_hundred(&world, line.port(), &credential);
    let through_sshd = if is_thorough() { 100 } else { 5 };
    let slowest = (0..through_sshd).map(|_| log_in(&machine)).max();
    let rate = flood.stop();
    println!(
        "{arrived} of 100 logins arrived, {at_once} of them at once, and {through_sshd} of {through_sshd} through sshd, \
         the slowest in {slowest:?}; {rate:.0} connections a second came besides"
    );
    assert!(arrived >= 99, "{arrived} of 100 logins arrived");
    assert!(rate > 150.0, "{rate:.0} connections a second are no such flood");
    let metrics = world.server.status("/metrics").unwrap();
    assert!(!metrics.contains("kbmfa_connections_evicted_total 0\n"), "{metrics}");
    machine.assert_nothing_left();
}

#[test]
fn three_hundred_slow_bodies_keep_out_no_machine_not_even_one_that_calls_for_the_first_time() {
    let world = world();
    let machine = world.machine().phase(Phase::Account).start();
    world.server.restart();
    let tls = tls(&world.server);
    let slow: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = connect(&tls, world.server.port).unwrap();
            let head = "POST /v1/machines/join HTTP/1.1\r\nHost: localhost\r\nKbmfa-Version: 1\r\nContent-Length: 200\r\n\r\n{";
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    let took = log_in(&machine);
    assert!(took < Duration::from_secs(5), "a login took {took:?}");
    // Another machine must be able to join meanwhile.
    let other = world.machine().phase(Phase::Account).start();
    log_in(&other);
    drop(slow);
    machine.assert_nothing_left();
    other.assert_nothing_left();
}

#[test]
fn the_loopback_listener_answers_though_any_number_of_local_connections_sit_on_it() {
    let world = World::new();
    let port = world.server.status_port();
    let sitting: Vec<_> = (0..200).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    for _ in 0..5 {
        let (answer, took) = timed(|| world.server.status("/readyz").unwrap());
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(took < Duration::from_secs(3), "it took {took:?}");
    }
    drop(sitting);
}

#[test]
fn a_connection_that_proves_nothing_is_closed_in_ten_seconds_however_it_goes_about_it() {
    let world = World::new();
    let over = |what: &str, end: &dyn Fn() -> usize| {
        let (said, took) = timed(end);
        assert!(took < Duration::from_secs(13), "{what} held on for {took:?}");
        said
    };
    let (port, tls) = (world.server.port, tls(&world.server));
    thread::scope(|scope| {
        scope.spawn(|| {
            over("silence", &|| {
                TcpStream::connect(("127.0.0.1", port)).unwrap().read(&mut [0; 99]).unwrap_or(0)
            })
        });
        scope.spawn(|| {
            over("TLS without a request", &|| {
                let mut stream = connect(&tls, port).unwrap();
                stream.write_all(b"GET").unwrap();
                stream.read(&mut [0; 999]).unwrap_or(0)
            })
        });
        scope.spawn(|| {
            let said = over("a body that drips in", &|| {
                let mut stream = connect(&tls, port).unwrap();
                let head = "POST /v1/machines/join HTTP/1.1\r\nHost: localhost\r\nKbmfa-Version: 1\r\nContent-Length: 4000\r\n\r\n";
                stream.write_all(head.as_bytes()).unwrap();
                while stream.write_all(b" ").and_then(|()| stream.flush()).is_ok() {
                    kbmfa_tests::wait::pass(Duration::from_millis(200));
                }
                stream.read(&mut [0; 999]).unwrap_or(0)
            });
            assert_eq!(said, 0);
        });
        scope.spawn(|| {
            let said = over("a request that is refused", &|| {
                let request = "GET /v1/machines/self HTTP/1.1\r\nHost: localhost\r\nKbmfa-Version: 1\r\n\r\n";
                try_send(&tls, port, request).unwrap().len()
            });
            assert!(said > 0);
        });
    });
}
