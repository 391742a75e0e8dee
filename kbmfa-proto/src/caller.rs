//! The identity of the caller: the `Authorization` header of every request except `join`.
//!
//! A machine that has joined sends its own credential. One that has not joined may open logins with the
//! `AUTH_TOKEN`, which the old tool gave to all hosts. It then also sends a name, which nothing proves, and a
//! secret for this one login. So other holders of the token can neither read nor cancel the login.

use std::str::FromStr;

use crate::names::{MachineName, is_hex_id};

/// Longest credential or token, in bytes.
pub const SECRET_BYTES_MAX: usize = 256;

const BEARER: &str = "Bearer";
const AUTH_TOKEN: &str = "AuthToken";

/// The contents of the header. They are secret, so `Debug` prints nothing of them.
#[derive(PartialEq, Eq)]
pub enum Authorization<'a> {
    /// `Bearer CREDENTIAL`: a machine's own credential.
    Bearer(&'a str),
    /// `AuthToken NAME:SECRET:TOKEN`.
    AuthToken {
        /// The name that the machine claims.
        claims: MachineName,
        /// The login's own secret: 128 random bits, 32 lower-case hexadecimal digits.
        secret: &'a str,
        /// The `AUTH_TOKEN`.
        token: &'a str,
    },
}

impl<'a> Authorization<'a> {
    /// Parses the header's value; `None` if it has another form.
    pub fn read(value: &'a str) -> Option<Self> {
        let (scheme, rest) = value.split_once(' ')?;
        let fits = |secret: &str| (1..=SECRET_BYTES_MAX).contains(&secret.len());
        if scheme.eq_ignore_ascii_case(BEARER) {
            return fits(rest).then_some(Self::Bearer(rest));
        }
        if !scheme.eq_ignore_ascii_case(AUTH_TOKEN) {
            return None;
        }
        let (claims, rest) = rest.split_once(':')?;
        let (secret, token) = rest.split_once(':')?;
        let claims = MachineName::from_str(claims).ok().filter(|name| !name.is_claimed())?;
        (is_hex_id(secret) && fits(token)).then_some(Self::AuthToken { claims, secret, token })
    }

    /// The header's value.
    pub fn value(&self) -> String {
        match self {
            Self::Bearer(credential) => format!("{BEARER} {credential}"),
            Self::AuthToken { claims, secret, token } => format!("{AUTH_TOKEN} {claims}:{secret}:{token}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let check = |value: &str| {
            assert_eq!(Authorization::read(value).map(|read| read.value()).as_deref(), Some(value));
        };
        check("Bearer abc");
        check(&format!("AuthToken web1:{}:a:token", "0f".repeat(16)));
        assert!(matches!(Authorization::read("bearer abc"), Some(Authorization::Bearer("abc"))));
    }

    #[test]
    fn anything_else_is_nobody() {
        let secret = "0f".repeat(16);
        for value in [
            "",
            "abc",
            "Basic abc",
            "Bearer ",
            &format!("Bearer {}", "x".repeat(SECRET_BYTES_MAX + 1)),
            "AuthToken web1",
            "AuthToken web1:secret:token",
            &format!("AuthToken web1:{secret}:"),
            &format!("AuthToken web 1:{secret}:token"),
            &format!("AuthToken claimed:web1:{secret}:token"),
            &format!("AuthToken :{secret}:token"),
        ] {
            assert!(Authorization::read(value).is_none(), "{value:?}");
        }
    }
}
