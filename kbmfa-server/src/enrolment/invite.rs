//! Invites: what an attempt to use one does.

use std::time::Duration;

use crate::clock::Time;
use crate::employees;
use crate::random::{self, NoRandomness};
use crate::secret::{Secret, SecretHash};

/// How many wrong secrets an invite stands. The secret has 160 random bits, so this stops no guess that could succeed; it
/// stops noise.
pub const WRONG_SECRETS_MAX: i64 = 10;

/// Shortest lifetime. An invite that a script takes needs no longer one.
pub const LIFETIME_MIN: Duration = Duration::from_secs(1);

/// Longest lifetime.
pub const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const ID_BYTES: usize = 10;
const SECRET_BYTES: usize = 20;

/// The two halves of a new invite, `id.secret`.
#[derive(Debug)]
pub struct New {
    /// Public, random.
    pub id: String,
    /// Printed once; only its hash is stored.
    pub secret: Secret,
}

impl New {
    /// Two random texts.
    ///
    /// # Errors
    /// [`NoRandomness`] if the system returns no random bytes.
    pub fn random() -> Result<Self, NoRandomness> {
        let secret = Secret::new(random::hex::<SECRET_BYTES>()?);
        Ok(Self { id: random::hex::<ID_BYTES>()?, secret })
    }
}

/// An invite as it is stored, with its person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// Its public id.
    pub id: String,
    /// Id of the employee who was invited.
    pub employee_id: String,
    /// That employee's address.
    pub email: employees::Email,
    /// That employee's state at this moment.
    pub employee_state: employees::State,
    /// Hash of the secret.
    pub secret_hash: SecretHash,
    /// When it was made.
    pub created_at: Time,
    /// From then on it is refused.
    pub expires_at: Time,
    /// How many wrong secrets were tried.
    pub attempts: i64,
    /// When it enrolled a key.
    pub used_at: Option<Time>,
    /// Fingerprint of that key.
    pub used_for: Option<String>,
}

/// What an attempt does. Everything but [`Outcome::Accepted`] is told to the caller in the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The attempt may go on.
    Accepted,
    /// It is refused and counts against the invite.
    WrongSecret,
    /// It is refused and changes nothing.
    Refused(Why),
}

/// Why an attempt is refused without being counted; for the operator's log alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Too many wrong secrets were tried before.
    Limited,
    /// Its time is over.
    Expired,
    /// It enrolled another key already.
    Used,
    /// The address is not that of the invited person.
    OtherEmail,
    /// The invited person is suspended or removed.
    NotActive,
}

/// Judges an attempt with this secret and address. `key` is the fingerprint of the key to be enrolled, if any: who lost
/// the reply repeats the request with the same key.
///
/// The secret comes before the address, so that only a holder of the secret learns anything from an attempt.
pub fn judge(
    invite: &Invite,
    (secret, email): (&str, &employees::Email),
    key: Option<&str>,
    now: Time,
) -> Outcome {
    if invite.attempts >= WRONG_SECRETS_MAX {
        return Outcome::Refused(Why::Limited);
    }
    if now >= invite.expires_at {
        return Outcome::Refused(Why::Expired);
    }
    if SecretHash::of(secret) != invite.secret_hash {
        return Outcome::WrongSecret;
    }
    if *email != invite.email {
        return Outcome::Refused(Why::OtherEmail);
    }
    if invite.employee_state != employees::State::Active {
        return Outcome::Refused(Why::NotActive);
    }
    match (invite.used_at, key) {
        (None, _) => Outcome::Accepted,
        (Some(_), Some(key)) if invite.used_for.as_deref() == Some(key) => Outcome::Accepted,
        (Some(_), _) => Outcome::Refused(Why::Used),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_micros(1_000);

    fn invite() -> Invite {
        Invite {
            id: "i".into(),
            employee_id: "e".into(),
            email: "ann@x".parse().unwrap(),
            employee_state: employees::State::Active,
            secret_hash: SecretHash::of("right"),
            created_at: Time::from_micros(0),
            expires_at: Time::from_micros(2_000),
            attempts: 0,
            used_at: None,
            used_for: None,
        }
    }

    fn judged(invite: &Invite, secret: &str, email: &str) -> Outcome {
        judge(invite, (secret, &email.parse().unwrap()), Some("SHA256:a"), NOW)
    }

    #[test]
    fn only_a_wrong_secret_counts_and_an_address_alone_uses_nothing_up() {
        assert_eq!(judged(&invite(), "right", "ann@x"), Outcome::Accepted);
        assert_eq!(judged(&invite(), "wrong", "ann@x"), Outcome::WrongSecret);
        assert_eq!(judged(&invite(), "wrong", "ben@x"), Outcome::WrongSecret);
        assert_eq!(judged(&invite(), "right", "ben@x"), Outcome::Refused(Why::OtherEmail));
    }

    #[test]
    fn the_right_secret_is_refused_after_ten_wrong_ones() {
        let after = |attempts| judged(&Invite { attempts, ..invite() }, "right", "ann@x");
        assert_eq!(after(9), Outcome::Accepted);
        assert_eq!(after(10), Outcome::Refused(Why::Limited));
    }

    #[test]
    fn an_invite_ends_with_its_time_and_with_its_person() {
        let ended = Invite { expires_at: NOW, ..invite() };
        assert_eq!(judged(&ended, "right", "ann@x"), Outcome::Refused(Why::Expired));
        for employee_state in [employees::State::Suspended, employees::State::Removed] {
            let gone = Invite { employee_state, ..invite() };
            assert_eq!(judged(&gone, "right", "ann@x"), Outcome::Refused(Why::NotActive));
        }
    }

    #[test]
    fn a_used_invite_only_repeats_what_it_was_used_for() {
        let used = |key: &str| Invite { used_at: Some(NOW), used_for: Some(key.into()), ..invite() };
        assert_eq!(judged(&used("SHA256:a"), "right", "ann@x"), Outcome::Accepted);
        assert_eq!(judged(&used("SHA256:b"), "right", "ann@x"), Outcome::Refused(Why::Used));
        assert_eq!(judged(&used("SHA256:a"), "wrong", "ann@x"), Outcome::WrongSecret);
        let looked = judge(&used("SHA256:a"), ("right", &"ann@x".parse().unwrap()), None, NOW);
        assert_eq!(looked, Outcome::Refused(Why::Used), "a lookup names no key");
    }

    #[test]
    fn a_new_invite_has_80_public_and_160_secret_bits() {
        let (one, other) = (New::random().unwrap(), New::random().unwrap());
        assert_eq!((one.id.len(), one.secret.reveal().len()), (20, 40));
        assert_ne!(one.id, other.id);
        assert_ne!(one.secret.reveal(), other.secret.reveal());
    }
}
