//! Whether anything happens on a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Shortest time after which a connection without a request is closed.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(15);

/// The activity of a connection. If there is none, or its answers are not read, it is closed.
#[derive(Default)]
pub(super) struct Activity {
    begun: AtomicU64,
    in_flight: AtomicU64,
}

impl Activity {
    /// Waits until no request has begun and none is in flight for the idle time.
    pub(super) async fn ceases(&self) {
        let mut begun_before = None;
        loop {
            let begun = Some(self.begun.load(Ordering::Relaxed));
            if begun == begun_before && self.in_flight.load(Ordering::Relaxed) == 0 {
                return;
            }
            begun_before = begun;
            tokio::time::sleep(IDLE_TIME).await;
        }
    }
}

/// One request, from its head to its answer.
pub(super) struct InFlight(Arc<Activity>);

impl InFlight {
    pub(super) fn new(activity: &Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
