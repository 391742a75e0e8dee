//! Challenges: what has to be signed, so that an older signature is of no use.
//!
//! To make one takes no write: it holds its own end, sealed with a key that lives as long as the process. Only used ones
//! are recorded, in the transaction that uses them. After a restart all older ones are refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use std::time::Duration;

use crate::clock::Time;
use crate::random::NoRandomness;

/// How long a challenge can be used. Long enough to type a passphrase or to touch a security key.
pub const LIFETIME: Duration = Duration::from_secs(5 * 60);

const RANDOM: usize = 16;
const END: usize = 8;
const SEAL: usize = 32;

/// Makes challenges, and recognises its own.
pub struct Challenges(hmac::Key);

/// A challenge of ours that has not expired. Whether it was used is for the database to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fresh {
    /// When it expires: until then a used one has to be remembered.
    pub expires_at: Time,
}

/// The nonce is not of this process, or has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the challenge has expired or is not from this server; ask for another")]
pub struct Stale;

impl Challenges {
    /// Begins with a new random key.
    ///
    /// # Errors
    /// [`NoRandomness`] if the system returns no random bytes.
    pub fn new() -> Result<Self, NoRandomness> {
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &crate::random::bytes::<32>()?)))
    }

    /// A new nonce.
    ///
    /// # Errors
    /// [`NoRandomness`] if the system returns no random bytes.
    pub fn make(&self, now: Time) -> Result<String, NoRandomness> {
        let mut nonce = crate::random::bytes::<RANDOM>()?.to_vec();
        let lifetime = i64::try_from(LIFETIME.as_micros()).unwrap_or(i64::MAX);
        nonce.extend(now.micros().saturating_add(lifetime).to_be_bytes());
        nonce.extend_from_slice(hmac::sign(&self.0, &nonce).as_ref());
        Ok(URL_SAFE_NO_PAD.encode(nonce))
    }

    /// Reads a nonce. Each has a single spelling, so that its text stands for it.
    ///
    /// # Errors
    /// [`Stale`] if it is not ours or has expired.
    pub fn read(&self, nonce: &str, now: Time) -> Result<Fresh, Stale> {
        let bytes = URL_SAFE_NO_PAD.decode(nonce).map_err(|_| Stale)?;
        let bytes: [u8; RANDOM + END + SEAL] = bytes.try_into().map_err(|_| Stale)?;
        let (sealed, seal) = bytes.split_at(RANDOM + END);
        hmac::verify(&self.0, sealed, seal).map_err(|_| Stale)?;
        let (_, end) = sealed.split_last_chunk::<END>().ok_or(Stale)?;
        let expires_at = Time::from_micros(i64::from_be_bytes(*end));
        if now < expires_at { Ok(Fresh { expires_at }) } else { Err(Stale) }
    }
}

/// How long [`Challenges::make_follow`] can be used. It shows its holder nothing but how far keys have got.
pub const FOLLOW_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// What is sealed for [`Challenges::make_follow`] begins with this; it is no nonce, whose sealed part has 24 bytes.
const FOLLOW: &[u8] = b"kbmfa follow the key ";

impl Challenges {
    /// A text that stands for a request by this key for some minutes, and may be used again and again.
    pub fn make_follow(&self, fingerprint: &str, now: Time) -> String {
        let lifetime = i64::try_from(FOLLOW_LIFETIME.as_micros()).unwrap_or(i64::MAX);
        let mut text = now.micros().saturating_add(lifetime).to_be_bytes().to_vec();
        text.extend_from_slice(fingerprint.as_bytes());
        let seal = hmac::sign(&self.0, &[FOLLOW, &text].concat());
        text.extend_from_slice(seal.as_ref());
        URL_SAFE_NO_PAD.encode(text)
    }

    /// The fingerprint of the key that such a text stands for.
    ///
    /// # Errors
    /// [`Stale`] if it is not ours or has expired.
    pub fn read_follow(&self, text: &str, now: Time) -> Result<String, Stale> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Stale)?;
        let (sealed, seal) = bytes.split_last_chunk::<SEAL>().ok_or(Stale)?;
        hmac::verify(&self.0, &[FOLLOW, sealed].concat(), seal).map_err(|_| Stale)?;
        let (end, fingerprint) = sealed.split_first_chunk::<END>().ok_or(Stale)?;
        if now >= Time::from_micros(i64::from_be_bytes(*end)) {
            return Err(Stale);
        }
        String::from_utf8(fingerprint.to_vec()).map_err(|_| Stale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_micros(1_000_000_000);

    fn later(by: Duration) -> Time {
        Time::from_micros(NOW.micros() + i64::try_from(by.as_micros()).unwrap())
    }

    #[test]
    fn a_challenge_can_be_used_for_five_minutes_by_its_maker_alone() {
        let challenges = Challenges::new().unwrap();
        let nonce = challenges.make(NOW).unwrap();
        assert_eq!(challenges.read(&nonce, NOW), Ok(Fresh { expires_at: later(LIFETIME) }));
        assert!(
            challenges.read(&nonce, later(LIFETIME.checked_sub(Duration::from_micros(1)).unwrap())).is_ok()
        );
        assert_eq!(challenges.read(&nonce, later(LIFETIME)), Err(Stale));
        assert_eq!(Challenges::new().unwrap().read(&nonce, NOW), Err(Stale), "another process");
        assert_ne!(challenges.make(NOW).unwrap(), nonce);
    }

    #[test]
    fn what_follows_a_key_names_it_for_a_quarter_of_an_hour_and_is_no_challenge() {
        let challenges = Challenges::new().unwrap();
        let (nonce, text) = (challenges.make(NOW).unwrap(), challenges.make_follow("SHA256:a", NOW));
        assert_eq!(challenges.read_follow(&text, NOW), Ok("SHA256:a".to_owned()));
        assert_eq!(challenges.read_follow(&text, later(FOLLOW_LIFETIME)), Err(Stale));
        assert_eq!(Challenges::new().unwrap().read_follow(&text, NOW), Err(Stale), "another process");
        assert_eq!(
            (challenges.read_follow(&nonce, NOW), challenges.read(&text, NOW)),
            (Err(Stale), Err(Stale))
        );
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed.replace_range(at..=at, if &text[at..=at] == "A" { "B" } else { "A" });
            assert_eq!(challenges.read_follow(&changed, NOW), Err(Stale), "{changed}");
        }
        for text in ["", "x", &text[4..], &format!("{text}AAAA")] {
            assert_eq!(challenges.read_follow(text, NOW), Err(Stale), "{text}");
        }
    }

    #[test]
    fn a_challenge_with_any_character_changed_is_refused() {
        let challenges = Challenges::new().unwrap();
        let nonce = challenges.make(NOW).unwrap();
        for at in 0..nonce.len() {
            for other in ["A", "B", "-", "=", ".", "\n"] {
                let mut changed = nonce.clone();
                changed.replace_range(at..=at, other);
                assert_eq!(challenges.read(&changed, NOW).is_ok(), changed == nonce, "{changed}");
            }
        }
        for text in ["", "x", &format!("{nonce}="), &format!("{nonce}AAAA"), &nonce[4..]] {
            assert_eq!(challenges.read(text, NOW), Err(Stale), "{text}");
        }
    }
}
