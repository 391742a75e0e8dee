//! Measures one login from outside, in the same way for every variant.

use kbmfa_tests::chat::{Chat, ROOM};
use kbmfa_tests::machine::Machine;
use kbmfa_tests::wait::{PATIENCE, pass};
use rustix::time::ClockId;
use std::time::Duration;

use crate::client::{Client, micros, ms, wall_us};

/// The person who approves.
const APPROVER: &str = "bob";

/// Process ids below this are not given again after the kernel's counter has wrapped around.
const RESERVED_PIDS: u64 = 300;

/// A variant: a way to ask for an approval, with the machine that it protects.
pub(crate) trait Way {
    /// The machine.
    fn machine(&self) -> &Machine;

    /// Where it asks, and a part of an ask's text that the text of a decision does not have. `None` if it
    /// does not ask.
    fn chat(&self) -> Option<(&Chat, &'static str)>;

    /// Waits until all work for a login is done, including the decision in the chat.
    fn settle(&self, message: u64);

    /// CPU time of everything on the machine so far, in milliseconds.
    fn machine_ms(&self) -> f64;

    /// CPU time of the server and its `keybase` clients so far, in milliseconds.
    fn server_ms(&self) -> f64;

    /// The part of [`Self::server_ms`] that the clients used.
    fn clients_ms(&self) -> f64;

    /// CPU time of the double's service and cloud so far, in milliseconds.
    fn double_ms(&self) -> f64;

    /// Number of HTTP requests that the server has received so far.
    fn http_requests(&self) -> u64;

    /// When the machine learned of the newest approval, in microseconds since 1970, if that is recorded.
    fn learned_us(&self) -> Option<i64>;
}

/// The figures of one login: name and value, in the order of the table.
pub(crate) type Sample = Vec<(&'static str, f64)>;

/// Logs in, approves the login this long after the ask, and waits until everything is done.
pub(crate) fn log_in(way: &dyn Way, delay: Duration) -> Sample {
    let before = Counts::before(way);
    let start = now_us();
    let mut client = Client::start(way.machine());
    let answer = way.chat().map(|(chat, ask)| Answered::after(chat, ask, delay));
    client.read_shell();
    let shell = now_us();
    client.end();
    if let Some(answer) = &answer {
        way.settle(answer.message);
    }
    way.machine().assert_nothing_left();
    let counted = before.until(way);
    let times = answer.map(|answer| answer.times(way, start, shell));
    let alone = || vec![("ssh's start to the shell", ms(start, shell))];
    times.unwrap_or_else(alone).into_iter().chain(counted).collect()
}

/// Microseconds of `CLOCK_MONOTONIC`, like the times in the double's trace.
fn now_us() -> i64 {
    micros(ClockId::Monotonic)
}

/// The times of an approval, in microseconds.
struct Answered {
    message: u64,
    reaction: u64,
    /// The ask was there, with both reactions to click.
    asked: i64,
    /// The reaction was ordered.
    ordered: i64,
    /// The reaction was there.
    reacted: i64,
}

impl Answered {
    fn after(chat: &Chat, ask: &str, delay: Duration) -> Self {
        let message = chat.message(ask);
        chat.wait_reaction(ROOM, message, "Deny", PATIENCE).unwrap();
        let asked = now_us();
        if !delay.is_zero() {
            pass(delay);
        }
        let ordered = now_us();
        let reaction = chat.react(APPROVER, ROOM, message, "Approve").unwrap();
        Self { message, reaction, asked, ordered, reacted: now_us() }
    }

    fn times(&self, way: &dyn Way, start: i64, shell: i64) -> Sample {
        let mut times = vec![
            ("ssh's start to the ask with its reactions", ms(start, self.asked)),
            ("reaction stands to the shell", ms(self.reacted, shell)),
        ];
        if let Some(printed) = self.printed_us(way) {
            times.push(("listener's print to the shell", ms(printed, shell)));
            times.push(("double: order to react to listener's print", ms(self.ordered, printed)));
            let learned = way.learned_us().map(|at| at - (wall_us() - now_us()));
            times.extend(learned.map(|at| ("of which until the machine learns of it", ms(printed, at))));
        }
        times
    }

    /// When a listener printed the reaction; `None` if no listener runs.
    fn printed_us(&self, way: &dyn Way) -> Option<i64> {
        let (chat, _) = way.chat()?;
        let room = chat.conversation(ROOM).unwrap();
        let trace = chat.trace().unwrap();
        let line = trace.iter().rev().find(|line| line.message == self.reaction && line.conversation == room);
        Some(line?.written_us.expect("a line that is written").try_into().unwrap())
    }
}

/// Counters of all sides. Reading them costs the server a request and the machine a process. So both readings
/// happen in an order that keeps these costs out of the differences.
struct Counts {
    http: u64,
    keybase_requests: u64,
    keybase_programs: u64,
    pid: u64,
    own_pids: u64,
    server: f64,
    clients: f64,
    double: f64,
    machine: f64,
}

impl Counts {
    fn before(way: &dyn Way) -> Self {
        let http = way.http_requests();
        let (keybase_requests, keybase_programs) = of_keybase(way);
        let (first, pid) = (next_pid(way.machine()), next_pid(way.machine()));
        let (server, clients, double) = (way.server_ms(), way.clients_ms(), way.double_ms());
        let (own_pids, machine) = (pids_between(first, pid), way.machine_ms());
        Self { http, keybase_requests, keybase_programs, pid, own_pids, server, clients, double, machine }
    }

    fn until(&self, way: &dyn Way) -> Sample {
        let (server, machine) = (way.server_ms() - self.server, way.machine_ms() - self.machine);
        let (clients, double) = (way.clients_ms() - self.clients, way.double_ms() - self.double);
        let pids = pids_between(self.pid, next_pid(way.machine())) - self.own_pids;
        let (requests, programs) = of_keybase(way);
        let http = way.http_requests() - self.http;
        let count = |number: u64| f64::from(u32::try_from(number).unwrap());
        let mut counts = vec![("CPU on the machine", machine), ("processes on the machine", count(pids))];
        if way.chat().is_some() {
            counts.extend([
                ("CPU of the server and its `keybase` clients", server),
                (CLIENTS, clients),
                ("CPU of server, clients and machine", server + machine),
                ("(CPU of the double's service and cloud)", double),
                ("`keybase` clients started", count(programs - self.keybase_programs)),
                ("HTTP requests", count(http)),
                ("Keybase requests", count(requests - self.keybase_requests)),
            ]);
        }
        counts
    }
}

/// The clock is too coarse for one login, so only the mean is meaningful.
pub(crate) const CLIENTS: &str = "of which the clients (mean)";

/// Numbers of requests and of programs so far, as the double counts them.
pub(crate) fn of_keybase(way: &dyn Way) -> (u64, u64) {
    way.chat().map_or((0, 0), |(chat, _)| {
        let stats = chat.stats().unwrap();
        (stats.requests.values().sum(), stats.programs.values().sum())
    })
}

/// The process id of a new process on the machine. Asking for it starts one.
fn next_pid(machine: &Machine) -> u64 {
    machine.exec(&["sh", "-c", "echo $$"]).trim().parse().unwrap()
}

/// Number of processes and threads that a machine has started. Its process ids are its own, and are given one
/// after the other.
fn pids_between(before: u64, after: u64) -> u64 {
    if after > before {
        return after - before;
    }
    let limit = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    limit.trim().parse::<u64>().unwrap() - RESERVED_PIDS - before + after
}
