//! The caller of a request: a machine with its own credential, or a host with the `AUTH_TOKEN`, which the old
//! tool gave to all of its hosts. Pure. Whether the caller is accepted is decided in the transaction that
//! uses it.

use kbmfa_proto::names::MachineName;

use crate::secret::SecretHash;
use crate::source::{Address, Range};

/// The machine that a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Opaque id.
    pub machine_id: String,
    /// Its name. Marked as claimed if the machine has not joined.
    pub name: MachineName,
    /// Hash of the secret of its login, if the machine has not joined.
    pub login: Option<SecretHash>,
}

/// The proof of identity in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A machine's own.
    Own(SecretHash),
    /// The `AUTH_TOKEN`, from a machine that has not joined.
    Token(Claim),
}

/// The values that are sent with the `AUTH_TOKEN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The token.
    pub token: SecretHash,
    /// The name that the machine claims, marked as such.
    pub name: MachineName,
    /// Hash of the secret of the login that the request is about.
    pub login: SecretHash,
    /// Where the request comes from.
    pub address: Address,
}

/// The `AUTH_TOKEN`, and the source ranges from which it is accepted. It identifies no single machine, so it
/// is weaker than a credential: it can only open logins, and poll and cancel them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthToken {
    /// Hash of the token.
    pub hash: SecretHash,
    /// The source ranges.
    pub from: Vec<Range>,
}

impl AuthToken {
    /// Whether a request with this claim may open logins. Both hashes have the same length and look random,
    /// so how long the comparison takes reveals nothing about the token.
    pub fn accepts(&self, claim: &Claim) -> bool {
        self.hash == claim.token && self.from.iter().any(|range| range.contains(claim.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_counts_only_from_where_it_is_expected() {
        let token = AuthToken { hash: SecretHash::of("token"), from: vec!["10.0.0.0/8".parse().unwrap()] };
        let check = |secret: &str, address: &str, expected: bool| {
            let (name, login) = ("web1".parse::<MachineName>().unwrap().claimed(), SecretHash::of("login"));
            let claim =
                Claim { token: SecretHash::of(secret), name, login, address: address.parse().unwrap() };
            assert_eq!(token.accepts(&claim), expected, "{secret} {address}");
        };
        check("token", "10.1.2.3", true);
        check("token", "::ffff:10.1.2.3", true);
        check("token", "192.0.2.7", false);
        check("token", "2001:db8::7", false);
        check("other", "10.1.2.3", false);
    }
}
