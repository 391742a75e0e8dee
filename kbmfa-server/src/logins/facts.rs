//! The facts by which policy judges a login, read from the database.

use kbmfa_proto::login::OpenLogin;
use kbmfa_proto::names::MachineName;
use kbmfa_proto::text::SafeText;

use super::grants;
use super::keys;
use super::people;
use super::rules::Rules;
use super::store::history;
use crate::db::{Error, Tx};
use crate::policy::{Facts, Person, Subject};
use crate::pools;
use crate::source::Origin;

/// Reads the facts about a login.
pub(super) fn facts(
    tx: &Tx<'_>,
    rules: &Rules,
    (machine_id, machine): (&str, &MachineName),
    opened: &OpenLogin,
) -> Result<Facts, Error> {
    let source = origin(opened);
    let quota = history::quota(machine_id, machine);
    let key = history::Key { machine_id, quota, user: &opened.user, origin: source.as_ref() };
    let before = history::before(tx, key, opened, tx.now.minus(rules.cool_down))?;
    let owned = keys::of(tx, opened)?;
    let people = people::about(tx, opened, owned.as_ref())?;
    let (membership, chat) = people::by_chat(tx, rules, &people)?;
    Ok(Facts {
        subject: subject(tx, (machine_id, machine), opened)?,
        membership,
        lacks_grant: grants::is_missing(tx, rules, machine_id, (opened, owned.as_ref()))?,
        chat,
        key_refusal: keys::refusal(owned.as_ref()),
        person: Person::of_all(people),
        account: people::account(opened, tx.now),
        rehearsal: opened.rehearsal,
        before,
        counts: history::counts(tx, key, &rules.policy.limits)?,
    })
}

/// The part of a login that rules match.
pub(super) fn subject(
    tx: &Tx<'_>,
    (machine_id, machine): (&str, &MachineName),
    opened: &OpenLogin,
) -> Result<Subject, Error> {
    Ok(Subject {
        machine: machine.clone(),
        pools: pools::store::of_machine(tx, machine_id)?,
        user: opened.user.clone(),
        also: opened.uid_user.clone(),
        service: opened.service.to_string(),
        from: origin(opened).and_then(|source| source.address),
    })
}

/// The source of a login: the ssh client's address, or `PAM_RHOST`.
pub(super) fn origin(opened: &OpenLogin) -> Option<Origin> {
    let client = opened.connection.ssh.map(|ssh| ssh.client.ip());
    Origin::of(client, opened.rhost.as_ref().map(SafeText::as_str))
}
