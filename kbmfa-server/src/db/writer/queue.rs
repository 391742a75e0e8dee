//! The writer's queue: two priorities with a limit each, on one channel that wakes one thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

use super::super::Error;

/// Maximum length of the queue of urgent work. Beyond it callers get `Overloaded`.
const URGENT_MAX: usize = 16 * 1024;

/// Maximum length of the queue of bulk work. Each caller waits for one piece before it sends the next, so
/// this is also the number of callers.
const BULK_MAX: usize = 1024;

/// Priority of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::db) enum Priority {
    /// Logins, and other work that somebody waits for.
    Urgent,
    /// Work that may run later.
    Bulk,
}

/// The free places in the queue for one priority, and a counter.
struct Slots {
    taken: AtomicUsize,
    max: usize,
}

impl Slots {
    fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), max })
    }

    fn take(self: &Arc<Self>) -> Option<Slot> {
        let one_more = |taken| (taken < self.max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Slot(Arc::clone(self)))
    }
}

/// One place in the queue. Dropping it frees the place.
struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A piece of work and its place in the queue, which is free again when the work is taken out.
struct Queued<J> {
    job: J,
    priority: Priority,
    slot: Slot,
}

/// The sender.
pub(super) struct Sender<J> {
    queue: mpsc::UnboundedSender<Queued<J>>,
    urgent: Arc<Slots>,
    bulk: Arc<Slots>,
}

impl<J> Clone for Sender<J> {
    fn clone(&self) -> Self {
        let (urgent, bulk) = (Arc::clone(&self.urgent), Arc::clone(&self.bulk));
        Self { queue: self.queue.clone(), urgent, bulk }
    }
}

impl<J> Sender<J> {
    /// Queues work after all work of the same priority.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too much of this priority waits, [`Error::Closed`] if the writer has ended.
    pub(super) fn send(&self, priority: Priority, job: J) -> Result<(), Error> {
        let slots = match priority {
            Priority::Urgent => &self.urgent,
            Priority::Bulk => &self.bulk,
        };
        let slot = slots.take().ok_or(Error::Overloaded)?;
        self.queue.send(Queued { job, priority, slot }).map_err(|_| Error::Closed)
    }

    /// Returns when the writer has ended.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }
}

/// The receiver. The places limit the queue, so it may empty the channel into memory.
pub(super) struct Queue<J> {
    arriving: mpsc::UnboundedReceiver<Queued<J>>,
    urgent: VecDeque<Queued<J>>,
    bulk: VecDeque<Queued<J>>,
}

/// An empty queue.
pub(super) fn new<J>() -> (Sender<J>, Queue<J>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (urgent, bulk) = (Slots::new(URGENT_MAX), Slots::new(BULK_MAX));
    let queue = Queue { arriving: receiver, urgent: VecDeque::new(), bulk: VecDeque::new() };
    (Sender { queue: sender, urgent, bulk }, queue)
}

impl<J> Queue<J> {
    /// Blocks until there is work; false when all senders are gone.
    pub(super) fn wait(&mut self) -> bool {
        self.sort();
        if !self.urgent.is_empty() || !self.bulk.is_empty() {
            return true;
        }
        let first = self.arriving.blocking_recv();
        first.map(|queued| self.put(queued)).is_some()
    }

    /// Moves the urgent work that waits into `group`, at most `max` pieces.
    pub(super) fn take_urgent(&mut self, group: &mut Vec<J>, max: usize) {
        self.sort();
        let count = self.urgent.len().min(max);
        group.extend(self.urgent.drain(..count).map(Queued::take_out));
    }

    /// The next piece of bulk work.
    pub(super) fn next_bulk(&mut self) -> Option<J> {
        self.sort();
        self.bulk.pop_front().map(Queued::take_out)
    }

    /// Whether urgent work waits.
    pub(super) fn has_urgent(&mut self) -> bool {
        self.sort();
        !self.urgent.is_empty()
    }

    fn sort(&mut self) {
        while let Ok(queued) = self.arriving.try_recv() {
            self.put(queued);
        }
    }

    fn put(&mut self, queued: Queued<J>) {
        match queued.priority {
            Priority::Urgent => self.urgent.push_back(queued),
            Priority::Bulk => self.bulk.push_back(queued),
        }
    }
}

impl<J> Queued<J> {
    fn take_out(self) -> J {
        drop(self.slot);
        self.job
    }
}

#[cfg(test)]
mod tests {
    use super::Priority::{Bulk, Urgent};
    use super::*;

    fn urgent(queue: &mut Queue<u32>, max: usize) -> Vec<u32> {
        let mut group = Vec::new();
        queue.take_urgent(&mut group, max);
        group
    }

    #[test]
    fn urgent_work_comes_first_and_each_priority_keeps_its_order() {
        let (sender, mut queue) = new();
        for (priority, job) in [(Bulk, 1), (Urgent, 2), (Bulk, 3), (Urgent, 4)] {
            sender.send(priority, job).unwrap();
        }
        assert!(queue.wait() && queue.has_urgent());
        assert_eq!(urgent(&mut queue, 1), [2]);
        assert_eq!(queue.next_bulk(), Some(1));
        assert_eq!(urgent(&mut queue, 9), [4]);
        assert!(queue.wait() && !queue.has_urgent());
        assert_eq!((queue.next_bulk(), queue.next_bulk()), (Some(3), None));
        drop(sender);
        assert!(!queue.wait());
    }

    #[test]
    fn too_much_bulk_work_is_refused_and_takes_no_slot_of_urgent_work() {
        let (sender, mut queue) = new();
        for job in 0..u32::try_from(BULK_MAX).unwrap() {
            sender.send(Bulk, job).unwrap();
        }
        assert!(matches!(sender.send(Bulk, 0), Err(Error::Overloaded)));
        sender.send(Urgent, 1).unwrap();
        assert_eq!(queue.next_bulk(), Some(0));
        sender.send(Bulk, 0).unwrap();
    }
}
