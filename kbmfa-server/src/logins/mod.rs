//! Logins: opened by machines, decided by people, stored in the database. Memory holds only the polls that
//! wait, so a restart loses nothing.

mod error;
pub mod key;
pub mod notice_texts;
pub mod prompt_texts;
pub mod rules;
pub mod state;
pub mod store;

pub mod asking;
pub mod decide;
pub mod ending;
mod events;
mod facts;
pub mod grants;
mod keys;
pub mod notifications;
pub mod own;
pub mod people;
pub mod service;

#[cfg(test)]
pub(crate) mod tests;

pub use error::Error;
pub use rules::Rules;
