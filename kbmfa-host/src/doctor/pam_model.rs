//! A model of libpam: every path through a stack, by the rules of pam.conf(5) and of libpam's dispatcher.
//!
//! A module may return any result, so a stack has many paths. The walk covers all of them, because libpam
//! keeps few states, and keeps one example for each way to end.

use std::collections::HashMap;
use std::hash::Hash;

use super::stack::{Action, Line};

/// A module's result, as far as libpam distinguishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Returned {
    Success,
    /// The password has expired. sshd does not treat this as a failure: it demands a new password and goes
    /// on.
    NewPassword,
    /// `PAM_IGNORE`
    Ignore,
    /// Any other result, by its name in a control.
    Failure(&'static str),
}

impl Returned {
    /// Its name in a control.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::NewPassword => "new_authtok_reqd",
            Self::Ignore => "ignore",
            Self::Failure(name) => name,
        }
    }
}

/// How a stack ends for the calling program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum End {
    Success,
    NewPassword,
    Failure,
}

/// One path through a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way<T> {
    pub(super) end: End,
    /// What was noted on the path.
    pub(super) noted: T,
    /// The modules that were called, by their index in the stack, and their results.
    pub(super) calls: Vec<(usize, Returned)>,
}

/// What libpam would return, by the results so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Opinion {
    None,
    Good(End),
    Bad(End),
}

/// The state of a walk. Two walks in the same state continue in the same ways.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State<T> {
    at: usize,
    opinion: Opinion,
    /// The status with which each substack was entered, outermost first.
    entered: Vec<Opinion>,
    /// The level of the line before.
    level: usize,
    noted: T,
}

/// Every path through these lines of one group: one for each combination of end and notes.
///
/// `returns` lists the results that a line's module may return; `note` updates what is noted about its call.
pub(super) fn paths<T: Copy + Eq + Hash>(
    lines: &[&Line],
    begin: T,
    returns: impl Fn(usize) -> Vec<Returned>,
    note: impl Fn(T, usize, Returned) -> T,
) -> Vec<Way<T>> {
    let first = State { at: 0, opinion: Opinion::None, entered: vec![Opinion::None], level: 0, noted: begin };
    let mut from: HashMap<State<T>, Option<(State<T>, Returned)>> = HashMap::from([(first.clone(), None)]);
    let (mut todo, mut found) = (vec![first], Vec::<Way<T>>::new());
    while let Some(mut state) = todo.pop() {
        let came = state.clone();
        let Some(line) = lines.get(state.at) else {
            let (end, noted) = (state.opinion.end(), state.noted);
            if !found.iter().any(|way| (way.end, way.noted) == (end, noted)) {
                found.push(Way { end, noted, calls: calls(&from, lines, state) });
            }
            continue;
        };
        if state.level < line.level {
            state.entered.truncate(line.level);
            state.entered.push(state.opinion);
        }
        state.level = line.level;
        let results = if line.is_substack() { vec![Returned::Ignore] } else { returns(state.at) };
        for returned in results {
            let next = if line.is_substack() {
                State { at: state.at + 1, ..state.clone() }
            } else {
                step(lines, line, &state, returned, note(state.noted, state.at, returned))
            };
            if !from.contains_key(&next) {
                from.insert(next.clone(), Some((came.clone(), returned)));
                todo.push(next);
            }
        }
    }
    found
}

/// The state after a module has returned.
fn step<T: Copy>(lines: &[&Line], line: &Line, state: &State<T>, returned: Returned, noted: T) -> State<T> {
    let mut next = State { noted, at: state.at + 1, entered: state.entered.clone(), ..*state };
    let action = line.action(returned.name());
    match action {
        Some(Action::Ignore) => {}
        Some(Action::Reset) => next.opinion = state.entered.get(line.level).copied().unwrap_or(Opinion::None),
        Some(Action::Ok | Action::Done) => {
            if matches!(state.opinion, Opinion::None | Opinion::Good(End::Success)) {
                next.opinion = Opinion::Good(returned.end());
            }
            if matches!((action, next.opinion), (Some(Action::Done), Opinion::Good(_))) {
                next.at = end_of_level(lines, state.at, line.level);
            }
        }
        // A result without an action counts as `bad`.
        Some(Action::Bad | Action::Die) | None => {
            if !matches!(state.opinion, Opinion::Bad(_)) {
                // A failure that has the code of success or of ignore counts as an unnamed failure.
                next.opinion = Opinion::Bad(returned.end());
            }
            if action == Some(Action::Die) {
                next.at = end_of_level(lines, state.at, line.level);
            }
        }
        Some(Action::Jump(count)) => {
            next.at = beyond(lines, state.at, line.level, count).unwrap_or_else(|| {
                // A jump too far: libpam goes to the end of the level and counts it as a failure.
                next.opinion = Opinion::Bad(End::Failure);
                end_of_level(lines, state.at, line.level)
            });
        }
    }
    next
}

impl Returned {
    fn end(self) -> End {
        match self {
            Self::Success => End::Success,
            Self::NewPassword => End::NewPassword,
            Self::Ignore | Self::Failure(_) => End::Failure,
        }
    }
}

impl Opinion {
    fn end(self) -> End {
        match self {
            Self::None | Self::Bad(End::Success) => End::Failure,
            Self::Good(end) | Self::Bad(end) => end,
        }
    }
}

/// The first line after the (sub)stack of line `at`.
fn end_of_level(lines: &[&Line], at: usize, level: usize) -> usize {
    let rest = lines.iter().skip(at + 1).take_while(|line| line.level >= level && level > 0);
    if level == 0 { lines.len() } else { at + 1 + rest.count() }
}

/// The line after a jump over `count` lines of this level, where a substack counts as one line. `None` if
/// there are too few lines.
fn beyond(lines: &[&Line], at: usize, level: usize, count: usize) -> Option<usize> {
    let deeper = |index: usize| lines.get(index).is_some_and(|line| line.level > level);
    let mut next = at + 1;
    for _ in 0..count {
        lines.get(next).filter(|line| line.level >= level)?;
        next += 1;
        while deeper(next) {
            next += 1;
        }
    }
    Some(next)
}

/// The calls on the path that leads to this state.
fn calls<T: Clone + Eq + Hash>(
    from: &HashMap<State<T>, Option<(State<T>, Returned)>>,
    lines: &[&Line],
    mut state: State<T>,
) -> Vec<(usize, Returned)> {
    let mut calls = Vec::new();
    while let Some(Some((before, returned))) = from.get(&state) {
        if lines.get(before.at).is_some_and(|line| !line.is_substack()) {
            calls.push((before.at, *returned));
        }
        state = before.clone();
    }
    calls.reverse();
    calls
}

#[cfg(test)]
mod tests;
