//! Actions on a login: of the machine that opens it, of the operator who answers it, and of the clock.

use kbmfa_proto::login::{LoginReply, OpenLogin};
use kbmfa_proto::names::LoginId;
use kbmfa_proto::text::SafeText;
use std::time::Duration;

use crate::channels::Answer;
use crate::db::Tx;
use crate::logins::decide::{Answered, AtConsole, answer_at_console};
use crate::logins::service::Opened;
use crate::logins::store::asks;
use crate::logins::{Error, Rules, notifications, service};
use crate::machines::caller::{Caller, Credential};
use crate::machines::service::{authenticate, authenticate_waiting, claimed};

pub use crate::logins::ending::{end_start, poll_broke, sweep};

/// Opens a login, as [`service::open`] does. `posts_asks` says that this process will post the asks of a new
/// login as soon as the transaction is committed. Then their posting counts as begun.
///
/// # Errors
/// [`Error::Unauthorized`] if the credential is not accepted, and as [`service::open`].
pub fn open(
    tx: &Tx<'_>,
    rules: &Rules,
    who: &Credential,
    (id, login): (&LoginId, &OpenLogin),
    posts_asks: bool,
) -> Result<Opened, Error> {
    let version = Some(login.module_version.as_str());
    let caller = match who {
        Credential::Own(hash) => authenticate(tx, hash, version)?,
        Credential::Token(claim) if rules.accepts(claim) => claimed(tx, claim, version)?,
        Credential::Token(_) => None,
    };
    let caller = caller.ok_or(Error::Unauthorized)?;
    if let (Credential::Own(hash), Some(host)) = (who, &login.host) {
        notifications::of_host(tx, rules, &caller, (hash, host))?;
    }
    let opened = service::open(tx, rules, &caller, id, login)?;
    if opened.is_new && posts_asks {
        asks::sending_at_once(tx, id)?;
    }
    Ok(opened)
}

/// Handles a poll of the machine that opened the login, as [`service::poll`] does.
///
/// # Errors
/// [`Error::Unauthorized`] if the credential is not accepted, and as [`service::poll`].
pub fn poll(
    tx: &Tx<'_>,
    rules: &Rules,
    who: &Credential,
    id: &LoginId,
    wait: Duration,
) -> Result<(i64, LoginReply), Error> {
    service::poll(tx, rules, &waiting(tx, rules, who)?, id, wait)
}

/// Cancels a login for the machine that opened it.
///
/// # Errors
/// [`Error::Unauthorized`] if the credential is not accepted, and as [`service::cancel`].
pub fn cancel(tx: &Tx<'_>, rules: &Rules, who: &Credential, id: &LoginId) -> Result<LoginReply, Error> {
    service::cancel(tx, rules, &waiting(tx, rules, who)?, id)
}

/// The machine that waits for a login. Its credential may have been replaced after the login was opened.
fn waiting(tx: &Tx<'_>, rules: &Rules, who: &Credential) -> Result<Caller, Error> {
    let caller = match who {
        Credential::Own(hash) => authenticate_waiting(tx, hash)?,
        Credential::Token(claim) if rules.accepts(claim) => claimed(tx, claim, None)?,
        Credential::Token(_) => None,
    };
    caller.ok_or(Error::Unauthorized)
}

/// Answers, at the console, the login whose id begins with `prefix`.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Ambiguous`].
pub fn decide(
    tx: &Tx<'_>,
    rules: &Rules,
    prefix: &str,
    who: &AtConsole,
    answer: Answer,
    reason: Option<&SafeText>,
) -> Result<Answered, Error> {
    let login = service::find(tx, prefix)?;
    answer_at_console(tx, rules, &login.id, who, answer, reason)
}
