//! Runs `keybase chat api-listen`, reads its events, and restarts it when it exits. An event is a hint that
//! somebody may have answered. No decision relies on events: Keybase replays none, and the listener may stop
//! receiving them without an error.

use std::time::Duration;
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::process::lines::{EVENT_BYTES_MAX, Lines};
use super::process::program::{Error, Stderr, last_line};
use super::wire::{self, Event};

/// Part of the line that the listener prints on stderr once it receives events.
const READY: &str = "Listening for chat notifications";

/// Longest time until that line.
const READY_TIME: Duration = Duration::from_secs(20);

/// Pause before a restart.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs the listener, and restarts it when it exits. Calls `ready` when the listener receives events,
/// `on_event` for each event, and `lost` when the listener exits; events may be missed then. Returns if a
/// listener exits before it is ready, because then the service has failed.
pub(super) async fn run(
    client: &Client,
    ready: impl Fn(),
    on_event: impl Fn(Event),
    lost: impl Fn(&Error),
) -> Error {
    loop {
        let mut was_ready = false;
        let ended = listen(client, &on_event, || {
            was_ready = true;
            ready();
        })
        .await;
        lost(&ended);
        if !was_ready {
            return ended;
        }
        sleep(PAUSE).await;
    }
}

async fn listen(client: &Client, on_event: impl Fn(Event), mut ready: impl FnMut()) -> Error {
    let mut child = match client.program.start(&["chat", "api-listen", "--hide-exploding"], Stderr::Read) {
        Ok(child) => child,
        Err(error) => return error,
    };
    let pipes = (child.stdout.take(), child.stderr.take());
    let (Some(events), Some(stderr)) = pipes else { return Error::broken("no pipe") };
    let (mut events, mut stderr) = (Lines::new(events, EVENT_BYTES_MAX), Lines::new(stderr, EVENT_BYTES_MAX));
    let mut last = match timeout(READY_TIME, until_ready(&mut stderr)).await {
        Ok(Ok(())) => String::new(),
        Ok(Err(last)) => {
            return Error::broken(format_args!("the listener did not start: {}", last_line(&last)));
        }
        Err(_) => return Error::broken("the listener did not start in time"),
    };
    ready();
    let mut is_stderr_open = true;
    loop {
        tokio::select! {
            line = events.next() => match line {
                Ok(Some(line)) => on_event(wire::event(&line)),
                Ok(None) => return Error::broken(format_args!("the listener exited: {}", last_line(&last))),
                Err(error) => return Error::broken(format_args!("the listener: {error}")),
            },
            line = stderr.next(), if is_stderr_open => match line {
                Ok(Some(line)) => last = line,
                Ok(None) | Err(_) => is_stderr_open = false,
            },
        }
    }
}

async fn until_ready<R: tokio::io::AsyncRead + Unpin>(stderr: &mut Lines<R>) -> Result<(), String> {
    let mut last = String::new();
    while let Ok(Some(line)) = stderr.next().await {
        if line.contains(READY) {
            return Ok(());
        }
        last = line;
    }
    Err(last)
}
