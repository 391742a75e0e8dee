//! `employee invite --send`: the running server sends the invite in the chat. An invite of which nobody knows whether it
//! reached its person is ended, and another is made.

use serde_json::json;

use super::super::super::{Admin, Failure};
use super::{Args, Made, make};
use crate::admin_socket::client;
use crate::admin_socket::request::{Hidden, InviteDelivery, InviteMessage};
use crate::config::Config;
use crate::db::Db;
use crate::employees::Email;
use crate::employees::service::find;
use crate::usecases::invites as usecase;

/// How many invites are made at most, one after the other.
const ATTEMPTS: usize = 2;

/// Makes an invite and has it sent.
pub(super) fn run(
    admin: &Admin,
    args: &Args,
    (command, downloads): (&str, &[String]),
) -> Result<(), Failure> {
    let (config, db) = admin.open()?;
    check(&config, &db, &args.email)?;
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        let made = make(admin, args)?;
        let message = InviteMessage {
            id: made.new.id.clone(),
            secret: Hidden(made.new.secret.reveal().to_owned()),
            command: command.to_owned(),
            downloads: downloads.to_owned(),
        };
        match client::send_invite(&config.state_dir, message) {
            Ok(InviteDelivery::Sent(to)) => return tell(admin, made, &to),
            Ok(InviteDelivery::Unknown(unknown)) => {
                // Who has used it has it.
                if !void(admin, &made, unknown.clone())? {
                    return tell(admin, made, "the person, who has used it already");
                }
                why = unknown;
            }
            Err(refusal) => {
                void(admin, &made, refusal.error.clone())?;
                return Err(Failure::from(refusal).hint("nobody has an invite that can be used"));
            }
        }
    }
    Err(Failure::new(format!("the invite may not have been delivered: {why}")).hint(
        "nobody has an invite that can be used: one that still arrives is not accepted. Try again, or leave out --send",
    ))
}

/// Checks what can be known before an invite is made, because making one ends an earlier one.
fn check(config: &Config, db: &Db, email: &Email) -> Result<(), Failure> {
    if config.chat.is_none() {
        return Err(Failure::new("there is no chat: kind in [relay] is \"console\"").hint(WITHOUT));
    }
    let employee = db.read_blocking(|tx| find(tx, email)).map_err(Failure::new)?;
    if employee.keybase_name.is_none() {
        return Err(Failure::new(format!("no Keybase name of {email} is recorded"))
            .hint(format!("`kbmfa-server employee set {email} --keybase-name NAME`"))
            .hint(WITHOUT));
    }
    if !client::is_running(&config.state_dir) {
        return Err(
            Failure::new("the server does not run, and only the server can send an invite").hint(WITHOUT)
        );
    }
    Ok(())
}

const WITHOUT: &str = "without --send the invite is printed, and you give it to the person in another way";

fn tell(admin: &Admin, made: Made, to: &str) -> Result<(), Failure> {
    let Made { new, employee, ends } = made;
    let (email, id, account) = (employee.email.clone(), new.id.clone(), to.to_owned());
    admin.change("invite.sent", move |tx, _, actor| usecase::sent(tx, actor, &email, &id, &account))?;
    let sentence = format!("the invite was sent to {to}; it can be used until {}", admin.time(ends.into()));
    let json = json!({
        "email": employee.email, "id": new.id, "sent_to": to, "expires": super::super::Moment(ends),
    });
    admin.tell(&sentence, &json)
}

/// Ends the invite. False if it was used already.
fn void(admin: &Admin, made: &Made, reason: String) -> Result<bool, Failure> {
    let (email, id) = (made.employee.email.clone(), made.new.id.clone());
    admin.change("invite.voided", move |tx, _, actor| usecase::void(tx, actor, &email, &id, &reason))
}
