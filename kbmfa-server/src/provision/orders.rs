//! Orders: what makes a machine change something. Each is numbered, is for one machine and for a few minutes, and is
//! signed as a whole, so that a machine obeys no copy, no older one, and no other machine's.

use std::time::Duration;

use super::roster_key::RosterKey;
use super::wire;
use crate::clock::Time;
use crate::db::Db;
use crate::deliveries::failure::{Failure, Kind};
use crate::deliveries::{Error, Generation};
use crate::usecases::deliveries as usecase;

/// How long an order is valid. The machine's clock may be off by as much, either way.
pub const VALIDITY: Duration = Duration::from_secs(600);

/// The number of an order, and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Above that of every earlier order.
    pub generation: Generation,
    /// The machine refuses it after this time.
    pub not_after: Time,
}

/// Numbers and signs orders.
pub trait Authority {
    /// The number of the next order.
    ///
    /// # Errors
    /// It cannot be stored.
    fn stamp(&mut self) -> Result<Stamp, Failure>;

    /// The signature over an order, armored.
    ///
    /// # Errors
    /// The key cannot sign.
    fn sign(&self, order: &str) -> Result<String, Failure>;
}

/// This server, with its database and roster key.
#[derive(Clone)]
pub struct Server {
    /// Holds the number of the last order.
    pub db: Db,
    /// Signs.
    pub key: RosterKey,
}

impl Authority for Server {
    fn stamp(&mut self) -> Result<Stamp, Failure> {
        let stamp = self.db.write_blocking("delivery.generation", |tx| {
            Ok::<_, Error>(Stamp { generation: usecase::next_generation(tx)?, not_after: tx.now + VALIDITY })
        });
        stamp.map_err(|error| Failure::new(Kind::Busy, error))
    }

    fn sign(&self, order: &str) -> Result<String, Failure> {
        self.key.sign(order.as_bytes()).map_err(|error| Failure::new(Kind::Signature, error))
    }
}

/// A signed request that changes the machine with this `/etc/machine-id`. `lines` is what it says, of the number that
/// it gets.
///
/// # Errors
/// It cannot be numbered or signed.
pub fn order(
    authority: &mut dyn Authority,
    (verb, host_id): (&str, &str),
    lines: impl FnOnce(&Generation) -> String,
) -> Result<(String, Generation), Failure> {
    let Stamp { generation, not_after } = authority.stamp()?;
    let body = wire::head(&generation, host_id, not_after) + &lines(&generation);
    let signature = authority.sign(&body)?;
    Ok((wire::signed(verb, &body, &signature), generation))
}
