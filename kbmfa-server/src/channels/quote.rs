//! Quotes names from outside for a chat, so that none is taken for a mention, a command or markup.

/// Quoted for a chat: what is in backticks is neither markup nor a mention. Whatever could end the quotation, or look like
/// something that it is not, is spelled out.
pub fn code(text: &str) -> String {
    let plain = |c: char| (c.is_ascii_graphic() || c == ' ') && c != '`' && c != '\\';
    let mut quoted = String::from("`");
    for c in text.chars() {
        if plain(c) { quoted.push(c) } else { quoted.extend(c.escape_unicode()) }
    }
    if text.is_empty() {
        quoted.push('-');
    }
    quoted.push('`');
    // An escape begins with a backslash, which would be an escape of the chat's own.
    quoted.replace("\\u{", "u{")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_leaves_its_quotation() {
        let check = |text: &str, expected: &str| assert_eq!(code(text), expected, "{text:?}");
        check("alice", "`alice`");
        check("@here *bold*", "`@here *bold*`");
        check("a`b", "`au{60}b`");
        check("EXAMPLE\\alice", "`EXAMPLEu{5c}alice`");
        check("ends in \\", "`ends in u{5c}`");
        check("m\u{fc}ller\n", "`mu{fc}lleru{a}`");
        check("", "`-`");
    }

    proptest::proptest! {
        #[test]
        fn whatever_it_is_there_are_two_backticks_and_no_backslash(text in "\\PC{0,40}") {
            let quoted = code(&text);
            proptest::prop_assert_eq!(quoted.matches('`').count(), 2);
            proptest::prop_assert!(quoted.is_ascii() && !quoted.contains('\\'));
        }
    }
}
