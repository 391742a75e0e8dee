//! How a message is known again: each ends in the beginning of the id that it is about.

use super::client::BODY_BYTES_MAX;

/// Digits of an id that stand at the end of its message, and of no other.
const MARK_DIGITS: usize = 16;

/// How a message ends that is about this id. Whatever else a message says stands before it, so that no text from outside
/// can be taken for it.
pub(super) fn mark(id: &str) -> String {
    format!(" `{}`", id.get(..MARK_DIGITS).unwrap_or(id))
}

/// What stands in the mark at the end of a message.
pub(super) fn marked_id(body: &str) -> Option<&str> {
    let (_, id) = body.strip_suffix('`')?.rsplit_once(" `")?;
    let is_id = id.len() == MARK_DIGITS && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then_some(id)
}

/// A text with the mark by which it is found again; the text is cut if both are longer than the server takes.
pub(super) fn marked(text: &str, id: &str) -> String {
    let mark = mark(id);
    let room = BODY_BYTES_MAX.saturating_sub(mark.len()).min(text.len());
    let cut = (0..=room).rev().find_map(|end| text.get(..end)).unwrap_or_default();
    format!("{cut}{mark}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_in_its_mark_whatever_it_says() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(marked("Login", id), "Login `0123456789abcdef`");
        let long = marked(&"\u{e9}".repeat(BODY_BYTES_MAX), id);
        assert!(long.len() <= BODY_BYTES_MAX && long.ends_with(&mark(id)));
        let other = marked("somebody is called `0123456789abcdef`", "fedcba9876543210fedcba9876543210");
        assert!(!other.ends_with(&mark(id)));
        assert_eq!(marked_id(&marked("Login", id)), Some("0123456789abcdef"));
        assert_eq!(marked_id("Login `0123456789abcdef` "), None);
        assert_eq!(marked_id("Login `0123456789abcdeg`"), None);
    }
}
