//! Finds the people whom a text mentions. Quoted lines count, code does not.

use super::code::without_code;

/// Punctuation that may come right before an `@`.
const BEFORE: &str = "([/{:;.,!?\"'";

/// The people whom a text may notify. It is not checked whether these users and teams exist.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mentions {
    pub(crate) names: Vec<String>,
    pub(crate) channel: Option<Wide>,
}

/// A mention of many people at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wide {
    Here,
    All,
}

pub(crate) fn mentions(text: &str) -> Mentions {
    let text = without_code(text);
    let mut found = Mentions::default();
    for (at, _) in text.match_indices('@') {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        if before.is_none_or(|c| c.is_whitespace() || BEFORE.contains(c)) {
            found.add(name(text.get(at + 1..).unwrap_or_default()));
        }
    }
    found
}

impl Mentions {
    fn add(&mut self, name: &str) {
        match name.to_ascii_lowercase().as_str() {
            "here" => self.channel = self.channel.or(Some(Wide::Here)),
            "channel" | "everyone" => self.channel = Some(Wide::All),
            name if name.len() > 1 && !self.names.iter().any(|known| known == name) => {
                self.names.push(name.to_owned());
            }
            _ => {}
        }
    }
}

/// The name at the beginning of a text. It starts with a letter or digit, and does not end with a dot.
fn name(text: &str) -> &str {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let name = text.get(..end).unwrap_or_default().trim_end_matches('.');
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) { name } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, names: &[&str], channel: Option<Wide>) {
        let names = names.iter().map(ToString::to_string).collect();
        assert_eq!(mentions(text), Mentions { names, channel }, "{text}");
    }

    #[test]
    fn mentions_are_found() {
        check("@alice", &["alice"], None);
        check("hello @alice, @bob_b.", &["alice", "bob_b"], None);
        check("(@alice)", &["alice"], None);
        check("> quoted @alice", &["alice"], None);
        check("@Alice @alice#sudo", &["alice"], None);
        check("@here", &[], Some(Wide::Here));
        check("x @here @channel", &[], Some(Wide::All));
        check("@everyone", &[], Some(Wide::All));
        check("@acme.ops", &["acme.ops"], None);
    }

    #[test]
    fn these_are_no_mentions() {
        check("mail@alice", &[], None);
        check("`@alice` ```\n@bob\n```", &[], None);
        check("@ alice @_x @a", &[], None);
    }
}
