//! The one thread that writes, with group commit: work that waits while a commit is under way shares the
//! next one. Each piece of work runs in its own savepoint, so a failure takes back only itself.
//!
//! There are two priorities. Every commit takes the urgent work that waits, then bulk work until its time is up
//! or urgent work arrives, and always one piece of bulk work, so that neither starves the other.

mod queue;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

use super::{Error, Tx, meta};
use crate::clock::Clock;
use crate::fault_log::FaultLogs;
pub(super) use queue::Priority;
use queue::{Queue, Sender};

/// Pieces of work that share one commit at the most: bounds how long the first of them waits.
const GROUP_MAX: usize = 256;

/// Time that bulk work may take of one commit, after which no further piece is begun. With one piece's own
/// time, which its caller keeps to about as much, this is how long urgent work waits for bulk work at the most.
pub(super) const BULK_TIME: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub(super) struct Writer {
    queue: Sender<Box<dyn Job>>,
    counters: Arc<Counters>,
    thread: Arc<JoinHandle<()>>,
}

/// When work may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Not while the database is read-only.
    Writable,
    /// Always.
    Always,
}

#[derive(Default)]
struct Counters {
    jobs: AtomicU64,
    commits: AtomicU64,
    failed: AtomicU64,
}

impl Writer {
    pub(super) fn start(connection: Connection, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let (queue, jobs) = queue::new();
        let counters = Arc::<Counters>::default();
        let counted = Arc::clone(&counters);
        let thread = std::thread::Builder::new()
            .name("db-writer".into())
            .spawn(move || run(connection, jobs, clock.as_ref(), &counted))
            .map_err(|_| Error::Closed)?;
        Ok(Self { queue, counters, thread: Arc::new(thread) })
    }

    /// Waits for the thread's end, if nobody else can give it work.
    pub(super) fn close(self) {
        let Self { queue, thread, .. } = self;
        drop(queue);
        let thread = Arc::into_inner(thread);
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("the database's writer died");
        }
    }

    pub(super) fn submit<T, E>(
        &self,
        name: &'static str,
        (priority, when): (Priority, When),
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, E>>, Error>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Work { name, when, todo: Some(work), result: None, reply };
        self.queue.send(priority, Box::new(job))?;
        Ok(answer)
    }

    pub(super) async fn ends(&self) {
        self.queue.closed().await;
    }

    pub(super) fn failed(&self) -> u64 {
        self.counters.failed.load(Ordering::Relaxed)
    }

    pub(super) fn counters(&self) -> (u64, u64) {
        (self.counters.jobs.load(Ordering::Relaxed), self.counters.commits.load(Ordering::Relaxed))
    }
}

fn run(mut connection: Connection, mut jobs: Queue<Box<dyn Job>>, clock: &dyn Clock, counters: &Counters) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    let mut faults = FaultLogs::new("transaction ");
    while jobs.wait() {
        let outcome = commit(&mut connection, &mut jobs, &mut group, clock);
        match &outcome {
            Ok(()) => {
                counters.jobs.fetch_add(group.len() as u64, Ordering::Relaxed);
                counters.commits.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                counters.failed.fetch_add(group.len() as u64, Ordering::Relaxed);
                for job in &group {
                    faults.failed(job.name(), error);
                }
            }
        }
        for job in group.drain(..) {
            if outcome.is_ok() {
                faults.succeeded(job.name());
            }
            job.finish(outcome.clone());
        }
    }
}

/// Does the work of one commit; what it took up is in `group` afterwards, also if the commit failed.
fn commit(
    connection: &mut Connection,
    jobs: &mut Queue<Box<dyn Job>>,
    group: &mut Vec<Box<dyn Job>>,
    clock: &dyn Clock,
) -> Result<(), Error> {
    // Taken up before anything can fail, so that whatever fails has callers to be told.
    jobs.take_urgent(group, GROUP_MAX);
    let urgent = group.len();
    group.extend(jobs.next_bulk());
    // IMMEDIATE: a deferred transaction that reads first fails with SQLITE_BUSY_SNAPSHOT if another
    // process writes in between, whatever the busy timeout.
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let read_only = meta::get(&Tx::new(&transaction, clock.now()), meta::READ_ONLY)?.is_some();
    for job in group.iter_mut().take(urgent) {
        run_one(&mut transaction, job.as_mut(), clock, read_only)?;
    }
    let bulk_until = clock.now() + BULK_TIME;
    let mut next = urgent;
    while let Some(job) = group.get_mut(next) {
        run_one(&mut transaction, job.as_mut(), clock, read_only)?;
        next += 1;
        if clock.now() < bulk_until && group.len() < GROUP_MAX && !jobs.has_urgent() {
            group.extend(jobs.next_bulk());
        }
    }
    Ok(transaction.commit()?)
}

fn run_one(
    transaction: &mut Transaction<'_>,
    job: &mut dyn Job,
    clock: &dyn Clock,
    read_only: bool,
) -> Result<(), Error> {
    let savepoint = transaction.savepoint()?;
    let keep = job.run(&Tx::new(&savepoint, clock.now()), read_only);
    // After a full disk or an I/O error SQLite may have taken back everything: nothing of this group may
    // then be committed by itself.
    if savepoint.is_autocommit() {
        return Err(Error::RolledBack);
    }
    if keep {
        savepoint.commit()?;
    }
    Ok(())
}

/// One piece of work with its caller's reply channel, types erased.
trait Job: Send {
    /// What the work is called in the log.
    fn name(&self) -> &'static str;
    /// Does the work, if it may be done; true if it is to be kept.
    fn run(&mut self, tx: &Tx<'_>, read_only: bool) -> bool;
    /// Tells the caller, once the commit is on disk or has failed.
    fn finish(self: Box<Self>, commit: Result<(), Error>);
}

struct Work<F, T, E> {
    name: &'static str,
    when: When,
    todo: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Job for Work<F, T, E>
where
    F: FnOnce(&Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, tx: &Tx<'_>, read_only: bool) -> bool {
        let refused = read_only && self.when == When::Writable;
        let work = self.todo.take();
        self.result = work.map(|work| if refused { Err(E::from(Error::ReadOnly)) } else { work(tx) });
        matches!(self.result, Some(Ok(_)))
    }

    fn finish(self: Box<Self>, commit: Result<(), Error>) {
        let result = match (self.result, commit) {
            (Some(Err(own)), _) => Err(own),
            (Some(result), Ok(())) => result,
            (_, Err(error)) => Err(error.into()),
            (None, Ok(())) => Err(Error::Closed.into()),
        };
        // A caller that has gone away needs no answer; its work is done all the same.
        let _ = self.reply.send(result);
    }
}
