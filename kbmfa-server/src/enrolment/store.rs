//! The SQL of invites and of used challenges.

use kbmfa_proto::names::MachineName;
use std::time::Duration;

use super::invite::{Invite, WRONG_SECRETS_MAX};
use crate::clock::Time;
use crate::db::at_restore::{AtRestore, Listing, Table, text_id};
use crate::db::{Error, Tx};
use crate::secret::SecretHash;

/// What a restore does to these tables.
pub const TABLES: &[Table] = &[
    Table {
        name: "invite",
        at_restore: AtRestore::Ends(Some(Listing {
            kind: "invite",
            one: "an invite for",
            many: "invites for",
            sql:
                "SELECT invite.id AS id, email AS label FROM invite JOIN employee ON employee.id = employee_id
                  WHERE used_at IS NULL AND expires_at > ?1",
            id: text_id,
        })),
    },
    Table::grants_nothing(
        "challenge",
        "challenges that were used, which a restarted server accepts anyway no more",
    ),
];

/// The invite with this public id, with its person as they are now.
pub fn invite(tx: &Tx<'_>, id: &str) -> Result<Option<Invite>, Error> {
    let sql = "SELECT invite.id, invite.employee_id, email, employee.state, secret_hash, invite.created_at, expires_at,
                   attempts, used_at, fingerprint
               FROM invite JOIN employee ON employee.id = invite.employee_id
               LEFT JOIN ssh_key ON ssh_key.id = key_id WHERE invite.id = ?1";
    tx.query_one(sql, &[id.into()], |row| {
        Ok(Invite {
            id: row.text("id")?,
            employee_id: row.text("employee_id")?,
            email: row.parsed("email")?,
            employee_state: row.parsed("state")?,
            secret_hash: SecretHash::from_bytes(row.blob("secret_hash")?),
            created_at: row.time("created_at")?,
            expires_at: row.time("expires_at")?,
            attempts: row.integer("attempts")?,
            used_at: row.time_or_null("used_at")?,
            used_for: row.text_or_null("fingerprint")?,
        })
    })
}

/// For how long an invite that has ended is kept.
const KEEP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Adds an invite. The earlier ones of the same person that were not used expire now; those that ended long ago go.
pub fn insert(
    tx: &Tx<'_>,
    (id, employee_id): (&str, &str),
    secret: &SecretHash,
    expires_at: Time,
) -> Result<(), Error> {
    end_all_of(tx, employee_id)?;
    tx.execute(
        "DELETE FROM invite WHERE employee_id = ?1 AND expires_at < ?2",
        &[employee_id.into(), tx.now.minus(KEEP).into()],
    )?;
    tx.execute(
        "INSERT INTO invite (id, employee_id, secret_hash, created_at, expires_at, attempts)
         VALUES (?1, ?2, ?3, ?4, ?5, 0)",
        &[id.into(), employee_id.into(), secret.as_bytes().into(), tx.now.into(), expires_at.into()],
    )?;
    Ok(())
}

/// Ends the invites of an employee that were not used. Returns whether there was one.
pub fn end_all_of(tx: &Tx<'_>, employee_id: &str) -> Result<bool, Error> {
    let sql =
        "UPDATE invite SET expires_at = ?2 WHERE employee_id = ?1 AND used_at IS NULL AND expires_at > ?2";
    Ok(tx.execute(sql, &[employee_id.into(), tx.now.into()])? > 0)
}

/// An invite that can still be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Its public id.
    pub id: String,
    /// When it was made.
    pub created_at: Time,
    /// From then on it is refused.
    pub expires_at: Time,
    /// How many wrong secrets were tried.
    pub attempts: i64,
}

/// The invite of an employee that can still be used.
pub fn open_of(tx: &Tx<'_>, employee_id: &str) -> Result<Option<Open>, Error> {
    let sql = "SELECT id, created_at, expires_at, attempts FROM invite
               WHERE employee_id = ?1 AND used_at IS NULL AND expires_at > ?2 AND attempts < ?3
               ORDER BY created_at DESC LIMIT 1";
    tx.query_one(sql, &[employee_id.into(), tx.now.into(), WRONG_SECRETS_MAX.into()], |row| {
        Ok(Open {
            id: row.text("id")?,
            created_at: row.time("created_at")?,
            expires_at: row.time("expires_at")?,
            attempts: row.integer("attempts")?,
        })
    })
}

/// Ends an invite that was not used. False if it has ended already.
pub fn end(tx: &Tx<'_>, id: &str) -> Result<bool, Error> {
    let sql = "UPDATE invite SET expires_at = ?2 WHERE id = ?1 AND used_at IS NULL AND expires_at > ?2";
    Ok(tx.execute(sql, &[id.into(), tx.now.into()])? == 1)
}

/// Largest number of a person's machines that are read.
pub const MACHINES_MAX: usize = 1_000;

/// One grant of a person to one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The machine's id.
    pub machine_id: String,
    /// The machine.
    pub name: MachineName,
    /// When the grant ends; `None` for one without an end.
    pub ends_at: Option<Time>,
}

/// The live grants of a person to machines, by the machines' names.
pub fn ways(tx: &Tx<'_>, employee_id: &str) -> Result<Vec<Way>, Error> {
    let sql = "SELECT machine.id AS id, machine.name AS name, ends_at
               FROM pool_grant JOIN pool_machine ON pool_machine.pool_id = pool_grant.pool_id
               JOIN machine ON machine.id = machine_id
               WHERE employee_id = ?1 AND removed_at IS NULL AND (ends_at IS NULL OR ends_at > ?2)
               ORDER BY machine.name, machine.id";
    tx.query(sql, &[employee_id.into(), tx.now.into()], |row| {
        Ok(Way {
            machine_id: row.text("id")?,
            name: row.parsed("name")?,
            ends_at: row.time_or_null("ends_at")?,
        })
    })
}

/// Counts a wrong secret.
pub fn count_wrong_secret(tx: &Tx<'_>, id: &str) -> Result<(), Error> {
    tx.execute("UPDATE invite SET attempts = attempts + 1 WHERE id = ?1", &[id.into()])?;
    Ok(())
}

/// The invite has enrolled this key. False if it was used before.
pub fn set_used(tx: &Tx<'_>, id: &str, key_id: &str) -> Result<bool, Error> {
    let sql = "UPDATE invite SET used_at = ?2, key_id = ?3 WHERE id = ?1 AND used_at IS NULL";
    Ok(tx.execute(sql, &[id.into(), tx.now.into(), key_id.into()])? == 1)
}

/// Records that this nonce is used. False if it was used before. Two that have expired are forgotten, so that the table
/// holds little more than those of the last minutes.
pub fn use_challenge(tx: &Tx<'_>, nonce: &str, expires_at: Time) -> Result<bool, Error> {
    let expired = "DELETE FROM challenge WHERE hash IN
                   (SELECT hash FROM challenge WHERE expires_at <= ?1 ORDER BY expires_at LIMIT 2)";
    tx.execute(expired, &[tx.now.into()])?;
    let sql = "INSERT INTO challenge (hash, expires_at) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING";
    Ok(tx.execute(sql, &[SecretHash::of(nonce).as_bytes().into(), expires_at.into()])? == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::{Fixture, START, fixture};

    const END: Time = Time::from_micros(START + 1_000_000);

    fn write<T: Send + 'static>(
        fixture: &Fixture,
        work: impl FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> T {
        fixture.db.write_blocking("test", work).unwrap()
    }

    #[test]
    fn challenges_that_have_expired_do_not_pile_up() {
        let fixture = fixture();
        let count = |fixture: &Fixture| {
            let sql = "SELECT count(*) AS count FROM challenge";
            let counted = |tx: &Tx<'_>| tx.query_one(sql, &[], |row| row.integer("count"));
            fixture.db.read_blocking(counted).unwrap().unwrap()
        };
        for number in 0..20 {
            assert!(write(&fixture, move |tx| use_challenge(tx, &format!("old {number}"), tx.now)));
        }
        for number in 0..10 {
            let later = move |tx: &Tx<'_>| use_challenge(tx, &format!("new {number}"), END);
            assert!(write(&fixture, later));
        }
        assert!(count(&fixture) <= 10, "{}", count(&fixture));
    }

    #[test]
    fn a_challenge_can_be_used_once() {
        let fixture = fixture();
        assert!(write(&fixture, |tx| use_challenge(tx, "one", END)));
        assert!(!write(&fixture, |tx| use_challenge(tx, "one", END)));
        assert!(write(&fixture, |tx| use_challenge(tx, "other", END)));
    }

    #[test]
    fn a_newer_invite_ends_an_older_one_of_the_same_person() {
        let fixture = fixture();
        write(&fixture, |tx| {
            tx.execute(
                "INSERT INTO employee (id, email, name, unix_name, state, created_at, changed_at)
                 VALUES ('e', 'ann@x', 'Ann', 'ann', 'active', 0, 0)",
                &[],
            )?;
            insert(tx, ("old", "e"), &SecretHash::of("a"), END)?;
            insert(tx, ("new", "e"), &SecretHash::of("b"), END)?;
            count_wrong_secret(tx, "new")
        });
        let find = |id: &'static str| fixture.db.read_blocking(|tx| invite(tx, id)).unwrap();
        assert!(find("old").unwrap().expires_at < END);
        let new = find("new").unwrap();
        assert_eq!((new.expires_at, new.attempts, new.email.to_string()), (END, 1, "ann@x".to_owned()));
        assert_eq!(find("none"), None);
    }
}
