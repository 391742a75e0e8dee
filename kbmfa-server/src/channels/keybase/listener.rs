//! `chat api-listen`: hints that somebody may have answered. It is read without a pause, started again when it ends, and
//! believed in nothing: nothing is replayed to it, and it may go deaf without a word.

use std::time::Duration;
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::process::lines::{EVENT_BYTES_MAX, Lines};
use super::process::program::{Complaints, Error, last_line};
use super::wire::{self, Event};

/// What it says on its stderr once it hears everything.
const READY: &str = "Listening for chat notifications";

/// Longest time until then.
const READY_TIME: Duration = Duration::from_secs(20);

/// Pause before it is started again.
const PAUSE: Duration = Duration::from_millis(500);

/// Starts it over and over. `ready` is called when it listens, `heard` with what it prints, `lost` when it ended; each end
/// may have swallowed something. Returns once it ends without ever having been ready: then the service is the failure.
pub(super) async fn run(
    client: &Client,
    ready: impl Fn(),
    heard: impl Fn(Event),
    lost: impl Fn(&Error),
) -> Error {
    loop {
        let mut was_ready = false;
        let ended = listen(client, &heard, || {
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

async fn listen(client: &Client, heard: impl Fn(Event), mut ready: impl FnMut()) -> Error {
    let mut child = match client.program.start(&["chat", "api-listen", "--hide-exploding"], Complaints::Read)
    {
        Ok(child) => child,
        Err(error) => return error,
    };
    let ends = (child.stdout.take(), child.stderr.take());
    let (Some(events), Some(complaints)) = ends else { return Error::broken("no pipe") };
    let (mut events, mut complaints) =
        (Lines::new(events, EVENT_BYTES_MAX), Lines::new(complaints, EVENT_BYTES_MAX));
    let mut last = match timeout(READY_TIME, until_ready(&mut complaints)).await {
        Ok(Ok(())) => String::new(),
        Ok(Err(last)) => {
            return Error::broken(format_args!("the listener did not begin: {}", last_line(&last)));
        }
        Err(_) => return Error::broken("the listener did not begin in time"),
    };
    ready();
    let mut complains = true;
    loop {
        tokio::select! {
            line = events.next() => match line {
                Ok(Some(line)) => heard(wire::event(&line)),
                Ok(None) => return Error::broken(format_args!("the listener ended: {}", last_line(&last))),
                Err(error) => return Error::broken(format_args!("the listener: {error}")),
            },
            line = complaints.next(), if complains => match line {
                Ok(Some(line)) => last = line,
                Ok(None) | Err(_) => complains = false,
            },
        }
    }
}

async fn until_ready<R: tokio::io::AsyncRead + Unpin>(complaints: &mut Lines<R>) -> Result<(), String> {
    let mut last = String::new();
    while let Ok(Some(line)) = complaints.next().await {
        if line.contains(READY) {
            return Ok(());
        }
        last = line;
    }
    Err(last)
}
