//! `access ..`: who can reach what, by which grant and key, as of now.

use clap::Subcommand;
use kbmfa_proto::names::{MachineName, PoolName, UserName};
use kbmfa_proto::text::SafeText;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;

use super::print::{self, Column, Moment};
use super::{Admin, Failure};
use crate::db::Tx;
use crate::deliveries::placed::{self, Placed};
use crate::employees::store::{self as people, Employee};
use crate::employees::{Email, State, service as employees};
use crate::grants::store::{self as grants, Grant};
use crate::grants::{Error, SudoProfile, service as grant};
use crate::keys::{State as KeyState, store as keys};
use crate::machines::service as machines;
use crate::policy::RequireGrant;
use crate::pools::store as pools;

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Show who can reach a machine: by which grant, and with which keys.
    Who {
        /// The machine's name.
        machine: MachineName,
    },
    /// Show which machines an employee can reach: by which grant, and with which keys.
    Of {
        /// The employee's e-mail address.
        email: Email,
    },
}

/// Runs the verb.
pub fn run(admin: &Admin, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::Who { machine } => who(admin, machine),
        Verb::Of { email } => of(admin, email),
    }
}

/// One way from a person to a machine.
#[derive(Serialize)]
struct Way {
    email: Email,
    unix_name: UserName,
    machine: MachineName,
    pool: PoolName,
    sudo: Option<SudoProfile>,
    ends: Option<Moment>,
    /// False while the person is suspended.
    counts: bool,
    #[serde(flatten)]
    keys: Keys,
    /// Whether exactly the keys that count are on the machine; null if none are delivered to it.
    placed: Option<Placed>,
}

/// Somebody's keys.
#[derive(Clone, Serialize)]
struct Keys {
    /// Those that count.
    #[serde(rename = "keys")]
    active: Vec<KeyOfWay>,
    /// Those that wait for an approval, and count for nothing.
    #[serde(rename = "pending_keys")]
    pending: Vec<KeyOfWay>,
}

impl Keys {
    fn of(tx: &Tx<'_>, employee: &Employee) -> Result<Self, Error> {
        let all = keys::of_employee(tx, &employee.id)?;
        let those = |state| {
            let some = all.iter().filter(move |key| key.state == state);
            some.map(|key| KeyOfWay { fingerprint: key.fingerprint.clone(), device: key.device.clone() })
                .collect()
        };
        Ok(Self { active: those(KeyState::Active), pending: those(KeyState::Pending) })
    }

    fn cell(&self) -> String {
        let devices =
            |keys: &[KeyOfWay]| keys.iter().map(|key| key.device.to_string()).collect::<Vec<_>>().join(", ");
        let mut cell = devices(&self.active);
        if cell.is_empty() {
            "no key yet".clone_into(&mut cell);
        }
        if self.pending.is_empty() { cell } else { format!("{cell}; pending: {}", devices(&self.pending)) }
    }
}

#[derive(Clone, Serialize)]
struct KeyOfWay {
    fingerprint: String,
    device: SafeText,
}

impl Way {
    fn new(
        tx: &Tx<'_>,
        employee: &Employee,
        machine: &MachineName,
        (grant, keys): (&Grant, &Keys),
    ) -> Result<Self, Error> {
        let id = machines::find(tx, machine)?.id;
        let active = match employee.state {
            State::Active => keys.active.iter().map(|key| key.fingerprint.clone()).collect(),
            // Their keys are taken off.
            State::Suspended | State::Removed => BTreeSet::new(),
        };
        let placed = placed::of(tx, &id, (&employee.unix_name, &active))?.map(|(placed, _)| placed);
        Ok(Self {
            placed,
            email: employee.email.clone(),
            unix_name: employee.unix_name.clone(),
            machine: machine.clone(),
            pool: grant.pool.clone(),
            sudo: grant.sudo.clone(),
            ends: grant.ends_at.map(Moment),
            counts: employee.state == State::Active,
            keys: keys.clone(),
        })
    }

    fn cells(&self, admin: &Admin) -> Vec<String> {
        vec![
            self.pool.to_string(),
            self.sudo.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            admin.time_or_dash(self.ends),
            if self.counts { self.keys.cell() } else { "suspended".to_owned() },
            self.placed.map_or("-", Placed::as_str).to_owned(),
        ]
    }
}

const POOL: Column = Column::short("POOL", 6);
const SUDO: Column = Column::short("SUDO", 4).rank(2);
const UNTIL: Column = Column::whole("UNTIL").rank(1);
const KEYS: Column = Column::short("KEYS", 10);
const THERE: Column = Column::whole("THERE").rank(2).state();

fn who(admin: &Admin, name: &MachineName) -> Result<(), Failure> {
    let (config, db) = admin.open()?;
    let found = db.read_blocking(|tx| {
        let machine = machines::find(tx, name)?;
        let pools = pools::of_machine(tx, &machine.id)?;
        let mut ways = Vec::new();
        for grant in grant::live(tx, grants::all(tx)?).iter().filter(|grant| pools.contains(&grant.pool)) {
            if let Some(employee) = people::by_id(tx, &grant.employee_id)? {
                ways.push(Way::new(tx, &employee, &machine.name, (grant, &Keys::of(tx, &employee)?))?);
            }
        }
        Ok::<_, Error>(ways)
    });
    let ways = found.map_err(Failure::new)?;
    let required = config.policy.require_grant;
    if admin.json {
        return print::print_json(&json!({ "machine": name, "require_grant": required, "access": ways }));
    }
    let columns =
        [Column::short("E-MAIL", 12), Column::short("UNIX", 6).rank(3), POOL, SUDO, UNTIL, KEYS, THERE];
    admin.print(&ways, &columns, |way| {
        [vec![way.email.to_string(), way.unix_name.to_string()], way.cells(admin)].concat()
    })?;
    note(required);
    Ok(())
}

fn of(admin: &Admin, email: &Email) -> Result<(), Failure> {
    let (config, db) = admin.open()?;
    let found = db.read_blocking(|tx| {
        let employee = employees::find(tx, email)?;
        let (keys, all) = (Keys::of(tx, &employee)?, pools::all(tx)?);
        let mut ways = Vec::new();
        for grant in grant::live(tx, grants::of_employee(tx, &employee.id)?) {
            let machines = all.iter().filter(|pool| pool.name == grant.pool).flat_map(|pool| &pool.machines);
            for machine in machines {
                ways.push(Way::new(tx, &employee, machine, (&grant, &keys))?);
            }
        }
        ways.sort_by(|a, b| (&a.machine, &a.pool).cmp(&(&b.machine, &b.pool)));
        Ok::<_, Error>((keys, ways))
    });
    let (keys, ways) = found.map_err(Failure::new)?;
    let required = config.policy.require_grant;
    if admin.json {
        return print::print_json(
            &json!({ "email": email, "require_grant": required, "keys": keys.active, "pending_keys": keys.pending, "access": ways }),
        );
    }
    let columns = [Column::short("MACHINE", 8), POOL, SUDO, UNTIL, KEYS, THERE];
    admin.print(&ways, &columns, |way| [vec![way.machine.to_string()], way.cells(admin)].concat())?;
    note(required);
    Ok(())
}

/// Says when the table is not all that can happen.
fn note(required: RequireGrant) {
    let where_to = match required {
        RequireGrant::Everywhere => return,
        RequireGrant::Nowhere => "require_grant in server.toml is false",
        RequireGrant::Delivered => {
            "require_grant in server.toml is not set, and no keys are delivered to some machines"
        }
    };
    print::note(&format!(
        "{where_to}: there a person without a grant is asked about like anybody else, if the machine has an account and a \
         key of theirs"
    ));
}
