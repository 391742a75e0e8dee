//! Machines for the tests of what stands above the roster.

use kbmfa_proto::names::MachineName;

use super::caller::Caller;
use super::service::{JOIN_TOKEN_LIFE, add_machine, join, machine, make_join_token};
use crate::audit::Actor;
use crate::db::Db;
use crate::db::testing::Fixture;
use crate::secret::SecretHash;

/// Enters a machine; returns the caller that it is.
pub(crate) fn enter_machine(fixture: &Fixture, name: &str) -> Caller {
    let name: MachineName = name.parse().unwrap();
    let added = name.clone();
    let entered = fixture.db.write_blocking("test", move |tx| {
        add_machine(tx, &Actor::new("console:root"), &added)?;
        machine(tx, &added)
    });
    Caller { machine_id: entered.unwrap().id, name, login: None }
}

/// Lets a machine that was entered join; returns its credential.
pub(crate) fn join_machine(fixture: &Fixture, name: &MachineName) -> SecretHash {
    let (name, credential) = (name.clone(), SecretHash::of(name.as_str()));
    let its = credential.clone();
    let joined = fixture.db.write_blocking("test", move |tx| {
        let token = make_join_token(tx, &Actor::new("console:root"), &name, JOIN_TOKEN_LIFE)?.hash();
        join(tx, &token, &its, "0")
    });
    joined.unwrap();
    credential
}

/// Enters a machine that has joined; returns its credential.
pub(crate) fn joined(db: &Db, name: &str) -> SecretHash {
    let (name, credential): (MachineName, _) = (name.parse().unwrap(), SecretHash::of(name));
    let given = credential.clone();
    let entered = db.write_blocking("test", move |tx| {
        let root = Actor::new("console:root");
        add_machine(tx, &root, &name)?;
        let token = make_join_token(tx, &root, &name, JOIN_TOKEN_LIFE)?.hash();
        join(tx, &token, &given, "0")
    });
    entered.unwrap();
    credential
}
