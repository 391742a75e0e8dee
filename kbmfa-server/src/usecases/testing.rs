//! Machines and rules for tests.

use kbmfa_proto::names::MachineName;

use super::machines::{JOIN_TOKEN_LIFE, add, join, make_join_token};
use crate::audit::Actor;
use crate::clock::Time;
use crate::db::testing::{Fixture, START};
use crate::db::{self, Db, Tx};
use crate::employees::State;
use crate::employees::store::{self as employees, Employee};
use crate::logins::Rules;
use crate::machines::caller::Caller;
use crate::machines::service::find;
use crate::secret::SecretHash;

/// Adds a machine, and returns it as a caller.
pub(crate) fn enter_machine(fixture: &Fixture, name: &str) -> Caller {
    let name: MachineName = name.parse().unwrap();
    let added = name.clone();
    let entered = fixture.db.write_blocking("test", move |tx| {
        add(tx, &Actor::new("console:root"), &added, &[])?;
        Ok::<_, super::Error>(find(tx, &added)?)
    });
    Caller { machine_id: entered.unwrap().id, name, login: None }
}

/// Lets a machine that was added join. Returns its credential.
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

/// Adds a machine and lets it join. Returns its credential.
pub(crate) fn joined(db: &Db, name: &str) -> SecretHash {
    let (name, credential): (MachineName, _) = (name.parse().unwrap(), SecretHash::of(name));
    let given = credential.clone();
    let entered = db.write_blocking("test", move |tx| {
        let root = Actor::new("console:root");
        add(tx, &root, &name, &[])?;
        let token = make_join_token(tx, &root, &name, JOIN_TOKEN_LIFE)?.hash();
        Ok::<_, super::Error>(join(tx, &token, &given, "0")?)
    });
    entered.unwrap();
    credential
}

/// Adds active employees with these Unix names, which are their ids and Keybase names, too; `NAME@x` is their address.
pub(crate) fn employ(tx: &Tx<'_>, names: &[&str]) -> Result<(), db::Error> {
    for name in names {
        let employee = Employee {
            id: (*name).to_owned(),
            email: format!("{name}@x").parse().unwrap(),
            name: "Somebody".into(),
            unix_name: name.parse().unwrap(),
            keybase_name: Some(name.parse().unwrap()),
            state: State::Active,
            created_at: tx.now,
            changed_at: tx.now,
        };
        employees::insert(tx, &employee)?;
    }
    Ok(())
}

/// Rules by which anybody may answer at the console.
pub(crate) fn rules() -> Rules {
    crate::sessions::tests::rules(Time::from_micros(START))
}
