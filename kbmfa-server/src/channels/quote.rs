//! Quotes names from outside, so that the chat does not treat them as a mention, a command or markup.

/// Quotes a text with backticks: a chat reads neither markup nor mentions between them. Escapes every
/// character that could end the quotation, or that resembles another one.
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
    // Rust's escapes begin with a backslash, which the chat would read as its own escape.
    quoted.replace("\\u{", "u{")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_quoted() {
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
        fn any_text_has_two_backticks_and_no_backslash(text in "\\PC{0,40}") {
            let quoted = code(&text);
            proptest::prop_assert_eq!(quoted.matches('`').count(), 2);
            proptest::prop_assert!(quoted.is_ascii() && !quoted.contains('\\'));
        }
    }
}
