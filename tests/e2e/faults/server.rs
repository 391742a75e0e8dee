//! Faults of the server, its database, its disk and its clock.

mod clock;
mod database;
mod killed;
