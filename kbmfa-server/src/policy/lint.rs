//! Finds faults in a policy whose keys are all valid: rules that never apply, and approvers who can never
//! answer. Pure.

use kbmfa_proto::names::{MachineName, PoolName};

use super::{Approvers, Channel, Rule, Says, Settings, Terms};

/// The machines and pools that the policy's names are checked against.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// All machines.
    pub machines: Vec<MachineName>,
    /// All pools.
    pub pools: Vec<PoolName>,
}

/// One sentence for each fault. It begins with the line if the fault is in a rule.
pub fn lint(settings: &Settings, known: &Known) -> Vec<String> {
    let mut faults = approver_faults("[policy]", &settings.default);
    for (n, rule) in settings.rules.iter().enumerate() {
        let here = format!("line {}: rule {}", rule.line, n + 1);
        let earlier = settings.rules.iter().take(n).find(|earlier| earlier.scope.covers(&rule.scope));
        if let Some(earlier) = earlier {
            faults.push(format!(
                "{here} never applies: the rule on line {} matches all that it matches",
                earlier.line
            ));
        }
        faults.extend(unknown_names(rule, known).into_iter().map(|fault| format!("{here} {fault}")));
        if let Says::Ask(terms) = &rule.says {
            faults.extend(approver_faults(&here, terms));
        }
    }
    faults
}

/// Names of pools and machines in a rule that do not exist.
fn unknown_names(rule: &Rule, known: &Known) -> Vec<String> {
    let pools = rule.scope.pools.iter().filter(|pool| !known.pools.contains(pool));
    let machines = rule.scope.machines.iter().filter(|machine| !known.machines.contains(machine));
    let pools = pools.map(|pool| format!("names pool {pool}, which does not exist"));
    pools.chain(machines.map(|machine| format!("names machine {machine}, which does not exist"))).collect()
}

fn approver_faults(here: &str, terms: &Terms) -> Vec<String> {
    let Approvers::List(people) = &terms.approvers else { return Vec::new() };
    let channels = || terms.channels.iter().chain(&terms.channels_when_down);
    let strangers = people.iter().filter(|person| !channels().any(|channel| person.is_in(*channel)));
    let names = |channels: &[Channel]| channels.iter().map(Channel::to_string).collect::<Vec<_>>().join(", ");
    let why =
        |person| format!("{here}: {person} can never answer: the channels are {}", names(&terms.channels));
    strangers.map(why).collect()
}
