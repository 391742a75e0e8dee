//! Reads the credential in a request's head, as the hash by which the database knows it. Whether it is
//! accepted is decided in the transaction that uses it.

use kbmfa_proto::caller::Authorization;

use crate::machines::caller::{Claim, Credential};
use crate::secret::SecretHash;
use crate::source::Address;

/// The source of a request; the listener adds it to each one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) Address);

/// Parses the `Authorization` header of a request from this address.
pub(super) fn read(header: &str, address: Address) -> Option<Credential> {
    Some(match Authorization::read(header)? {
        Authorization::Bearer(credential) => Credential::Own(SecretHash::of(credential)),
        Authorization::AuthToken { claims, secret, token } => {
            let (token, login) = (SecretHash::of(token), SecretHash::of(secret));
            Credential::Token(Claim { token, name: claims.claimed(), login, address })
        }
    })
}
