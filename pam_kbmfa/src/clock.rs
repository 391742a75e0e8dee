//! The only reader of clocks, and the only place that waits without a connection to a server.
//!
//! Only the monotonic clock times a login, so that setting the machine's date cannot extend it.

use kbmfa_proto::client::{Event, HungUp, Watch, wait};
use std::time::{Duration, Instant};

/// Time, and waiting for it to pass.
pub trait Clock {
    fn now(&self) -> Instant;

    /// Waits for `time`, unless the watched person leaves first.
    fn pause(&self, time: Duration) -> Result<(), HungUp>;

    /// The time left until `end`; zero if that has passed.
    fn left(&self, end: Instant) -> Duration {
        end.saturating_duration_since(self.now())
    }
}

/// The monotonic clock, and the person to watch meanwhile.
#[derive(Debug, Clone, Default)]
pub struct Monotonic {
    pub watch: Option<Watch>,
}

impl Clock for Monotonic {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads time")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    #[expect(clippy::disallowed_methods, reason = "sleeps only if waiting for an event fails")]
    fn pause(&self, time: Duration) -> Result<(), HungUp> {
        let end = self.now() + time;
        match wait(None, self.watch.as_ref(), end) {
            Ok(Event::HungUp) => return Err(HungUp),
            Ok(Event::Ready | Event::TimeUp { .. }) => {}
            // The person is not watched in this case. Without a pause the module would call the server in a
            // tight loop.
            Err(_) => std::thread::sleep(self.left(end)),
        }
        Ok(())
    }
}

/// Microseconds since 1970 (UTC), for display and for comparison with the server's clock. No decision uses
/// it.
pub fn wall_us() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kbmfa_proto::client::Peer;
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;

    #[test]
    fn a_pause_ends_early_only_when_the_peer_hangs_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let clock = Monotonic { watch: Some(Arc::new(Peer::new(server.into()))) };
        let start = clock.now();
        assert!(clock.pause(Duration::from_millis(30)).is_ok());
        assert!(clock.now() - start >= Duration::from_millis(30));
        drop(client);
        assert!(clock.pause(Duration::from_secs(60)).is_err());
        assert!(clock.now() - start < Duration::from_secs(30));
    }
}
