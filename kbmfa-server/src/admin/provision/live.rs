//! `provision plan`, `provision run` and `machine check`: the running server connects to the machines, several at once.

use clap::Args as Arguments;
use kbmfa_proto::names::{MachineName, PoolName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;

use super::super::print;
use super::super::{Admin, Failure};
use crate::admin_socket::Refusal;
use crate::admin_socket::client::Client;
use crate::admin_socket::provision::{Looked, Ran};
use crate::admin_socket::request::Request;
use crate::deliveries::{Error, service, store};
use crate::pools::service as pools;
use crate::shared::Shared;

/// Number of machines that are asked about at once.
const AT_ONCE: usize = 8;

/// Which machines.
#[derive(Arguments)]
pub struct Targets {
    /// A machine; repeat it for each.
    #[arg(value_name = "MACHINE")]
    machines: Vec<MachineName>,
    /// The machines of a pool.
    #[arg(long)]
    pool: Option<PoolName>,
    /// Every machine to which keys are delivered.
    #[arg(long, conflicts_with_all = ["machines", "pool"])]
    all: bool,
}

/// Options of `provision run`.
#[derive(Arguments)]
pub struct RunArgs {
    #[command(flatten)]
    targets: Targets,
    /// Go on although this many accounts lose access on one machine.
    #[arg(long, value_name = "NUMBER")]
    confirm_removals: Option<usize>,
}

impl Targets {
    fn find(&self, admin: &Admin) -> Result<(Client, Vec<MachineName>), Failure> {
        if !self.all && self.machines.is_empty() && self.pool.is_none() {
            return Err(Failure::usage("name machines, --pool POOL, or --all"));
        }
        let (config, db) = admin.open()?;
        let found = db.read_blocking(|tx| {
            let all: BTreeSet<MachineName> =
                store::all(tx)?.into_iter().map(|delivery| delivery.machine).collect();
            if self.all {
                return Ok(all);
            }
            let mut found: BTreeSet<MachineName> = BTreeSet::new();
            for name in &self.machines {
                found.insert(service::find(tx, name)?.machine);
            }
            if let Some(pool) = &self.pool {
                let pool = pools::find(tx, pool)?;
                found.extend(pool.machines.into_iter().filter(|machine| all.contains(machine)));
            }
            Ok::<_, Error>(found)
        });
        let found: Vec<_> = found.map_err(Failure::new)?.into_iter().collect();
        if found.is_empty() {
            return Err(Failure::new("keys are delivered to none of these machines")
                .hint("`kbmfa-server provision enable MACHINE` begins"));
        }
        Ok((Client::of_state(&config.state_dir), found))
    }
}

/// Asks the server about each machine, several at once, and gives each reply to `shown` as it arrives.
fn each<T: DeserializeOwned + Send>(
    (client, machines): (Client, Vec<MachineName>),
    request: impl Fn(MachineName) -> Request + Sync,
    mut shown: impl FnMut(&MachineName, Result<T, Refusal>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let queue = Shared::new(machines.into_iter().rev().collect::<Vec<_>>());
    let (replies, arriving) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (queue, replies, client, request) = (&queue, replies.clone(), client.clone(), &request);
            scope.spawn(move || {
                while let Some(machine) = queue.with(Vec::pop) {
                    let reply = client.ask(&request(machine.clone()));
                    if replies.send((machine, reply)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(replies);
        arriving.into_iter().try_for_each(|(machine, reply)| shown(&machine, reply))
    })
}

/// What is printed about one machine.
#[derive(Serialize)]
struct Shown<T> {
    machine: MachineName,
    #[serde(flatten)]
    found: Option<T>,
    error: Option<String>,
    hints: Vec<String>,
}

/// Counts, and what is printed as JSON at the end.
#[derive(Default)]
struct Tally {
    right: usize,
    differs: usize,
    failed: usize,
    rows: Vec<Value>,
}

impl Tally {
    fn add<T: Serialize>(
        &mut self,
        admin: &Admin,
        machine: &MachineName,
        reply: Result<T, Refusal>,
        text: impl Fn(&T) -> (bool, String),
    ) -> Result<(), Failure> {
        match &reply {
            Ok(found) => {
                let (is_right, text) = text(found);
                if is_right {
                    self.right += 1;
                } else {
                    self.differs += 1;
                }
                if !admin.json {
                    print::say(&format!("{machine}: {text}"))?;
                }
            }
            Err(refusal) => {
                self.failed += 1;
                if !admin.json {
                    let hints = refusal.hints.iter().fold(String::new(), |text, hint| {
                        text + "
  fix: " + hint
                    });
                    print::say(&format!("{machine}: failed\n  {}{hints}", refusal.error))?;
                }
            }
        }
        if admin.json {
            let (found, refusal) = match reply {
                Ok(found) => (Some(found), None),
                Err(refusal) => (None, Some(refusal)),
            };
            let (error, hints) = refusal.map(|refusal| (refusal.error, refusal.hints)).unzip();
            let row = Shown { machine: machine.clone(), found, error, hints: hints.unwrap_or_default() };
            self.rows.push(serde_json::to_value(row).map_err(Failure::new)?);
        }
        Ok(())
    }

    /// Prints the summary. 0: all is right; 2: something differs; 1: a machine could not be asked.
    fn finish(self, admin: &Admin, (right, differs): (&str, &str)) -> Result<(), Failure> {
        let Self { right: count, differs: others, failed, rows } = self;
        if admin.json {
            print::print_json(&json!({ "machines": rows }))?;
        } else {
            print::say(&format!("\n{count} {right}, {others} {differs}, {failed} failed"))?;
        }
        match (failed, others) {
            (0, 0) => Ok(()),
            (0, _) => Err(Failure::would_change()),
            _ => Err(Failure::new(format!("{failed} machines failed"))),
        }
    }
}

fn lines(first: &str, rest: &[String]) -> String {
    rest.iter().fold(first.to_owned(), |text, line| text + "\n  " + line)
}

/// `provision plan`.
pub(super) fn plan(admin: &Admin, targets: &Targets) -> Result<(), Failure> {
    let mut tally = Tally::default();
    each(
        targets.find(admin)?,
        |machine| Request::ProvisionLook { machine },
        |machine, reply: Result<Looked, _>| {
            tally.add(admin, machine, reply, |looked| match looked.steps.as_slice() {
                [] => (true, lines("nothing to do", &looked.left)),
                steps => (false, lines(&lines("would change", steps), &looked.left)),
            })
        },
    )?;
    tally.finish(admin, ("need nothing", "would change"))
}

/// `provision run`.
pub(super) fn run(admin: &Admin, args: &RunArgs) -> Result<(), Failure> {
    let mut tally = Tally::default();
    let confirm_removals = args.confirm_removals;
    let request = |machine| Request::ProvisionRun { machine, confirm_removals };
    each(args.targets.find(admin)?, request, |machine, reply: Result<Ran, Refusal>| {
        let reply = reply.and_then(|ran| match ran.failure {
            Some(failure) => Err(Refusal::new(lines(&failure, &ran.steps))),
            None => Ok(ran),
        });
        tally.add(admin, machine, reply, |ran| match ran.steps.as_slice() {
            [] => (true, lines("had everything already", &ran.left)),
            steps => (true, lines(&lines("done", steps), &ran.left)),
        })
    })?;
    tally.finish(admin, ("have what they should have", "differ"))
}

/// `machine check`.
pub(in crate::admin) fn check(admin: &Admin, targets: &Targets) -> Result<(), Failure> {
    let mut tally = Tally::default();
    each(
        targets.find(admin)?,
        |machine| Request::ProvisionLook { machine },
        |machine, reply: Result<Looked, _>| {
            tally.add(admin, machine, reply, |looked| {
                let facts: Vec<_> = looked
                    .facts
                    .iter()
                    .map(|fact| {
                        format!(
                            "{} {}: {}",
                            if fact.is_right { "ok  " } else { "FAIL" },
                            fact.what,
                            fact.found
                        )
                    })
                    .collect();
                let is_right = looked.facts.iter().all(|fact| fact.is_right) && looked.left.is_empty();
                let head = if is_right { "as it should be" } else { "differs" };
                (is_right, lines(&lines(head, &facts), &looked.left))
            })
        },
    )?;
    tally.finish(admin, ("are as they should be", "differ"))
}
