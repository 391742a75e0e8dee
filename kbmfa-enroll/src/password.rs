//! The password of the account on the machines: only its crypt hash leaves this computer.

use sha_crypt::{Algorithm, Params, PasswordHasher as _, ShaCrypt};
use std::io;

use crate::Error;
use crate::ask::Ask;

/// Rounds of SHA-512: what OWASP asks for with PBKDF2, whose rounds cost about as much. A check takes a
/// machine about 0.1 s.
pub(crate) const ROUNDS: u32 = 210_000;

/// Shortest password, in characters.
const CHARACTERS_MIN: usize = 12;

/// Longest password, in bytes: PAM's helper program reads no more (`MAXPASS` of `unix_chkpwd`).
const BYTES_MAX: usize = 200;

/// Random bytes of a salt: it has at most 16 characters, of 6 bits each.
const SALT_BYTES: usize = 12;

/// Asks for a password twice, and makes its hash.
pub(crate) fn ask_for(ask: &mut dyn Ask, rounds: u32) -> Result<String, Error> {
    let instead = "a password is asked for at a terminal alone: leave --password out";
    let password = ask.secret("Password for your account on the machines (it is not shown):", instead)?;
    check(&password).map_err(Error::BadPassword)?;
    if ask.secret("The same password again:", instead)? != password {
        return Err(Error::BadPassword("the two passwords differ"));
    }
    hash(&password, rounds)
}

fn check(password: &str) -> Result<(), &'static str> {
    if password.chars().any(char::is_control) {
        return Err("the password has a control character, which cannot be typed at a login");
    }
    if password.chars().count() < CHARACTERS_MIN {
        return Err("the password is too short: it needs at least 12 characters");
    }
    if password.len() > BYTES_MAX {
        return Err("the password is too long: at most 200 bytes can be checked at a login");
    }
    Ok(())
}

/// `$6$`, which every Linux system in use can check.
fn hash(password: &str, rounds: u32) -> Result<String, Error> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(io::Error::other)?;
    let params = Params::new(rounds).map_err(io::Error::other)?;
    let hasher = ShaCrypt::new(Algorithm::Sha512Crypt, params);
    let hash = hasher.hash_password_with_salt(password.as_bytes(), &salt).map_err(io::Error::other)?;
    Ok(hash.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Script;

    #[test]
    fn a_password_is_asked_for_twice_and_has_a_form_that_can_be_typed() {
        let asked = |answers: &[&str]| ask_for(&mut Script::new(answers), 5_000).map_err(|e| e.to_string());
        let good = "correct horse battery";
        assert!(asked(&[good, "correct horse batterz"]).unwrap_err().contains("differ"));
        assert!(asked(&["short"]).unwrap_err().contains("too short"));
        assert!(asked(&["a\u{7}aaaaaaaaaaaaa"]).unwrap_err().contains("control"));
        assert!(asked(&[&"é".repeat(101)]).unwrap_err().contains("too long"));
        assert!(asked(&[good]).is_err());
        assert!(asked(&[good, good]).unwrap().starts_with("$6$rounds=5000$"));
    }

    /// `openssl passwd -6` is the judge.
    #[test]
    fn a_hash_is_the_one_that_crypt_makes() {
        let one = hash("correct horse battery", 5_000).unwrap();
        let parts: Vec<&str> = one.split('$').collect();
        assert_eq!(
            (parts[1], parts[2], parts[3].len(), parts[4].len()),
            ("6", "rounds=5000", 16, 86),
            "{one}"
        );
        let salt = format!("rounds=5000${}", parts[3]);
        assert_eq!(crate::fake::openssl_passwd(&salt, "correct horse battery"), one);
        assert_ne!(hash("correct horse battery", 5_000).unwrap(), one, "each has a salt of its own");
    }
}
