//! Finds text that the real client treats as an order to pay, such as `+5USD@alice`.

use super::code::without_code;

/// The names of the people whom a text would pay.
pub(crate) fn payees(text: &str) -> Vec<String> {
    let text = without_code(text);
    let lines = text.split('\n').filter(|line| !line.trim_start_matches(' ').starts_with('>'));
    lines.flat_map(|line| line.match_indices('+').filter_map(|(at, _)| payee(line, at))).collect()
}

/// The person who is paid by the text at this plus sign: not after a letter, then an amount, 2 to 6 letters,
/// `@` and a name.
fn payee(line: &str, at: usize) -> Option<String> {
    let before = line.get(..at)?.chars().next_back();
    if before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let (amount, rest) = split(line.get(at + 1..)?, |c| c.is_ascii_digit() || c == '.');
    let (currency, rest) = split(rest, |c| c.is_ascii_alphabetic());
    let (name, _) = split(rest.strip_prefix('@')?, |c| c.is_ascii_alphanumeric() || c == '_');
    let is_amount = amount.matches('.').count() < 2 && amount.contains(|c: char| c.is_ascii_digit());
    (is_amount && (2..=6).contains(&currency.len()) && !name.is_empty()).then(|| name.to_ascii_lowercase())
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payments_are_found() {
        assert_eq!(payees("+1xlm@alice"), ["alice"]);
        assert_eq!(payees("lunch +5.50USD@alice and +.5xlm@Bob"), ["alice", "bob"]);
    }

    #[test]
    fn these_pay_nobody() {
        for text in [
            "`+1xlm@alice`",
            "```\n+1xlm@alice\n```",
            "> +1xlm@alice",
            "a+1xlm@alice",
            "+1xlm",
            "+xlm@alice",
            "+1 xlm@a",
        ] {
            assert!(payees(text).is_empty(), "{text}");
        }
    }
}
