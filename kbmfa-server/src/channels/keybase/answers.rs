//! Decides which reactions on a message are answers, by the list of members. Pure.

use std::collections::BTreeSet;

use super::members::{Member, Role};
use crate::channels::{Answer, LiveAnswer};
use crate::policy::Approver;

/// The reactions that the bot adds to each ask, for people to click.
pub(super) const BUTTONS: [&str; 2] = ["Approve", "Deny"];

/// How a person answers, as the end of a sentence.
pub(super) const HOW_TO_ANSWER: &str = "click Approve or Deny below, or react with :+1: or :-1:";

/// Reads a reaction. Few reactions approve, because a team's custom emoji may look like any other one. More
/// reactions deny, because a mistaken one only refuses the login (docs/decisions/0007).
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

/// True if a reaction does not approve, but its author probably believes that it does.
fn resembles_approval(reaction: &str) -> bool {
    let emoji = [":thumbsup:", ":ok:", ":ok_hand:", ":heavy_check_mark:", ":ballot_box_with_check:"];
    let words = ["approve", "approved", "yes", "ok", "okay"];
    let reaction = without_skin_tone(reaction);
    let word = reaction.trim_matches(|c: char| c == ':' || c.is_whitespace()).to_ascii_lowercase();
    answer(reaction).is_none() && (emoji.contains(&reaction) || words.contains(&word.as_str()))
}

/// Removes a skin tone: `:+1::skin-tone-3:` becomes `:+1:`.
fn without_skin_tone(reaction: &str) -> &str {
    let Some((emoji, tone)) = reaction.split_once(":skin-tone-") else { return reaction };
    if matches!(tone, "1:" | "2:" | "3:" | "4:" | "5:" | "6:") { emoji } else { reaction }
}

/// The people who may answer in a conversation.
pub(super) enum Eligible<'a> {
    /// Members of its team with at least this role.
    Team(&'a [Member], Role),
    /// One user, if the list of people in the chat has the same name with the same uid.
    User(&'a Member, &'a [Member]),
}

/// The answers on a message. The bot's own reactions are not answers.
pub(super) fn live_answers<'a>(
    reactions: impl Iterator<Item = (&'a str, &'a str)>,
    eligible: &Eligible<'_>,
    bot: &str,
) -> Vec<LiveAnswer> {
    let answers = reactions.filter_map(|(text, by)| Some((answer(text)?, by))).filter(|(_, by)| *by != bot);
    answers
        .filter_map(|(answer, by)| {
            let name = by.parse().ok()?;
            Some(LiveAnswer {
                person: Approver::keybase(&name),
                answer,
                rejection: eligible.rejection_reason(by),
            })
        })
        .collect()
}

/// People who may answer, whose reaction resembles an approval, and who gave no answer.
pub(super) fn unclear<'a>(
    reactions: impl Iterator<Item = (&'a str, &'a str)>,
    eligible: &Eligible<'_>,
    bot: &str,
) -> Vec<Approver> {
    let (mut unclear, mut answered) = (BTreeSet::new(), BTreeSet::new());
    for (text, by) in reactions.filter(|(_, by)| *by != bot) {
        if answer(text).is_some() {
            answered.insert(by);
        } else if resembles_approval(text) && eligible.rejection_reason(by).is_none() {
            unclear.insert(by);
        }
    }
    unclear.difference(&answered).filter_map(|by| Some(Approver::keybase(&by.parse().ok()?))).collect()
}

impl Eligible<'_> {
    fn rejection_reason(&self, by: &str) -> Option<String> {
        let not_member = || Some("only members of the team may answer".to_owned());
        match self {
            Self::Team(members, min_role) => {
                let member = members.iter().find(|member| member.name.as_str() == by);
                member.map_or_else(not_member, |member| member.rejection_reason(*min_role))
            }
            Self::User(user, present) => {
                let is_asked_user = user.name.as_str() == by
                    && present.iter().any(|member| member.name == user.name && member.uid == user.uid);
                if is_asked_user {
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
    fn only_listed_reactions_are_answers() {
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
    fn a_reaction_that_resembles_an_approval_is_unclear_and_any_other_is_ignored() {
        for reaction in
            [":thumbsup:", ":thumbsup::skin-tone-2:", "approve", "APPROVE", "yes", ":ok:", "Approve "]
        {
            assert!(resembles_approval(reaction), "{reaction}");
        }
        for reaction in ["Approve", ":+1:", "Deny", ":x:", ":eyes:", ":tada:", "", ":approver:"] {
            assert!(!resembles_approval(reaction), "{reaction}");
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
        let unclear = unclear(reactions.into_iter(), &Eligible::Team(&members, Role::Writer), "sshbot");
        assert_eq!(unclear, ["keybase:alice".parse().unwrap()], "bob has answered, and mallory may not");
    }

    fn member(name: &str, kind: MemberKind) -> Member {
        Member { name: name.parse().unwrap(), uid: format!("uid of {name}"), kind }
    }

    fn rows(live: &[LiveAnswer]) -> Vec<String> {
        let row = |one: &LiveAnswer| {
            format!("{} {} {}", one.person, one.answer.as_str(), one.rejection.as_deref().unwrap_or("counts"))
        };
        live.iter().map(row).collect()
    }

    #[test]
    fn in_a_team_only_members_with_the_role_count() {
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
        let eligible = Eligible::Team(&members, Role::Writer);
        let live = live_answers(reactions.into_iter(), &eligible, "sshbot");
        insta::assert_snapshot!(rows(&live).join("\n"), @r"
        keybase:bob approve counts
        keybase:alice deny counts
        keybase:carol approve a reader may not answer here; the role writer is required
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
            live_answers([("Approve", by)].into_iter(), &Eligible::User(&alice, present), "sshbot")
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
