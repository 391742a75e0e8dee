//! The verbs about keys on machines, which need a running server: it has the key to the machines, and works on them.

use kbmfa_proto::names::MachineName;
use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::deliveries::failure::{Failure, Kind};
use crate::provision::facts::{self, Fact};
use crate::provision::plan::{Plan, Step};
use crate::provision::provisioner::Provisioner;
use crate::provision::report::Done;

/// What a machine has, and what would be done about it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Looked {
    /// What was checked.
    pub facts: Vec<Fact>,
    /// What would be done, in order.
    pub steps: Vec<String>,
    /// What is left as it is, and why.
    pub left: Vec<String>,
    /// Number of accounts that would lose access.
    pub removals: usize,
}

/// What was done on a machine.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ran {
    /// Each step, and how it ended.
    pub steps: Vec<String>,
    /// What is left as it is, and why.
    pub left: Vec<String>,
    /// Why the machine does not have what it should have, if so.
    pub failure: Option<String>,
}

pub(super) async fn look(provisioner: &Provisioner, machine: &MachineName) -> Result<Looked, Refusal> {
    let (delivery, desired, report, plan) = provisioner.look(machine).await.map_err(refusal)?;
    Ok(Looked {
        facts: facts::of(&desired, &report, delivery.place),
        steps: shown(&plan),
        left: left(&plan),
        removals: plan.removals,
    })
}

pub(super) async fn run(
    provisioner: &Provisioner,
    machine: &MachineName,
    confirmed: Option<usize>,
) -> Result<Ran, Refusal> {
    let delivery = provisioner.delivery(machine).await.map_err(refusal)?;
    let passed = provisioner.run(delivery, confirmed).await.map_err(refusal)?;
    let steps = passed.done.iter().filter_map(|(step, done)| match (step, done) {
        (Step::Record { .. }, _) => None,
        (step, Done::Changed) => Some(step.to_string()),
        (step, Done::Unchanged) => Some(format!("{step}: it was so already")),
        (step, Done::Failed(word)) => Some(format!("{step}: failed, {word}")),
    });
    let failure = passed.failure().map(|failure| format!("{failure} (fix: {})", failure.kind.fix()));
    Ok(Ran { steps: steps.collect(), left: left(&passed.left), failure })
}

fn shown(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

fn left(plan: &Plan) -> Vec<String> {
    plan.hindrances.iter().map(ToString::to_string).collect()
}

pub(super) fn refusal(failure: Failure) -> Refusal {
    let Failure { kind, detail } = failure;
    let refusal = Refusal::new(detail);
    // A guard's text names its own command.
    if kind == Kind::Guard { refusal } else { refusal.hint(kind.fix()) }
}
