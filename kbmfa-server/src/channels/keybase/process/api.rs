//! One long-lived `chat api` or `team api`: requests go in, replies come out, strictly one after the other. A child that
//! did not answer in time, or answered something else, is never asked again: another takes its place.

use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::super::wire;
use super::lines::{Lines, REPLY_BYTES_MAX};
use super::program::{Complaints, Error, Program};

/// Longest time for one request. What was sent and not answered in that time may still be done later.
pub(in crate::channels::keybase) const CALL_TIME: Duration = Duration::from_secs(5);

/// Longest time that a limit of the server's is respected without asking again.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// One kind of request, asked of one child at a time.
pub(in crate::channels::keybase) struct Api {
    program: Program,
    verb: &'static str,
    /// Locked for one request, which takes [`CALL_TIME`] at the most, and by nobody who holds another lock.
    stream: Mutex<Stream>,
}

#[derive(Default)]
struct Stream {
    /// Taken out while it is being asked: a request that is dropped takes its child with it.
    running: Option<Running>,
    last_id: u64,
    paused_until: Option<Instant>,
}

struct Running {
    /// Killed on drop.
    _child: Child,
    requests: ChildStdin,
    replies: Lines<ChildStdout>,
}

impl Api {
    /// `keybase VERB api`, started when it is needed.
    pub(in crate::channels::keybase) fn new(program: Program, verb: &'static str) -> Self {
        Self { program, verb, stream: Mutex::default() }
    }

    /// Asks, and reads the reply.
    pub(in crate::channels::keybase) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        options: &Value,
    ) -> Result<T, Error> {
        let reply = self.ask(method, options).await?;
        serde_json::from_value(reply)
            .map_err(|error| Error::broken(format_args!("a reply to {method} that makes no sense: {error}")))
    }

    async fn ask(&self, method: &str, options: &Value) -> Result<Value, Error> {
        let mut stream = self.stream.lock().await;
        let pause = stream.paused_until.map(|until| until.saturating_duration_since(Instant::now()));
        if let Some(left) = pause.filter(|left| !left.is_zero()) {
            let message = format!("Keybase's servers asked for a pause; {} s of it are left", left.as_secs());
            return Err(Error::Refused { message, pause: Some(left) });
        }
        stream.last_id += 1;
        let id = stream.last_id;
        let mut running = match stream.running.take() {
            Some(running) => running,
            None => self.start()?,
        };
        let line = timeout(CALL_TIME, running.ask(&wire::request(id, method, options))).await;
        let line = line.map_err(|_| Error::Late(format!("no reply to {method} within {CALL_TIME:?}")))??;
        let reply = wire::reply(&line, id);
        match &reply {
            // A child whose connection broke once answers the same for ever; another is as good, and cheap.
            Err(Error::Refused { pause, .. }) => {
                stream.paused_until = pause.map(|pause| Instant::now() + pause.min(PAUSE_MAX));
            }
            Err(Error::Broken(_) | Error::Late(_)) => {}
            Ok(_) => stream.running = Some(running),
        }
        drop(stream);
        reply
    }

    /// Ends the child. The next call starts another.
    pub(in crate::channels::keybase) async fn end(&self) {
        self.stream.lock().await.running = None;
    }

    fn start(&self) -> Result<Running, Error> {
        // Replies carry all that matters.
        let mut child = self.program.start(&[self.verb, "api"], Complaints::Ignored)?;
        let ends = (child.stdin.take(), child.stdout.take());
        let (Some(requests), Some(replies)) = ends else { return Err(Error::broken("no pipe")) };
        Ok(Running { _child: child, requests, replies: Lines::new(replies, REPLY_BYTES_MAX) })
    }
}

impl Running {
    async fn ask(&mut self, request: &str) -> Result<String, Error> {
        self.requests.write_all(request.as_bytes()).await.map_err(Error::broken)?;
        match self.replies.next().await.map_err(Error::broken)? {
            Some(line) => Ok(line),
            None => Err(Error::broken("the client ended")),
        }
    }
}
