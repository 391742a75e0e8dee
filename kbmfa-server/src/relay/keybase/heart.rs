//! The heart-beat: a message in the bot's own conversation, which nobody is bothered by, is edited and read back. It takes
//! the path that asks take, through the service and the server.

use std::time::Duration;

use super::client::Client;
use super::program::Error;

/// Time between two beats.
pub(super) const INTERVAL: Duration = Duration::from_secs(15);

/// Only each so-manieth beat is written, the others are read: each edit is kept by the server for ever.
const WRITTEN: u64 = 4;

/// Where the beat is.
pub(super) struct Heart {
    room: String,
    message: u64,
    beats: u64,
}

impl Heart {
    /// Begins with a message.
    pub(super) async fn begin(client: &Client, bot: &str) -> Result<Self, Error> {
        let room = client.private(bot).await?;
        let message = client.send(&room, &text(0), None).await?;
        Ok(Self { room, message, beats: 0 })
    }

    /// Beats once.
    pub(super) async fn beat(&mut self, client: &Client) -> Result<(), Error> {
        self.beats += 1;
        let written = self.beats - self.beats % WRITTEN;
        if written == self.beats {
            client.edit(&self.room, self.message, &text(written)).await?;
        }
        match client.get(&self.room, self.message).await? {
            Some(_) => Ok(()),
            None => Err(Error::refused("the heart-beat is gone from the bot's own conversation")),
        }
    }
}

fn text(beats: u64) -> String {
    format!("heart-beat {beats} of kbmfa-server")
}
