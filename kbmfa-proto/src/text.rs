//! Text from outside, made safe to display. No other text from outside may reach a terminal, a log or a chat.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest text kept, in characters; the rest is cut and marked with an ellipsis.
pub const SAFE_TEXT_MAX: usize = 400;

/// A text of at most [`SAFE_TEXT_MAX`] characters without control or invisible characters: each is spelled
/// out, as `\u{1b}`. Reading one from JSON cleans it, so an unclean one cannot exist.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct SafeText(String);

impl SafeText {
    /// Cleans `text`. Idempotent.
    pub fn new(text: &str) -> Self {
        let spelled = text
            .chars()
            .take(SAFE_TEXT_MAX + 1)
            .map(|c| if is_invisible(c) { c.escape_unicode().to_string() } else { c.to_string() });
        let mut clean: String = spelled.collect();
        if clean.chars().count() > SAFE_TEXT_MAX {
            clean = clean.chars().take(SAFE_TEXT_MAX - 1).chain(['…']).collect();
        }
        Self(clean)
    }

    /// The clean text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for SafeText {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<&str> for SafeText {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<SafeText> for String {
    fn from(text: SafeText) -> Self {
        text.0
    }
}

impl fmt::Display for SafeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// True for characters that are invisible, that look like a blank, or that change how others are displayed.
/// In Unicode's terms: controls, formatting, private use, every separator but the ASCII space, the property
/// `Default_Ignorable_Code_Point`, and two symbols that are displayed as nothing. Characters beyond plane 3
/// count as invisible.
///
/// The list is our own because Unicode's tables (41 kB) are larger than the rest of the module's text code. A
/// test compares it with those tables for every code point, so that a new version of Unicode fails the build
/// if the list lacks a character.
pub fn is_invisible(c: char) -> bool {
    if (' '..='~').contains(&c) {
        return false;
    }
    INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// The ranges of [`is_invisible`], both ends included.
const INVISIBLE: &[(char, char)] = &[
    ('\0', '\u{1f}'),
    ('\u{7f}', '\u{a0}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{2000}', '\u{200f}'),
    ('\u{2028}', '\u{202f}'),
    ('\u{205f}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'), // the Braille pattern without a dot
    ('\u{3000}', '\u{3000}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{e000}', '\u{f8ff}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d159}', '\u{1d159}'), // the musical note without a head
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{40000}', char::MAX),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_codes_and_bidi_tricks_are_spelled_out() {
        assert_eq!(SafeText::new("a\u{1b}[2Jb").as_str(), "a\\u{1b}[2Jb");
        assert_eq!(SafeText::new("root\u{202e}txt").as_str(), "root\\u{202e}txt");
        assert_eq!(SafeText::new("Zoë 日本").as_str(), "Zoë 日本");
    }

    #[test]
    fn invisible_characters_are_spelled_out() {
        let hidden = [
            '\u{34f}',
            '\u{fe00}',
            '\u{fe0f}',
            '\u{17b4}',
            '\u{180b}',
            '\u{2800}',
            '\u{1d173}',
            '\u{1bca0}',
            '\u{13430}',
            '\u{a0}',
            '\u{1680}',
            '\u{2003}',
            '\u{202f}',
            '\u{205f}',
            '\u{3000}',
            '\u{200b}',
            '\u{ad}',
            '\u{e0041}',
            '\u{f0000}',
            '\u{7f}',
            '\u{9b}',
            '\u{1d159}',
        ];
        for c in hidden {
            assert_eq!(SafeText::new(&format!("a{c}b")).as_str(), format!("a\\u{{{:x}}}b", u32::from(c)));
        }
        for c in [' ', '~', 'é', 'ß', '日', '\u{301}', '€', '\u{1f512}', '\u{ac00}'] {
            assert!(!is_invisible(c), "{c:?}");
        }
    }

    /// Compares with Unicode's tables in another library.
    #[test]
    fn exactly_unicodes_ignorable_formatting_and_space_characters_are_spelled_out() {
        use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory as Category};
        use icu_properties::{CodePointMapData, CodePointSetData};
        let (ignorable, category) =
            (CodePointSetData::new::<DefaultIgnorableCodePoint>(), CodePointMapData::<Category>::new());
        for c in ('\0'..'\u{40000}').filter(|c| *c != ' ') {
            let hides = matches!(
                category.get(c),
                Category::Control
                    | Category::Format
                    | Category::SpaceSeparator
                    | Category::LineSeparator
                    | Category::ParagraphSeparator
                    | Category::PrivateUse
            );
            let is_blank_symbol = ['\u{2800}', '\u{1d159}'].contains(&c);
            assert_eq!(is_invisible(c), hides || ignorable.contains(c) || is_blank_symbol, "{c:?}");
        }
        assert!(('\u{40000}'..=char::MAX).all(is_invisible));
    }

    #[test]
    fn a_text_of_the_longest_length_is_kept_and_a_longer_one_is_cut() {
        let full = "x".repeat(SAFE_TEXT_MAX);
        assert_eq!(SafeText::new(&full).as_str(), full);
        assert!(SafeText::new(&format!("{full}x")).as_str().ends_with('…'));
    }

    proptest! {
        #[test]
        fn any_text_becomes_short_and_visible_and_cleaning_again_changes_nothing(text in "\\PC*|.{0,600}") {
            let shown = SafeText::new(&text);
            prop_assert!(shown.as_str().chars().count() <= SAFE_TEXT_MAX);
            prop_assert!(!shown.as_str().contains(crate::hidden::deceives));
            prop_assert_eq!(SafeText::new(shown.as_str()), shown);
        }
    }
}
