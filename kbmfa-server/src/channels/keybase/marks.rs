//! Marks, by which messages are found again. Each message ends in its mark: the first digits of the id of the
//! ask, notice or decision that it is.

use super::client::BODY_BYTES_MAX;

/// Digits of the id in a mark.
const MARK_DIGITS: usize = 16;

/// The mark for this id. A message always ends in its mark, so that text from outside, which comes before it,
/// cannot forge one.
pub(super) fn mark(id: &str) -> String {
    format!(" `{}`", id.get(..MARK_DIGITS).unwrap_or(id))
}

/// The digits in the mark at the end of a message; `None` if it has no mark.
pub(super) fn marked_id(body: &str) -> Option<&str> {
    let (_, id) = body.strip_suffix('`')?.rsplit_once(" `")?;
    let is_id = id.len() == MARK_DIGITS && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then_some(id)
}

/// Appends the mark to a text. Cuts the text if both together are longer than Keybase accepts.
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
    fn every_message_ends_in_its_mark() {
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
