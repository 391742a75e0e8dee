//! One pass over a machine: look, plan, apply, and look again. Nothing counts as done that was not read back.

use kbmfa_proto::names::{MachineName, UserName};
use std::collections::{BTreeMap, BTreeSet};

use super::desired::{Desired, Keys};
use super::guard::{self, Limit, TooMuch};
use super::hindrance::{Hindrance, explained};
use super::orders::{self, Authority};
use super::plan::{Plan, Settings, Step, plan};
use super::report::{self, Done, File, Report};
use super::transport::Conversation;
use super::{helper_hash, wire};
use crate::adoption::survey::{self, Survey};
use crate::deliveries::failure::{Failure, Kind};
use crate::deliveries::{Generation, Place};

/// What a pass is to reach, and its limits.
pub struct Order<'a> {
    /// What the machine should have.
    pub desired: &'a Desired,
    /// The keys that it was given before, which it should no longer have if they are not desired.
    pub given: &'a Keys,
    /// How it is set up.
    pub settings: &'a Settings,
    /// The account by which it is reached.
    pub admin: &'a UserName,
    /// `/etc/machine-id`, as it was seen at the first pass.
    pub host_id: Option<&'a str>,
    /// `/etc/machine-id` of other machines, with their names.
    pub other_hosts: &'a BTreeMap<String, MachineName>,
    /// The last state that this server wrote anywhere. A machine with a later one is refused.
    pub last: &'a Generation,
    /// How much may be taken away.
    pub limit: Limit,
    /// The number of removals that the operator has confirmed.
    pub confirmed: Option<usize>,
}

/// What a pass has found and done.
#[derive(Debug)]
pub struct Passed {
    /// What was to be done.
    pub plan: Plan,
    /// Each step with its result; empty if there was nothing to do.
    pub done: Vec<(Step, Done)>,
    /// What there is now.
    pub after: Report,
    /// What would still have to be done.
    pub left: Plan,
    /// Why most of the plan was not carried out, if so.
    pub stopped: Option<TooMuch>,
}

/// Most times that the steps are carried out, if a user writes into a home at the same moment.
const ROUNDS: usize = 3;

/// Looks at a machine, and returns what there is and what would be done.
///
/// # Errors
/// [`Failure`].
pub fn look(conversation: &mut dyn Conversation, order: &Order<'_>) -> Result<(Report, Plan), Failure> {
    let names: BTreeSet<&UserName> = order
        .desired
        .accounts
        .keys()
        .chain(order.desired.faults.keys())
        .chain(&order.desired.released)
        .chain(order.given.keys())
        .collect();
    let request = wire::look(order.admin, order.settings.place, names.into_iter());
    let lines = conversation.ask(&request)?;
    let mut report = report::parse(&lines).map_err(|error| Failure::new(Kind::Script, error))?;
    is_the_same(&report, order)?;
    if report.revoked.is_some() && !report.has_revoked(&order.desired.revoked) {
        let lines = conversation.ask(&wire::revoked())?;
        report.revoked_lines = report::revoked(&lines).map_err(|error| Failure::new(Kind::Script, error))?;
    }
    let (desired, held) = held_back(order.desired, &report.revoked_lines);
    let mut plan = plan(&desired, &report, order.settings, order.given);
    plan.hindrances.extend(held);
    if report.helper.as_ref().is_some_and(|helper| *helper != helper_hash()) {
        plan.hindrances.push(Hindrance::OtherHelper);
    }
    Ok((report, plan))
}

/// Reads all accounts of people on a machine and their keys, if it is the machine that it should be.
///
/// # Errors
/// [`Failure`].
pub fn survey(conversation: &mut dyn Conversation, order: &Order<'_>) -> Result<Survey, Failure> {
    look(conversation, order)?;
    let lines = conversation.ask(&wire::survey(order.admin))?;
    survey::parse(&lines).map_err(|error| Failure::new(Kind::Script, error))
}

/// One whole pass. `authority` numbers and signs the order; it is asked only if there is something to do.
///
/// # Errors
/// [`Failure`], also if the machine does not have the desired state afterwards.
pub fn run(
    conversation: &mut dyn Conversation,
    order: &Order<'_>,
    authority: &mut dyn Authority,
) -> Result<Passed, Failure> {
    let (mut after, plan) = look(conversation, order)?;
    let judged = guard::judge(plan.removals, plan.present, order.limit, order.confirmed);
    let stopped = judged.err();
    let mut left = plan.clone();
    if stopped.is_some() {
        left.steps = plan.revocations(order.desired, order.given);
    }
    let mut done: Vec<(Step, Done)> = Vec::new();
    if left.is_empty() {
        return Ok(Passed { plan, done, after, left, stopped });
    }
    let host_id = after.host_id.clone().unwrap_or_default();
    for _ in 0..ROUNDS {
        done.retain(|(_, done)| !is_overtaken(done));
        let (request, generation) = orders::order(authority, ("apply", &host_id), |generation| {
            left.steps.push(Step::Record { generation: generation.clone() });
            wire::steps(order.admin, &left.steps)
        })?;
        let lines = conversation.ask(&request)?;
        let results =
            report::results(&lines, left.steps.len()).map_err(|error| Failure::new(Kind::Script, error))?;
        done.extend(left.steps.into_iter().zip(results));
        // What runs again by now is no session of before.
        let desired = Desired { ending: BTreeSet::new(), ..order.desired.clone() };
        (after, left) = look(conversation, &Order { last: &generation, desired: &desired, ..*order })?;
        // A report does not show what is in the file of an account that is left alone.
        let is_done = |step: &Step| {
            let is_it = |(one, done): &(Step, Done)| one == step && !matches!(done, Done::Failed(_));
            matches!(step, Step::TakeOut { .. }) && done.iter().any(is_it)
        };
        left.steps.retain(|step| !is_done(step));
        if stopped.is_some() || left.is_empty() || !done.iter().any(|(_, done)| is_overtaken(done)) {
            break;
        }
    }
    Ok(Passed { plan, done, after, left, stopped })
}

/// True if a user wrote into a home between the report and the step.
fn is_overtaken(done: &Done) -> bool {
    *done == Done::Failed("changed-meanwhile".to_owned())
}

impl Passed {
    /// Why the machine as a whole does not have what it should have, if so. What concerns single accounts is told by
    /// [`Self::hindrances`]: whoever makes a mess of their own home fails nobody else.
    pub fn failure(&self) -> Option<Failure> {
        let failed = self.failed().find(|(step, word)| is_of_machine(step, word));
        if let Some((step, word)) = failed {
            let text = format!("could not {step}: {}", explained(word));
            return Some(Failure::new(Failure::of_step(word), text));
        }
        if let Some(too_much) = &self.stopped {
            return Some(Failure::new(Kind::Guard, too_much));
        }
        // A user can undo what was done in their own home. The rest is root's.
        let is_told = |name: &UserName| self.failed().any(|(step, _)| step.account() == Some(name));
        let is_of_root = |step: &&Step| match step {
            Step::SetHome { .. } => false,
            step => !step.account().is_some_and(is_told),
        };
        let step = self.left.steps.iter().find(is_of_root)?;
        Some(Failure::new(Kind::Script, format!("after all steps it would still have to {step}")))
    }

    /// What is not as it should be with single accounts: what was left alone, steps that failed, and what was undone at
    /// once; one for each account of the latter two.
    pub fn hindrances(&self) -> Vec<Hindrance> {
        let mut undone: BTreeMap<&UserName, Hindrance> = BTreeMap::new();
        let mut add = |step: &'_ Step, name, word: Option<&str>| {
            let takes = step.takes_away();
            let one = || Hindrance::Undone {
                name: UserName::clone(name),
                step: step.to_string(),
                word: word.map(str::to_owned),
                takes,
            };
            let known = undone.entry(name).or_insert_with(one);
            if takes && !known.is_loss() {
                *known = one();
            }
        };
        for (step, word) in self.failed().filter(|(step, word)| !is_of_machine(step, word)) {
            step.account().into_iter().for_each(|name| add(step, name, Some(word)));
        }
        let is_told = |name: &UserName| self.failed().any(|(step, _)| step.account() == Some(name));
        let is_undone = |step: &&Step| self.stopped.is_none() && matches!(step, Step::SetHome { .. });
        for step in self.left.steps.iter().filter(is_undone) {
            step.account().filter(|name| !is_told(name)).into_iter().for_each(|name| add(step, name, None));
        }
        self.left.hindrances.iter().cloned().chain(undone.into_values()).collect()
    }

    /// For each account, the fingerprints of the keys with which somebody may still get in: what the server remembers of
    /// a machine. `before` is what it remembered until now. Of an account that was left alone, or of which a step failed,
    /// that stays; but a key that was read back as gone is gone.
    pub fn given(&self, desired: &Desired, before: &Keys, place: Place) -> Keys {
        let hindrances = self.hindrances();
        let alone: BTreeSet<_> = hindrances.iter().filter_map(Hindrance::left_alone).collect();
        let undone: BTreeSet<_> = hindrances.iter().filter_map(Hindrance::undone).collect();
        let failed: BTreeSet<_> = self.failed().filter_map(|(step, _)| step.account()).collect();
        let open: BTreeSet<_> = self.left.steps.iter().filter_map(Step::account).collect();
        let wanted = |name| desired.accounts.get(name).map(|account| &account.fingerprints);
        let names: BTreeSet<_> = desired.accounts.keys().chain(before.keys()).collect();
        let keys = names.into_iter().map(|name| {
            let had = before.get(name).cloned().unwrap_or_default();
            let is_gone = place == Place::System
                && self.after.accounts.get(name).is_none_or(|seen| seen.keys == File::Absent);
            let keys = if is_gone {
                BTreeSet::new()
            } else if alone.contains(name) {
                let is_taken = |key: &String| desired.revoked.has(key) && self.has_taken_out(name);
                had.into_iter().filter(|key| !is_taken(key)).collect()
            } else if [&undone, &failed, &open].iter().any(|names| names.contains(name)) {
                had.into_iter().chain(wanted(name).into_iter().flatten().cloned()).collect()
            } else {
                wanted(name).cloned().unwrap_or_default()
            };
            (name.clone(), keys)
        });
        keys.filter(|(_, keys)| !keys.is_empty()).collect()
    }

    /// The accounts whose sessions were ended. Those of an account that is left alone were not, nor where that failed.
    pub fn ended(&self, desired: &Desired) -> BTreeSet<UserName> {
        let hindrances = self.hindrances();
        let kept: BTreeSet<_> =
            hindrances.iter().flat_map(|one| one.left_alone().into_iter().chain(one.undone())).collect();
        let is_done = |name: &UserName| {
            let is_it =
                |step: &Step| matches!(step, Step::EndSessions { .. }) && step.account() == Some(name);
            self.done.iter().any(|(step, done)| is_it(step) && !matches!(done, Done::Failed(_)))
        };
        let is_ended = |name: &&UserName| !kept.contains(name) && (self.stopped.is_none() || is_done(name));
        desired.ending.iter().filter(is_ended).cloned().collect()
    }

    /// The desired state of a machine that has just been given this one: sessions are ended once.
    pub fn reached(&self, desired: &Desired) -> Desired {
        let ended = self.ended(desired);
        Desired { ending: desired.ending.difference(&ended).cloned().collect(), ..desired.clone() }
    }

    fn failed(&self) -> impl Iterator<Item = (&Step, &str)> {
        self.done.iter().filter_map(|(step, done)| match done {
            Done::Failed(word) => Some((step, word.as_str())),
            Done::Unchanged | Done::Changed => None,
        })
    }

    /// True if revoked keys were taken out of an account that is left alone otherwise.
    fn has_taken_out(&self, name: &UserName) -> bool {
        let is_one = |step: &Step| {
            matches!(step, Step::TakeOut { .. } | Step::SetHome { .. }) && step.account() == Some(name)
        };
        self.done.iter().any(|(step, done)| is_one(step) && !matches!(done, Done::Failed(_)))
    }
}

/// True if a step that failed with this word tells something about the whole machine.
fn is_of_machine(step: &Step, word: &str) -> bool {
    match (step, Failure::of_step(word)) {
        (Step::SetHome { .. }, _) => false,
        (_, Kind::Disk | Kind::Busy) => true,
        (Step::SetKeys { .. } | Step::RemoveKeys { .. } | Step::TakeOut { .. }, _) => word == "directory",
        (step, _) => step.account().is_none(),
    }
}

/// Refuses a machine that is another one than before, or that takes its orders from somebody else.
fn is_the_same(report: &Report, order: &Order<'_>) -> Result<(), Failure> {
    let Some(host_id) = &report.host_id else {
        return Err(Failure::new(Kind::HostKey, "the machine has no /etc/machine-id"));
    };
    if order.host_id.is_some_and(|expected| expected != host_id) {
        return Err(Failure::new(Kind::HostKey, "the machine has another /etc/machine-id than before"));
    }
    if let Some(other) = order.other_hosts.get(host_id) {
        return Err(Failure::new(
            Kind::HostKey,
            format!("the machine has the same /etc/machine-id as {other}"),
        ));
    }
    if report.is_state_damaged {
        return Err(Failure::new(
            Kind::Generation,
            "the machine's record of its state, /etc/ssh/kbmfa/state, is damaged; look at it, and remove it by hand",
        ));
    }
    let Some(found) = &report.generation else { return Ok(()) };
    if found.installation != order.last.installation {
        return Err(Failure::new(Kind::Generation, "the machine takes its orders from another kbmfa-server"));
    }
    if (found.epoch, found.counter) > (order.last.epoch, order.last.counter) {
        return Err(Failure::new(
            Kind::Generation,
            format!(
                "the machine has state {}.{}, this server wrote {}.{} last",
                found.epoch, found.counter, order.last.epoch, order.last.counter
            ),
        ));
    }
    Ok(())
}

/// The desired state without keys that the machine holds as revoked: a restored roster may know them as active.
fn held_back(desired: &Desired, on_machine: &BTreeSet<String>) -> (Desired, Vec<Hindrance>) {
    let mut desired = desired.clone();
    let mut held = Vec::new();
    for (name, account) in &mut desired.accounts {
        let is_held = |line: &String| on_machine.iter().any(|revoked| line.contains(revoked.as_str()));
        for line in account.lines.iter().filter(|line| is_held(line)) {
            held.push(Hindrance::HeldBack(
                name.clone(),
                line.rsplit(' ').next().unwrap_or_default().to_owned(),
            ));
        }
        account.lines.retain(|line| !is_held(line));
    }
    (desired, held)
}
