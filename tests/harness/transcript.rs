//! Makes transcripts comparable: replaces everything that differs between runs by a name in angle brackets.

/// Replaces ports, remaining seconds (`up to 59 s`), login ids, fingerprints and temporary paths.
pub fn normalised(text: &str) -> String {
    let mut lines = String::new();
    for line in text.replace('\r', "").lines() {
        let words: Vec<String> =
            line.split(' ').scan("", |before, word| Some(word_of(before, word))).collect();
        lines += words.join(" ").trim_end();
        lines.push('\n');
    }
    lines
}

/// Replaces, in a chat, the ids of logins and asks, heads of the audit log, times and seconds.
pub fn of_chat(text: &str) -> String {
    let line = |line: &str| {
        line.split(' ').scan("", |before, word| Some(chat_word(before, word))).collect::<Vec<_>>()
    };
    text.lines().map(|text| line(text).join(" ") + "\n").collect()
}

fn chat_word<'a>(before: &mut &'a str, word: &'a str) -> String {
    let bare = word.trim_matches(|edge: char| edge.is_ascii_punctuation());
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let stands_for = match bare {
        _ if *before == "after" && bare.parse::<u32>().is_ok() => Some("<seconds>"),
        _ if *before == "until" => Some("<time>"),
        _ if bare.split_once(':').is_some_and(|(seq, seal)| seq.parse::<u32>().is_ok() && is_hex(seal)) => {
            Some("<head>")
        }
        _ if bare.len() == 8 && is_hex(bare) => Some("<id>"),
        _ if bare.len() == 16 && is_hex(bare) => Some("<mark>"),
        _ => None,
    };
    *before = word;
    stands_for.map_or_else(|| word.to_owned(), |name| word.replace(bare, name))
}

fn word_of<'a>(before: &mut &'a str, word: &'a str) -> String {
    let bare = word.trim_matches(|edge: char| edge.is_ascii_punctuation() && edge != '/');
    let stands_for = match bare {
        _ if *before == "port" && bare.parse::<u16>().is_ok() => Some("<port>"),
        _ if *before == "to" && bare.parse::<u16>().is_ok() => Some("<seconds>"),
        _ if bare.starts_with("SHA256:") => Some("<fingerprint>"),
        _ if bare.starts_with("/tmp/") => Some("<path>"),
        _ if is_login_id(bare) => Some("<id>"),
        _ => None,
    };
    *before = word;
    stands_for.map_or_else(|| word.to_owned(), |name| word.replace(bare, name))
}

/// True for at least 8 hexadecimal digits: people see the first 8 digits of an id.
fn is_login_id(word: &str) -> bool {
    let hex = |digit: char| digit.is_ascii_digit() || ('a'..='f').contains(&digit);
    (8..=32).contains(&word.len()) && word.chars().all(hex)
}
