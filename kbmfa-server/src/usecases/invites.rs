//! Actions on invites: each function is one action inside the caller's transaction, with its audit event.

use super::Error;
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::clock::Time;
use crate::db::Tx;
use crate::employees::store::Employee;
use crate::employees::{self, Email, State, service};
use crate::enrolment::invite::{self, Invite, Outcome, WRONG_SECRETS_MAX};
use crate::enrolment::store;
use crate::secret::SecretHash;

/// Invites an employee to enrol a key. Their earlier invites end. The secret itself never gets here.
///
/// # Errors
/// [`employees::Error::NoSuchEmployee`]; [`employees::Error::Suspended`].
pub fn make(
    tx: &Tx<'_>,
    actor: &Actor,
    email: &Email,
    (id, secret): (&str, &SecretHash),
    expires_at: Time,
) -> Result<Employee, Error> {
    let employee = service::find(tx, email)?;
    if employee.state == State::Suspended {
        return Err(employees::Error::Suspended(email.to_string()).into());
    }
    store::insert(tx, (id, &employee.id), secret, expires_at)?;
    let event = about(&employee.email, Kind::EmployeeInvited, actor, id).detail("expires", expires_at);
    audit::append(tx, &Event { user: Some(employee.unix_name.clone()), ..event })?;
    Ok(employee)
}

/// Records that an invite was sent to this account in a chat.
///
/// # Errors
/// The database failed.
pub fn sent(tx: &Tx<'_>, actor: &Actor, email: &Email, id: &str, to: &str) -> Result<(), Error> {
    audit::append(tx, &about(email, Kind::InviteSent, actor, id).detail("to", to))?;
    Ok(())
}

/// Ends an invite that perhaps did not reach its person. False if it has ended already, or was used.
///
/// # Errors
/// The database failed.
pub fn void(tx: &Tx<'_>, actor: &Actor, email: &Email, id: &str, reason: &str) -> Result<bool, Error> {
    let ends = store::end(tx, id)?;
    if ends {
        audit::append(tx, &about(email, Kind::InviteVoided, actor, id).detail("reason", reason))?;
    }
    Ok(ends)
}

/// The invite that this id, secret and address stand for; `None` for anything that is not accepted. A wrong secret is
/// counted, and the one that reaches the limit is recorded. An id that does not exist causes no write.
///
/// # Errors
/// The database failed.
pub fn attempt(
    tx: &Tx<'_>,
    id: &str,
    (secret, email): (&str, &Email),
    key: Option<&str>,
) -> Result<Option<Invite>, Error> {
    let Some(found) = store::invite(tx, id)? else { return Ok(None) };
    match invite::judge(&found, (secret, email), key, tx.now) {
        Outcome::Accepted => return Ok(Some(found)),
        Outcome::Refused(_) => {}
        Outcome::WrongSecret => {
            store::count_wrong_secret(tx, id)?;
            if found.attempts + 1 == WRONG_SECRETS_MAX {
                audit::append(tx, &about(&found.email, Kind::InviteLimited, &Actor::new("policy"), id))?;
            }
        }
    }
    Ok(None)
}

fn about(email: &Email, kind: Kind, actor: &Actor, id: &str) -> Event {
    Event::new(kind, actor.clone()).detail("email", email).detail("invite", id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::store::search::{Filter, search};
    use crate::db::testing::{Fixture, START, fixture};
    use crate::usecases::testing::rules;

    fn invited() -> Fixture {
        let fixture = fixture();
        let made = |tx: &Tx<'_>| {
            tx.execute(
                "INSERT INTO employee (id, email, name, unix_name, state, created_at, changed_at)
                 VALUES ('e', 'ann@x', 'Ann', 'ann', 'active', 0, 0)",
                &[],
            )?;
            let (email, secret) = ("ann@x".parse().unwrap(), SecretHash::of("right"));
            make(
                tx,
                &Actor::new("console:root"),
                &email,
                ("i", &secret),
                Time::from_micros(START + 1_000_000_000),
            )
        };
        fixture.db.write_blocking("test", made).unwrap();
        fixture
    }

    fn tried(fixture: &Fixture, id: &'static str, secret: &'static str) -> bool {
        let attempt = move |tx: &Tx<'_>| attempt(tx, id, (secret, &"ann@x".parse().unwrap()), None);
        fixture.db.write_blocking("test", attempt).unwrap().is_some()
    }

    fn events(fixture: &Fixture, kind: Kind) -> Vec<String> {
        let filter = Filter { kinds: vec![kind], limit: 100, ..Filter::default() };
        let found = fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
        found.into_iter().map(|event| event.body).collect()
    }

    #[test]
    fn guessing_an_invite_stops_at_its_limit_and_is_recorded_once() {
        let fixture = invited();
        assert!(tried(&fixture, "i", "right"));
        for _ in 0..WRONG_SECRETS_MAX {
            assert!(!tried(&fixture, "i", "wrong"));
        }
        for _ in 0..3 {
            assert!(!tried(&fixture, "i", "wrong"));
            assert!(!tried(&fixture, "i", "right"));
        }
        assert_eq!(events(&fixture, Kind::InviteLimited).len(), 1);
    }

    #[test]
    fn a_voided_invite_is_refused_and_recorded_once() {
        let fixture = invited();
        for _ in 0..2 {
            let end = |tx: &Tx<'_>| {
                void(tx, &Actor::new("console:root"), &"ann@x".parse().unwrap(), "i", "no reply")
            };
            fixture.db.write_blocking("test", end).unwrap();
            assert!(!tried(&fixture, "i", "right"));
        }
        assert_eq!(events(&fixture, Kind::InviteVoided).len(), 1);
    }

    #[test]
    fn attempts_on_an_unknown_id_use_no_invite_up() {
        let fixture = invited();
        for _ in 0..2 * WRONG_SECRETS_MAX {
            assert!(!tried(&fixture, "j", "wrong"));
        }
        assert!(tried(&fixture, "i", "right"));
    }

    #[test]
    fn no_event_holds_an_invites_secret_or_its_hash() {
        let fixture = invited();
        let body = events(&fixture, Kind::EmployeeInvited).pop().unwrap();
        assert!(body.contains("ann@x") && body.contains("\"invite\":\"i\""), "{body}");
        assert!(!body.contains("right"), "{body}");
        assert!(!body.contains(&crate::random::to_hex(SecretHash::of("right").as_bytes())), "{body}");
    }

    #[test]
    fn a_suspension_ends_open_invites_also_for_after_the_resumption() {
        let fixture = invited();
        let open = || fixture.db.read_blocking(|tx| store::open_of(tx, "e")).unwrap();
        assert_eq!(open().map(|open| open.id), Some("i".to_owned()));
        for state in [State::Suspended, State::Active] {
            let change = move |tx: &Tx<'_>| {
                let (root, email) = (Actor::new("console:root"), "ann@x".parse().unwrap());
                super::super::employees::set_state(tx, &rules(), &root, &email, state).map(drop)
            };
            fixture.db.write_blocking("test", change).unwrap();
            assert_eq!(open(), None);
            assert!(!tried(&fixture, "i", "right"), "{state:?}");
        }
        assert!(events(&fixture, Kind::EmployeeSuspended).pop().unwrap().contains(r#""invite":"ended""#));
    }

    #[test]
    fn somebody_who_is_suspended_is_not_invited() {
        let fixture = invited();
        let invite = |tx: &Tx<'_>| {
            let (root, email) = (Actor::new("console:root"), "ann@x".parse().unwrap());
            super::super::employees::set_state(tx, &rules(), &root, &email, State::Suspended)?;
            make(tx, &root, &email, ("j", &SecretHash::of("x")), Time::from_micros(START + 9))
        };
        let refused = fixture.db.write_blocking("test", invite).unwrap_err();
        assert!(refused.to_string().contains("is suspended and cannot enrol"), "{refused}");
    }
}
