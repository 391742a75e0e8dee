//! The server's loops. Each runs with a [`Progress`], and the server ends if one of them ends.

use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::task::JoinSet;

use super::Error;
use crate::progress::{Progress, Registry};

/// Every loop of this process.
pub(super) struct Loops {
    tasks: JoinSet<Error>,
    registry: Registry,
}

impl Loops {
    /// A list without any loop.
    pub(super) fn new(registry: Registry) -> Self {
        Self { tasks: JoinSet::new(), registry }
    }

    /// Starts a loop whose rounds take no longer than `bound`. It gets a [`Progress`], by which it must
    /// report each round; otherwise it counts as hanging.
    pub(super) fn start<F>(&mut self, name: &'static str, bound: Duration, run: impl FnOnce(Progress) -> F)
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let run = run(self.registry.register(name, bound));
        self.tasks.spawn(async move { run.await.err().unwrap_or(Error::Ended(name)) });
    }

    /// Waits until a loop ends, and returns the reason for which the server must end.
    pub(super) async fn next_end(&mut self) -> Error {
        match self.tasks.join_next().await {
            Some(Ok(error)) => error,
            Some(Err(panic)) => Error::Io(io::Error::other(format!("a loop panicked: {panic}"))),
            None => Error::Ended("everything"),
        }
    }

    /// Waits for the listeners, which end by themselves on request. The other loops have nothing to finish.
    pub(super) async fn drain(mut self) {
        for _listener in 0..2 {
            self.tasks.join_next().await;
        }
        self.tasks.shutdown().await;
    }
}

/// Runs a loop that has no error of its own.
pub(super) async fn forever(run: impl Future<Output = ()>) -> Result<(), Error> {
    run.await;
    Ok(())
}

/// Runs a loop whose error becomes one of the server's.
pub(super) async fn failing<E: Into<Error>>(run: impl Future<Output = Result<(), E>>) -> Result<(), Error> {
    run.await.map_err(Into::into)
}
