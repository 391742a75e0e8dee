//! Text from outside, made safe to show. Nothing else may reach a terminal, a log or a chat.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest text kept, in characters; the rest is cut and marked with an ellipsis.
pub const SHOWN_MAX: usize = 400;

/// A text of at most [`SHOWN_MAX`] characters in which every control and invisible character is
/// spelled out, as `\u{1b}`. Reading one from JSON cleans it, so an unclean one cannot exist.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Shown(String);

impl Shown {
    /// Cleans `text`. Cleaning twice changes nothing more.
    pub fn new(text: &str) -> Self {
        let spelled = text
            .chars()
            .take(SHOWN_MAX + 1)
            .map(|c| if is_invisible(c) { c.escape_unicode().to_string() } else { c.to_string() });
        let mut clean: String = spelled.collect();
        if clean.chars().count() > SHOWN_MAX {
            clean = clean.chars().take(SHOWN_MAX - 1).chain(['…']).collect();
        }
        Self(clean)
    }

    /// The clean text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Shown {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<&str> for Shown {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<Shown> for String {
    fn from(text: Shown) -> Self {
        text.0
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// True for characters that draw nothing, or that change how others are drawn: controls, line and
/// paragraph separators, zero-width and bidirectional formatting, tags, private use.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_codes_and_bidi_tricks_are_spelled_out() {
        assert_eq!(Shown::new("a\u{1b}[2Jb").as_str(), "a\\u{1b}[2Jb");
        assert_eq!(Shown::new("root\u{202e}txt").as_str(), "root\\u{202e}txt");
        assert_eq!(Shown::new("Zoë 日本").as_str(), "Zoë 日本");
    }

    #[test]
    fn a_text_of_just_the_longest_length_is_kept_whole_and_one_more_is_cut() {
        let full = "x".repeat(SHOWN_MAX);
        assert_eq!(Shown::new(&full).as_str(), full);
        assert!(Shown::new(&format!("{full}x")).as_str().ends_with('…'));
    }

    proptest! {
        #[test]
        fn any_text_becomes_short_and_visible_and_cleaning_again_changes_nothing(text in "\\PC*|.{0,600}") {
            let shown = Shown::new(&text);
            prop_assert!(shown.as_str().chars().count() <= SHOWN_MAX);
            prop_assert!(!shown.as_str().chars().any(is_invisible));
            prop_assert_eq!(Shown::new(shown.as_str()), shown);
        }
    }
}
