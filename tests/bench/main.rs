//! Measures the audit log when it is long: fills a database with a million events through the functions that
//! the server uses, then searches, verifies and exports it, beside plain scans of the same rows. It reports
//! figures and has no pass or fail.

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench reads the clock, prints, and fails by a loud panic"
)]

use kbmfa_proto::names::{LoginId, MachineName, UserName};
use kbmfa_server::audit::store::search::{Filter, Found, search};
use kbmfa_server::audit::{Actor, Event, Kind, export, store};
use kbmfa_server::clock::{Clock, Time};
use kbmfa_server::db::{Db, Error, FILE, Tx};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// Start of the clock, in microseconds since 1970: noon of an ordinary day.
const START: i64 = 1_795_262_400_000_000;

/// Number of events in one transaction of the filling.
const BATCH: u64 = 5_000;

/// Number of events of each login.
const EVENTS_PER_LOGIN: u64 = 5;

/// Number of times that each search is timed. The median counts.
const ROUNDS: usize = 5;

/// A word that one in a hundred thousand logins has.
const RARE: &str = "incident-7319";

fn main() {
    let events: u64 = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    drop(Db::open_and_migrate(dir.path()).unwrap());
    let clock = Hand::default();
    let db = Db::with_clock(dir.path(), Arc::new(clock.clone())).unwrap();
    fill(&db, &clock, events);
    println!("{} MB, of which the words take {}", size(dir.path()), words_size(&db));
    searches(&db);
    whole(&db, dir.path());
}

fn size(dir: &Path) -> u64 {
    fs::metadata(dir.join(FILE)).unwrap().len() / 1_000_000
}

/// Size of the word index in megabytes.
fn words_size(db: &Db) -> i64 {
    let sql = "SELECT sum(length(block)) AS n FROM event_words_data";
    db.read_blocking(|tx| tx.query(sql, &[], |row| row.integer("n"))).unwrap()[0] / 1_000_000
}

/// A clock that advances by a second each time it is read.
#[derive(Clone, Default)]
struct Hand(Arc<AtomicI64>);

impl Clock for Hand {
    fn now(&self) -> Time {
        Time::from_micros(START + self.0.fetch_add(1_000_000, Ordering::Relaxed))
    }
}

fn fill(db: &Db, clock: &Hand, events: u64) {
    let logins = events / EVENTS_PER_LOGIN;
    let begun = Instant::now();
    for first in (0..logins).step_by(usize::try_from(BATCH / EVENTS_PER_LOGIN).unwrap()) {
        let last = (first + BATCH / EVENTS_PER_LOGIN).min(logins);
        // A batch has one time. With an hour between batches, a million events span eight days.
        clock.0.fetch_add(3_600_000_000, Ordering::Relaxed);
        db.write_blocking("fill", move |tx| (first..last).try_for_each(|n| login(tx, n))).unwrap();
    }
    let took = begun.elapsed();
    let each = took.as_secs_f64() * 1e6 / f64::from(u32::try_from(logins * EVENTS_PER_LOGIN).unwrap());
    println!(
        "filled with {} events in {:.1} s: {each:.0} us each",
        logins * EVENTS_PER_LOGIN,
        took.as_secs_f64()
    );
}

/// All events of one login that was approved.
fn login(tx: &Tx<'_>, n: u64) -> Result<(), Error> {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let id = LoginId::from_random((u128::from(mixed) << 64 | u128::from(n)).to_be_bytes());
    let machine: MachineName = format!("web{}", mixed >> 8 & 0x1ff).parse().unwrap();
    let user: UserName = format!("user{}", mixed >> 20 & 0x3ff).parse().unwrap();
    let approver = format!("console:approver{}", mixed >> 32 & 0x1f);
    let about = |kind, actor: Actor| Event {
        login: Some(id.clone()),
        user: Some(user.clone()),
        ..Event::new(kind, actor).machine(&machine)
    };
    let source = format!("192.0.{}.{}", mixed >> 40 & 0xff, mixed >> 48 & 0xff);
    let opened = about(Kind::LoginOpened, Actor::machine(&machine))
        .detail("verdict", "ask")
        .detail("service", "sshd")
        .detail("phase", "account")
        .detail("source", source)
        .detail(
            "key",
            format!("SHA256:{:043x}", u128::from(mixed >> 20 & 0x3ff).wrapping_mul(0x00c0_ffee_1234_5677)),
        )
        .detail("module", "0.1.0");
    store::append(tx, &opened)?;
    let posted = about(Kind::AskPosted, Actor::new("relay:console"));
    store::append(tx, &posted.detail("destination", "console").detail("message", n))?;
    let given = about(Kind::AnswerGiven, Actor::new(approver.clone())).detail("answer", "approve");
    store::append(tx, &given.maybe("note", (n % 100_000 == 77).then_some(RARE)))?;
    store::append(tx, &about(Kind::LoginApproved, Actor::new(approver)))?;
    store::append(tx, &about(Kind::LoginCollected, Actor::machine(&machine)))?;
    Ok(())
}

fn searches(db: &Db) {
    let newest = |filter: Filter| Filter { limit: 100, ..filter };
    let text = |text: &str| newest(Filter { text: Some(text.into()), ..Filter::default() });
    let some = |text: &str| Some(text.to_owned());
    let none = Filter::default;
    let middle = db
        .read_blocking(|tx| {
            tx.query("SELECT at FROM event WHERE seq = (SELECT max(seq) / 2 FROM event)", &[], |row| {
                row.time("at")
            })
        })
        .unwrap()[0];
    let day = Duration::from_secs(24 * 60 * 60);
    println!("\n{:<36} {:>8} {:>10} {:>10} {:>8}", "the newest 100 by", "found", "search", "scan", "ratio");
    row(db, "a rare word", &text(RARE), &format!("%{RARE}%"));
    row(db, "a common word", &text("sshd"), "%sshd%");
    row(db, "a word's beginning (user77*)", &text("user77*"), "%user77%");
    row(db, "a word that is nowhere", &text("nowhere"), "%nowhere%");
    row(db, "an address", &text("192.0.18.52"), "%192.0.18.52%");
    row(
        db,
        "a common word of one user",
        &Filter { user: some("user77"), ..text("sshd") },
        "%\"user77\"%sshd%",
    );
    row(db, "a user", &newest(Filter { user: some("user77"), ..none() }), "%\"user\":\"user77\"%");
    row(db, "a machine", &newest(Filter { machine: some("web77"), ..none() }), "%\"machine\":\"web77\"%");
    row(
        db,
        "a person",
        &newest(Filter { person: some("approver7"), ..none() }),
        "%\"who\":\"console:approver7\"%",
    );
    let id = db
        .read_blocking(|tx| {
            tx.query("SELECT login FROM event WHERE seq = 4321", &[], |row| row.text("login"))
        })
        .unwrap();
    let id = &id[0][..8];
    row(
        db,
        "a login's beginning",
        &newest(Filter { login: some(id), ..none() }),
        &format!("%\"login\":\"{id}%"),
    );
    let kinds = vec![Kind::LoginApproved];
    let filter = Filter { kinds, since: Some(middle), until: Some(middle + day), ..none() };
    row(db, "a kind, on a day in the middle", &newest(filter), "%\"kind\":\"login.approved\"%");
    row(
        db,
        "a kind that never was",
        &newest(Filter { kinds: vec![Kind::PoolRemoved], ..none() }),
        "%\"kind\":\"pool.removed\"%",
    );
}

/// Prints one line of the table: our search, beside a scan for the same events.
fn row(db: &Db, what: &str, filter: &Filter, like: &str) {
    let (found, ours) = timed(|| db.read_blocking(|tx| search(tx, filter)).unwrap());
    let (_, scan) = timed(|| db.read_blocking(|tx| scan(tx, like, filter)).unwrap());
    let ratio = scan.as_secs_f64() / ours.as_secs_f64();
    let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    println!("{what:<36} {:>8} {:>10} {:>10} {ratio:>7.0}x", found.len(), ms(ours), ms(scan));
}

fn scan(tx: &Tx<'_>, like: &str, filter: &Filter) -> Result<Vec<Found>, Error> {
    let sql = "SELECT seq, body FROM event WHERE body LIKE ?1 AND +at >= ?2 AND +at < ?3 ORDER BY seq DESC LIMIT 100";
    let since = filter.since.map_or(0, Time::micros);
    let until = filter.until.map_or(i64::MAX, Time::micros);
    tx.query(sql, &[like.into(), since.into(), until.into()], |row| {
        Ok(Found { seq: row.integer("seq")?, body: row.text("body")?, seal: String::new() })
    })
}

fn timed<T>(mut work: impl FnMut() -> T) -> (T, Duration) {
    let mut once = || {
        let begun = Instant::now();
        let done = work();
        (done, begun.elapsed())
    };
    let mut rounds: Vec<_> = (0..ROUNDS).map(|_| once()).collect();
    rounds.sort_by_key(|(_, time)| *time);
    rounds.swap_remove(ROUNDS / 2)
}

/// Measures what reads every event: verification and export.
fn whole(db: &Db, dir: &Path) {
    let begun = Instant::now();
    let head = db.read_blocking(|tx| store::verify(tx, None)).unwrap().unwrap();
    println!("\nverify: {} events in {:.1} s", head.seq, begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let hidden = db.read_blocking(store::index::hidden).unwrap();
    println!("the index compared with the events, {hidden} missing: {:.1} s", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let mut out = io::BufWriter::new(fs::File::create(dir.join("export.jsonl")).unwrap());
    let mut before = 0;
    loop {
        let page = db.read_blocking(|tx| store::links(tx, before, i64::MAX)).unwrap();
        let Some(last) = page.last() else { break };
        before = last.seq;
        for link in &page {
            out.write_all(export::to_line(link).unwrap().as_bytes()).unwrap();
        }
    }
    out.flush().unwrap();
    println!("export as jsonl: {:.1} s", begun.elapsed().as_secs_f64());
}
