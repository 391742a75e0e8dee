//! What the reactions on a message amount to, given who is who. Pure.

use std::collections::BTreeSet;

use super::members::{Member, Role};
use crate::channels::{Answer, LiveAnswer};
use crate::policy::Approver;

/// What people click, and the bot puts on each ask.
pub(super) const BUTTONS: [&str; 2] = ["Approve", "Deny"];

/// What a person does to answer.
pub(super) const HOW_TO_ANSWER: &str = "click Approve or Deny below, or react with :+1: or :-1:";

/// Reads a reaction. The list of yes is closed, for an emoji that a team has made may look like any; a no may be said in
/// more ways, for the worst that it can do is to refuse (docs/decisions/0007).
pub(super) fn answer(reaction: &str) -> Option<Answer> {
    match without_skin_tone(reaction) {
        "Approve" | ":white_check_mark:" | ":+1:" => Some(Answer::Approve),
        "Deny"
        | ":-1:"
        | ":thumbsdown:"
        | ":x:"
        | ":no_entry:"
        | ":no_entry_sign:"
        | ":negative_squared_cross_mark:" => Some(Answer::Deny),
        _ => None,
    }
}

/// Whether a person who reacts so believes that they have approved, and have not.
fn looks_like_a_yes(reaction: &str) -> bool {
    let emoji = [":thumbsup:", ":ok:", ":ok_hand:", ":heavy_check_mark:", ":ballot_box_with_check:"];
    let words = ["approve", "approved", "yes", "ok", "okay"];
    let reaction = without_skin_tone(reaction);
    let word = reaction.trim_matches(|c: char| c == ':' || c.is_whitespace()).to_ascii_lowercase();
    answer(reaction).is_none() && (emoji.contains(&reaction) || words.contains(&word.as_str()))
}

/// `:+1::skin-tone-3:` is `:+1:`.
fn without_skin_tone(reaction: &str) -> &str {
    let Some((emoji, tone)) = reaction.split_once(":skin-tone-") else { return reaction };
    if matches!(tone, "1:" | "2:" | "3:" | "4:" | "5:" | "6:") { emoji } else { reaction }
}

/// Who may answer in a conversation.
pub(super) enum Electorate<'a> {
    /// Members of its team, from this role on.
    Team(&'a [Member], Role),
    /// This one user, by name and uid, as long as they are in it by that uid.
    User(&'a Member, &'a [Member]),
}

/// What stands on a message. The bot's own reactions are no answers.
pub(super) fn live_answers<'a>(
    reactions: impl Iterator<Item = (&'a str, &'a str)>,
    electorate: &Electorate<'_>,
    bot: &str,
) -> Vec<LiveAnswer> {
    let answers = reactions.filter_map(|(said, by)| Some((answer(said)?, by))).filter(|(_, by)| *by != bot);
    answers
        .filter_map(|(answer, by)| {
            let name = by.parse().ok()?;
            Some(LiveAnswer {
                person: Approver::keybase(&name),
                answer,
                rejection: electorate.rejection_reason(by),
            })
        })
        .collect()
}

/// People who may answer and have reacted with something that looks like a yes, but gave no answer.
pub(super) fn unclear<'a>(
    reactions: impl Iterator<Item = (&'a str, &'a str)>,
    electorate: &Electorate<'_>,
    bot: &str,
) -> Vec<Approver> {
    let (mut unclear, mut answered) = (BTreeSet::new(), BTreeSet::new());
    for (said, by) in reactions.filter(|(_, by)| *by != bot) {
        if answer(said).is_some() {
            answered.insert(by);
        } else if looks_like_a_yes(said) && electorate.rejection_reason(by).is_none() {
            unclear.insert(by);
        }
    }
    unclear.difference(&answered).filter_map(|by| Some(Approver::keybase(&by.parse().ok()?))).collect()
}

impl Electorate<'_> {
    fn rejection_reason(&self, by: &str) -> Option<String> {
        let stranger = || Some("only members of the team may answer".to_owned());
        match self {
            Self::Team(members, min_role) => {
                let member = members.iter().find(|member| member.name.as_str() == by);
                member.map_or_else(stranger, |member| member.rejection_reason(*min_role))
            }
            Self::User(user, present) => {
                let is_it = user.name.as_str() == by
                    && present.iter().any(|member| member.name == user.name && member.uid == user.uid);
                if is_it {
                    user.rejection_reason(Role::Reader)
                } else {
                    Some("only the user who is asked may answer".to_owned())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::members::MemberKind;
    use super::*;

    #[test]
    fn the_list_of_answers_is_closed() {
        let check = |reaction: &str, expected| assert_eq!(answer(reaction), expected, "{reaction}");
        for reaction in ["Approve", ":white_check_mark:", ":+1:", ":+1::skin-tone-6:"] {
            check(reaction, Some(Answer::Approve));
        }
        for reaction in
            ["Deny", ":no_entry_sign:", ":no_entry:", ":x:", ":thumbsdown:", ":-1:", ":-1::skin-tone-1:"]
        {
            check(reaction, Some(Answer::Deny));
        }
        for reaction in [
            "approve",
            "Approve ",
            ":approve:",
            ":thumbsup:",
            ":heavy_check_mark:",
            ":+1::skin-tone-7:",
            "",
            ":+1",
            "1",
        ] {
            check(reaction, None);
        }
    }

    #[test]
    fn a_reaction_that_only_looks_like_a_yes_is_asked_back_about_and_talk_is_not() {
        for reaction in
            [":thumbsup:", ":thumbsup::skin-tone-2:", "approve", "APPROVE", "yes", ":ok:", "Approve "]
        {
            assert!(looks_like_a_yes(reaction), "{reaction}");
        }
        for reaction in ["Approve", ":+1:", "Deny", ":x:", ":eyes:", ":tada:", "", ":approver:"] {
            assert!(!looks_like_a_yes(reaction), "{reaction}");
        }
        let writer = MemberKind::Person(Role::Writer);
        let members = [member("alice", writer), member("bob", writer), member("sshbot", MemberKind::Bot)];
        let reactions = [
            (":thumbsup:", "alice"),
            ("yes", "alice"),
            (":thumbsup:", "bob"),
            ("Deny", "bob"),
            ("yes", "mallory"),
            ("yes", "sshbot"),
        ];
        let unclear = unclear(reactions.into_iter(), &Electorate::Team(&members, Role::Writer), "sshbot");
        assert_eq!(unclear, ["keybase:alice".parse().unwrap()], "bob has answered, and mallory may not");
    }

    fn member(name: &str, kind: MemberKind) -> Member {
        Member { name: name.parse().unwrap(), uid: format!("uid of {name}"), kind }
    }

    fn told(live: &[LiveAnswer]) -> Vec<String> {
        let told = |one: &LiveAnswer| {
            format!("{} {} {}", one.person, one.answer.as_str(), one.rejection.as_deref().unwrap_or("counts"))
        };
        live.iter().map(told).collect()
    }

    #[test]
    fn in_a_team_members_of_the_role_count_and_strangers_and_the_bot_do_not() {
        use MemberKind::{Bot, Keyless, Person};
        let members = [
            member("alice", Person(Role::Owner)),
            member("bob", Person(Role::Writer)),
            member("carol", Person(Role::Reader)),
            member("dave", Keyless),
            member("sshbot", Bot),
            member("other", Bot),
        ];
        let reactions = [
            ("Approve", "sshbot"),
            ("Deny", "sshbot"),
            (":+1:", "bob"),
            ("Deny", "alice"),
            ("Approve", "carol"),
            ("Approve", "dave"),
            ("Approve", "mallory"),
            ("Approve", "other"),
            (":tada:", "alice"),
        ];
        let electorate = Electorate::Team(&members, Role::Writer);
        let live = live_answers(reactions.into_iter(), &electorate, "sshbot");
        insta::assert_snapshot!(told(&live).join("\n"), @r"
        keybase:bob approve counts
        keybase:alice deny counts
        keybase:carol approve a reader may not answer here; that takes a writer
        keybase:dave approve this account was reset, or has no keys yet
        keybase:mallory approve only members of the team may answer
        keybase:other approve bots may not answer
        ");
    }

    #[test]
    fn in_a_private_chat_only_the_pinned_user_counts() {
        let alice = member("alice", MemberKind::Person(Role::Owner));
        let impostor = Member { uid: "another".into(), ..alice.clone() };
        let count = |present: &[Member], by: &'static str| {
            live_answers([("Approve", by)].into_iter(), &Electorate::User(&alice, present), "sshbot")
                .iter()
                .filter(|one| one.rejection.is_none())
                .count()
        };
        assert_eq!(count(std::slice::from_ref(&alice), "alice"), 1);
        assert_eq!(count(&[impostor], "alice"), 0);
        assert_eq!(count(std::slice::from_ref(&alice), "mallory"), 0);
        assert_eq!(count(&[], "alice"), 0);
    }
}
