//! Measures polls that the server holds: the memory of each, beside a handler that sleeps, and how long a
//! decision takes to reach one of the polls, and all of them.

use kbmfa_proto::login::State;
use kbmfa_proto::names::LoginId;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

use crate::approver::{Approver, BATCH};
use crate::bed::{Bed, Running, this_program};
use crate::client::Dialer;
use crate::figures::{cpu_ms, now_us, rss_kb, spread};

/// Seconds for which a poll asks to be held: the maximum that a server allows.
const WAIT_S: u64 = 30;

/// Number of processes among which the polls are spread.
const CLIENTS: usize = 2;

/// Number of connections that each process makes at the same time.
const DIALLING: usize = 32;

/// Number of decisions about a single login, of which the median counts.
const ROUNDS: usize = 50;

/// Time for the last polls to arrive.
const SETTLE: Duration = Duration::from_secs(2);

/// A server that makes at most this many commits in [`QUIET`] has no work.
const FEW: u64 = 5;
/// See [`FEW`].
const QUIET: Duration = Duration::from_secs(1);
/// Longest wait until the server has no work.
const LONGEST: Duration = Duration::from_secs(200);

/// What a client prints when a poll has been sent.
const ASKED: &str = "asked";

/// Measures and prints everything in this file.
pub(crate) fn measure(polls: usize) {
    let bed = Bed::new();
    println!("\n{polls} polls held, each on a connection of its own");
    let bare = {
        let server = bed.serve_bare();
        Held::new(&bed, &server, polls).kb_each
    };
    println!("memory of a handler that sleeps: {bare:.1} kB each");
    let server = bed.serve();
    open_all(&bed, &server, polls);
    println!("the relay's loop has posted the asks after {:.0} s", until_quiet(&bed).as_secs_f64());
    let mut held = Held::new(&bed, &server, polls);
    let there = bed.metric("kbmfa_logins_polled");
    println!(
        "memory of a login that waits:    {:.1} kB each, {:.2} of that; the server holds {there}",
        held.kb_each,
        held.kb_each / bare
    );
    let before = cpu_ms(server.child.id());
    thread::sleep(SETTLE);
    println!("CPU meanwhile: {:.0} ms in {} s", cpu_ms(server.child.id()) - before, SETTLE.as_secs());
    let approver = Approver::new(&bed.config);
    one_by_one(&approver, &mut held);
    all_at_once(&approver, &mut held, ROUNDS..polls, cpu_ms(server.child.id()), server.child.id());
}

/// Measures the time from the decision's commit to the answer, for one login at a time.
fn one_by_one(approver: &Approver, held: &mut Held) {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|n| {
            approver.approve(vec![id(n)]);
            let decided = now_us();
            approver.notify_server();
            ms(decided, held.answered(n))
        })
        .collect();
    let [middle, late, last] = spread(&mut times);
    println!(
        "decided to answered, one among all: {middle:.1} ms ({late:.1} the 99th of 100, {last:.1} the most)"
    );
}

/// Measures the time from the first decision to the last answer, and from each login's own commit.
fn all_at_once(approver: &Approver, held: &mut Held, rest: std::ops::Range<usize>, cpu: f64, pid: u32) {
    let numbers: Vec<usize> = rest.collect();
    let begun = now_us();
    let mut decided = HashMap::new();
    for batch in numbers.chunks(BATCH) {
        approver.approve(batch.iter().map(|n| id(*n)).collect());
        let now = now_us();
        approver.notify_server();
        decided.extend(batch.iter().map(|n| (*n, now)));
    }
    let all_decided = now_us();
    let mut times: Vec<f64> = numbers.iter().map(|n| ms(decided[n], held.answered(*n))).collect();
    let end = numbers.iter().map(|n| held.answered(*n)).max().unwrap();
    let [middle, late, last] = spread(&mut times);
    println!(
        "all {} in transactions of {BATCH}: decided in {:.0} ms, answered in {:.0} ms, CPU {:.2} ms each",
        numbers.len(),
        ms(begun, all_decided),
        ms(begun, end),
        (cpu_ms(pid) - cpu) / numbers.len() as f64
    );
    println!("  decided to answered: {middle:.0} ms ({late:.0} the 99th of 100, {last:.0} the most)");
}

fn ms(from_us: i64, to_us: i64) -> f64 {
    (to_us - from_us) as f64 / 1e3
}

/// The nth login.
fn id(n: usize) -> LoginId {
    LoginId::from_random((0xbe6c << 112 | n as u128).to_be_bytes())
}

/// Opens the logins over a few connections, so that the memory that the database needs for them is not
/// counted with the polls.
fn open_all(bed: &Bed, server: &Running, polls: usize) {
    let dialer = Dialer::new(&bed.state_dir, server.port);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let workers: Vec<_> = (0..DIALLING)
            .map(|first| {
                let dialer = dialer.clone();
                tokio::spawn(async move {
                    let mut line = dialer.dial().await;
                    for n in (first..polls).step_by(DIALLING) {
                        assert_eq!(line.open(&id(n), n).await.state, State::Pending);
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
    });
}

/// Waits until the server writes almost nothing, because the outbox has posted all asks.
fn until_quiet(bed: &Bed) -> Duration {
    let (begun, commits) = (Instant::now(), || bed.metric("kbmfa_db_commits_total"));
    let mut before = commits();
    loop {
        thread::sleep(QUIET);
        let now = commits();
        if now - before <= FEW || begun.elapsed() > LONGEST {
            return begun.elapsed();
        }
        before = now;
    }
}

/// Polls that are held, by processes of their own.
struct Held {
    clients: Vec<(Child, BufReader<ChildStdout>)>,
    /// Number of polls of each client.
    share: usize,
    answered: HashMap<usize, i64>,
    /// Growth of the server's memory for each poll, in kB.
    kb_each: f64,
}

impl Held {
    fn new(bed: &Bed, server: &Running, polls: usize) -> Self {
        let before = rss_kb(server.child.id());
        let share = polls.div_ceil(CLIENTS);
        let mut clients = Vec::new();
        for first in (0..polls).step_by(share) {
            let (count, port) = (share.min(polls - first), server.port.to_string());
            let mut command = this_program(&["hold", &first.to_string(), &count.to_string(), &port]);
            let mut child = command.arg(&bed.state_dir).stdout(Stdio::piped()).spawn().unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap());
            clients.push((child, lines));
        }
        for (_, lines) in &mut clients {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            assert_eq!(line.trim(), ASKED, "a client failed");
        }
        thread::sleep(SETTLE);
        let kb_each = (rss_kb(server.child.id()) - before) / polls as f64;
        Self { clients, share, answered: HashMap::new(), kb_each }
    }

    /// Waits until the nth poll is answered, and returns the time.
    fn answered(&mut self, n: usize) -> i64 {
        loop {
            if let Some(at) = self.answered.get(&n) {
                return *at;
            }
            let (_, lines) = &mut self.clients[n / self.share];
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            let (number, at) = line.trim().split_once(' ').expect("a number and a time");
            self.answered.insert(number.parse().unwrap(), at.parse().unwrap());
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for (client, _) in &mut self.clients {
            client.kill().ok();
            client.wait().ok();
        }
    }
}

/// A client process: `FIRST COUNT PORT STATE_DIR`. Prints when all polls are sent, and then when each is
/// answered.
pub(crate) fn run(arguments: &[&str]) {
    let [first, count, port, state_dir] = arguments else { panic!("{arguments:?}") };
    let [first, count]: [usize; 2] = [first, count].map(|word| word.parse().unwrap());
    raise_file_limit();
    let dialer = Dialer::new(state_dir.as_ref(), port.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (dialling, asked) = (Arc::new(Semaphore::new(DIALLING)), Arc::new(Semaphore::new(0)));
        let polls: Vec<_> = (first..first + count)
            .map(|n| tokio::spawn(hold(dialer.clone(), n, Arc::clone(&dialling), Arc::clone(&asked))))
            .collect();
        let _all = asked.acquire_many(u32::try_from(count).unwrap()).await.unwrap();
        say(ASKED);
        for poll in polls {
            poll.await.unwrap();
        }
    });
}

/// Holds one poll, and prints when it is answered. A poll that ends without a decision is sent again.
async fn hold(dialer: Dialer, n: usize, dialling: Arc<Semaphore>, asked: Arc<Semaphore>) {
    let mut line = {
        let _place = dialling.acquire().await.unwrap();
        dialer.dial().await
    };
    asked.add_permits(1);
    while line.poll(&id(n), n, WAIT_S).await.state == State::Pending {}
    say(&format!("{n} {}", now_us()));
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}
