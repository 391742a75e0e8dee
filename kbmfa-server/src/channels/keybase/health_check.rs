//! The health check. It edits a message in the bot's own conversation, where the edit notifies nobody, and
//! reads the message back. Asks use the same path, through the service and Keybase's server.

use std::time::Duration;

use super::client::Client;
use super::process::program::Error;

/// Time between two checks.
pub(super) const INTERVAL: Duration = Duration::from_secs(15);

/// One in this many checks edits the message. The others only read it, because Keybase's server keeps every
/// edit for ever.
const EDIT_EVERY: u64 = 4;

/// The message that the checks edit and read.
pub(super) struct HealthCheck {
    conversation: String,
    message: u64,
    runs: u64,
}

impl HealthCheck {
    /// Posts a new message for the checks.
    pub(super) async fn begin(client: &Client, bot: &str) -> Result<Self, Error> {
        let conversation = client.open_private(bot).await?;
        let message = client.send(&conversation, &text(0), None).await?;
        Ok(Self { conversation, message, runs: 0 })
    }

    /// Runs one check.
    pub(super) async fn run(&mut self, client: &Client) -> Result<(), Error> {
        self.runs += 1;
        let edited = self.runs - self.runs % EDIT_EVERY;
        if edited == self.runs {
            client.edit(&self.conversation, self.message, &text(edited)).await?;
        }
        match client.get(&self.conversation, self.message).await? {
            Some(_) => Ok(()),
            None => {
                Err(Error::refused("the health check's message was deleted from the bot's own conversation"))
            }
        }
    }
}

fn text(runs: u64) -> String {
    format!("health check {runs} of kbmfa-server")
}
