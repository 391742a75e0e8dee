//! The one place that waits for a descriptor. Meanwhile it notices when the person leaves.
//!
//! It checks the descriptor before the clock. A process that was stopped or suspended has no time left when
//! it runs again, but the data that it waited for may have arrived long before.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest single poll. After each one [`Presence::has_left`] is asked. No poll counts as more than this much
/// waiting.
const SLICE: Duration = Duration::from_millis(500);

/// The person for whom a call waits. When they leave, the call ends with [`super::Error::HungUp`].
pub trait Presence: fmt::Debug + Send + Sync {
    /// Descriptors, each with the events (besides hang-up and error) that mean that the person has left.
    fn descriptors(&self) -> &[(OwnedFd, PollFlags)];

    /// Checks what no descriptor shows; called about twice a second, and must not block.
    fn has_left(&self) -> bool {
        false
    }
}

/// A shared [`Presence`], because the connections to all servers watch the same person.
pub type Watch = Arc<dyn Presence>;

/// The simplest presence: the person has left when the peer of a socket closes it.
#[derive(Debug)]
pub struct Peer([(OwnedFd, PollFlags); 1]);

impl Peer {
    /// Watches this socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self([(socket, PollFlags::RDHUP)])
    }
}

impl Presence for Peer {
    fn descriptors(&self) -> &[(OwnedFd, PollFlags)] {
        &self.0
    }
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The descriptor is ready.
    Ready,
    /// The watched person has left.
    HungUp,
    /// Time is up, and a last poll found nothing.
    TimeUp {
        /// Time spent in polls, without the time in which the process was stopped.
        waited: Duration,
    },
}

/// Waits until `ready` is ready, the watched person leaves, or `end` is reached; polls at least once, even
/// after `end`.
///
/// # Errors
/// The error of poll(2). The caller then watches nothing.
pub fn wait(ready: Option<&PollFd<'_>>, watch: Option<&Watch>, end: Instant) -> io::Result<Event> {
    let mut waited = Duration::ZERO;
    loop {
        let begun = now();
        let left = end.saturating_duration_since(begun);
        if let Some(event) = poll_once(ready, watch, left.min(SLICE))? {
            return Ok(event);
        }
        // A poll that returned late, or was interrupted, counts as its own time-out at most.
        waited += now().saturating_duration_since(begun).min(left.min(SLICE));
        if left.is_zero() {
            return Ok(Event::TimeUp { waited });
        }
    }
}

fn poll_once(ready: Option<&PollFd<'_>>, watch: Option<&Watch>, time: Duration) -> io::Result<Option<Event>> {
    let watched = watch.map_or(&[][..], |watch| watch.descriptors());
    let mut all: Vec<PollFd<'_>> = watched.iter().map(|(fd, left)| PollFd::new(fd, *left)).collect();
    all.extend(ready.cloned());
    let time = Timespec::try_from(time).map_err(|_| io::ErrorKind::InvalidInput)?;
    let count = match poll(&mut all, Some(&time)) {
        Err(Errno::INTR) => 0,
        polled => polled?,
    };
    let (people, _own) = all.split_at(watched.len());
    let gone = |(polled, (_, left)): (&PollFd<'_>, &(OwnedFd, PollFlags))| {
        polled.revents().intersects(*left | PollFlags::HUP | PollFlags::ERR)
    };
    if people.iter().zip(watched).any(gone) || watch.is_some_and(|watch| watch.has_left()) {
        return Ok(Some(Event::HungUp));
    }
    // Any event counts as ready: the caller then tries the descriptor, and that never counts as waiting.
    Ok((count > 0 && ready.is_some()).then_some(Event::Ready))
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "a wait needs the monotonic clock where it waits")]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn readable(socket: &UnixStream) -> PollFd<'_> {
        PollFd::new(socket, PollFlags::IN)
    }

    #[test]
    fn what_came_while_nobody_looked_is_found_after_the_end() {
        let (near, far) = UnixStream::pair().unwrap();
        let end = now().checked_sub(Duration::from_secs(5)).unwrap();
        let nothing = Event::TimeUp { waited: Duration::ZERO };
        assert_eq!(wait(Some(&readable(&near)), None, end).unwrap(), nothing);
        rustix::io::write(&far, b"x").unwrap();
        assert_eq!(wait(Some(&readable(&near)), None, end).unwrap(), Event::Ready);
        let (person, left) = UnixStream::pair().unwrap();
        drop(left);
        let watch: Watch = Arc::new(Peer::new(person.into()));
        assert_eq!(wait(Some(&readable(&near)), Some(&watch), end).unwrap(), Event::HungUp);
        drop(far);
    }

    #[test]
    fn a_wait_counts_for_its_duration() {
        let (near, _far) = UnixStream::pair().unwrap();
        let (start, time) = (now(), Duration::from_millis(600));
        let Event::TimeUp { waited } = wait(Some(&readable(&near)), None, start + time).unwrap() else {
            panic!("nobody wrote")
        };
        assert!(waited <= now() - start && waited > time / 2, "{waited:?}");
    }

    /// Has left when it is asked for the third time.
    #[derive(Debug, Default)]
    struct Impatient(AtomicUsize);

    impl Presence for Impatient {
        fn descriptors(&self) -> &[(OwnedFd, PollFlags)] {
            &[]
        }
        fn has_left(&self) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed) == 2
        }
    }

    #[test]
    fn a_person_who_leaves_without_an_event_is_noticed_between_two_polls() {
        let (near, _far) = UnixStream::pair().unwrap();
        let (watch, start): (Watch, _) = (Arc::new(Impatient::default()), now());
        let event = wait(Some(&readable(&near)), Some(&watch), start + Duration::from_secs(60)).unwrap();
        assert_eq!(event, Event::HungUp);
        assert!(now() - start < Duration::from_secs(30));
    }
}
