//! Compares the host keys that a machine reports with those that are pinned for it. Pure.

use super::{Fingerprint, HostKey, distinct};

/// What a report of a machine means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing was pinned: the keys may be pinned, unless they are another machine's.
    First(Vec<HostKey>),
    /// The machine has the pinned keys. These are their lines, where only the fingerprint was known.
    Same(Vec<HostKey>),
    /// The machine has other keys, which replace none that is pinned.
    Other(Vec<HostKey>),
}

/// Judges a report. A machine may serve fewer keys than are pinned, and others besides, of algorithms of which none
/// is pinned. It has other keys if it serves no pinned one, or another one in the place of a pinned one.
///
/// `reported` has the lines of all keys.
pub fn judge(pinned: &[HostKey], reported: Vec<HostKey>) -> Meaning {
    let reported = distinct(reported);
    if pinned.is_empty() {
        return Meaning::First(reported);
    }
    let find =
        |keys: &[HostKey], wanted: &Fingerprint| keys.iter().find(|key| key.fingerprint == *wanted).cloned();
    // Only a key whose line is known has an algorithm. The report may tell it.
    let known = pinned.iter().map(|pin| match pin.line {
        Some(_) => pin.clone(),
        None => find(&reported, &pin.fingerprint).unwrap_or_else(|| pin.clone()),
    });
    let known: Vec<HostKey> = known.collect();
    let served = known.iter().any(|pin| find(&reported, &pin.fingerprint).is_some());
    let takes_the_place = |key: &HostKey| {
        find(&known, &key.fingerprint).is_none()
            && known.iter().any(|pin| pin.line.is_none() || pin.algorithm() == key.algorithm())
    };
    if reported.is_empty() {
        Meaning::Same(Vec::new())
    } else if !served || reported.iter().any(takes_the_place) {
        Meaning::Other(reported)
    } else {
        let learned = known.into_iter().zip(pinned).filter(|(now, before)| now.line != before.line);
        Meaning::Same(learned.map(|(now, _)| now).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The key number `n` of this algorithm.
    fn key(algorithm: &str, n: u8) -> HostKey {
        let fingerprint = format!("SHA256:{}", char::from(b'A' + n).to_string().repeat(42) + "A");
        HostKey { fingerprint: fingerprint.parse().unwrap(), line: Some(format!("{algorithm} {n}")) }
    }

    fn bare(key: &HostKey) -> HostKey {
        HostKey::from(key.fingerprint.clone())
    }

    #[test]
    fn only_the_first_report_can_pin() {
        let (ed, rsa) = (key("ssh-ed25519", 0), key("ssh-rsa", 1));
        assert_eq!(judge(&[], vec![ed.clone(), ed.clone()]), Meaning::First(vec![ed.clone()]));
        assert_eq!(judge(&[], Vec::new()), Meaning::First(Vec::new()));
        let same = Meaning::Same(Vec::new());
        assert_eq!(judge(&[ed.clone(), rsa.clone()], vec![rsa.clone(), ed.clone()]), same);
        assert_eq!(judge(&[ed.clone(), rsa.clone()], vec![ed.clone()]), same, "it serves fewer");
        assert_eq!(judge(std::slice::from_ref(&ed), vec![ed.clone(), rsa.clone()]), same, "and one besides");
        assert_eq!(judge(&[ed], Vec::new()), same, "it could not read them");
    }

    #[test]
    fn a_key_in_the_place_of_a_pinned_one_is_another() {
        let (ed, rsa) = (key("ssh-ed25519", 0), key("ssh-rsa", 1));
        let other = key("ssh-ed25519", 2);
        for pinned in [vec![ed.clone()], vec![ed.clone(), rsa.clone()], vec![bare(&ed), rsa.clone()]] {
            for reported in [vec![other.clone()], vec![other.clone(), rsa.clone()]] {
                let expected = Meaning::Other(distinct(reported.clone()));
                assert_eq!(judge(&pinned, reported), expected, "{pinned:?}");
            }
        }
        assert_eq!(judge(&[ed], vec![rsa.clone()]), Meaning::Other(vec![rsa]), "none of the pinned ones");
    }

    #[test]
    fn a_report_tells_the_line_of_a_pinned_fingerprint() {
        let (ed, rsa) = (key("ssh-ed25519", 0), key("ssh-rsa", 1));
        let told = judge(&[bare(&ed), rsa.clone()], vec![ed.clone(), rsa]);
        assert_eq!(told, Meaning::Same(vec![ed]));
    }

    proptest! {
        #[test]
        fn no_report_changes_which_keys_are_pinned(
            pinned in prop::collection::vec((0_u8..3, 0_u8..4, any::<bool>()), 1..4),
            reported in prop::collection::vec((0_u8..3, 0_u8..4), 0..4),
        ) {
            let of = |algorithm: u8, n: u8| key(["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"][usize::from(algorithm)], algorithm * 8 + n);
            let pinned: Vec<_> = pinned.into_iter().map(|(a, n, whole)| if whole { of(a, n) } else { bare(&of(a, n)) }).collect();
            let pinned = distinct(pinned);
            let reported: Vec<_> = reported.into_iter().map(|(a, n)| of(a, n)).collect();
            match judge(&pinned, reported.clone()) {
                Meaning::First(_) => prop_assert!(false),
                Meaning::Same(learned) => {
                    prop_assert!(learned.iter().all(|key| pinned.contains(&bare(key)) && reported.contains(key)));
                    let is_new = |key: &&HostKey| !pinned.iter().any(|pin| pin.fingerprint == key.fingerprint);
                    for key in reported.iter().filter(is_new) {
                        prop_assert!(pinned.iter().all(|pin| pin.algorithm() != key.algorithm()));
                    }
                }
                Meaning::Other(told) => prop_assert_eq!(told, distinct(reported)),
            }
        }
    }
}
