//! Shows how a change gets to the machines. One request was signed before; these need no more signatures.

use kbmfa_proto::enrolment::{Follow, MachineProgress, Progress};
use kbmfa_proto::text::SafeText;
use std::time::Duration;

use crate::Error;
use crate::print::placed_text;
use crate::session::Session;

/// How often the server is asked after a change of the keys: half a minute, as the pauses are a second.
pub(crate) const AFTER_A_CHANGE: u32 = 30;

/// How often it is asked by `status --watch`: about ten minutes.
pub(crate) const WATCHED: u32 = 300;

/// So often the pause is a second, then two: the server allows 30 requests at once, and one a second in the long run.
const QUICK: u32 = 20;

/// Most machines that are named at the end.
const NAMED_MAX: usize = 10;

/// Asks again and again how far the keys have got, and says so, until nothing waits any more, at most `times`. That the
/// server cannot be asked is no failure: the change itself was made.
pub(crate) fn follow(session: &mut Session<'_>, follow: Option<String>, times: u32) -> Result<(), Error> {
    let Some(follow) = follow.filter(|_| !session.out.json) else { return Ok(()) };
    let follow = Follow { follow };
    let (mut told, mut settled, mut last) = (None, 0, Progress { machines: vec![] });
    for n in 0..times {
        match session.server.progress(&follow) {
            Ok(progress) => last = progress,
            Err(error) => {
                let why = SafeText::new(&error.to_string());
                session.out.say(&format!("How far your keys have got is not known now: {why}"))?;
                break;
            }
        }
        let (done, all) = (count(&last, "confirmed"), last.machines.len());
        if told != Some((done, all)) {
            session.out.say(&format!("{done} of {all} machines have your keys as they are now."))?;
            told = Some((done, all));
        }
        // A machine may seem settled in the moment before the server has noticed the change.
        settled = if count(&last, "waiting") == 0 { settled + 1 } else { 0 };
        if done == all || settled == 3 {
            break;
        }
        session.pause(Duration::from_secs(if n < QUICK { 1 } else { 2 }));
    }
    name_the_others(session, &last)
}

fn count(progress: &Progress, state: &str) -> usize {
    progress.machines.iter().filter(|machine| machine.placed.state == state).count()
}

fn name_the_others(session: &mut Session<'_>, last: &Progress) -> Result<(), Error> {
    let others: Vec<&MachineProgress> =
        last.machines.iter().filter(|machine| machine.placed.state != "confirmed").collect();
    for machine in others.iter().take(NAMED_MAX) {
        session.out.say(&format!("  {}: {}", SafeText::new(&machine.name), placed_text(&machine.placed)))?;
    }
    match others.len() {
        0 => return Ok(()),
        count if count > NAMED_MAX => {
            session
                .out
                .say(&format!("  and {} more, which `kbmfa-enroll status` lists", count - NAMED_MAX))?;
        }
        _ => {}
    }
    Ok(session.out.say("The server goes on by itself; `kbmfa-enroll status --watch` shows it.")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, Room};
    use kbmfa_proto::enrolment::Placed;

    fn machine(name: &str, state: &str) -> MachineProgress {
        let since_us = (state == "unreachable").then_some(1_798_070_400_000_000);
        MachineProgress { name: name.into(), placed: Placed { state: state.into(), since_us } }
    }

    /// What is printed if the server answers with these states, one after the other, and how often it was asked.
    fn printed(answers: &[&[(&str, &str)]], times: u32) -> (String, usize) {
        let answers =
            answers.iter().map(|all| all.iter().map(|(name, state)| machine(name, state)).collect());
        let room = Room::new(Fake::default());
        room.server.progress_is(answers.collect());
        let (done, printed) = room.run(&[], |session| follow(session, Some("f".into()), times));
        done.unwrap();
        (printed, room.server.progress_asked())
    }

    #[test]
    fn each_step_is_told_once_until_all_machines_have_the_keys() {
        let (none, one) = ([("a", "waiting"), ("b", "waiting")], [("a", "confirmed"), ("b", "waiting")]);
        let all = [("a", "confirmed"), ("b", "confirmed")];
        let (text, asked) = printed(&[&none, &none, &one, &one, &all, &none], 30);
        let told = [
            "0 of 2 machines have your keys as they are now.",
            "1 of 2 machines have your keys as they are now.",
            "2 of 2 machines have your keys as they are now.",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), told);
        assert_eq!(asked, 5);
    }

    #[test]
    fn machines_that_cannot_be_given_the_keys_are_named_and_not_waited_for() {
        let down: &[(&str, &str)] =
            &[("a", "confirmed"), ("b", "unreachable"), ("c", "failing"), ("d", "left-out")];
        let (text, asked) = printed(&[down], 30);
        let told = [
            "1 of 4 machines have your keys as they are now.",
            "  b: cannot be reached since 2026-12-24 00:00Z; it gets your keys when it can",
            "  c: cannot be given your keys; your administrator sees why",
            "  d: was not given your keys; ask your administrator why",
            "The server goes on by itself; `kbmfa-enroll status --watch` shows it.",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), told);
        assert_eq!(asked, 3);
    }

    #[test]
    fn the_server_is_asked_a_limited_number_of_times_and_not_at_all_by_a_script() {
        let (text, asked) = printed(&[&[("a", "waiting")]], 7);
        assert!(asked == 7 && text.contains("a: does not have your keys"), "{asked} {text}");
        let room = Room::new(Fake::default());
        room.as_json(&[], |session| follow(session, Some("f".into()), 7)).0.unwrap();
        room.run(&[], |session| follow(session, None, 7)).0.unwrap();
        assert_eq!(room.server.progress_asked(), 0);
    }
}
