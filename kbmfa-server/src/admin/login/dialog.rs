//! The keyboard dialog of `login watch` at a terminal: from input to action. Pure.
//!
//! An answer always applies to the login that the screen named before the answer was confirmed. A login that
//! appears or ends meanwhile never replaces it.

use kbmfa_proto::names::LoginId;

use crate::channels::Answer;

/// A login that waits, as the dialog names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) id: LoginId,
    /// Its description, such as `alice on web1 from 192.0.2.7`.
    pub(super) what: String,
}

/// The state of the dialog.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Dialog {
    /// No question is open.
    #[default]
    Idle,
    /// Asks which of several logins is meant.
    Choosing(Answer, Vec<Waiting>),
    /// Asks for a confirmation.
    Confirming(Answer, Waiting),
    /// Asks for the reason, if one is required.
    Explaining(Answer, Waiting),
}

/// What the dialog does after a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Print this.
    Say(String),
    /// Answer this login, with this reason.
    Decide(Answer, LoginId, Option<String>),
    /// End the watch.
    Quit,
}

const HELP: &str = "a  approve a login that waits        d  deny one
?  show this                         q  quit
`a 3f9a2c1e` names the login directly; Enter alone cancels a question.";

impl Dialog {
    /// The question that is open, and how to close it.
    pub(super) fn question(&self) -> Option<String> {
        match self {
            Self::Idle => None,
            Self::Choosing(answer, waiting) => {
                let lines = waiting
                    .iter()
                    .enumerate()
                    .map(|(n, one)| format!("  {}  {}  {}\n", n + 1, one.id.short(), one.what));
                Some(format!("{}which one?\n{}number: ", verb(*answer), lines.collect::<String>()))
            }
            Self::Confirming(answer, one) => {
                Some(format!("{}{} ({})? y/n: ", verb(*answer), one.id.short(), one.what))
            }
            Self::Explaining(answer, one) => Some(format!("{}{}: why? ", verb(*answer), one.id.short())),
        }
    }

    /// Handles a typed line. `waiting` are the logins that wait; `needs_reason` says whether an answer needs
    /// a reason.
    pub(super) fn take(&mut self, line: &str, waiting: &[Waiting], needs_reason: bool) -> Step {
        let line = line.trim();
        match std::mem::take(self) {
            Self::Idle => self.begin(line, waiting),
            _ if line.is_empty() => Step::Say("left".into()),
            Self::Choosing(answer, listed) => {
                let chosen = line.parse::<usize>().ok().and_then(|number| listed.get(number.checked_sub(1)?));
                match chosen {
                    Some(one) => self.confirm(answer, one.clone()),
                    None => Step::Say(format!("{line:?} is none of these numbers")),
                }
            }
            Self::Confirming(answer, one) => match line {
                "y" | "yes" if needs_reason => {
                    *self = Self::Explaining(answer, one);
                    Step::Say(String::new())
                }
                "y" | "yes" => Step::Decide(answer, one.id, None),
                _ => Step::Say("left".into()),
            },
            Self::Explaining(answer, one) => Step::Decide(answer, one.id, Some(line.to_owned())),
        }
    }

    fn begin(&mut self, line: &str, waiting: &[Waiting]) -> Step {
        let (command, id) = line.split_once(' ').unwrap_or((line, ""));
        let answer = match command {
            "a" | "approve" => Answer::Approve,
            "d" | "deny" => Answer::Deny,
            "q" | "quit" => return Step::Quit,
            "" => return Step::Say(String::new()),
            _ => return Step::Say(HELP.into()),
        };
        let named: Vec<_> =
            waiting.iter().filter(|one| one.id.as_str().starts_with(id.trim())).cloned().collect();
        match <[Waiting; 1]>::try_from(named) {
            Ok([one]) => self.confirm(answer, one),
            Err(named) if named.is_empty() && id.is_empty() => Step::Say("no login waits".into()),
            Err(named) if named.is_empty() => {
                Step::Say(format!("no login that waits begins with {:?}", id.trim()))
            }
            Err(named) => {
                *self = Self::Choosing(answer, named);
                Step::Say(String::new())
            }
        }
    }

    fn confirm(&mut self, answer: Answer, one: Waiting) -> Step {
        *self = Self::Confirming(answer, one);
        Step::Say(String::new())
    }
}

fn verb(answer: Answer) -> &'static str {
    match answer {
        Answer::Approve => "approve ",
        Answer::Deny => "deny ",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(n: u8) -> Waiting {
        Waiting { id: LoginId::from_random([n; 16]), what: format!("user{n} on web1") }
    }

    fn talk(lines: &[&str], waiting: &[Waiting], needs_reason: bool) -> Step {
        let mut dialog = Dialog::default();
        let steps: Vec<_> = lines.iter().map(|line| dialog.take(line, waiting, needs_reason)).collect();
        steps.last().unwrap().clone()
    }

    #[test]
    fn an_answer_needs_the_login_to_be_named_and_confirmed() {
        let one = [login(1)];
        let mut dialog = Dialog::default();
        dialog.take("a", &one, false);
        assert_eq!(dialog.question().unwrap(), "approve 01010101 (user1 on web1)? y/n: ");
        assert_eq!(dialog.take("y", &one, false), Step::Decide(Answer::Approve, login(1).id, None));
        assert_eq!(talk(&["a", "n"], &one, false), Step::Say("left".into()));
        assert_eq!(talk(&["a", ""], &one, false), Step::Say("left".into()));
    }

    #[test]
    fn a_login_that_comes_while_another_is_confirmed_does_not_take_its_place() {
        let mut dialog = Dialog::default();
        dialog.take("a", &[login(1)], false);
        assert_eq!(dialog.take("y", &[login(2)], false), Step::Decide(Answer::Approve, login(1).id, None));
    }

    #[test]
    fn a_number_means_what_was_listed_when_it_was_asked_for() {
        let two = [login(1), login(2)];
        let mut dialog = Dialog::default();
        dialog.take("d", &two, false);
        insta::assert_snapshot!(dialog.question().unwrap(), @r"
        deny which one?
          1  01010101  user1 on web1
          2  02020202  user2 on web1
        number:
        ");
        dialog.take("2", &[login(3), login(4)], false);
        assert_eq!(dialog.take("yes", &[], false), Step::Decide(Answer::Deny, login(2).id, None));
        assert!(matches!(talk(&["d", "0"], &two, false), Step::Say(text) if text.contains("none of these")));
    }

    #[test]
    fn a_reason_is_asked_for_where_one_is_needed() {
        let one = [login(1)];
        let decided = Step::Decide(Answer::Deny, login(1).id, Some("not today".into()));
        assert_eq!(talk(&["d 0101", "y", " not today "], &one, true), decided);
        assert_eq!(talk(&["d 0101", "y", ""], &one, true), Step::Say("left".into()));
    }

    #[test]
    fn anything_else_explains_and_decides_nothing() {
        for line in ["?", "help", "yes", "aa", "approve-all"] {
            assert_eq!(talk(&[line], &[login(1)], false), Step::Say(HELP.into()), "{line}");
        }
        assert_eq!(talk(&["a"], &[], false), Step::Say("no login waits".into()));
        assert!(
            matches!(talk(&["a ff"], &[login(1)], false), Step::Say(text) if text.contains("begins with"))
        );
        assert_eq!(talk(&["q"], &[], false), Step::Quit);
    }
}
