//! A model of Keybase, behind a program that is called like the real `keybase` client.
//!
//! One process is the *cloud*: it knows all users, teams and messages, decides everything, and keeps a list
//! of complaints about its clients' requests. As in reality, a *service* is between the clients and the
//! cloud. Tests control the cloud with [`Cloud`].

#![forbid(unsafe_code)]

mod api;
mod clock;
mod cloud;
mod control;
mod link;
mod model;
mod program;
mod wire;

pub use control::client::{Cloud, Error};
pub use control::order::{FaultKind, Order};
pub use control::seen::{Message, Reaction, Service, Stats, TraceLine, User};
pub use model::team::Role;
pub use program::run;
