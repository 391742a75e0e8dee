//! Checks the signatures of a request. Pure, and costly compared with everything else: outside transactions.

use kbmfa_proto::enrolment::{
    Enrol, KEY_LINE_MAX, NAMESPACE, Request, Signed, enrol_text, possession_text, request_text,
};
use kbmfa_proto::key::{BadKey, PublicKey};
use kbmfa_proto::sshsig::{BadSignature, verify};
use kbmfa_proto::text::SafeText;

use super::Error;
use crate::employees::password::CryptHash;
use crate::keys;

/// A key whose possession was proved, and the computer that has it.
#[derive(Debug, Clone)]
pub struct Proven {
    /// The key.
    pub key: PublicKey,
    /// The computer, as its owner calls it.
    pub device: SafeText,
}

/// The key of a request to enrol, if it signed the request.
///
/// # Errors
/// [`Error::Key`], [`Error::Signature`], [`Error::Device`].
pub fn of_enrol(enrol: &Enrol) -> Result<Proven, Error> {
    let proven = Proven { key: key(&enrol.key)?, device: device(&enrol.device)? };
    let text = enrol_text(enrol, proven.key.fingerprint());
    verify(proven.key.line(), NAMESPACE, text.as_bytes(), &enrol.signature)?;
    Ok(proven)
}

/// Whether the enrolled key with this line signed the request.
///
/// # Errors
/// [`BadSignature`].
pub fn of_signer(signed: &Signed, line: &str) -> Result<(), BadSignature> {
    verify(line, NAMESPACE, request_text(signed).as_bytes(), &signed.signature)
}

/// What an enrolled person asks for, checked.
#[derive(Debug, Clone)]
pub enum Asked {
    /// Something about them and their keys.
    Keys(AboutKeys),
    /// A password for the account on the machines, or none.
    Password(Option<CryptHash>),
}

/// What an enrolled person asks for about them and their keys.
#[derive(Debug, Clone)]
pub enum AboutKeys {
    /// Show everything.
    Status,
    /// Enrol another key.
    Add {
        /// The key.
        new: Proven,
        /// Fingerprint of the key that it replaces.
        replaces: Option<String>,
    },
    /// Revoke a key.
    Revoke {
        /// Its fingerprint.
        fingerprint: String,
        /// Somebody else may have it.
        lost: bool,
    },
}

/// The request of a signed message, of which a new key has signed its part.
///
/// # Errors
/// [`Error::Key`], [`Error::Signature`], [`Error::Device`], [`Error::Password`].
pub fn asked(signed: &Signed, request: Request) -> Result<Asked, Error> {
    Ok(Asked::Keys(match request {
        Request::Status => AboutKeys::Status,
        Request::Revoke { fingerprint, lost } => AboutKeys::Revoke { fingerprint, lost },
        Request::SetPassword { hash } => {
            return Ok(Asked::Password(Some(hash.parse().map_err(Error::Password)?)));
        }
        Request::RemovePassword => return Ok(Asked::Password(None)),
        Request::Add { key: line, device: name, replaces, proof } => {
            let new = Proven { key: key(&line)?, device: device(&name)? };
            let text = possession_text(&signed.server, &signed.nonce, &signed.key, new.key.fingerprint());
            verify(new.key.line(), NAMESPACE, text.as_bytes(), &proof)?;
            AboutKeys::Add { new, replaces }
        }
    }))
}

/// The fingerprint of a public key line, if it is a key that is accepted.
pub fn fingerprint(line: &str) -> Option<String> {
    key(line).ok().map(|key| key.fingerprint().to_owned())
}

fn key(line: &str) -> Result<PublicKey, BadKey> {
    if line.len() > KEY_LINE_MAX { Err(BadKey::Damaged) } else { PublicKey::parse(line) }
}

fn device(name: &SafeText) -> Result<SafeText, Error> {
    // As it is: the text that was signed has it.
    keys::device(name.as_str()).map(|_| name.clone()).map_err(|_| Error::Device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrolment::testing::Signer;
    use kbmfa_proto::enrolment::DEVICE_MAX;
    use kbmfa_proto::enrolment::Invite;

    fn enrol(signer: &Signer, change: impl FnOnce(&mut Enrol)) -> Enrol {
        let mut enrol = Enrol {
            invite: Invite { id: "i".into(), secret: "s".into(), email: "ann@x".into() },
            server: "kbmfa.example".into(),
            nonce: "n".into(),
            key: signer.line(),
            device: "laptop".into(),
            replaces: None,
            password_hash: None,
            signature: String::new(),
        };
        enrol.signature = signer.sign(&enrol_text(&enrol, &signer.fingerprint()));
        change(&mut enrol);
        enrol
    }

    #[test]
    fn a_key_is_proved_by_its_signature_over_every_field() {
        let ann = Signer::new(1);
        let proven = of_enrol(&enrol(&ann, |_| {})).unwrap();
        assert_eq!((proven.key.fingerprint(), proven.device.as_str()), (&*ann.fingerprint(), "laptop"));
        let changes: [fn(&mut Enrol); 8] = [
            |enrol| enrol.server.push('x'),
            |enrol| enrol.nonce.push('x'),
            |enrol| enrol.invite.id.push('x'),
            |enrol| enrol.invite.email.push('x'),
            |enrol| enrol.device = "desk".into(),
            |enrol| enrol.replaces = Some("SHA256:x".into()),
            |enrol| enrol.password_hash = Some("$6$x".into()),
            |enrol| enrol.key = Signer::new(2).line(),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            assert!(matches!(of_enrol(&enrol(&ann, change)), Err(Error::Signature(_))), "field {n}");
        }
        assert!(
            of_enrol(&enrol(&ann, |enrol| enrol.invite.secret.push('x'))).is_ok(),
            "the secret is not signed"
        );
    }

    #[test]
    fn a_key_that_is_too_long_and_a_computer_without_a_name_are_refused() {
        let ann = Signer::new(1);
        let long = |enrol: &mut Enrol| enrol.key.push_str(&" x".repeat(KEY_LINE_MAX));
        assert!(matches!(of_enrol(&enrol(&ann, long)), Err(Error::Key(_))));
        for name in ["", "  ", &"n".repeat(DEVICE_MAX + 1)] {
            let named = |enrol: &mut Enrol| enrol.device = name.into();
            assert!(matches!(of_enrol(&enrol(&ann, named)), Err(Error::Device)), "{name:?}");
        }
    }

    fn signed(signer: &Signer, request: &str) -> Signed {
        let mut signed = Signed {
            key: signer.fingerprint(),
            server: "kbmfa.example".into(),
            nonce: "n".into(),
            request: request.to_owned(),
            signature: String::new(),
        };
        signed.signature = signer.sign(&request_text(&signed));
        signed
    }

    #[test]
    fn a_request_is_that_of_the_key_that_signed_exactly_these_bytes() {
        let (ann, ben) = (Signer::new(1), Signer::new(2));
        let signed = signed(&ann, r#"{"do":"status"}"#);
        assert!(of_signer(&signed, &ann.line()).is_ok());
        assert!(of_signer(&signed, &ben.line()).is_err());
        let changed = Signed { request: r#"{"do":"remove-password"}"#.into(), ..signed };
        assert!(of_signer(&changed, &ann.line()).is_err());
    }

    #[test]
    fn a_new_key_signs_for_the_key_that_vouches_for_it() {
        let (old, new) = (Signer::new(1), Signer::new(2));
        let by = signed(&old, "");
        let possession = |vouching: &str| {
            let text = possession_text(&by.server, &by.nonce, vouching, &new.fingerprint());
            let (key, proof) = (new.line(), new.sign(&text));
            asked(&by, Request::Add { key, device: "phone".into(), replaces: None, proof })
        };
        let Ok(Asked::Keys(AboutKeys::Add { new: proven, .. })) = possession(&old.fingerprint()) else {
            panic!("it was refused")
        };
        assert_eq!(proven.key.fingerprint(), new.fingerprint());
        assert!(matches!(possession(&new.fingerprint()), Err(Error::Signature(_))));
    }

    #[test]
    fn only_the_crypt_hash_of_a_password_is_accepted() {
        let by = signed(&Signer::new(1), "");
        let set = |hash: &str| asked(&by, Request::SetPassword { hash: hash.to_owned() });
        let good = "$y$j9T$abcdefghijklmnopqrstu/$GOBj9MnQX2XXRYb4Fyz9668D5epsKc/lpFQOxVhyXjA";
        assert!(matches!(set(good), Ok(Asked::Password(Some(_)))));
        assert!(matches!(set("correct horse battery"), Err(Error::Password(_))));
        assert!(matches!(asked(&by, Request::RemovePassword), Ok(Asked::Password(None))));
    }
}
