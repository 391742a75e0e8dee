//! Announces the server's own connections, so that a machine that runs the module asks nobody about them.

use kbmfa_proto::login::SshConnection;
use kbmfa_proto::names::{MachineName, UserName};
use std::cell::RefCell;
use std::net::SocketAddr;

use crate::clock::Time;
use crate::db::Db;
use crate::deliveries::failure::{Failure, Kind};
use crate::deliveries::own_login::Announcement;
use crate::logins::store as logins;
use crate::source::Address;
use crate::usecases::own_logins as usecase;

/// Announces the connections to one machine. The announcement ends when this is dropped, whatever happened to the
/// connection; if the server is killed, it expires.
pub struct Announcer<'a> {
    db: &'a Db,
    machine: &'a MachineName,
    machine_id: &'a str,
    account: &'a UserName,
    nat: &'a [Address],
    /// Fingerprint of the key.
    key: String,
    /// The last announcement: its id, its two ends, and when it was made.
    last: RefCell<Option<(String, SshConnection, Time)>>,
}

impl<'a> Announcer<'a> {
    /// For connections to this machine, as this account and with the key of this fingerprint.
    pub fn new(
        db: &'a Db,
        (machine_id, machine): (&'a str, &'a MachineName),
        (account, key): (&'a UserName, String),
        nat: &'a [Address],
    ) -> Self {
        Self { db, machine, machine_id, account, nat, key, last: RefCell::default() }
    }

    /// Announces a connection, in place of an earlier one. If that fails, the login is one like any other: many machines run
    /// no module, and need no announcement.
    pub fn announce(&self, local: SocketAddr, peer: SocketAddr) {
        let ends = SshConnection { client: local, server: peer };
        let announced = Announcement {
            machine_id: self.machine_id.to_owned(),
            account: self.account.clone(),
            ends,
            nat: self.nat.to_vec(),
            key: self.key.clone(),
        };
        let earlier = self.last.take().map(|(id, ..)| id);
        let made = self.db.write_blocking("own-login.announce", move |tx| {
            usecase::announce(tx, &announced, earlier.as_deref()).map(|id| (id, tx.now))
        });
        match made {
            Ok((id, at)) => drop(self.last.replace(Some((id, ends, at)))),
            Err(error) => log::warn!("the server's login to {} cannot be announced: {error}", self.machine),
        }
    }

    /// Says what the machine saw, if it did not recognise the login and asked people about it.
    pub fn explain(&self, failure: Failure) -> Failure {
        let Some((_, ends, at)) = self.last.borrow().clone() else { return failure };
        if !matches!(failure.kind, Kind::Unreachable | Kind::Authentication) {
            return failure;
        }
        let filter = logins::Filter {
            user: Some(self.account.clone()),
            machine: Some(self.machine.clone()),
            since: Some(at),
            ..logins::Filter::default()
        };
        let newest = self.db.read_blocking(move |tx| logins::newest(tx, &filter, 1));
        let seen = newest.ok().and_then(|found| found.first()?.opened.connection.ssh);
        match seen.filter(|seen| *seen != ends) {
            Some(seen) => Failure::new(
                Kind::Authentication,
                format!(
                    "people were asked about the server's own login, because the machine saw it come from {} to {}, and \
                     not from {} to {}: if NAT is between them, name that address in [[provision.nat]]",
                    seen.client, seen.server, ends.client, ends.server
                ),
            ),
            None => failure,
        }
    }
}

impl Drop for Announcer<'_> {
    fn drop(&mut self) {
        let Some((id, ..)) = self.last.take() else { return };
        let ended = self.db.write_blocking("own-login.end", move |tx| usecase::end(tx, &id));
        if let Err(error) = ended {
            log::warn!("the announcement of the login to {} expires by itself: {error}", self.machine);
        }
    }
}
