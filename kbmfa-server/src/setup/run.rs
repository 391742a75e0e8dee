//! Carries a plan out over a connection. A change of sshd stays only after another connection has worked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Wanted;
use super::plan::{notes, plan};
use super::report::Report;
use super::step::{Done, Step};
use crate::deliveries::failure::{Failure, Kind};
use crate::provision::transport::Conversation;
use crate::provision::wire::request;

/// What is to be done, and what the operator should know.
#[derive(Debug)]
pub struct Looked {
    /// In order; empty if everything is there.
    pub steps: Vec<Step>,
    /// Sentences.
    pub notes: Vec<String>,
}

/// Asks a machine what it has, and plans.
///
/// # Errors
/// [`Failure`], also if a person has to do something first.
pub fn look(conversation: &mut impl Conversation, wanted: &Wanted) -> Result<Looked, Failure> {
    let line = STANDARD.encode(format!("{}\n", wanted.key_line));
    let body = format!("{} {} {line}\n", wanted.admin, wanted.source);
    let lines = conversation.ask(&request("probe", &body))?;
    let report = Report::read(&lines)
        .map_err(|why| Failure::new(Kind::Script, format!("the machine's report: {why}")))?;
    match plan(wanted, &report) {
        Ok(steps) => Ok(Looked { steps, notes: notes(wanted, &report) }),
        Err(obstacles) => Err(Failure::new(
            Kind::Script,
            format!("nothing was changed; do this on the machine first:\n  {}", obstacles.join("\n  ")),
        )),
    }
}

/// Carries out one step.
fn carry_out(
    conversation: &mut impl Conversation,
    wanted: &Wanted,
    step: &Step,
    told: &mut dyn FnMut(&Step, &Done) -> Result<(), Failure>,
) -> Result<Done, Failure> {
    let lines = conversation.ask(&step.request(wanted))?;
    let done = Done::read(&lines)
        .ok_or_else(|| Failure::new(Kind::Script, "the machine's reply to a step is not understood"))?;
    told(step, &done)?;
    match &done {
        Done::Failed(word, _) => {
            let words = step.words(wanted);
            let words = words.lines().next().unwrap_or_default().trim_end_matches(':');
            Err(Failure::new(Failure::of_step(word), format!("could not {words}: {done}")))
        }
        _ => Ok(done),
    }
}

/// Carries out the steps, and returns those that changed something. `told` gets each as it ends; `check` connects anew,
/// as the server will from then on, and is run before a change of sshd is confirmed, and in any case once.
///
/// # Errors
/// [`Failure`]. What sshd reads is then as it was before, or will be when the machine's own timer ends.
pub fn run(
    conversation: &mut impl Conversation,
    wanted: &Wanted,
    mut steps: Vec<Step>,
    told: &mut dyn FnMut(&Step, &Done) -> Result<(), Failure>,
    check: &dyn Fn() -> Result<(), Failure>,
) -> Result<Vec<Step>, Failure> {
    while steps.first() == Some(&Step::Undo) {
        carry_out(conversation, wanted, &Step::Undo, told)?;
        steps = look(conversation, wanted)?.steps;
    }
    let (mut changed, mut is_armed, mut is_checked) = (Vec::new(), false, false);
    let work = || -> Result<(), Failure> {
        for step in steps {
            if step == Step::Confirm {
                conversation.ask(&request("release", ""))?;
                check()?;
                is_checked = true;
            }
            // From now on, also if the reply is lost.
            is_armed |= step == Step::Arm;
            let done = carry_out(conversation, wanted, &step, told)?;
            is_armed &= step != Step::Confirm;
            if done == Done::Changed {
                changed.push(step);
            }
        }
        if !is_checked {
            conversation.ask(&request("release", ""))?;
            check()?;
        }
        Ok(())
    };
    let Err(mut failure) = work() else { return Ok(changed) };
    if is_armed {
        let undone = conversation.ask(&Step::Undo.request(wanted));
        let undone = undone.ok().and_then(|lines| Done::read(&lines));
        failure.detail += match undone {
            Some(Done::Changed) => "; sshd has its old files again",
            _ => "; the machine puts sshd's files back when its timer ends",
        };
    }
    Err(failure)
}
