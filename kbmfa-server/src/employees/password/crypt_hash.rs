//! Which hashes of a password are accepted. Pure.
//!
//! The grammar is narrower than crypt(5). Each accepted text has exactly one reading, and none has a colon, a blank or a
//! control character, so it is one field of one line in `/etc/shadow`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Digits of a hash's base 64, in the order of their values.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Length of a yescrypt salt in digits: 128 to 512 bits.
const YESCRYPT_SALT: RangeInclusive<usize> = 22..=86;

/// yescrypt with N = 2^12 to 2^15 and r = 32, which takes 16 to 128 MiB. The first is the default of libxcrypt. More would
/// let a person use up a machine's memory by logging in.
const YESCRYPT_COSTS: [&str; 4] = ["j9T", "jAT", "jBT", "jCT"];

/// Length of a SHA-512 salt in characters. 16 is all that crypt(3) uses.
const SHA512_SALT: RangeInclusive<usize> = 8..=16;

/// Rounds of SHA-512. Without a number it is 5000, which is too few. The maximum takes a machine about a second.
const SHA512_ROUNDS: RangeInclusive<u32> = 100_000..=1_000_000;

/// The hash of a password: `$y$` (yescrypt) or `$6$` (SHA-512). It is a secret, because passwords can be guessed from
/// it: its `Debug` prints nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct CryptHash(String);

/// Why a hash is refused. It repeats nothing of the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    /// It is of another algorithm, or is no hash.
    #[error("the password's hash must begin with $y$ (yescrypt) or $6$ (SHA-512)")]
    Algorithm,
    /// Passwords could be guessed from it too fast, or it takes a machine too long.
    #[error(
        "the password's hash has a cost that is not accepted: use yescrypt with j9T to jCT, or SHA-512 with \
         rounds=100000 to rounds=1000000"
    )]
    Cost,
    /// Salt or digest have the wrong length or characters.
    #[error("the password's hash is damaged")]
    Damaged,
}

impl CryptHash {
    /// The hash as crypt(3) takes it. Call it only where it is encrypted or written to a machine.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CryptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CryptHash(..)")
    }
}

impl FromStr for CryptHash {
    type Err = BadHash;
    fn from_str(text: &str) -> Result<Self, BadHash> {
        if let Some(rest) = text.strip_prefix("$y$") {
            yescrypt(rest)?;
        } else if let Some(rest) = text.strip_prefix("$6$") {
            sha512(rest)?;
        } else {
            return Err(BadHash::Algorithm);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Checks `COST$SALT$DIGEST`.
fn yescrypt(text: &str) -> Result<(), BadHash> {
    let (cost, rest) = text.split_once('$').ok_or(BadHash::Damaged)?;
    if !YESCRYPT_COSTS.contains(&cost) {
        return Err(BadHash::Cost);
    }
    let (salt, digest) = rest.split_once('$').ok_or(BadHash::Damaged)?;
    let fits = YESCRYPT_SALT.contains(&salt.len()) && digest.len() == digits_of(256);
    if fits && is_encoded(salt) && is_encoded(digest) { Ok(()) } else { Err(BadHash::Damaged) }
}

/// Checks `rounds=N$SALT$DIGEST`.
fn sha512(text: &str) -> Result<(), BadHash> {
    let (cost, rest) = text.split_once('$').ok_or(BadHash::Damaged)?;
    let rounds = cost.strip_prefix("rounds=").ok_or(BadHash::Cost)?;
    let number: u32 = rounds.parse().map_err(|_| BadHash::Cost)?;
    if !SHA512_ROUNDS.contains(&number) || number.to_string() != rounds {
        return Err(BadHash::Cost);
    }
    let (salt, digest) = rest.split_once('$').ok_or(BadHash::Damaged)?;
    let fits = SHA512_SALT.contains(&salt.len()) && digest.len() == digits_of(512);
    // This salt is text, which is not decoded.
    let is_plain = salt.bytes().all(|c| value_of(c).is_some());
    if fits && is_plain && is_encoded(digest) { Ok(()) } else { Err(BadHash::Damaged) }
}

/// Number of digits of so many bits.
const fn digits_of(bits: usize) -> usize {
    bits.div_ceil(6)
}

/// True for whole bytes in base 64. The bits that are left over in the last digit are 0, so that no two texts have the
/// same bytes.
fn is_encoded(text: &str) -> bool {
    let values: Option<Vec<usize>> = text.bytes().map(value_of).collect();
    let Some(last) = values.as_ref().and_then(|values| values.last().copied()) else { return false };
    match text.len() % 4 {
        0 => true,
        2 => last < 1 << 2,
        3 => last < 1 << 4,
        _ => false,
    }
}

fn value_of(digit: u8) -> Option<usize> {
    DIGITS.iter().position(|known| *known == digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made by libxcrypt from "secret".
    const YESCRYPT: &str = "$y$j9T$abcdefghijklmnopqrstu/$GOBj9MnQX2XXRYb4Fyz9668D5epsKc/lpFQOxVhyXjA";
    const SHA512: &str = "$6$rounds=100000$saltsaltsaltsalt$\
        al1q80WhTuHeNisli49oIW0t2ti8hmX2Pn9a8uE2g07IJsKdjrD3P96pMQ6fz6xic1n27RYnVLN85RLRXPqEg/";

    fn judged(text: &str) -> Result<(), BadHash> {
        text.parse::<CryptHash>().map(|hash| assert_eq!(hash.reveal(), text))
    }

    #[test]
    fn hashes_of_libxcrypt_are_accepted_if_they_cost_enough() {
        let dearer = "$y$jAT$abcdefghijklmnopqrstu/$BxHZGCqDrZV0ssUtO/73c7IvBE2X2E9yXEDJtQ58CL0";
        for good in [YESCRYPT, SHA512, dearer] {
            assert_eq!(judged(good), Ok(()), "{good}");
        }
        let too_dear = "$y$jFT$abcdefghijklmnopqrstu/$jiOTV.uHpNVOkl0pTgdq0pBIgW/.K2AOfO0En7u6U2.";
        for cost in [
            too_dear,
            &YESCRYPT.replace("j9T", "j8T"),
            &YESCRYPT.replace("j9T", "j9T."),
            &YESCRYPT.replace("j9T", "j75"),
            &YESCRYPT.replace("j9T", "/9T"),
            &SHA512.replace("rounds=100000$", ""),
            &SHA512.replace("100000", "99999"),
            &SHA512.replace("100000", "1000001"),
            &SHA512.replace("100000", "0100000"),
            &SHA512.replace("100000", "+100000"),
            &SHA512.replace("100000", "99999999999999999999"),
            &SHA512.replace("rounds=100000", "rounds="),
        ] {
            assert_eq!(judged(cost), Err(BadHash::Cost), "{cost}");
        }
    }

    #[test]
    fn other_algorithms_locks_and_clear_text_are_refused() {
        for text in [
            "",
            "*",
            "!",
            "x",
            "secret",
            "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
            "$5$rounds=100000$saltsalt$x",
            "$2b$12$abcdefghijklmnopqrstuv",
            "$7$CU..../....$x",
            "$gy$j9T$x",
            " $y$j9T$",
            &format!("!{YESCRYPT}"),
            &format!("root:{YESCRYPT}"),
        ] {
            assert_eq!(judged(text), Err(BadHash::Algorithm), "{text}");
        }
    }

    #[test]
    fn a_hash_with_anything_added_cut_off_or_spelt_otherwise_is_refused() {
        for good in [YESCRYPT, SHA512] {
            for end in 3..good.len() {
                assert!(judged(&good[..end]).is_err(), "{}", &good[..end]);
            }
            for more in ["$", ".", ":", "\n", " ", "\0", "\r", ":0:0:99999:7:::", "\nroot::0:0"] {
                for at in 3..=good.len() {
                    let mut changed = good.to_owned();
                    changed.insert_str(at, more);
                    // One more character of salt or of the number of rounds can be right.
                    assert!(judged(&changed).is_err() || more == ".", "{changed:?}");
                }
            }
        }
        // The last digit of a salt of 128 bits has 2 of them, that of a digest of 256 bits has 4.
        assert_eq!(judged(&YESCRYPT.replace("stu/", "stu2")), Err(BadHash::Damaged));
        let digest_ends = |digit: &str| format!("{}{digit}", &YESCRYPT[..YESCRYPT.len() - 1]);
        assert_eq!(judged(&digest_ends("D")), Ok(()));
        assert_eq!(judged(&digest_ends("E")), Err(BadHash::Damaged));
    }

    #[test]
    fn a_hash_is_never_printed() {
        assert_eq!(format!("{:?}", YESCRYPT.parse::<CryptHash>()), "Ok(CryptHash(..))");
        for why in [BadHash::Algorithm, BadHash::Cost, BadHash::Damaged] {
            assert!(!why.to_string().contains("abcdef"), "{why}");
        }
    }

    /// A valid hash with one character replaced, or any text behind a valid beginning.
    fn near_misses() -> impl Strategy<Value = String> {
        let changed =
            (prop::sample::select(vec![YESCRYPT, SHA512]), any::<prop::sample::Index>(), any::<char>());
        let changed = changed.prop_map(|(good, at, new)| {
            let at = at.index(good.len());
            format!("{}{new}{}", &good[..at], &good[at + 1..])
        });
        let begun = prop::sample::select(vec!["", "$y$", "$y$j9T$", "$6$", "$6$rounds=100000$"]);
        prop_oneof![changed, (begun, ".*").prop_map(|(begin, rest)| format!("{begin}{rest}"))]
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_one_field_of_one_line(text in near_misses()) {
            if let Ok(hash) = text.parse::<CryptHash>() {
                let is_safe = |c: char| c.is_ascii_alphanumeric() || "./$=".contains(c);
                prop_assert!(hash.reveal().chars().all(is_safe));
                prop_assert!(hash.reveal().len() <= 140);
                prop_assert_eq!(hash.reveal().matches('$').count(), 4);
            }
        }

        #[test]
        fn every_well_formed_hash_is_accepted(
            cost in prop::sample::select(YESCRYPT_COSTS.to_vec()),
            salt in "[./0-9A-Za-z]{21}[./01]", digest in "[./0-9A-Za-z]{42}[./0-9A-D]",
            rounds in SHA512_ROUNDS, short in "[./0-9A-Za-z]{8,16}", long in "[./0-9A-Za-z]{85}[./01]",
        ) {
            prop_assert_eq!(judged(&format!("$y${cost}${salt}${digest}")), Ok(()));
            prop_assert_eq!(judged(&format!("$6$rounds={rounds}${short}${long}")), Ok(()));
        }
    }
}
