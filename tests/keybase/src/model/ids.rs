//! Ids in Keybase's formats. They are derived from names, so that every run of a test has the same ids.

use std::fmt::Write;

/// The id of a user: 32 digits that end in 19.
pub(crate) fn user(name: &str) -> String {
    digits(&format!("user {name}"), 30) + "19"
}

/// The id of a device: 32 digits that end in 18.
pub(crate) fn device(user: &str, name: &str) -> String {
    digits(&format!("device {user} {name}"), 30) + "18"
}

/// The id of a team: 32 digits that end in 24, or in 25 for a subteam.
pub(crate) fn team(name: &str) -> String {
    digits(&format!("team {name}"), 30) + if name.contains('.') { "25" } else { "24" }
}

/// The id of a conversation: 64 digits, the first four of which are zero.
pub(crate) fn conversation(seed: &str) -> String {
    format!("0000{}", digits(&format!("conversation {seed}"), 60))
}

/// This many hexadecimal digits, derived from a text.
pub(crate) fn digits(seed: &str, count: usize) -> String {
    let mut text = String::new();
    let mut round = 0_u32;
    while text.len() < count {
        write!(text, "{:016x}", fnv(&format!("{round}{seed}"))).unwrap_or_default();
        round += 1;
    }
    text.truncate(count);
    text
}

/// The FNV-1a hash, mixed once more, because similar inputs give similar high bits.
pub(crate) fn fnv(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// The bytes that hexadecimal digits stand for.
pub(crate) fn bytes(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        digits.bytes().filter_map(|digit| char::from(digit).to_digit(16)?.try_into().ok()).collect();
    digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte * 16 + digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_names() {
        assert_eq!(user("alice"), user("alice"));
        assert_ne!(user("alice"), user("bob"));
        assert_eq!(
            (user("alice").len(), team("acme").len(), conversation("acme#general").len()),
            (32, 32, 64)
        );
        assert!(team("acme.ops").ends_with("25"));
    }

    #[test]
    fn digits_become_bytes() {
        assert_eq!(bytes("00ff19"), [0, 255, 25]);
    }
}
