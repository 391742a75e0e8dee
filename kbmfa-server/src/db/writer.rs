//! The single writer thread, with group commit: work that arrives during a commit shares the next one. Each
//! piece of work has its own savepoint, so that a failure undoes only that piece.
//!
//! There are two priorities. Every commit takes all waiting urgent work, then bulk work until its time is up
//! or urgent work arrives. It takes at least one piece of bulk work, so that neither priority starves the
//! other.

mod queue;

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

use super::engine::Connection;
use super::tx::Deferred;
use super::{Error, Tx, Value, meta};
use crate::fault_log::FaultLogs;
pub(super) use queue::Priority;
use queue::{Queue, Sender};

/// Maximum number of pieces of work in one commit. It limits how long the first of them waits.
const GROUP_MAX: usize = 256;

/// Time in one commit after which it begins no further piece of bulk work. Together with the time of one
/// piece, which is about the same, this limits how long urgent work waits for bulk work.
pub(super) const BULK_TIME: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub(super) struct Writer {
    queue: Sender<Box<dyn Job>>,
    counters: Arc<Counters>,
    thread: Arc<JoinHandle<()>>,
}

/// When work is allowed.
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
    #[cfg(test)]
    names: crate::shared::Shared<Vec<&'static str>>,
}

impl Writer {
    pub(super) fn start(connection: Box<dyn Connection>) -> Result<Self, Error> {
        let (queue, jobs) = queue::new();
        let counters = Arc::<Counters>::default();
        let counted = Arc::clone(&counters);
        let thread = std::thread::Builder::new()
            .name("db-writer".into())
            .spawn(move || run(connection.as_ref(), jobs, &counted))
            .map_err(|_| Error::Closed)?;
        Ok(Self { queue, counters, thread: Arc::new(thread) })
    }

    /// Waits until the thread has ended, if this was the last handle.
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

    #[cfg(test)]
    pub(super) fn take_names(&self) -> Vec<&'static str> {
        self.counters.names.with(mem::take)
    }

    pub(super) fn counters(&self) -> (u64, u64) {
        (self.counters.jobs.load(Ordering::Relaxed), self.counters.commits.load(Ordering::Relaxed))
    }
}

fn run(connection: &dyn Connection, mut jobs: Queue<Box<dyn Job>>, counters: &Counters) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    let mut faults = FaultLogs::new("transaction ");
    while jobs.wait() {
        let outcome = commit(connection, &mut jobs, &mut group);
        match &outcome {
            Ok(()) => {
                counters.jobs.fetch_add(group.len() as u64, Ordering::Relaxed);
                counters.commits.fetch_add(1, Ordering::Relaxed);
                #[cfg(test)]
                counters.names.with(|names| names.extend(group.iter().map(|job| job.name())));
            }
            Err(error) => {
                connection.roll_back();
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

/// Does the work of one commit. Afterwards the jobs are in `group`, even if the commit failed.
fn commit(
    connection: &dyn Connection,
    jobs: &mut Queue<Box<dyn Job>>,
    group: &mut Vec<Box<dyn Job>>,
) -> Result<(), Error> {
    // The jobs are taken before anything can fail, so that each caller gets a result.
    jobs.take_urgent(group, GROUP_MAX);
    let urgent = group.len();
    group.extend(jobs.next_bulk());
    connection.begin_write()?;
    let read_only = meta::get(&Tx::new(connection, connection.now()), meta::READ_ONLY)?.is_some();
    let mut transaction = Transaction { connection, read_only, deferred: Vec::new() };
    for job in group.iter_mut().take(urgent) {
        transaction.run(job.as_mut())?;
    }
    let bulk_until = connection.now() + BULK_TIME;
    let mut next = urgent;
    while let Some(job) = group.get_mut(next) {
        transaction.run(job.as_mut())?;
        next += 1;
        if connection.now() < bulk_until && group.len() < GROUP_MAX && !jobs.has_urgent() {
            group.extend(jobs.next_bulk());
        }
    }
    transaction.commit()
}

/// The transaction that a group of jobs shares.
struct Transaction<'a> {
    connection: &'a dyn Connection,
    read_only: bool,
    /// The number of jobs that succeeded.
    deferred: Vec<(&'static str, Vec<Value>)>,
}

impl Transaction<'_> {
    /// Runs a job in a savepoint, so that a failure undoes only its own work.
    fn run(&mut self, job: &mut dyn Job) -> Result<(), Error> {
        self.connection.savepoint()?;
        let deferred = Deferred::new(mem::take(&mut self.deferred));
        let before = deferred.borrow().len();
        let keep = job.run(&Tx::in_group(self.connection, self.connection.now(), &deferred), self.read_only);
        self.deferred = deferred.into_inner();
        // After a full disk or an I/O error SQLite may have rolled back everything: then no part of this
        // group may be committed.
        if !self.connection.is_in_transaction() {
            return Err(Error::RolledBack);
        }
        if keep {
            return self.connection.release_savepoint();
        }
        self.deferred.truncate(before);
        self.connection.roll_back_to_savepoint()
    }

    fn commit(self) -> Result<(), Error> {
        for (sql, values) in &self.deferred {
            self.connection.execute(sql, values)?;
        }
        self.connection.commit()
    }
}

/// One piece of work with its caller's reply channel. Hides the type of its result.
trait Job: Send {
    /// Name of the work, for the log.
    fn name(&self) -> &'static str;
    /// Does the work, if it is allowed; true on success.
    fn run(&mut self, tx: &Tx<'_>, read_only: bool) -> bool;
    /// Sends the caller the result, once the commit is on disk or has failed.
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
        // If the caller is gone nobody gets the result. The work is done anyway.
        let _ = self.reply.send(result);
    }
}
