//! `employee set`: changes what is recorded about an employee.

use clap::Args as ClapArgs;
use kbmfa_proto::names::KeybaseName;
use kbmfa_proto::text::SafeText;
use serde_json::json;

use super::super::{Admin, Failure};
use crate::employees::Email;
use crate::usecases::employees::{self as usecase, Changes};

/// What to change.
#[derive(ClapArgs)]
pub struct Args {
    /// Their e-mail address.
    email: Email,
    /// Their new address.
    #[arg(long = "email", value_name = "NEW_EMAIL")]
    new_email: Option<Email>,
    /// Their full name.
    #[arg(long)]
    name: Option<SafeText>,
    /// Their name in Keybase.
    #[arg(long, conflicts_with = "no_keybase_name")]
    keybase_name: Option<KeybaseName>,
    /// They have no name in Keybase any more.
    #[arg(long)]
    no_keybase_name: bool,
    /// The uid that they have on the machines. It never changes once a machine has keys of theirs.
    #[arg(long)]
    uid: Option<u32>,
}

/// Runs the verb.
pub(super) fn run(admin: &Admin, args: Args) -> Result<(), Failure> {
    let Args { email, new_email, name, keybase_name, no_keybase_name, uid } = args;
    let keybase_name = if no_keybase_name { Some(None) } else { keybase_name.map(Some) };
    let changes = Changes { email: new_email, name, keybase_name, uid };
    let whose = email.clone();
    let after = admin.change("employee.set", move |tx, config, actor| {
        usecase::set(tx, config.uids, actor, &whose, changes)
    })?;
    let json = json!({
        "email": after.email, "was": email, "name": after.name, "keybase_name": after.keybase_name,
    });
    admin.tell(&format!("employee {} is changed", after.email), &json)
}
