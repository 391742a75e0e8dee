//! Actions of an employee's own computer: each function is one action inside the caller's transaction, with its audit
//! event. Signatures were checked before, outside the transaction.

use kbmfa_proto::enrolment::{Enrolled, KeyView};

use super::keys::{self as usecase, New, Revoked};
use super::passwords::{remove_password, set_password};
use super::{Error, invites};
use crate::audit::Actor;
use crate::clock::Time;
use crate::db::{self, Tx};
use crate::employees::Email;
use crate::employees::password::{CryptHash, Vault};
use crate::employees::store::{self as employees, Employee};
use crate::enrolment::challenge::Stale;
use crate::enrolment::proof::{AboutKeys, Proven};
use crate::enrolment::{self, service, store, view};
use crate::keys::service::Owned;
use crate::keys::store::{self as keys, Key};
use crate::keys::{Origin, Reason, State};
use crate::logins::{Rules, notifications};

/// A challenge that was signed: its text, and when it expires.
pub type Signed = (String, Time);

/// The fingerprint of the key that signed a request, and the challenge.
pub type By<'a> = (&'a str, &'a Signed);

/// A request to enrol a key with an invite.
pub struct Enrolment {
    /// The invite's public id.
    pub invite: String,
    /// Its secret.
    pub secret: String,
    /// The address of whoever was invited.
    pub email: Email,
    /// The key, which has signed the request.
    pub new: Proven,
    /// Fingerprint of the person's key that it replaces.
    pub replaces: Option<String>,
    /// The account password on the machines that the person chose, and the key that encrypts it.
    pub password: Option<(Vault, CryptHash)>,
    /// The challenge.
    pub challenge: Signed,
}

/// Enrols a key, and uses invite and challenge up. Repeated for the same key, it changes nothing and answers the same.
///
/// # Errors
/// [`enrolment::Error::Invite`], [`enrolment::Error::Stale`], and those of a key that cannot be added.
pub fn enrol(tx: &Tx<'_>, rules: &Rules, wanted: &Enrolment) -> Result<Enrolled, Error> {
    let fingerprint = wanted.new.key.fingerprint();
    let proof = (wanted.secret.as_str(), &wanted.email);
    let accepted = invites::attempt(tx, &wanted.invite, proof, Some(fingerprint))?;
    let invite = accepted.ok_or(enrolment::Error::Invite)?;
    let employee = employees::by_id(tx, &invite.employee_id)?.ok_or(enrolment::Error::Invite)?;
    if invite.used_at.is_some() {
        return answer(tx, &employee, keys::by_fingerprint(tx, fingerprint)?.as_ref(), &[]);
    }
    use_up(tx, &wanted.challenge)?;
    let Proven { key, device } = wanted.new.clone();
    let new = New {
        email: employee.email.clone(),
        key,
        device,
        origin: Origin::Invite,
        replaces: wanted.replaces.clone(),
    };
    let actor = Actor::new(format!("invite:{}", invite.id));
    let added = usecase::add(tx, rules, &actor, &new)?;
    if !store::set_used(tx, &invite.id, &added.key.id)? {
        return Err(enrolment::Error::Invite.into());
    }
    if let Some((vault, hash)) = &wanted.password {
        set_password(tx, vault, &actor, &employee, hash)?;
    }
    let replaced: Vec<_> = added.replaced.into_iter().collect();
    answer(tx, &employee, Some(&added.key), &replaced)
}

/// Sets the account password of the holder of an enrolled key, or removes it, and uses the challenge up. The person is told.
///
/// # Errors
/// [`enrolment::Error::Signer`], [`enrolment::Error::Stale`]; a password that cannot be encrypted.
pub fn change_password(
    tx: &Tx<'_>,
    rules: &Rules,
    by: By<'_>,
    password: Option<&(Vault, CryptHash)>,
) -> Result<Enrolled, Error> {
    let Signer { key: Owned { key, owner }, actor } = signer(tx, by)?;
    let is_changed = match password {
        Some((vault, hash)) => set_password(tx, vault, &actor, &owner, hash).map(|()| true)?,
        None => remove_password(tx, &actor, &owner)?,
    };
    if is_changed {
        notifications::of_password(tx, rules, &owner, (&key.fingerprint, password.is_some()))?;
    }
    answer(tx, &owner, None, &[])
}

/// Who has signed a request.
struct Signer {
    key: Owned,
    actor: Actor,
}

/// Whoever has signed this challenge, which is used up.
fn signer(tx: &Tx<'_>, (fingerprint, challenge): By<'_>) -> Result<Signer, Error> {
    let key = service::signer(tx, fingerprint)?.ok_or(enrolment::Error::Signer)?;
    use_up(tx, challenge)?;
    let actor = Actor::new(format!("key:{}", key.key.fingerprint));
    Ok(Signer { key, actor })
}

/// Does what the holder of an enrolled key asks for, and uses the challenge up. Repeated with another challenge, it changes
/// nothing and answers the same.
///
/// # Errors
/// [`enrolment::Error::Signer`], [`enrolment::Error::Stale`], [`enrolment::Error::NotYours`], and those of a key that cannot
/// be added or revoked.
pub fn request(tx: &Tx<'_>, rules: &Rules, by: By<'_>, asked: AboutKeys) -> Result<Enrolled, Error> {
    let Signer { key: signer, actor } = signer(tx, by)?;
    match asked {
        AboutKeys::Status => answer(tx, &signer.owner, None, &[]),
        AboutKeys::Add { new, replaces } => add(tx, rules, (&actor, &signer), new, replaces),
        AboutKeys::Revoke { fingerprint, lost } => {
            let key = own(tx, &signer, &fingerprint)?;
            if key.state == State::Revoked {
                return answer(tx, &signer.owner, Some(&key), &[]);
            }
            let why = if lost { Reason::Lost } else { Reason::Retired };
            let revoked = usecase::revoke(tx, rules, &actor, &key.fingerprint, why)?;
            answer(tx, &signer.owner, keys::by_fingerprint(tx, &key.fingerprint)?.as_ref(), &revoked)
        }
    }
}

fn add(
    tx: &Tx<'_>,
    rules: &Rules,
    (actor, signer): (&Actor, &Owned),
    new: Proven,
    replaces: Option<String>,
) -> Result<Enrolled, Error> {
    let known = keys::by_fingerprint(tx, new.key.fingerprint())?;
    let is_repeated =
        |key: &Key| key.parent_id.as_ref() == Some(&signer.key.id) && key.state != State::Revoked;
    if let Some(known) = known.filter(is_repeated) {
        return answer(tx, &signer.owner, Some(&known), &[]);
    }
    let (email, origin) = (signer.owner.email.clone(), Origin::Key { parent: signer.key.id.clone() });
    let new = New { email, key: new.key, device: new.device, origin, replaces };
    let added = usecase::add(tx, rules, actor, &new)?;
    let replaced: Vec<_> = added.replaced.into_iter().collect();
    answer(tx, &signer.owner, Some(&added.key), &replaced)
}

/// The signer's own key with exactly this fingerprint, in any state.
fn own(tx: &Tx<'_>, signer: &Owned, fingerprint: &str) -> Result<Key, Error> {
    let found = keys::by_fingerprint(tx, fingerprint)?;
    let own = found.filter(|key| key.employee_id == signer.owner.id);
    Ok(own.ok_or(enrolment::Error::NotYours)?)
}

fn use_up(tx: &Tx<'_>, (nonce, expires_at): &Signed) -> Result<(), Error> {
    if store::use_challenge(tx, nonce, *expires_at)? {
        Ok(())
    } else {
        Err(enrolment::Error::Stale(Stale).into())
    }
}

fn answer(
    tx: &Tx<'_>,
    employee: &Employee,
    key: Option<&Key>,
    revoked: &[Revoked],
) -> Result<Enrolled, Error> {
    let after = |revoked: &Revoked| {
        let key = keys::by_fingerprint(tx, &revoked.key.fingerprint)?;
        Ok(key.as_ref().map(view::key))
    };
    let revoked: Vec<Option<KeyView>> = revoked.iter().map(after).collect::<Result<_, db::Error>>()?;
    Ok(Enrolled {
        person: view::person(tx, employee)?,
        key: key.map(view::key),
        revoked: revoked.into_iter().flatten().collect(),
        follow: None,
    })
}

#[cfg(test)]
mod tests;
