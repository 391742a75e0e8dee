//! `chat api-listen`: prints events as they arrive, until the service ends.

use serde_json::Value;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::client::Client;
use super::failure::{Failure, Result, print, say};
use super::flags::{Flag, Flags};
use super::invocation::Invocation;
use super::json::escape;
use crate::clock::monotonic_us;
use crate::link::{Link, send};
use crate::wire::{Call, Delivery, ServiceFacts, Subscribed, Subscription, Written};

const FLAGS: &[Flag] = &[
    (&["local"], false),
    (&["hide-exploding"], false),
    (&["convs"], false),
    (&["dev"], false),
    (&["wallet"], false),
    (&["filter-channel"], true),
    (&["filter-channels"], true),
];

/// Interval at which the service is pinged, and the time for its answer.
const PING: Duration = Duration::from_secs(1);

/// Listens until the service ends or the reader has closed stdout.
pub(crate) fn run(invocation: &Invocation, words: &[&str]) -> Result<()> {
    let (flags, _) = Flags::read(FLAGS, words)?;
    invocation.note("chat api-listen", true, Vec::new())?;
    let subscription = Subscription {
        show_local: flags.is_on("local"),
        show_new_conversations: flags.is_on("convs"),
        hide_exploding: flags.is_on("hide-exploding"),
        dev: flags.is_on("dev"),
        filters: filters(&flags)?,
    };
    let mut pings = Client::dial(invocation)?.into_link()?;
    let mut events = Client::dial(invocation)?.into_link()?;
    let ids: Subscribed = events.exchange(&Call::Listen(subscription.clone()))?;
    announce(&subscription, &ids.map_err(Failure::new)?);
    if flags.is_on("wallet") {
        say("Listening for wallet notifications");
    }
    let (ended, end) = channel();
    let reader = ended.clone();
    thread::spawn(move || copy(events, &reader));
    pings.set_limit(PING)?;
    while let Err(RecvTimeoutError::Timeout) = end.recv_timeout(PING) {
        let pong = pings.exchange::<_, ServiceFacts>(&Call::Ping);
        let lost = |error| {
            Failure::new(format!(
                "connection to service lost: error during ping: {}",
                Failure::from(error).text()
            ))
        };
        pong.map_err(lost)?;
    }
    drop(ended);
    Err(Failure::silent())
}

fn filters(flags: &Flags) -> Result<Vec<Value>> {
    let parse =
        |text: &str| serde_json::from_str::<Value>(text).map_err(|error| Failure::new(error.to_string()));
    let mut filters = match flags.value("filter-channels").map(parse).transpose()? {
        Some(Value::Array(filters)) => filters,
        Some(_) => {
            return Err(Failure::new(
                "json: cannot unmarshal object into Go value of type []client.ChatChannel",
            ));
        }
        None => Vec::new(),
    };
    filters.extend(flags.value("filter-channel").map(parse).transpose()?);
    match filters.iter().find(|filter| filter.get("name").and_then(Value::as_str).is_none_or(str::is_empty)) {
        Some(filter) => Err(Failure::new(format!("Channel filter not valid: {filter}"))),
        None => Ok(filters),
    }
}

/// Prints the lines to stderr before the events. The last one says that events will follow.
fn announce(subscription: &Subscription, filters: &[String]) {
    if !filters.is_empty() {
        say(&format!("Message filtering is active with {} filters", filters.len()));
    }
    for (number, filter) in filters.iter().enumerate() {
        say(&format!("filter {number}: {filter}"));
    }
    let Subscription { show_local, show_new_conversations, hide_exploding, dev, .. } = subscription;
    let config = format!(
        "{{showLocal:{show_local} showNewConvs:{show_new_conversations} hideExploding:{hide_exploding}}}"
    );
    say(&format!("Listening for chat notifications. Config: {config}, subscribeDevChannels: {dev}"));
}

/// Prints events. When the connection ends it prints nothing, because the next ping reports that.
fn copy(mut events: Link, ended: &Sender<()>) {
    let Ok(mut writer) = events.writer() else { return };
    while let Ok(Some(delivery)) = events.receive() {
        let Delivery::Line { number, text } = delivery else {
            ended.send(()).ok();
            return;
        };
        if print(&(escape(&text) + "\n")).is_err() {
            ended.send(()).ok();
            return;
        }
        send(&mut writer, &Written { number, at_us: monotonic_us() }).ok();
    }
}
