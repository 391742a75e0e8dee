//! The channels in `[relay]` and `[policy]`: the chat, if there is one, and the channels of each rule.

use std::path::Path;

use crate::channels::keybase::{self, members::Role};
use crate::policy::{Approvers, Channel};
use crate::settings::{File, Section};

/// The chat, if there is one.
pub(super) type Chat = Option<Box<keybase::Settings>>;

/// Reads `[relay]`. If it has faults they are reported, and there is no chat.
pub(super) fn chat(file: &File<'_>, state_dir: &Path, min_role: Role) -> Chat {
    let relay = file.section("relay");
    let kind = relay.parsed("kind", Channel::Console.to_string());
    if kind.parse::<Channel>().is_err() {
        relay.fault("kind", "write \"console\" or \"keybase\"");
    }
    // The section may exist although it is not used yet. Its faults are reported anyway.
    let is_chosen = kind == Channel::Keybase.as_str();
    let is_there = is_chosen || relay.has("keybase");
    let settings = is_there.then(|| {
        let section = relay.section("keybase", "relay.keybase");
        let settings = keybase::Settings::read(&section, state_dir, min_role);
        section.finish();
        settings
    });
    relay.finish();
    settings.flatten().filter(|_| is_chosen).map(Box::new)
}

/// The default destination of asks in the chat.
pub(super) fn default_destination(chat: &Chat) -> String {
    chat.as_ref().map_or_else(|| Channel::Console.to_string(), |keybase| keybase.place.to_string())
}

/// A destination as a rule names it.
pub(super) fn destination(chat: &Chat, text: &str) -> Result<String, String> {
    match chat {
        Some(keybase) => keybase.destination(text),
        None if text == Channel::Console.as_str() => Ok(text.to_owned()),
        None => Err("without a chat there is only \"console\"".to_owned()),
    }
}

/// Reads `channels`. By default these are the `inherited` channels, and those of the approvers that the
/// section names.
pub(super) fn channels(
    section: &Section<'_>,
    chat: &Chat,
    named: Option<&Approvers>,
    inherited: &[Channel],
) -> Vec<Channel> {
    replaced_keys(section, chat);
    let Some(written) = section.parsed_list::<Channel>("channels") else {
        let mut channels = inherited.to_vec();
        channels.extend(there_are(chat).filter(|channel| names(named, *channel)));
        return sorted(channels);
    };
    if let Some(absent) = written.iter().find(|channel| !there_are(chat).any(|one| one == **channel)) {
        let why = format!("there is no {absent} here: set kind = \"{absent}\" in [relay], or remove it");
        section.fault("channels", &why);
    }
    sorted(written)
}

fn sorted(mut channels: Vec<Channel>) -> Vec<Channel> {
    channels.sort();
    channels.dedup();
    channels
}

/// Reads `channels_when_down`. Only the console can take over, because it is the chats that fail.
pub(super) fn channels_when_down(section: &Section<'_>, inherited: &[Channel]) -> Vec<Channel> {
    let Some(names) = section.list("channels_when_down") else { return inherited.to_vec() };
    if names.iter().any(|name| name != Channel::Console.as_str()) {
        section.fault("channels_when_down", "write [\"console\"], or [] if nothing takes over");
    }
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

fn there_are(chat: &Chat) -> impl Iterator<Item = Channel> {
    [Channel::Console].into_iter().chain(chat.as_ref().map(|_| Channel::Keybase))
}

fn names(approvers: Option<&Approvers>, channel: Channel) -> bool {
    matches!(approvers, Some(Approvers::List(people)) if people.iter().any(|person| person.is_in(channel)))
}

/// Reports each key that is no longer read, with what replaces it.
fn replaced_keys(section: &Section<'_>, chat: &Chat) {
    let console = |counts: bool| match (chat, counts) {
        (Some(_), true) => "write channels = [\"keybase\", \"console\"]",
        (Some(_), false) => "write channels = [\"keybase\"]",
        (None, true) => "remove it; without a chat the console is the only channel",
        (None, false) => {
            "remove it; without a chat the console is the only channel, so name approvers = [..] instead"
        }
    };
    let when_down = |takes_over: bool| {
        if takes_over { "write channels_when_down = [\"console\"]" } else { "take it out" }
    };
    section.replaced("console", console);
    section.replaced("console_when_down", when_down);
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use crate::policy::Says;

    const KEYBASE: &str = "[relay]\nkind = \"keybase\"\n[relay.keybase]\nusername = \"sshbot\"\nteam = \"acme\"\n\
                           paperkey_file = \"/etc/kbmfa/paperkey\"\n";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("server.toml"), text).map_err(|faults| faults.to_string())
    }

    /// Checks the channels of `[policy]` and of each rule, and the channels that take over.
    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let policy = parse(text).unwrap().policy;
        let ruled = policy.rules.iter().map(|rule| match &rule.says {
            Says::Ask(terms) => terms,
            Says::Exempt => panic!("{rule:?}"),
        });
        let list =
            |channels: &[Channel]| channels.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(" ");
        let found: Vec<_> = std::iter::once(&policy.default)
            .chain(ruled)
            .map(|terms| (list(&terms.channels), list(&terms.channels_when_down)))
            .collect();
        let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn by_default_people_answer_in_the_chat_or_without_one_at_the_console() {
        check("", &[("console", "")]);
        check(KEYBASE, &[("keybase", "")]);
    }

    #[test]
    fn what_a_rule_does_not_write_is_as_in_policy() {
        let policy = "[policy]\nchannels = [\"keybase\", \"console\"]\nchannels_when_down = \"console\"\n";
        let rules = "[[policy.rule]]\nusers = \"root\"\n[[policy.rule]]\nchannels = \"keybase\"\nchannels_when_down = []\n";
        let expected = [("console keybase", "console"), ("console keybase", "console"), ("keybase", "")];
        check(&format!("{policy}{rules}{KEYBASE}"), &expected);
    }

    #[test]
    fn whoever_is_named_may_answer_from_where_they_are_unless_the_section_says_where() {
        let rules = "[[policy.rule]]\napprovers = [\"console:root\", \"keybase:alice\"]\n\
                     [[policy.rule]]\napprovers = \"console:root\"\nchannels = \"keybase\"\n";
        check(&format!("{rules}{KEYBASE}"), &[("keybase", ""), ("console keybase", ""), ("keybase", "")]);
        check("[policy]\napprovers = \"keybase:alice\"", &[("console", "")]);
    }

    #[test]
    fn a_channel_that_is_not_there_is_a_fault() {
        let check = |text: &str, expected: &str| {
            let faults = parse(text).unwrap_err();
            assert!(faults.contains(expected), "{faults}");
        };
        check(
            "[policy]\nchannels = \"keybase\"",
            "there is no keybase here: set kind = \"keybase\" in [relay]",
        );
        check("[policy]\nchannels = \"pigeon\"", "there is no channel \"pigeon\"");
        check("[policy]\nchannels = []", "an empty list");
        check(
            "[policy]\nchannels_when_down = \"keybase\"",
            "write [\"console\"], or [] if nothing takes over",
        );
    }

    #[test]
    fn each_key_of_before_is_named_with_what_replaces_it() {
        let old = "[policy]\nconsole = true\nconsole_when_down = true\n[[policy.rule]]\nconsole = false\n";
        insta::assert_snapshot!(parse(&format!("{old}{KEYBASE}")).unwrap_err(), @r#"
        server.toml:2: policy.console: is no longer read: write channels = ["keybase", "console"]
        server.toml:3: policy.console_when_down: is no longer read: write channels_when_down = ["console"]
        server.toml:5: policy.rule.console: is no longer read: write channels = ["keybase"]
        "#);
        insta::assert_snapshot!(parse(&format!("{old}console_when_down = false\n")).unwrap_err(), @r#"
        server.toml:2: policy.console: is no longer read: remove it; without a chat the console is the only channel
        server.toml:3: policy.console_when_down: is no longer read: write channels_when_down = ["console"]
        server.toml:5: policy.rule.console: is no longer read: remove it; without a chat the console is the only channel, so name approvers = [..] instead
        server.toml:6: policy.rule.console_when_down: is no longer read: take it out
        "#);
    }
}
