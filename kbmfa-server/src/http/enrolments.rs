//! `/v1/enrolments` and `/v1/me`: what an employee's own computer asks for.
//!
//! Whoever proves nothing gets one answer in one time, whatever the reason: see [`super::enrolment::answer_time`].

use kbmfa_proto::enrolment::{
    Challenge, Enrol, Enrolled, Follow, Invite, Invited, Lookup, Progress, Request, Signed,
};
use std::sync::Arc;

use super::call::{Api, Call};
use super::caller::Peer;
use super::rejected_callers::What;
use super::reply::{self, Failure};
use crate::db;
use crate::employees::password::{CryptHash, Vault};
use crate::employees::{Email, store as employees};
use crate::enrolment::challenge::LIFETIME;
use crate::enrolment::invite::{self, Outcome};
use crate::enrolment::proof::Asked;
use crate::enrolment::{Error, proof, service, view};
use crate::fault_log::SharedFaultLog;
use crate::keys::State;
use crate::usecases;
use crate::usecases::enrolments::{self as usecase, Enrolment};
use crate::usecases::invites;

/// A wrong secret is refused also if it cannot be counted.
static UNCOUNTED: SharedFaultLog = SharedFaultLog::new("wrong secrets of invites cannot be counted");

pub(super) async fn challenge(api: Api, (): (), _: Call) -> Result<Challenge, Failure> {
    let nonce = api.enrolments.challenges.make(api.db.now()).map_err(crate::logins::Error::from)?;
    Ok(Challenge { nonce, expires_in_s: LIFETIME.as_secs() })
}

pub(super) async fn lookup(api: Api, (): (), call: Call) -> Result<Invited, Failure> {
    let Lookup { invite } = reply::json(&call.body)?;
    let accepted = accept(&api, &call, &invite, None).await?;
    let found = api.db.read(move |tx| {
        let employee = employees::by_id(tx, &accepted.employee_id)?.ok_or(Error::Invite)?;
        let expires_in_s = accepted.expires_at.since(tx.now).as_secs();
        Ok::<_, Error>(Invited { person: view::person(tx, &employee)?, expires_in_s })
    });
    Ok(found.await.map_err(usecases::Error::from)?)
}

pub(super) async fn enrol(api: Api, (): (), call: Call) -> Result<Enrolled, Failure> {
    let enrol: Enrol = reply::json(&call.body)?;
    let challenge = signed_challenge(&api, &enrol.server, &enrol.nonce);
    let challenge = challenge.map_err(usecases::Error::from)?;
    // Before the key and its signature are checked, so that only the holder of an invite causes that work.
    let email = accept(&api, &call, &enrol.invite, Some(&enrol.key)).await?.email;
    let new = proof::of_enrol(&enrol).map_err(usecases::Error::from)?;
    let Enrol { invite: Invite { id, secret, .. }, replaces, password_hash, .. } = enrol;
    let password = match password_hash {
        Some(hash) => Some(seal_for(&api, &hash).await?),
        None => None,
    };
    let wanted = Enrolment { invite: id, secret, email, new, replaces, password, challenge };
    let rules = api.logins.rules();
    let db = api.db.for_bulk();
    let by = wanted.new.key.fingerprint().to_owned();
    let done = db.write("enrolment.enrol", move |tx| usecase::enrol(tx, &rules, &wanted));
    Ok(with_follow(&api, &by, done.await?))
}

fn signed_challenge(api: &Api, server: &str, nonce: &str) -> Result<usecase::Signed, Error> {
    api.enrolments.challenge(&api.settings.borrow(), (server, nonce), api.db.now())
}

/// The hash of a password, if it is one that is accepted, with the key that encrypts it.
async fn seal_for(api: &Api, hash: &str) -> Result<(Vault, CryptHash), usecases::Error> {
    let hash = hash.parse().map_err(Error::Password)?;
    Ok((vault(api).await?, hash))
}

/// The key that encrypts passwords.
async fn vault(api: &Api) -> Result<Vault, usecases::Error> {
    let state_dir = Arc::clone(&api.enrolments.state_dir);
    let opened = tokio::task::spawn_blocking(move || Vault::open_or_make(&state_dir)).await;
    let vault = opened.map_err(|_| db::Error::Closed)?;
    Ok(vault.map_err(crate::employees::Error::from)?)
}

/// Refuses an invite that is not accepted. A wrong secret is counted; nothing else causes a write. `line` is the key to be
/// enrolled.
async fn accept(
    api: &Api,
    call: &Call,
    invite: &Invite,
    line: Option<&str>,
) -> Result<invite::Invite, Failure> {
    let refused = || {
        if let Some(Peer(address)) = call.peer {
            api.rejected.add(What::Invite, address);
        }
        Failure::from(usecases::Error::from(Error::Invite))
    };
    let Ok(email) = invite.email.parse::<Email>() else { return Err(refused()) };
    let key = line.and_then(proof::fingerprint);
    let (wanted, whose, its) = (invite.clone(), email.clone(), key.clone());
    let judged =
        api.db.read(move |tx| service::judge(tx, &wanted.id, (&wanted.secret, &whose), its.as_deref()));
    match judged.await.map_err(usecases::Error::from)? {
        Some((accepted, Outcome::Accepted)) => return Ok(accepted),
        Some((_, Outcome::Refused(why))) => log::debug!("invite {} is refused: {why:?}", invite.id),
        None => {}
        Some((_, Outcome::WrongSecret)) => {
            let (wanted, whose) = (invite.clone(), email);
            let db = api.db.for_bulk();
            let counted = db.write("enrolment.count", move |tx| {
                invites::attempt(tx, &wanted.id, (&wanted.secret, &whose), key.as_deref())
            });
            match counted.await {
                Ok(_) => UNCOUNTED.succeeded(),
                Err(error) => UNCOUNTED.failed(error),
            }
        }
    }
    Err(refused())
}

pub(super) async fn me(api: Api, (): (), call: Call) -> Result<Enrolled, Failure> {
    let signed: Signed = reply::json(&call.body)?;
    let challenge = signed_challenge(&api, &signed.server, &signed.nonce);
    let challenge = challenge.map_err(usecases::Error::from)?;
    let by = signed.key.clone();
    let found = api.db.read(move |tx| service::signer(tx, &by)).await.map_err(usecases::Error::from)?;
    if found.is_none_or(|found| proof::of_signer(&signed, &found.key.line).is_err()) {
        if let Some(Peer(address)) = call.peer {
            api.rejected.add(What::EmployeeKey, address);
        }
        return Err(usecases::Error::from(Error::Signer).into());
    }
    // After the signature, so that nobody uses up the rate of a key that they do not have.
    api.enrolments.admit(&signed.key)?;
    let request: Request = reply::json(signed.request.as_bytes())?;
    let asked = proof::asked(&signed, request).map_err(usecases::Error::from)?;
    let (rules, db, by) = (api.logins.rules(), api.db.for_bulk(), signed.key.clone());
    let done = match asked {
        Asked::Keys(asked) => {
            db.write("enrolment.request", move |tx| usecase::request(tx, &rules, (&by, &challenge), asked))
                .await?
        }
        Asked::Password(hash) => {
            let password = match hash {
                Some(hash) => Some((vault(&api).await?, hash)),
                None => None,
            };
            db.write("enrolment.password", move |tx| {
                usecase::change_password(tx, &rules, (&by, &challenge), password.as_ref())
            })
            .await?
        }
    };
    Ok(with_follow(&api, &signed.key, done))
}

/// How far the keys of a person have got. Whoever was answered lately may ask, as long as the key counts.
pub(super) async fn progress(api: Api, (): (), call: Call) -> Result<Progress, Failure> {
    let Follow { follow } = reply::json(&call.body)?;
    let by = api.enrolments.challenges.read_follow(&follow, api.db.now()).map_err(Error::from);
    let by = by.map_err(usecases::Error::from)?;
    api.enrolments.admit(&format!("follow {by}"))?;
    let found = api.db.read(move |tx| {
        let signer = service::signer(tx, &by)?.ok_or(Error::Signer)?;
        Ok::<_, Error>(view::progress(tx, &signer.owner)?)
    });
    Ok(found.await.map_err(usecases::Error::from)?)
}

/// Adds what the person's program needs to see how far the keys get, if they get anywhere: by the key of the request, if it
/// counts already, and otherwise by the one that signed.
fn with_follow(api: &Api, by: &str, answer: Enrolled) -> Enrolled {
    if answer.person.machines.iter().all(|machine| machine.placed.is_none()) {
        return answer;
    }
    let new = answer.key.as_ref().filter(|key| key.state == State::Active.as_str());
    let by = new.map_or(by, |key| &key.fingerprint);
    Enrolled { follow: Some(api.enrolments.challenges.make_follow(by, api.db.now())), ..answer }
}
