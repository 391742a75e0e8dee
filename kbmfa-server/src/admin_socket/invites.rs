//! Sends an invite to its person in the chat. The secret passes through: it is in no table, event or log.

use kbmfa_proto::names::KeybaseName;

use super::Refusal;
use super::request::{Hidden, InviteDelivery, InviteMessage};
use crate::channels::keybase::{Keybase, Undelivered};
use crate::clock::Time;
use crate::db::{Db, Tx};
use crate::employees::store::by_id;
use crate::enrolment::invite::{self, Outcome};
use crate::enrolment::{message, store};

/// Where an invite goes, and when it ends.
struct Addressed {
    to: KeybaseName,
    now: Time,
    expires_at: Time,
}

/// Sends this invite to the Keybase account that its person has now.
///
/// # Errors
/// Why nothing was sent.
pub(super) async fn send(
    db: &Db,
    chat: Option<&Keybase>,
    invite: InviteMessage,
) -> Result<InviteDelivery, Refusal> {
    let chat = chat.ok_or_else(|| {
        Refusal::new("this server has no chat: kind in [relay] is \"console\"").hint(WITHOUT_CHAT)
    })?;
    let InviteMessage { id, secret: Hidden(secret), command, downloads } = invite;
    let text = (id.clone(), secret.clone());
    let Addressed { to, now, expires_at } = db.read(move |tx| address(tx, &id, &secret)).await?;
    let text = message::text(&format!("{}.{}", text.0, text.1), (&command, &downloads), expires_at);
    match chat.send_secret(&to, &text, expires_at.since(now)).await {
        Ok(()) => Ok(InviteDelivery::Sent(format!("keybase:{to}"))),
        Err(Undelivered::Unknown(why)) => Ok(InviteDelivery::Unknown(why)),
        Err(not_sent @ Undelivered::NotSent(_)) => Err(Refusal::new(not_sent).hint(WITHOUT_CHAT)),
    }
}

/// What the operator can do if the chat cannot be used.
const WITHOUT_CHAT: &str =
    "without --send the invite is printed, and you give it to the person in another way";

fn address(tx: &Tx<'_>, id: &str, secret: &str) -> Result<Addressed, Refusal> {
    let gone = || Refusal::new("there is no such open invite");
    let found = store::invite(tx, id)?.ok_or_else(gone)?;
    if invite::judge(&found, (secret, &found.email), None, tx.now) != Outcome::Accepted {
        return Err(gone());
    }
    let employee = by_id(tx, &found.employee_id)?.ok_or_else(gone)?;
    let to = employee.keybase_name.ok_or_else(|| {
        Refusal::new(format!("no Keybase name of {} is recorded", employee.email))
            .hint(format!("`kbmfa-server employee set {} --keybase-name NAME`", employee.email))
    })?;
    Ok(Addressed { to, now: tx.now, expires_at: found.expires_at })
}
