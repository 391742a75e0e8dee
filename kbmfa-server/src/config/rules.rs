//! The limits in `[login]`, the approvers in `[policy]`, and the rules `[[policy.rule]]`.

use kbmfa_proto::names::MachineName;
use std::time::Duration;

use super::channels::{self, Chat};
use crate::policy::{self, Approvers, Limits, Rule, Says, Scope, Terms};
use crate::settings::Section;
use crate::source::Range;

/// Longest time that a module waits for one server before it tries the next (docs/recipes.md, Times).
pub(super) const MODULE_SERVER_TIMEOUT: Duration = Duration::from_secs(5);

/// Shortest and longest window.
pub(super) const WINDOW: (Duration, Duration) = (Duration::from_secs(7), Duration::from_secs(900));

/// The highest limit that may be set.
const NUMBER_MAX: u64 = 1_000_000;
/// `asks_per_user_everywhere`, as a multiple of `asks_per_user`: the default, and the minimum.
const EVERYWHERE_DEFAULT: u64 = 10;
const EVERYWHERE_MIN: u64 = 4;

pub(super) fn ranges(section: &Section<'_>, key: &'static str) -> Vec<Range> {
    section.parsed_list(key).unwrap_or_default()
}

pub(super) fn limits(login: &Section<'_>) -> Limits {
    let number = |key, default| login.number(key, default, (1, NUMBER_MAX));
    let asks_per_user = number("asks_per_user", 6);
    let asks_per_user_everywhere =
        number("asks_per_user_everywhere", asks_per_user.saturating_mul(EVERYWHERE_DEFAULT).min(NUMBER_MAX));
    let least = asks_per_user.saturating_mul(EVERYWHERE_MIN).min(NUMBER_MAX);
    if asks_per_user_everywhere < least {
        let why = format!(
            "write at least {least}, {EVERYWHERE_MIN} times asks_per_user: one machine whose credential was \
             stolen can use up asks_per_user of it, and would keep a user out of every other machine"
        );
        login.fault("asks_per_user_everywhere", &why);
    }
    Limits {
        pending_per_user: number("pending_per_user", 3),
        pending_per_machine: number("pending_per_machine", 100),
        asks_per_user,
        asks_per_machine: number("asks_per_machine", 120),
        asks_per_user_everywhere,
    }
}

/// Reads one `[[policy.rule]]`. A missing key has the value of `[policy]` or `[login]`.
pub(super) fn rule(section: Section<'_>, default: &Terms, chat: &Chat, poll_grace: Duration) -> Rule {
    let scope = Scope {
        pools: section.parsed_list("pools").unwrap_or_default(),
        machines: section.parsed_list("machines").unwrap_or_default(),
        users: section.parsed_list("users").unwrap_or_default(),
        services: section.parsed_list("services").unwrap_or_default(),
        from: ranges(&section, "from"),
    };
    if scope.machines.iter().any(MachineName::is_claimed) {
        section.fault("machines", "a rule cannot name claimed machines; use users, services or from");
    }
    let window = section.duration("window", default.window, WINDOW);
    nest(&section, "window", poll_grace, window);
    let destination = section.parsed_or_none::<String>("destination").map(|text| {
        channels::destination(chat, &text).unwrap_or_else(|why| {
            section.fault("destination", &why);
            text
        })
    });
    let named = approvers(&section, chat);
    let terms = Terms {
        channels: channels::channels(&section, chat, named.as_ref(), &default.channels),
        channels_when_down: channels::channels_when_down(&section, &default.channels_when_down),
        approvers: named.unwrap_or_else(|| default.approvers.clone()),
        window,
        destination: destination.unwrap_or_else(|| default.destination.clone()),
    };
    let says = if section.flag("exempt", false) {
        exemption(&section, &scope);
        Says::Exempt
    } else {
        Says::Ask(terms)
    };
    let line = section.line();
    section.finish();
    Rule { line, scope, says }
}

/// Checks that an exemption names a source range, and machines or pools.
fn exemption(section: &Section<'_>, scope: &Scope) {
    if scope.from.is_empty() || (scope.pools.is_empty() && scope.machines.is_empty()) {
        section.fault("exempt", "an exemption needs a source range (from), and machines or pools");
    }
    for key in ["approvers", "channels", "channels_when_down", "window", "destination"] {
        if section.has(key) {
            section.fault(key, "an exemption asks nobody");
        }
    }
}

/// Checks that the times nest; otherwise a module that fails over to another server counts as gone.
pub(super) fn nest(section: &Section<'_>, key: &'static str, poll_grace: Duration, window: Duration) {
    if poll_grace <= MODULE_SERVER_TIMEOUT {
        section.fault(key, "poll_grace must be longer than the 5 s that a module spends on one server");
    }
    if poll_grace >= window {
        section
            .fault(key, &format!("poll_grace ({poll_grace:?}) must be shorter than the window ({window:?})"));
    }
}

pub(super) fn approvers(section: &Section<'_>, chat: &Chat) -> Option<Approvers> {
    let names = section.list("approvers")?;
    if let [one] = names.as_slice()
        && let Ok(word @ (Approvers::Anyone | Approvers::NotSelf)) = one.parse()
    {
        return Some(word);
    }
    if names.is_empty() {
        section.fault("approvers", "an empty list lets nobody approve; name somebody, or write \"anyone\"");
    }
    let people = names.iter().filter_map(|name| {
        name.parse().map_err(|e: policy::BadApprover| section.fault("approvers", &e.to_string())).ok()
    });
    let approvers = Approvers::List(people.collect());
    if let Some(why) = chat.as_ref().and_then(|keybase| keybase.approvers_fault(&approvers)) {
        section.fault("approvers", &why);
    }
    Some(approvers)
}
