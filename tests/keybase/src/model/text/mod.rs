//! What the sender's client recognises in a text before it posts it: commands, payments, mentions, reactions.

pub(crate) mod code;
pub(crate) mod mentions;
pub(crate) mod payment;

/// The built-in commands. A text that begins with a slash and one of these is a command, whatever follows.
const COMMANDS: [&str; 15] = [
    "me",
    "flip",
    "giphy",
    "headline",
    "hide",
    "unhide",
    "mute",
    "msg",
    "dm",
    "join",
    "leave",
    "shrug",
    "collapse",
    "expand",
    "add-emoji",
];

/// The command that a text runs instead of being posted.
pub(crate) fn command(body: &str) -> Option<&'static str> {
    let rest = body.strip_prefix('/')?;
    COMMANDS.into_iter().find(|command| rest.starts_with(command))
}

/// The reaction in a text such as `+:+1:`, which goes to the latest message.
pub(crate) fn quick_reaction(body: &str) -> Option<&str> {
    let reaction = body.trim().strip_prefix('+')?;
    let name = reaction.strip_prefix(':')?.strip_suffix(':')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "+-_:".contains(c);
    (!name.is_empty() && name.chars().all(is_name)).then_some(reaction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_match_by_prefix() {
        assert_eq!(command("/me waves"), Some("me"));
        assert_eq!(command("/memory low"), Some("me"));
        assert_eq!(command("/metrics"), Some("me"));
        assert_eq!(command("/add-emoji x"), Some("add-emoji"));
        assert_eq!(command("/etc/passwd"), None);
        assert_eq!(command(" /me waves"), None);
        assert_eq!(command("me"), None);
    }

    #[test]
    fn quick_reactions_are_whole_texts() {
        assert_eq!(quick_reaction("+:+1:"), Some(":+1:"));
        assert_eq!(quick_reaction("+:+1::skin-tone-2:"), Some(":+1::skin-tone-2:"));
        assert_eq!(quick_reaction("+:+1: indeed"), None);
        assert_eq!(quick_reaction(":+1:"), None);
        assert_eq!(quick_reaction("+::"), None);
    }
}
