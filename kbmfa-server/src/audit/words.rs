//! Splits events and searches into words: all of our full-text search except the index itself. Pure. A search
//! is a list of words, never an expression of a query language.

use serde_json::Value;
use std::collections::BTreeSet;

/// Version of these rules. An index of another version is rebuilt.
pub(super) const FORM: i64 = 1;

/// Most words of one search.
const WORDS_MAX: usize = 16;

/// Shortest part of a word that is indexed separately, in characters.
const PART_MIN: usize = 2;

/// Number of a login id's digits that people see everywhere, indexed as a word.
const SHORT_ID: usize = 8;

/// The words in an event's canonical bytes, separated by blanks. They come from every text except field
/// names: each word as a whole (`console:root`, `192.0.2.7`, `SHA256:..`), and its parts (`root`).
pub(super) fn of_event(body: &str) -> String {
    let mut words = BTreeSet::new();
    if let Ok(event) = serde_json::from_str::<Value>(body) {
        collect(&event, &mut words);
        let id = event.get("login").and_then(Value::as_str);
        words.extend(id.and_then(|id| id.get(..SHORT_ID)).map(str::to_owned));
    }
    words.into_iter().collect::<Vec<_>>().join(" ")
}

fn collect(value: &Value, words: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => split(text).for_each(|word| {
            let parts = word.split(|c: char| !c.is_alphanumeric()).filter(is_telling);
            words.extend(parts.map(str::to_owned));
            words.insert(word);
        }),
        Value::Array(values) => values.iter().for_each(|value| collect(value, words)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a part is worth indexing. Numbers in addresses and times would match nearly every event.
fn is_telling(part: &&str) -> bool {
    part.chars().count() >= PART_MIN && !part.bytes().all(|b| b.is_ascii_digit())
}

/// Words as indexed: in lower case, without surrounding punctuation.
fn split(text: &str) -> impl Iterator<Item = String> + '_ {
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
    words.map(|word| word.trim_matches(is_around).to_lowercase()).filter(|word| !word.is_empty())
}

fn is_around(c: char) -> bool {
    matches!(c, ',' | ';' | '.' | ':' | '!' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | '…' | '*')
}

/// One word that must match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) word: String,
    /// Longer words that begin with it match, too.
    pub(super) beginning: bool,
}

/// The words of a search, all of which must match. A `*` at the end of a word makes it a prefix.
pub(super) fn of_search(text: &str) -> Vec<Wanted> {
    let wanted = text.split_whitespace().flat_map(|typed| {
        let words: Vec<String> = split(typed).collect();
        let last = words.len().saturating_sub(1);
        let open = typed.ends_with('*');
        words.into_iter().enumerate().map(move |(n, word)| Wanted { word, beginning: open && n == last })
    });
    wanted.take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPENED: &str = r#"{"v":1,"seq":7,"at":1,"kind":"login.opened","actor":{"who":"machine:web1"},
        "login":"3f9a2c1e00000000000000000000000f","user":"EXAMPLE\\Alice",
        "detail":{"source":"192.0.2.7","key":"SHA256:ab+cd/ef","note":"(\"urgent\", said Zoë)"}}"#;

    #[test]
    fn an_event_is_found_by_its_values_whole_and_in_parts_but_not_by_its_field_names() {
        let words = of_event(OPENED);
        let has = |word: &str| words.split(' ').any(|found| found == word);
        for word in
            ["login.opened", "opened", "machine:web1", "web1", "3f9a2c1e", "192.0.2.7", "example\\alice"]
        {
            assert!(has(word), "{word} is not in {words}");
        }
        for word in ["alice", "sha256:ab+cd/ef", "urgent", "zoë", "3f9a2c1e00000000000000000000000f"] {
            assert!(has(word), "{word} is not in {words}");
        }
        for word in ["actor", "source", "192", "7", "1"] {
            assert!(!has(word), "{word} is in {words}");
        }
    }

    #[test]
    fn a_search_is_a_list_of_words() {
        let check = |typed: &str, expected: &[(&str, bool)]| {
            let read = of_search(typed);
            let read: Vec<_> = read.iter().map(|wanted| (wanted.word.as_str(), wanted.beginning)).collect();
            assert_eq!(read, expected, "{typed:?}");
        };
        check("Alice web1", &[("alice", false), ("web1", false)]);
        check("web*", &[("web", true)]);
        check("\"console:root\",", &[("console:root", false)]);
        check("a OR NOT b", &[("a", false), ("or", false), ("not", false), ("b", false)]);
        check("\"); DROP TABLE event", &[("drop", false), ("table", false), ("event", false)]);
        check(" * \" ' ", &[]);
        assert_eq!(of_search(&"x ".repeat(99)).len(), WORDS_MAX);
    }

    proptest! {
        #[test]
        fn every_word_of_an_event_is_found_by_a_search(text in "\\PC{0,40}") {
            let event = serde_json::json!({ "note": text }).to_string();
            let words = of_event(&event);
            for wanted in of_search(&text) {
                prop_assert!(words.split(' ').any(|word| word.starts_with(&wanted.word)), "{wanted:?} in {words:?}");
            }
        }

        #[test]
        fn no_word_holds_what_the_index_would_split(text in "\\PC{0,40}") {
            let words = of_event(&serde_json::json!({ "note": text }).to_string());
            prop_assert!(!words.contains(['"', '\'', '\0']) && !words.contains("  "));
        }
    }
}
