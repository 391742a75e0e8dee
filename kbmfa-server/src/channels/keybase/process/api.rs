//! A long-lived `keybase chat api` or `team api` process. It handles one request at a time. If its reply came
//! too late or was not valid, the process is replaced before the next request.

use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::super::wire;
use super::lines::{Lines, REPLY_BYTES_MAX};
use super::program::{Error, Program, Stderr};

/// Longest time for one request. Keybase may still execute a request after this time.
pub(in crate::channels::keybase) const CALL_TIME: Duration = Duration::from_secs(5);

/// Longest pause after a rate limit, even if Keybase's server demands more.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Calls one `api` verb, in one child process at a time.
pub(in crate::channels::keybase) struct Api {
    program: Program,
    verb: &'static str,
    /// Locked during one request, at most [`CALL_TIME`]. Never locked while another lock is held.
    stream: Mutex<Stream>,
}

#[derive(Default)]
struct Stream {
    /// Taken out during a request, so that a dropped request kills its child process.
    process: Option<Process>,
    last_id: u64,
    paused_until: Option<Instant>,
}

struct Process {
    /// Killed on drop.
    _child: Child,
    requests: ChildStdin,
    replies: Lines<ChildStdout>,
}

impl Api {
    /// Calls `keybase VERB api`. The first request starts the process.
    pub(in crate::channels::keybase) fn new(program: Program, verb: &'static str) -> Self {
        Self { program, verb, stream: Mutex::default() }
    }

    /// Sends a request, and parses the reply.
    pub(in crate::channels::keybase) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        options: &Value,
    ) -> Result<T, Error> {
        let reply = self.exchange(method, options).await?;
        serde_json::from_value(reply)
            .map_err(|error| Error::broken(format_args!("an unexpected reply to {method}: {error}")))
    }

    async fn exchange(&self, method: &str, options: &Value) -> Result<Value, Error> {
        let mut stream = self.stream.lock().await;
        let pause = stream.paused_until.map(|until| until.saturating_duration_since(Instant::now()));
        if let Some(left) = pause.filter(|left| !left.is_zero()) {
            let message = format!("Keybase's rate limit: the next call is allowed in {} s", left.as_secs());
            return Err(Error::Refused { message, pause: Some(left) });
        }
        stream.last_id += 1;
        let id = stream.last_id;
        let mut process = match stream.process.take() {
            Some(process) => process,
            None => self.start()?,
        };
        let line = timeout(CALL_TIME, process.exchange(&wire::request(id, method, options))).await;
        let line = line.map_err(|_| Error::Late(format!("no reply to {method} within {CALL_TIME:?}")))??;
        let reply = wire::reply(&line, id);
        match &reply {
            // The process is replaced after every refusal: once its connection to the service is broken, it
            // refuses all requests.
            Err(Error::Refused { pause, .. }) => {
                stream.paused_until = pause.map(|pause| Instant::now() + pause.min(PAUSE_MAX));
            }
            Err(Error::Broken(_) | Error::Late(_)) => {}
            Ok(_) => stream.process = Some(process),
        }
        drop(stream);
        reply
    }

    /// Ends the child process. The next call starts another.
    pub(in crate::channels::keybase) async fn end(&self) {
        self.stream.lock().await.process = None;
    }

    fn start(&self) -> Result<Process, Error> {
        // Errors are in the replies, so stderr is not needed.
        let mut child = self.program.start(&[self.verb, "api"], Stderr::Ignored)?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(requests), Some(replies)) = pipes else { return Err(Error::broken("no pipe")) };
        Ok(Process { _child: child, requests, replies: Lines::new(replies, REPLY_BYTES_MAX) })
    }
}

impl Process {
    async fn exchange(&mut self, request: &str) -> Result<String, Error> {
        self.requests.write_all(request.as_bytes()).await.map_err(Error::broken)?;
        match self.replies.next().await.map_err(Error::broken)? {
            Some(line) => Ok(line),
            None => Err(Error::broken("the `api` process exited")),
        }
    }
}
