//! Removes code from a text. Names in backticks or fences are not mentioned and not paid.

/// Replaces removed code. No mention and no payment begins after it.
const MARK: char = '$';

/// The text without its code. Code in a fence may span lines, code in single backticks may not. A backtick
/// that is never closed is an ordinary character.
pub(crate) fn without_code(text: &str) -> String {
    let (mut kept, mut rest) = (String::new(), text);
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = after_code(rest) {
            kept.push(MARK);
            rest = after;
        } else {
            kept.push(letter);
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        }
    }
    kept
}

/// The text after the code at its beginning; `None` if it does not begin with code.
fn after_code(text: &str) -> Option<&str> {
    let fence = || Some(text.strip_prefix("```")?.split_once("```")?.1);
    fence().or_else(|| {
        let (code, after) = text.strip_prefix('`')?.split_once('`')?;
        (!code.contains('\n')).then_some(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_taken_out() {
        assert_eq!(without_code("a `b` c"), "a $ c");
        assert_eq!(without_code("a ```b\nc``` d"), "a $ d");
        assert_eq!(without_code("a `b\nc` d"), "a `b\nc` d");
        assert_eq!(without_code("a ` b"), "a ` b");
    }
}
