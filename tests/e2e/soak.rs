//! Honest logins one after the other, asked about in Keybase and approved there, while strangers attack the
//! server, processes are stopped or killed, and Keybase is slow or loses replies. Everything is random, from
//! a seed that is printed: `KBMFA_SOAK_SEED` repeats a run as far as the scheduler allows. `make soak` runs
//! it for half an hour.

#![allow(clippy::disallowed_methods, reason = "it measures how long people wait")]

mod dice;
mod hostile;
mod readiness;
mod stalls;

use kbmfa_tests::chat::{ChatWorld, ROOM};
use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::settings::number;
use kbmfa_tests::wait::{pass, until};
use keybase_double::FaultKind;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dice::Dice;
use hostile::Target;
use stalls::{Stalls, Victim};

/// Longest time from a login's answer until the person is in. Time in which a process on its path was stopped
/// does not count.
const BEYOND_ANSWER: Duration = Duration::from_secs(5);

/// The end of each minute is quiet: nothing is stopped, killed or slowed down, and everything must have
/// recovered.
const MINUTE: u64 = 60;
const QUIET_FROM: u64 = 40;

/// One in this many logins is hit by a kill of the server.
const KILL_ONE_IN: u64 = 6;

/// What the threads of a run share.
struct Run {
    begun: Instant,
    is_over: AtomicBool,
    /// The server's process id; 0 while it does not run.
    server: AtomicU32,
    /// Process id of the module for the current login; 0 if there is none.
    module: AtomicU32,
    stalls: Stalls,
}

impl Run {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn is_quiet(&self) -> bool {
        self.begun.elapsed().as_secs() % MINUTE >= QUIET_FROM
    }
}

/// Ends a run even if its test fails.
struct End<'a>(&'a Run);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

#[test]
fn with_strangers_stalls_and_lost_replies_no_honest_login_is_lost_doubled_or_late() {
    let seconds = number("KBMFA_SOAK_SECONDS").unwrap_or(60);
    let seed = number("KBMFA_SOAK_SEED").unwrap_or_else(Dice::random_seed);
    println!("KBMFA_SOAK_SEED={seed}");
    let limits = [("login", "asks_per_user", "1000000"), ("login", "asks_per_machine", "1000000")];
    let world = ChatWorld::with(&limits, "");
    let machine = world.machine().start();
    let target = Target::of(&world);
    let run = Run {
        begun: Instant::now(),
        is_over: AtomicBool::new(false),
        server: AtomicU32::new(world.server.pid()),
        module: AtomicU32::new(0),
        stalls: Stalls::default(),
    };
    let status_port = world.server.status_port();
    let (honest, looks) = thread::scope(|scope| {
        let mut dice = Dice::new(seed);
        for attack in hostile::ALL {
            let (mut dice, target, run) = (dice.fork(), &target, &run);
            scope.spawn(move || {
                while run.goes_on() {
                    attack(target, &mut dice);
                    pass(Duration::from_millis(dice.below(400)));
                }
            });
        }
        let (mut of_stalls, run) = (dice.fork(), &run);
        scope.spawn(move || stalls::run(run, &mut of_stalls));
        let watching = scope.spawn(move || readiness::watch(run, status_port));
        let end = End(run);
        let honest = log_in_honestly(&world, &machine, run, &mut dice, Duration::from_secs(seconds));
        drop(end);
        (honest, watching.join().unwrap())
    });
    let asks = asks(&world);
    let distinct: BTreeSet<&String> = asks.iter().map(|(_, short)| short).collect();
    assert_eq!(asks.len(), distinct.len(), "a login was asked about twice: {asks:?}");
    assert_eq!(asks.len(), honest, "each honest login is asked about, and nobody else's");
    world.admin.audit_verify();
    machine.assert_nothing_left();
    println!(
        "{honest} honest logins, {} stalls, {} of {} looks at /readyz without an excuse",
        run.stalls.count(),
        looks.unexcused,
        looks.all
    );
    assert!(looks.show_enough(), "{} of {} looks at /readyz show too little", looks.unexcused, looks.all);
    assert!(honest as u64 >= seconds / 15, "{honest} logins in {seconds} s: this shows too little");
}

/// Every ask in the channel: its message, and the short id of its login.
fn asks(world: &ChatWorld) -> Vec<(u64, String)> {
    let messages = world.chat.messages(ROOM).unwrap();
    let ask = |message: keybase_double::Message| {
        let short = message.body.split_once("Login `")?.1.split_once('`')?.0.to_owned();
        Some((message.id, short))
    };
    messages.into_iter().filter_map(ask).collect()
}

/// Logs alice in again and again. Returns how often.
fn log_in_honestly(
    world: &ChatWorld,
    machine: &Machine,
    run: &Run,
    dice: &mut Dice,
    length: Duration,
) -> usize {
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < length {
        let trouble = trouble_keybase(world, run, dice);
        let login = machine.ssh("alice", &["echo", "in"]);
        let message = until("the ask", || asks(world).get(count).map(|(message, _)| *message));
        world.chat.wait_reaction(ROOM, message, "Deny", kbmfa_tests::wait::PATIENCE).unwrap();
        if let Some(trouble) = trouble {
            run.stalls.end(trouble);
        }
        run.module.store(machine.asking(), Ordering::Relaxed);
        if dice.below(KILL_ONE_IN) == 0 && !run.is_quiet() {
            kill_and_start(world, run);
        }
        pass(Duration::from_millis(dice.below(1500)));
        world.chat.answer("bob", message, "Approve");
        let answered = Instant::now();
        collect(login, run, (count, answered));
        run.module.store(0, Ordering::Relaxed);
        count += 1;
    }
    count
}

/// Faults of Keybase that apply to the server's next call.
const TROUBLE: [FaultKind; 4] =
    [FaultKind::RequestSlow, FaultKind::ReplySlow, FaultKind::ReplyDies, FaultKind::ReplyGarbage];

/// Longest time for which Keybase is slow, in milliseconds. Its programs have 5 s for a reply.
const SLOW_MS: u64 = 4000;

/// Half of the time does nothing. Otherwise makes Keybase slow, or lose the reply, when the next ask is
/// posted or gets its buttons.
fn trouble_keybase(world: &ChatWorld, run: &Run, dice: &mut Dice) -> Option<usize> {
    let kind = TROUBLE.get(usize::try_from(dice.below(2 * TROUBLE.len() as u64)).unwrap())?;
    if run.is_quiet() {
        return None;
    }
    let stall = run.stalls.begin(Victim::Chat);
    let method = if dice.below(2) == 0 { "send" } else { "reaction" };
    let length = Duration::from_millis(dice.below(SLOW_MS));
    world.chat.slow_times(*kind, Some(method), 1, length).unwrap();
    Some(stall)
}

/// Waits until the person of an approved login is in, which must happen in time.
fn collect(login: Login, run: &Run, (count, answered): (usize, Instant)) {
    let finished = login.wait();
    let ended = Instant::now();
    assert_eq!((finished.stdout.as_str(), finished.code), ("in\n", 0), "login {count}: {}", finished.stderr);
    let stood_still = run.stalls.within(answered, ended, |_| true);
    let took = ended.duration_since(answered).saturating_sub(stood_still);
    assert!(
        took <= BEYOND_ANSWER,
        "login {count} took {took:?} beyond its answer, and {stood_still:?} in which a process stood still"
    );
}

/// Kills the server without warning while a login waits, and starts it again.
fn kill_and_start(world: &ChatWorld, run: &Run) {
    let stall = run.stalls.begin(Victim::Restart);
    run.server.store(0, Ordering::Relaxed);
    world.server.kill();
    world.server.start();
    run.server.store(world.server.pid(), Ordering::Relaxed);
    run.stalls.end(stall);
}
