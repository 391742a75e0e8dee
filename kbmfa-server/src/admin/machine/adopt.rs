//! `machine adopt`: shows the accounts and keys that others made on a machine, and takes over those that are named.

use clap::Args as Arguments;
use kbmfa_proto::names::{MachineName, UserName};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

use super::super::print::{self, Column, note, screen, table};
use super::super::{Admin, Failure};
use crate::admin_socket::client::Client;
use crate::admin_socket::request::Request;
use crate::adoption::matching::{By, Judged, Match, People, judge, matches};
use crate::adoption::people;
use crate::adoption::survey::{Found, Survey};
use crate::deliveries::{Place, service};
use crate::employees::{Email, service as employees};
use crate::usecases::adoption::{self as usecase, Order, Taken};

/// What to take over, or to hand back.
#[derive(Arguments)]
#[command(
    after_help = "Without an account it changes nothing: it reads what is on the machine, as the owner of each file, and
says whose each account seems to be. What is not named stays as it is. Examples:
  kbmfa-server machine adopt web1
  kbmfa-server machine adopt web1 --take dora --import-keys --yes
  kbmfa-server machine adopt web1 --map emil=emil@example.com --yes"
)]
pub struct Args {
    /// The machine's name. `provision enable` comes first.
    name: MachineName,
    /// Take this account over, which its uid or an enrolled key shows to be that of its person; repeat it for each.
    #[arg(long, value_name = "ACCOUNT")]
    take: Vec<UserName>,
    /// Take this account over: it is that of this employee; repeat it for each.
    #[arg(long, value_name = "ACCOUNT=EMAIL", value_parser = mapping)]
    map: Vec<(UserName, Email)>,
    /// Enrol the keys of these accounts that are not enrolled. They then open each machine that their person has.
    #[arg(long)]
    import_keys: bool,
    /// The whole `~/.ssh/authorized_keys` is ours from now on, and other lines are removed; without it, our keys are in a
    /// block beside them.
    #[arg(long)]
    exclusive: bool,
    /// Hand this account back: our keys go, and everything else stays.
    #[arg(long, value_name = "ACCOUNT", conflicts_with_all = ["take", "map", "import_keys", "exclusive"])]
    release: Option<UserName>,
    /// Do it; without this, only print what would be done.
    #[arg(long)]
    yes: bool,
}

fn mapping(text: &str) -> Result<(UserName, Email), String> {
    let (account, email) =
        text.split_once('=').ok_or("write ACCOUNT=EMAIL, such as dora=dora@example.com")?;
    let account = account.parse().map_err(|error| format!("{error}"))?;
    Ok((account, email.parse().map_err(|error| format!("{error}"))?))
}

/// Runs the verb.
pub(super) fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    if let Some(account) = &args.release {
        return release(admin, &args.name, account, args.yes);
    }
    let named: BTreeMap<UserName, Email> = args.map.iter().cloned().collect();
    if named.len() < args.map.len() {
        return Err(Failure::usage("--map names an account twice"));
    }
    let chosen: BTreeSet<UserName> = args.take.iter().chain(named.keys()).cloned().collect();
    if chosen.is_empty() && (args.import_keys || args.exclusive || args.yes) {
        return Err(Failure::usage("name accounts: --take ACCOUNT or --map ACCOUNT=EMAIL"));
    }
    let (config, db) = admin.open()?;
    let settings = config.provision.clone();
    let delivery = db.read_blocking(|tx| service::find(tx, &args.name)).map_err(Failure::new)?;
    if args.exclusive && delivery.place == Place::System {
        return Err(Failure::usage(
            "--exclusive is for keys in homes; root alone writes those of this machine",
        )
        .hint(
            "to accept no other keys, leave .ssh/authorized_keys out of AuthorizedKeysFile in sshd_config",
        ));
    }
    let client = Client::of_state(&config.state_dir);
    let survey: Survey = client.ask(&Request::MachineSurvey { machine: args.name.clone() })?;
    let known =
        db.read_blocking(|tx| named.values().try_for_each(|email| employees::find(tx, email).map(drop)));
    known.map_err(Failure::new)?;
    let people = db.read_blocking(|tx| people::read(tx, &delivery.machine_id, &survey, &settings.admin));
    let people = people.map_err(Failure::new)?;
    if chosen.is_empty() {
        return show(admin, &survey, &matches(&survey.accounts, &people, &named), &people);
    }
    if !args.yes {
        return preview(admin, args, &matches(&survey.accounts, &people, &named), &people, &chosen);
    }
    let order = Order {
        machine: args.name.clone(),
        survey,
        take: args.take.iter().cloned().collect(),
        named,
        import_keys: args.import_keys,
        exclusive: args.exclusive,
        admin: settings.admin,
    };
    let taken = admin.change("machine.adopt", move |tx, config, actor| {
        usecase::take(tx, (config.uids, &config.rules(None), actor), &order)
    })?;
    told(admin, &args.name, &taken)
}

#[derive(Serialize)]
struct AccountRow {
    account: UserName,
    uid: u32,
    keys: usize,
    employee: Option<Email>,
    by: Option<By>,
    can_be_taken: bool,
    /// Why not, or what to type.
    note: String,
}

impl AccountRow {
    fn of(one: &Match<'_>) -> Self {
        let Match { found, whose, obstacle } = one;
        let note = obstacle.as_ref().map_or_else(|| format!("--take {}", found.name), ToString::to_string);
        let file = found.file.words();
        Self {
            account: found.name.clone(),
            uid: found.uid,
            keys: found.keys.len() + found.untold,
            employee: whose.map(|(person, _)| person.email.clone()),
            by: whose.map(|(_, by)| by),
            can_be_taken: obstacle.is_none(),
            note: if file.is_empty() { note } else { format!("{note}; {file}") },
        }
    }
}

#[derive(Serialize)]
struct KeyRow {
    account: UserName,
    fingerprint: Option<String>,
    comment: String,
    has_options: bool,
    state: String,
}

const ACCOUNTS: &[Column] = &[
    Column::short("ACCOUNT", 8),
    Column::whole("UID"),
    Column::whole("KEYS"),
    Column::short("EMPLOYEE", 10),
    Column::whole("CAN BE TAKEN"),
];

const KEYS: &[Column] = &[
    Column::short("ACCOUNT", 8),
    Column::short("KEY", 14),
    Column::short("COMMENT", 8).rank(1),
    Column::short("STATE", 12),
];

/// Largest number of keys that are printed as a table.
const KEYS_SHOWN: usize = 500;

fn show(admin: &Admin, survey: &Survey, matches: &[Match<'_>], people: &People) -> Result<(), Failure> {
    let rows: Vec<AccountRow> = matches.iter().map(AccountRow::of).collect();
    let keys: Vec<KeyRow> = survey
        .accounts
        .iter()
        .flat_map(|account| account.keys.iter().map(move |key| (account, key)))
        .map(|(account, key)| KeyRow {
            account: account.name.clone(),
            fingerprint: key.fingerprint.clone(),
            comment: key.comment.to_string(),
            has_options: key.has_options,
            state: judge(key, people).to_string(),
        })
        .collect();
    if admin.json {
        return print::print_json(&json!({
            "accounts": rows, "keys": keys, "names_not_accepted": survey.others, "cut": survey.is_cut,
        }));
    }
    let cells = |row: &AccountRow| {
        let employee = row.employee.as_ref().map_or_else(|| "-".to_owned(), Email::to_string);
        let can_be_taken = if row.can_be_taken { "yes" } else { "no" }.to_owned();
        vec![row.account.to_string(), row.uid.to_string(), row.keys.to_string(), employee, can_be_taken]
    };
    print::say(&table(ACCOUNTS, &rows.iter().map(cells).collect::<Vec<_>>(), screen()))?;
    // Below the table, because a table is cut to the width of the terminal.
    let notes = rows.iter().map(|row| format!("  {}: {}", row.account, row.note)).collect::<Vec<_>>();
    print::say(&format!("\n{}", notes.join("\n")))?;
    if !keys.is_empty() {
        let cells = |row: &KeyRow| {
            let fingerprint = row.fingerprint.clone().unwrap_or_else(|| "-".to_owned());
            vec![row.account.to_string(), fingerprint, row.comment.clone(), row.state.clone()]
        };
        let shown: Vec<_> = keys.iter().take(KEYS_SHOWN).map(cells).collect();
        print::say(&format!("\n{}", table(KEYS, &shown, screen())))?;
    }
    let untold: usize = survey.accounts.iter().map(|account| account.untold).sum();
    let more = untold + keys.len().saturating_sub(KEYS_SHOWN);
    if more > 0 {
        note(&format!("{more} more keys"));
    }
    for (name, uid) in &survey.others {
        note(&format!("account {name} (uid {uid}) has a name that is accepted for nobody; it is left alone"));
    }
    if survey.is_cut {
        note("the machine has more accounts");
    }
    Ok(())
}

/// Prints what `--yes` would do. Accounts that may not be taken over are an error.
fn preview(
    admin: &Admin,
    args: &Args,
    matches: &[Match<'_>],
    people: &People,
    chosen: &BTreeSet<UserName>,
) -> Result<(), Failure> {
    let (mut lines, mut refused) = (Vec::new(), Vec::new());
    for name in chosen {
        let Some(one) = matches.iter().find(|one| one.found.name == *name) else {
            refused.push(format!("the machine has no account {name} with a login shell"));
            continue;
        };
        match (&one.obstacle, one.whose) {
            (None, Some((person, _))) => {
                lines.push(format!("take over account {name} (uid {}) for {}", one.found.uid, person.email));
                lines.extend(effect_on_keys(args, one.found, &person.email, people));
            }
            (Some(obstacle), _) => refused.push(format!("{name}: {obstacle}")),
            (None, None) => {}
        }
    }
    if !refused.is_empty() {
        return Err(Failure::new(refused.join("\n")).hint("nothing was changed"));
    }
    admin.preview(&lines.join("\n"))
}

/// What becomes of the keys in an account's file, a line each.
fn effect_on_keys(args: &Args, found: &Found, owner: &Email, people: &People) -> Vec<String> {
    let mut lines = Vec::new();
    for key in &found.keys {
        let told = key.fingerprint.clone().unwrap_or_else(|| "a line that is no key".to_owned());
        let judged = judge(key, people);
        let is_theirs = matches!(&judged, Judged::Enrolled(email) if email == owner);
        match &judged {
            _ if is_theirs => {}
            Judged::Unknown if args.import_keys => lines.push(format!("  enrol {told} {}", key.comment)),
            judged if args.exclusive => lines.push(format!("  remove {told} {} ({judged})", key.comment)),
            judged if args.import_keys => lines.push(format!("  leave {told} {} ({judged})", key.comment)),
            _ => {}
        }
    }
    if args.exclusive && found.untold > 0 {
        lines.push(format!("  remove {} more lines", found.untold));
    }
    lines
}

fn told(admin: &Admin, machine: &MachineName, taken: &[Taken]) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for one in taken {
        lines.push(format!("account {} of {machine} is that of {} from now on", one.account, one.email));
        lines.extend(one.imported.iter().map(|(key, device)| format!("  enrolled {key} for {device}")));
        lines.extend(one.refused.iter().map(|(key, why)| format!("  not enrolled: {key}: {why}")));
    }
    lines.push("hint: `kbmfa-server provision status` shows when the machine has confirmed it".to_owned());
    admin.tell(&lines.join("\n"), &json!({ "machine": machine, "taken": taken }))
}

fn release(admin: &Admin, machine: &MachineName, account: &UserName, yes: bool) -> Result<(), Failure> {
    if !yes {
        return admin.preview(&format!(
            "hand account {account} of {machine} back: our keys and our mark go, and the account stays as it is"
        ));
    }
    let (of, name) = (machine.clone(), account.clone());
    admin.change("machine.release", move |tx, _, actor| usecase::release(tx, actor, &of, &name))?;
    let sentence = format!("account {account} of {machine} is handed back at the next pass");
    admin.tell(&sentence, &json!({ "machine": machine, "released": account }))
}
