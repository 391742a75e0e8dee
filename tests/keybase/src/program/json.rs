//! JSON as Go prints it: characters that have a meaning in HTML are escaped. It is indented on request.

/// Escapes as Go does by default. These characters occur only inside strings, so replacing them in the text
/// is enough.
pub(crate) fn escape(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            other => text.push(other),
        }
    }
    text
}

/// Indents JSON: one value per line, four blanks for each level.
pub(crate) fn indent(json: &str) -> String {
    let (mut text, mut depth, mut is_string, mut is_escaped) = (String::new(), 0_usize, false, false);
    let mut letters = json.chars().peekable();
    let line = |text: &mut String, depth: usize| text.extend(["\n", &" ".repeat(4 * depth)]);
    while let Some(letter) = letters.next() {
        if is_string || letter == '"' {
            is_string = letter != '"' || !is_string || is_escaped;
            is_escaped = is_string && letter == '\\' && !is_escaped;
            text.push(letter);
            continue;
        }
        match (letter, letters.peek()) {
            ('{' | '[', Some('}' | ']')) => text.extend([letter, letters.next().unwrap_or_default()]),
            ('{' | '[', _) => {
                depth += 1;
                text.push(letter);
                line(&mut text, depth);
            }
            ('}' | ']', _) => {
                depth = depth.saturating_sub(1);
                line(&mut text, depth);
                text.push(letter);
            }
            (',', _) => {
                text.push(letter);
                line(&mut text, depth);
            }
            (':', _) => text.push_str(": "),
            _ => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_escaped() {
        assert_eq!(escape("\"<a&b>\u{2028}\""), "\"\\u003ca\\u0026b\\u003e\\u2028\"");
    }

    #[test]
    fn json_is_indented_as_go_does() {
        let json = r#"{"a":[1,{"b":"x\",{"}],"c":{},"d":"\\"}"#;
        let lines = "{\n    \"a\": [\n        1,\n        {\n            \"b\": \"x\\\",{\"\n        }\n    ],\n    \"c\": {},\n    \"d\": \"\\\\\"\n}";
        assert_eq!(indent(json), lines);
    }
}
