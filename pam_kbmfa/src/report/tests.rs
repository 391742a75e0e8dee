//! Which reports are sent and which are kept, and how long that takes.

use super::*;
use crate::attempt::tests::TestPam;
use crate::flow::tests::open_login;
use kbmfa_proto::client::{HungUp, Target, Trust};
use kbmfa_proto::pin::Pin;
use std::cell::{Cell, RefCell};
use std::net::TcpListener;
use std::path::PathBuf;

/// A report with an id of this byte repeated, made this many microseconds after 1970.
pub(crate) fn report(id: u8, event: SessionEvent) -> SessionReport {
    let connection = Connection { id: "b007.1.2".into(), ssh: None };
    let blank = blank(event, "alice".parse().unwrap(), connection).unwrap();
    SessionReport { id: ReportId::from_random([id; 16]), at_us: id.into(), ..blank }
}

/// A clock that moves only when an address takes its time.
struct TestClock(Cell<Instant>);

impl Clock for TestClock {
    fn now(&self) -> Instant {
        self.0.get()
    }
    fn pause(&self, _: Duration) -> Result<(), HungUp> {
        panic!("a report does not pause")
    }
}

/// An address that can be reached or not, takes this long for a report, and records the number of reports in
/// each call.
struct Address<'a> {
    there: bool,
    takes: Duration,
    clock: &'a TestClock,
    taken: RefCell<Vec<usize>>,
}

impl Post for Address<'_> {
    fn post(&self, handover: ReportBatch<'_>, time: Duration) -> Result<Taken, Error> {
        self.clock.0.set(self.clock.now() + time.min(self.takes));
        if !self.there || self.takes > time {
            return Err(Error::Timeout);
        }
        let count = match handover {
            ReportBatch::One(_) => 1,
            ReportBatch::Kept(reports) => reports.reports.len(),
        };
        self.taken.borrow_mut().push(count);
        Ok(Taken { taken: count as u64, refused: 0 })
    }
}

struct World {
    _dir: tempfile::TempDir,
    spool: PathBuf,
    clock: TestClock,
    start: Instant,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let start = Monotonic::default().now();
        Self { spool: dir.path().join("spool"), _dir: dir, clock: TestClock(Cell::new(start)), start }
    }

    fn address(&self, there: bool, takes_ms: u64) -> Address<'_> {
        let takes = Duration::from_millis(takes_ms);
        Address { there, takes, clock: &self.clock, taken: RefCell::default() }
    }

    fn deliver(&self, id: u8, addresses: &[Address<'_>]) {
        let until = self.clock.now() + REPORT_TIME;
        let desk = ReportSender { addresses: addresses.iter().collect(), clock: &self.clock, until };
        deliver(&TestPam::default(), &desk, &self.spool, report(id, SessionEvent::Opened));
        assert!(self.clock.now() <= until, "a report took longer than it may");
    }

    fn after_login(&self, outcome: Outcome, address: &Address<'_>) {
        let (open, mut pam) = (open_login(), TestPam::default());
        after_login(&mut pam, vec![address], &self.clock, &self.spool, (&open, outcome));
        assert!(pam.told().is_empty());
    }

    fn kept(&self) -> usize {
        let spool = Spool::open(&self.spool).unwrap();
        spool.map_or(0, |spool| spool.batch(&mut Vec::new()).unwrap().reports.reports.len())
    }
}

#[test]
fn what_could_not_be_sent_goes_out_once_with_the_next_report() {
    let world = World::new();
    let (down, up) = (world.address(false, 1), world.address(true, 1));
    world.deliver(1, &[down]);
    assert_eq!(world.kept(), 1);
    world.deliver(2, &[up]);
    assert_eq!(world.kept(), 0);
    let up = world.address(true, 1);
    world.deliver(3, std::slice::from_ref(&up));
    assert_eq!(*up.taken.borrow(), [1]);
}

#[test]
fn a_dead_server_leaves_time_for_the_next_one() {
    let world = World::new();
    let addresses = [world.address(false, 10_000), world.address(true, 100)];
    world.deliver(1, &addresses);
    assert_eq!((world.kept(), addresses[1].taken.borrow().len()), (0, 1));
}

#[test]
fn a_slow_server_costs_at_most_the_time_for_reports() {
    let world = World::new();
    world.deliver(1, &[world.address(true, 10_000), world.address(true, 10_000)]);
    assert_eq!((world.kept(), world.clock.now() - world.start), (1, REPORT_TIME));
    // The spooled reports get only the time that a slow report leaves.
    let slow = [world.address(true, 200)];
    world.deliver(2, &slow);
    assert_eq!((slow[0].taken.borrow().as_slice(), world.kept()), (&[1][..], 1));
}

#[test]
fn a_long_spool_goes_out_in_several_requests() {
    let world = World::new();
    let spool = Spool::make(&world.spool).unwrap();
    (0..150).for_each(|id| assert_eq!(spool.keep(report(id, SessionEvent::Closed)).unwrap(), 0));
    let up = world.address(true, 1);
    world.after_login(Outcome::Approved, &up);
    assert_eq!((up.taken.borrow().iter().sum::<usize>(), world.kept()), (150, 0));
}

#[test]
fn after_a_login_the_spool_is_sent_only_if_a_server_has_answered() {
    for (outcome, sent) in [
        (Outcome::Approved, true),
        (Outcome::Denied, true),
        (Outcome::Expired, true),
        (Outcome::Fault, false),
        (Outcome::HungUp, false),
        (Outcome::TimedOut, false),
        (Outcome::Unreachable(OnUnreachable::Deny), false),
    ] {
        let world = World::new();
        Spool::make(&world.spool).unwrap().keep(report(1, SessionEvent::Opened)).unwrap();
        let up = world.address(true, 1);
        world.after_login(outcome, &up);
        assert_eq!(up.taken.borrow().len(), usize::from(sent), "{outcome:?}");
    }
}

#[test]
fn somebody_let_in_without_a_server_is_an_alarm_that_waits_for_one() {
    let world = World::new();
    let down = world.address(false, 1);
    world.after_login(Outcome::Unreachable(OnUnreachable::Allow), &down);
    let spool = Spool::open(&world.spool).unwrap().unwrap();
    let kept = crate::spool::tests::read(&spool);
    assert_eq!((kept.len(), kept[0].event), (1, SessionEvent::LetInUnreachable));
}

#[test]
fn a_login_with_an_empty_spool_sends_nothing() {
    let world = World::new();
    let up = world.address(true, 1);
    world.after_login(Outcome::Approved, &up);
    assert!(up.taken.borrow().is_empty());
}

#[test]
fn on_a_real_socket_a_silent_server_costs_no_more() {
    // The kernel completes connections to it, but nobody accepts them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target { host: "127.0.0.1".into(), address: silent.local_addr().unwrap() };
    let trust = Trust::in_pin(Pin::from_sha256([0; 32])).unwrap();
    let access = Rc::new(Access { trust, credential: "secret".to_owned().into(), claim: None });
    let (address, world) = (Https::new(target, access, None).unwrap(), World::new());
    let clock = Monotonic::default();
    let desk = ReportSender { addresses: vec![&address], clock: &clock, until: world.start + REPORT_TIME };
    deliver(&TestPam::default(), &desk, &world.spool, report(1, SessionEvent::Closed));
    assert_eq!(world.kept(), 1);
    // Far below any other time limit of the client, and loose enough for a busy host.
    assert!(clock.now() - world.start < 8 * REPORT_TIME);
}

/// A server whose answer makes our own code panic.
struct Bomb;

impl Post for Bomb {
    fn post(&self, _: ReportBatch<'_>, _: Duration) -> Result<Taken, Error> {
        panic!("a fault in a report")
    }
}

#[test]
fn a_failing_report_affects_no_login() {
    let world = World::new();
    Spool::make(&world.spool).unwrap().keep(report(1, SessionEvent::Opened)).unwrap();
    let (open, mut pam) = (open_login(), TestPam::default());
    let quiet = std::panic::take_hook();
    after_login(&mut pam, vec![&Bomb], &world.clock, &world.spool, (&open, Outcome::Approved));
    std::panic::set_hook(quiet);
    assert!(pam.logged().iter().any(|(level, line)| *level == Level::Critical && line.contains("fault")));
}
