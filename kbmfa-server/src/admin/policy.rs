//! `policy ..`: explains what policy decides about a login, and why.

use clap::{Args as ClapArgs, Subcommand};
use kbmfa_proto::login::Account;
use kbmfa_proto::names::{MachineName, UserName};
use serde::Serialize;

use super::{Admin, Failure, print};
use crate::config::Config;
use crate::employees::service as employee;
use crate::employees::store::by_unix_name;
use crate::grants::service::reaches;
use crate::logins::grants::applies;
use crate::logins::people;
use crate::machines::{Error, service};
use crate::policy::{
    self, Before, Channel, Counts, Facts, Grounds, Membership, Person, Reach, Rule, Says, Subject, Terms,
    Verdict,
};
use crate::pools::store::of_machine;
use crate::source::Address;

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Show which rule applies to a login, and why the rules before it do not.
    Explain(Login),
}

/// The login in question.
#[derive(ClapArgs)]
pub struct Login {
    /// The Unix account.
    #[arg(long)]
    user: UserName,
    /// The machine.
    #[arg(long)]
    machine: MachineName,
    /// The source address.
    #[arg(long)]
    from: Option<Address>,
    /// The PAM service.
    #[arg(long, default_value = "sshd")]
    service: String,
}

/// Runs the verb.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    let Verb::Explain(login) = verb;
    let (config, db) = admin.open()?;
    let facts = db.read_blocking(|tx| {
        let machine = service::find(tx, &login.machine)?;
        let subject = Subject {
            machine: machine.name,
            pools: of_machine(tx, &machine.id)?,
            user: login.user,
            also: None,
            service: login.service,
            from: login.from,
        };
        let person = employee::behind(tx, &subject.user)?;
        let by_the_chat = people::by_the_chat(tx, &config.rules(None), &person)?;
        let needs_grant = applies(tx, config.policy.require_grant, &machine.id)?;
        let lacks_grant = match by_unix_name(tx, &subject.user)? {
            Some(employee) => needs_grant && !reaches(tx, &employee.id, &machine.id)?,
            None => false,
        };
        let facts = Facts { lacks_grant, ..first_of_its_kind(subject, person, by_the_chat) };
        Ok::<_, Error>((facts, needs_grant))
    });
    let (facts, needs_grant) = facts.map_err(Failure::new)?;
    let explained = explain(&config, &facts, needs_grant);
    if admin.json {
        return print::print_json(&explained);
    }
    let lines = explained.rules.iter().map(|rule| format!("rule on line {}: {}", rule.line, rule.says));
    let all: Vec<_> = [explained.login.clone(), explained.person.to_owned()]
        .into_iter()
        .chain(explained.grant.map(str::to_owned))
        .chain(lines)
        .chain([format!("verdict: {}", explained.verdict)])
        .collect();
    print::say(&all.join("\n"))
}

/// The facts about a login without any history: no earlier decision, no limit reached.
fn first_of_its_kind(subject: Subject, person: Person, (membership, chat): (Membership, Reach)) -> Facts {
    Facts {
        subject,
        person,
        account: Account::Known,
        rehearsal: false,
        membership,
        lacks_grant: false,
        key_refusal: None,
        chat,
        before: Before::Nothing,
        counts: Counts::default(),
    }
}

#[derive(Serialize)]
struct Explained {
    login: String,
    person: &'static str,
    /// Whether the employee has a live grant to a pool of the machine, if grants are required.
    grant: Option<&'static str>,
    rules: Vec<Explanation>,
    verdict: String,
}

#[derive(Serialize)]
struct Explanation {
    line: usize,
    speaks: bool,
    says: String,
}

fn explain(config: &Config, facts: &Facts, needs_grant: bool) -> Explained {
    let Subject { machine, pools, user, service, from, .. } = &facts.subject;
    let pools: Vec<_> = pools.iter().map(ToString::to_string).collect();
    let pools = if pools.is_empty() { "no pool".to_owned() } else { format!("pools {}", pools.join(", ")) };
    let from = from.map_or_else(|| "an unknown address".to_owned(), |from| from.to_string());
    Explained {
        login: format!("{user} wants to enter {machine} ({pools}) through {service} from {from}"),
        person: match facts.person {
            Person::Unknown => "no employee has this account",
            Person::Employee(_) => "the account belongs to an employee",
            Person::Suspended => "the account belongs to a suspended employee",
            Person::Removed => "the account belonged to a removed employee",
        },
        grant: grant(needs_grant, facts),
        rules: rules_up_to_the_speaker(&config.policy.rules, &facts.subject),
        verdict: words(&policy::judge(&config.policy, facts)),
    }
}

fn grant(needs_grant: bool, facts: &Facts) -> Option<&'static str> {
    let is_employee = !matches!(facts.person, Person::Unknown);
    (needs_grant && is_employee).then_some(if facts.lacks_grant {
        "they have no live grant to a pool of the machine, and require_grant demands one"
    } else {
        "they have a live grant to a pool of the machine"
    })
}

fn rules_up_to_the_speaker(rules: &[Rule], login: &Subject) -> Vec<Explanation> {
    let mut explained = Vec::new();
    for rule in rules {
        let fits = rule.fits(login);
        let says = match (&fits, &rule.says) {
            (Err(mismatch), _) => format!("does not apply: {mismatch}"),
            (Ok(()), Says::Exempt) => "applies: let them in without an ask".into(),
            (Ok(()), Says::Ask(terms)) => format!("applies: {}", ask(terms)),
        };
        explained.push(Explanation { line: rule.line, speaks: fits.is_ok(), says });
        if fits.is_ok() {
            break;
        }
    }
    explained
}

fn ask(terms: &Terms) -> String {
    let places: Vec<_> = terms
        .channels
        .iter()
        .map(|channel| match channel {
            Channel::Console => "console",
            Channel::Keybase => terms.destination.as_str(),
        })
        .collect();
    format!("ask {} within {} s at {}", terms.approvers, terms.window.as_secs(), places.join(" and "))
}

fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Refuse(refusal) => format!("refuse ({})", refusal.code()),
        Verdict::Allow(Grounds::Exempt { line }) => {
            format!("let in without an ask, by the rule on line {line}")
        }
        Verdict::Allow(Grounds::SameConnection) => "let in, the connection was approved".into(),
        Verdict::Ask(terms) => ask(terms),
        Verdict::Stall => "wait for the window, and ask nobody".into(),
        Verdict::DryRun => "end the dry run".into(),
    }
}
