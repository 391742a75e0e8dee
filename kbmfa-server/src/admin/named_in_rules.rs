//! Says which rules of `server.toml` name a pool or a machine. Their text is the operator's, and no verb changes it.

use std::fmt::Display;

/// `line 7`, or `lines 7, 12`.
pub(super) fn lines_words(lines: &[usize]) -> String {
    let numbers: Vec<_> = lines.iter().map(usize::to_string).collect();
    format!("{} {}", if lines.len() == 1 { "line" } else { "lines" }, numbers.join(", "))
}

/// What a rename does to the rules on these lines, which name the old and the new name; `None` if there are none.
pub(super) fn effect_of_rename(
    (name, lines): (&impl Display, &[usize]),
    (new_name, new_lines): (&impl Display, &[usize]),
) -> Option<String> {
    let effect = |name: &dyn Display, lines: &[usize], what| match lines {
        [] => String::new(),
        lines => format!("\n  the rules on {} name {name}, and {what} to it", lines_words(lines)),
    };
    let effects = effect(name, lines, "no longer apply") + &effect(new_name, new_lines, "begin to apply");
    (!effects.is_empty()).then_some(effects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_says_which_rules_stop_and_which_begin_to_apply() {
        assert_eq!(effect_of_rename((&"web", &[]), (&"front", &[])), None);
        let told = effect_of_rename((&"web", &[7, 12]), (&"front", &[9])).unwrap();
        let expected = "\n  the rules on lines 7, 12 name web, and no longer apply to it\
                        \n  the rules on line 9 name front, and begin to apply to it";
        assert_eq!(told, expected);
    }
}
