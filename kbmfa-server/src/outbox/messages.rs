//! Builds the texts for an ask from its login.

use kbmfa_proto::account::LocalCaller;
use kbmfa_proto::names::{PoolName, UserName};

use super::ask_text::{self, AskFacts, OutcomeFacts};
use crate::audit::{Head, Seal};
use crate::db::{self, Tx};
use crate::keys::service::owned;
use crate::logins::Error;
use crate::logins::store::asks::Ask;
use crate::logins::store::{self, Login};
use crate::long_poll::Logins;
use crate::pools;

/// What an ask says of a login besides its own facts.
pub(super) struct Around {
    /// The pools of its machine.
    pools: Vec<PoolName>,
    /// Name and device of the employee who has its key.
    key_owner: Option<String>,
}

impl Around {
    /// As it is now.
    pub(super) fn of(tx: &Tx<'_>, login: &Login) -> Result<Self, db::Error> {
        let key = login.key.as_deref().map(|key| owned(tx, key)).transpose()?.flatten();
        Ok(Self {
            pools: pools::store::of_machine(tx, &login.machine_id)?,
            key_owner: key.map(|owned| format!("{}, {}", owned.owner.name, owned.key.device)),
        })
    }
}

/// The text of the ask. It says `how` people answer in the chat, and whether they may also answer at the
/// console.
pub(super) fn ask(login: &Login, around: &Around, how: &str, console: bool) -> String {
    ask_text::ask(&AskFacts { how, console, ..facts(login, around) })
}

/// The text of a copy while the login is pending.
pub(super) fn copy(login: &Login, ask: &Ask) -> String {
    ask_text::copy(login.id.short(), ask.sent_at)
}

fn facts<'a>(login: &'a Login, around: &'a Around) -> AskFacts<'a> {
    let caller = login.opened.caller.as_ref();
    AskFacts {
        user: login.user().as_str(),
        typed: login.opened.typed.as_ref().map(UserName::as_str),
        caller: caller.and_then(LocalCaller::account).map(UserName::as_str),
        logged_in: caller.and_then(LocalCaller::other_login).map(UserName::as_str),
        certificate: login.certificate().map(|certificate| certificate.to_string()),
        machine: login.machine.as_str(),
        pools: &around.pools,
        service: login.opened.service.as_str(),
        source: login.source.as_deref(),
        key: login.key.as_deref(),
        key_owner: around.key_owner.as_deref(),
        short: login.id.short(),
        window: login.life.expires_at.since(login.opened_at),
        until: login.life.expires_at,
        how: "",
        console: false,
    }
}

/// The text of the decision, with number and seal of the newest event about the login.
pub(super) async fn verdict(logins: &Logins, login: &Login, around: &Around) -> Result<String, Error> {
    let id = login.id.clone();
    let event = logins.db().read(move |tx| Ok::<_, Error>(store::last_event(tx, &id)?)).await?;
    let head = event.and_then(|(seq, seal)| Some(Head { seq, seal: Seal::from_bytes(&seal)? }));
    let head = head.unwrap_or(Head::EMPTY).to_string();
    let end = OutcomeFacts {
        state: login.life.state.as_str(),
        reason: login.reason.as_deref(),
        by: login.decided_by.as_deref().filter(|by| !by.starts_with("machine:") && *by != "clock"),
        after: login.life.decided_at.map_or_else(Default::default, |at| at.since(login.opened_at)),
        head: &head,
    };
    Ok(ask_text::verdict(&facts(login, around), &end))
}
