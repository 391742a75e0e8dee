//! `employee show`: an employee with their uid, open invite, grants and keys.

use serde::Serialize;

use super::super::grant::{self, GrantRow};
use super::super::print::{self, Column, Moment};
use super::super::{Admin, Failure};
use super::EmployeeRow;
use crate::employees::store::password_set_at;
use crate::employees::{Email, Error, ledger, service};
use crate::enrolment::store::{self as invites, Open};
use crate::grants::store::of_employee;
use crate::keys::State;
use crate::keys::store::{self as keys, Key};
use kbmfa_proto::text::SafeText;

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    employee: EmployeeRow,
    /// Null for somebody of before the ledger who has no grant yet.
    uid: Option<u32>,
    /// When the account password was chosen; null if there is none.
    password_set: Option<Moment>,
    /// The invite that can still be used.
    invite: Option<InviteRow>,
    grants: Vec<GrantRow>,
    keys: Vec<KeyRow>,
}

#[derive(Serialize)]
struct InviteRow {
    id: String,
    made: Moment,
    expires: Moment,
    wrong_secrets: i64,
}

impl From<Open> for InviteRow {
    fn from(open: Open) -> Self {
        let Open { id, created_at, expires_at, attempts } = open;
        Self { id, made: created_at.into(), expires: expires_at.into(), wrong_secrets: attempts }
    }
}

impl InviteRow {
    fn sentence(&self, admin: &Admin) -> String {
        let tried = match self.wrong_secrets {
            0 => String::new(),
            count => format!(", wrong secrets tried: {count}"),
        };
        format!("invite: {}, can be used until {}{tried}", self.id, admin.time(self.expires))
    }
}

#[derive(Serialize)]
struct KeyRow {
    fingerprint: String,
    device: SafeText,
    state: State,
    added: Moment,
}

impl From<Key> for KeyRow {
    fn from(key: Key) -> Self {
        Self {
            fingerprint: key.fingerprint,
            device: key.device,
            state: key.state,
            added: key.added_at.into(),
        }
    }
}

const KEYS: &[Column] = &[
    Column::short("KEY", 20),
    Column::short("DEVICE", 8),
    Column::whole("STATE").state(),
    Column::whole("ADDED").rank(1),
];

/// Runs the verb.
pub(super) fn run(admin: &Admin, email: &Email) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| {
        let employee = service::find(tx, email)?;
        let entry = ledger::store::entry(tx, &employee.unix_name)?;
        let grants = of_employee(tx, &employee.id)?;
        Ok::<_, Error>(Shown {
            uid: entry.and_then(|entry| entry.uid),
            grants: grants.into_iter().map(|grant| GrantRow::at(tx.now, grant)).collect(),
            password_set: password_set_at(tx, &employee.id)?.map(Moment::from),
            invite: invites::open_of(tx, &employee.id)?.map(InviteRow::from),
            keys: keys::of_employee(tx, &employee.id)?.into_iter().map(KeyRow::from).collect(),
            employee: employee.into(),
        })
    });
    let shown = found.map_err(Failure::new)?;
    if admin.json {
        return print::print_json(&shown);
    }
    admin.print(std::slice::from_ref(&shown.employee), super::COLUMNS, |employee| employee.cells(admin))?;
    print::say(&format!("uid: {}", shown.uid.map_or_else(|| "none yet".to_owned(), |uid| uid.to_string())))?;
    if let Some(set) = shown.password_set {
        print::say(&format!("account password: chosen {}", admin.time(set)))?;
    }
    if let Some(invite) = &shown.invite {
        print::say(&invite.sentence(admin))?;
    }
    if !shown.grants.is_empty() {
        print::say("")?;
        admin.print(&shown.grants, grant::COLUMNS_OF_ONE, |grant| grant.cells_of_one(admin))?;
    }
    if !shown.keys.is_empty() {
        print::say("")?;
        admin.print(&shown.keys, KEYS, |key| {
            let state = key.state.as_str().to_owned();
            vec![key.fingerprint.clone(), key.device.to_string(), state, admin.time(key.added)]
        })?;
    }
    Ok(())
}
