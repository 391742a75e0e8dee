//! One pass over a machine: look, plan, apply, and look again. Nothing counts as done that was not read back.

use kbmfa_proto::names::{MachineName, UserName};
use std::collections::{BTreeMap, BTreeSet};

use super::desired::Desired;
use super::guard::{self, Limit};
use super::orders::{self, Authority};
use super::plan::{Hindrance, Plan, Settings, Step, plan};
use super::report::{self, Done, Report};
use super::transport::Conversation;
use super::{helper_hash, wire};
use crate::adoption::survey::{self, Survey};
use crate::deliveries::Generation;
use crate::deliveries::failure::{Failure, Kind};

/// What a pass is to reach, and its limits.
pub struct Order<'a> {
    /// What the machine should have.
    pub desired: &'a Desired,
    /// Accounts that it was given before, which it should no longer have if they are not desired.
    pub given: &'a BTreeSet<UserName>,
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
}

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
        .chain(order.given)
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
    let mut plan = plan(&desired, &report, order.settings);
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
    let (before, mut plan) = look(conversation, order)?;
    if plan.is_empty() {
        return Ok(Passed { left: plan.clone(), plan, done: Vec::new(), after: before });
    }
    guard::judge(plan.removals, plan.present, order.limit, order.confirmed)
        .map_err(|error| Failure::new(Kind::Guard, error))?;
    let host_id = before.host_id.as_deref().unwrap_or_default();
    let (request, generation) = orders::order(authority, ("apply", host_id), |generation| {
        plan.steps.push(Step::Record { generation: generation.clone() });
        wire::steps(order.admin, &plan.steps)
    })?;
    let lines = conversation.ask(&request)?;
    let results =
        report::results(&lines, plan.steps.len()).map_err(|error| Failure::new(Kind::Script, error))?;
    // What runs again by now is no session of before.
    let desired = Desired { ending: BTreeSet::new(), ..order.desired.clone() };
    let order = Order { last: &generation, desired: &desired, ..*order };
    let (after, left) = look(conversation, &order)?;
    let done: Vec<_> = plan.steps.iter().cloned().zip(results).collect();
    Ok(Passed { plan, done, after, left })
}

impl Passed {
    /// Why the machine does not have what it should have, if so: the first step that failed, or that was undone at once.
    pub fn failure(&self) -> Option<Failure> {
        let failed = self.done.iter().find_map(|(step, done)| match done {
            Done::Failed(word) => Some((step, word.as_str())),
            Done::Unchanged | Done::Changed => None,
        });
        if let Some((step, word)) = failed {
            return Some(Failure::new(Failure::of_step(word), format!("could not {step}: {word}")));
        }
        let step = self.left.steps.first()?;
        Some(Failure::new(Kind::Script, format!("after all steps it would still have to {step}")))
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

/// The accounts whose sessions were ended: those of an account that is left as it is were not.
pub fn ended(desired: &Desired, left: &Plan) -> BTreeSet<UserName> {
    let left: BTreeSet<&UserName> = left.hindrances.iter().filter_map(Hindrance::account).collect();
    desired.ending.iter().filter(|name| !left.contains(name)).cloned().collect()
}

/// The desired state of a machine that has just been given this one: sessions are ended once.
pub fn reached(desired: &Desired, left: &Plan) -> Desired {
    let ended = ended(desired, left);
    Desired { ending: desired.ending.difference(&ended).cloned().collect(), ..desired.clone() }
}

/// For each account, the fingerprints of the keys with which somebody may get in on the machine: what the server
/// remembers of a machine that it cannot reach. Of an account that was left as it is, that is what it had `before`.
pub fn given(desired: &Desired, left: &Plan, before: &Keys) -> Keys {
    let left: BTreeSet<&UserName> = left.hindrances.iter().filter_map(Hindrance::account).collect();
    let accounts =
        desired.accounts.iter().filter(|(name, account)| !account.lines.is_empty() && !left.contains(name));
    let written = accounts.map(|(name, account)| (name.clone(), account.fingerprints.clone()));
    let kept = before.iter().filter(|(name, _)| left.contains(name));
    written.chain(kept.map(|(name, keys)| (name.clone(), keys.clone()))).collect()
}

/// The fingerprints of the keys of each account.
pub type Keys = BTreeMap<UserName, BTreeSet<String>>;
