//! `key approve`, `key reject`, `key revoke`.

use serde_json::json;

use super::super::{Admin, Failure};
use crate::employees::store as people;
use crate::keys::store::Key;
use crate::keys::{Error, Reason, service};
use crate::usecases::keys::{self as usecase, Added, Revoked};

/// Lets a pending key count.
pub(super) fn approve(admin: &Admin, fingerprint: String) -> Result<(), Failure> {
    let Added { key, replaced } = admin.change("key.approve", move |tx, config, actor| {
        usecase::approve(tx, &config.rules(None), actor, &fingerprint)
    })?;
    let Key { fingerprint, device, .. } = key;
    let before = replaced.as_ref().map(|replaced| replaced.key.fingerprint.as_str());
    let refused = replaced.as_ref().map_or(0, |replaced| replaced.refused);
    let place = before.map(|before| format!("; key {before}, whose place it takes, is revoked"));
    let said =
        format!("key {fingerprint} ({device}) is approved{}{}", place.unwrap_or_default(), ended(refused));
    let json =
        json!({ "fingerprint": fingerprint, "device": device, "replaced": before, "refused": refused });
    admin.tell(&said, &json)
}

/// Refuses a pending key for ever.
pub(super) fn reject(admin: &Admin, fingerprint: String) -> Result<(), Failure> {
    let key = admin.change("key.reject", move |tx, _, actor| usecase::reject(tx, actor, &fingerprint))?;
    let Key { fingerprint, device, .. } = key;
    let json = json!({ "fingerprint": fingerprint, "device": device });
    admin.tell(&format!("key {fingerprint} ({device}) is rejected, and never accepted again"), &json)
}

/// Revokes a key, and a lost one with the keys that it has added.
pub(super) fn revoke(admin: &Admin, fingerprint: String, why: Reason, yes: bool) -> Result<(), Failure> {
    if !yes {
        return preview(admin, &fingerprint, why);
    }
    let revoked = admin.change("key.revoke", move |tx, config, actor| {
        usecase::revoke(tx, &config.rules(None), actor, &fingerprint, why)
    })?;
    let refused = revoked.iter().map(|one| one.refused).sum();
    let Some((Revoked { key, owner, .. }, along)) = revoked.split_first() else { return Ok(()) };
    let fingerprint = &key.fingerprint;
    let along: Vec<&Key> = along.iter().map(|one| &one.key).collect();
    let said = format!("key {fingerprint} of {owner} is revoked{}{}", with(&along), ended(refused));
    let along: Vec<&String> = along.iter().map(|key| &key.fingerprint).collect();
    let json = json!({ "fingerprint": fingerprint, "email": owner, "reason": why, "along": along, "refused": refused });
    admin.tell(&said, &json)
}

fn preview(admin: &Admin, fingerprint: &str, why: Reason) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| {
        let doomed = service::doomed(tx, fingerprint, why)?;
        let owner = doomed.first().map(|key| people::by_id(tx, &key.employee_id)).transpose()?.flatten();
        let password =
            owner.as_ref().map(|owner| people::password_set_at(tx, &owner.id)).transpose()?.flatten();
        Ok::<_, Error>((owner, doomed, password.is_some() && why == Reason::Lost))
    });
    let (owner, doomed, forgets_password) = found.map_err(Failure::new)?;
    let (Some(owner), Some((key, along))) = (owner, doomed.split_first()) else {
        return Err(Failure::new(Error::NoSuchKey(fingerprint.to_owned())));
    };
    let along: Vec<&Key> = along.iter().collect();
    admin.preview(&format!(
        "revoke key {} of {} ({}) for ever: where sshd reports the key, logins with it are refused{}{}",
        key.fingerprint,
        owner.email,
        key.device,
        with(&along),
        if forgets_password {
            "; the password of their account is forgotten, because a thief may have chosen it"
        } else {
            ""
        }
    ))
}

/// The keys that are revoked with a lost one.
fn with(along: &[&Key]) -> String {
    if along.is_empty() {
        return String::new();
    }
    let each = along.iter().map(|key| format!("{} ({}, {})", key.fingerprint, key.device, key.state));
    format!("; with it the keys that it has added: {}", each.collect::<Vec<_>>().join(", "))
}

fn ended(refused: usize) -> String {
    if refused == 0 { String::new() } else { format!("; logins refused that were waiting: {refused}") }
}
