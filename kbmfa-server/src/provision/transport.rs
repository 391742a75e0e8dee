//! How requests get to a machine. A pass knows only this.

use crate::deliveries::failure::Failure;

/// One conversation with the program on a machine.
pub trait Conversation {
    /// Sends a request and returns the lines of its reply, without the one that ends it.
    ///
    /// # Errors
    /// The connection broke, took too long, or the reply is not understood.
    fn ask(&mut self, request: &str) -> Result<Vec<String>, Failure>;
}
