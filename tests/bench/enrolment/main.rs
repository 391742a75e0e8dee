//! Measures whether the time of a refusal tells what was wrong with an invite: the times of refusals of six kinds,
//! interleaved, each compared with the others by a rank test. It reports p-values and effect sizes and has no pass or
//! fail. Usage: bench-enrolment [SECONDS]

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench starts processes, reads the clock, prints, and fails by a loud panic"
)]

mod ranks;

use kbmfa_tests::laptop::Laptop;
use kbmfa_tests::wait::until;
use kbmfa_tests::wire;
use kbmfa_tests::world::World;
use rustls::ClientConfig;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long samples are taken, unless the command line says something else.
const SECONDS: u64 = 180;

/// Callers at the same time: each waits for half a second at most of the time.
const CALLERS: usize = 6;

/// Wrong secrets that an invite stands, less one.
const WRONG_MAX: usize = 9;

/// What is wrong with the invites.
const KINDS: [&str; 6] = ["unknown id", "unknown e-mail", "wrong secret", "expired", "limited", "used"];

/// Place of the wrong secret in [`KINDS`]: the only kind for which the server writes something.
const WRONG_SECRET: usize = 2;

/// Shift of a copy of the first kind's times, in microseconds, by which the test's own power is shown.
const CONTROL_US: f64 = 50.0;

fn main() {
    let seconds = std::env::args().nth(1).map_or(SECONDS, |text| text.parse().expect("a number of seconds"));
    let world = World::new();
    let fixed = Fixed::make(&world);
    println!("{seconds} s, {CALLERS} callers. Load {} at first", load_average());
    let mut callers: Vec<Caller> =
        (0..CALLERS).map(|number| Caller::new(&world, number, &fixed, seconds)).collect();
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut times: [Vec<f64>; 6] = Default::default();
    let taken = thread::scope(|scope| {
        let running: Vec<_> =
            callers.iter_mut().map(|caller| scope.spawn(move || caller.sample(until))).collect();
        running.into_iter().flat_map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    for (kind, us) in taken {
        times[kind].push(us);
    }
    report(&times);
    println!("\nLoad {} at last", load_average());
}

/// Invites that stay as they are.
#[derive(Clone)]
struct Fixed {
    open: Value,
    expired: Value,
    limited: Value,
    used: Value,
}

fn employ(world: &World, name: &str) -> String {
    let email = format!("{name}@example.com");
    world.admin.run(&["employee", "add", &email, "--name", name, "--unix-name", name]);
    email
}

fn invite(world: &World, email: &str, expires: &str) -> Value {
    let made = world.admin.json(&["employee", "invite", email, "--expires", expires]);
    let (id, secret) = made["invite"].as_str().unwrap().split_once('.').unwrap();
    json!({ "id": id, "secret": secret, "email": email })
}

fn with(invite: &Value, field: &str, value: &str) -> Value {
    let mut changed = invite.clone();
    changed[field] = json!(value);
    changed
}

const NO_SECRET: &str = "0011223344556677889900112233445566778899";

impl Fixed {
    fn make(world: &World) -> Self {
        let tls = wire::tls(&world.server);
        let open = invite(world, &employ(world, "open"), "1d");
        let limited = invite(world, &employ(world, "limited"), "1d");
        for _ in 0..=WRONG_MAX {
            refused(&tls, world.server.port, &with(&limited, "secret", NO_SECRET));
        }
        let email = employ(world, "expired");
        let expired = invite(world, &email, "1s");
        until("the end of an invite", || {
            world.admin.json(&["employee", "show", &email])["invite"].is_null().then_some(())
        });
        let (laptop, used) = (Laptop::of(world), invite(world, &employ(world, "used"), "1d"));
        let text = |field: &str| used[field].as_str().unwrap();
        fs::write(laptop.path("invite"), format!("{}.{}", text("id"), text("secret"))).unwrap();
        let (file, key) = (laptop.path("invite"), laptop.make_key("id", ""));
        let files = ["--invite-file", file.to_str().unwrap(), "--key", key.to_str().unwrap()];
        laptop.json(&[&laptop.server()[..], &["--yes", "--email", text("email")], &files].concat());
        Self { open, expired, limited, used }
    }
}

/// One caller, with invites of its own that wrong secrets use up.
struct Caller {
    tls: Arc<ClientConfig>,
    port: u16,
    fixed: Fixed,
    wrong: Vec<Value>,
    left: usize,
    next: usize,
}

impl Caller {
    fn new(world: &World, number: usize, fixed: &Fixed, seconds: u64) -> Self {
        // A sample takes half a second, and each invite stands a number of wrong secrets.
        let samples = usize::try_from(seconds).unwrap() * 2 / KINDS.len() + 1;
        let people = 0..samples.div_ceil(WRONG_MAX);
        let wrong = people.map(|n| invite(world, &employ(world, &format!("wrong-{number}-{n}")), "1d"));
        Self {
            wrong: wrong.collect(),
            tls: wire::tls(&world.server),
            port: world.server.port,
            fixed: fixed.clone(),
            left: WRONG_MAX,
            next: number % KINDS.len(),
        }
    }

    /// Kinds and times in microseconds, one kind after the other, as long as there are invites.
    fn sample(&mut self, until: Instant) -> Vec<(usize, f64)> {
        let mut taken = Vec::new();
        while Instant::now() < until {
            let kind = self.next;
            self.next = (kind + 1) % KINDS.len();
            let Some(invite) = self.invite(kind) else { break };
            taken.push((kind, refused(&self.tls, self.port, &invite)));
        }
        taken
    }

    fn invite(&mut self, kind: usize) -> Option<Value> {
        let Fixed { open, expired, limited, used } = &self.fixed;
        Some(match kind {
            0 => with(open, "id", "00112233445566778899"),
            1 => with(open, "email", "nobody@example.com"),
            WRONG_SECRET => {
                if self.left == 0 {
                    self.wrong.pop();
                    self.left = WRONG_MAX;
                }
                self.left -= 1;
                with(self.wrong.last()?, "secret", NO_SECRET)
            }
            3 => expired.clone(),
            4 => limited.clone(),
            _ => used.clone(),
        })
    }
}

/// The time from the last byte of a request to the first byte of its refusal, in microseconds. The connection is made
/// before, as somebody would do who measures well.
fn refused(tls: &Arc<ClientConfig>, port: u16, invite: &Value) -> f64 {
    let body = json!({ "invite": invite }).to_string();
    let head = format!("Host: localhost\r\nKbmfa-Version: 1\r\nContent-Length: {}", body.len());
    let request = format!("POST /v1/enrolments/lookup HTTP/1.1\r\n{head}\r\n\r\n{body}");
    let (first, last) = request.as_bytes().split_at(request.len() - 1);
    let mut stream = wire::connect(tls, port).unwrap();
    stream.sock.set_nodelay(true).unwrap();
    stream.write_all(first).unwrap();
    stream.flush().unwrap();
    // The rest arrives after the server has read what came before.
    thread::sleep(Duration::from_millis(5));
    let begun = Instant::now();
    stream.write_all(last).unwrap();
    stream.flush().unwrap();
    let mut answer = vec![0; 16];
    stream.read_exact(&mut answer).unwrap();
    let took = begun.elapsed();
    assert!(answer.starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&answer));
    // So that the connection is no longer one of the few that one address may have.
    let _ = stream.read_to_end(&mut answer);
    took.as_secs_f64() * 1e6
}

fn report(times: &[Vec<f64>; 6]) {
    println!(
        "\nus after 500 ms, and each kind beside all others: p of the rank test, and how often it is the later one"
    );
    println!("{:<16}{:>7}{:>10}{:>10}{:>10}{:>9}{:>9}", "", "n", "10 %", "median", "90 %", "p", "later");
    for (kind, name) in KINDS.iter().enumerate() {
        let mut own = times[kind].clone();
        let others: Vec<f64> = times
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != kind)
            .flat_map(|(_, all)| all.clone())
            .collect();
        let found = ranks::compare(&own, &others);
        own.sort_by(f64::total_cmp);
        let at = |part: usize| own[(own.len() - 1) * part / 10] - 500_000.0;
        let (low, middle, high, n) = (at(1), at(5), at(9), own.len());
        println!(
            "{name:<16}{n:>7}{low:>10.0}{middle:>10.0}{high:>10.0}{:>9.3}{:>8.1}%",
            found.p,
            found.later * 100.0
        );
    }
    let shifted: Vec<f64> = times[0].iter().map(|us| us + CONTROL_US).collect();
    let found = ranks::compare(&shifted, &times[0]);
    println!(
        "control: {} beside itself, {CONTROL_US} us later: p {:.3}, later {:.1}%",
        KINDS[0],
        found.p,
        found.later * 100.0
    );
    println!("with six tests, one p below {:.4} means a difference (5 % over all)", 0.05 / 6.0);
}

/// The computer's load in the last minute.
fn load_average() -> String {
    fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap().to_owned()
}
