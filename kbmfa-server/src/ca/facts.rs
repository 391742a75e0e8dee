//! Reads a certificate's dates, names, pin and issuer. It judges nothing.

use kbmfa_proto::pin::Pin;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::net::IpAddr;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::clock::Time;

/// The contents of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Start of its validity.
    pub not_before: Time,
    /// Its expiry.
    pub not_after: Time,
    /// DNS names and IP addresses, in the spelling of [`canonical`].
    pub names: BTreeSet<String>,
    /// The pin of its key.
    pub pin: Pin,
    /// The certificate itself.
    pub der: CertificateDer<'static>,
}

impl Facts {
    /// True if the key of `authority` made this certificate's signature.
    pub fn is_signed_by(&self, authority: &Self) -> bool {
        let (own, other) = (X509Certificate::from_der(&self.der), X509Certificate::from_der(&authority.der));
        match (own, other) {
            (Ok((_, own)), Ok((_, other))) => own.verify_signature(Some(other.public_key())).is_ok(),
            _ => false,
        }
    }
}

/// The certificates in a PEM text, in order; `None` if one of them is not valid.
pub fn of_pem(pem: &[u8]) -> Option<Vec<Facts>> {
    CertificateDer::pem_slice_iter(pem).map(|certificate| of(&certificate.ok()?)).collect()
}

/// Parses a certificate; `None` if it is not one.
pub fn of(der: &CertificateDer<'_>) -> Option<Facts> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let time = |seconds: i64| Time::from_micros(seconds.saturating_mul(1_000_000));
    let names = certificate.subject_alternative_name().ok()?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    Some(Facts {
        not_before: time(certificate.validity().not_before.timestamp()),
        not_after: time(certificate.validity().not_after.timestamp()),
        names: names.filter_map(name).collect(),
        pin: Pin::from_sha256(Sha256::digest(certificate.public_key().raw).into()),
        der: der.clone().into_owned(),
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(canonical(name)),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// The canonical spelling of a name or address, for comparisons.
pub fn canonical(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_has_one_spelling() {
        assert_eq!(canonical("KBMFA.Example"), "kbmfa.example");
        assert_eq!(canonical("2001:DB8:0:0::7"), "2001:db8::7");
    }

    #[test]
    fn an_invalid_certificate_is_not_parsed() {
        assert_eq!(of(&CertificateDer::from(vec![1, 2, 3])), None);
        assert_eq!(of_pem(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), None);
        assert_eq!(of_pem(b"").map(|found| found.len()), Some(0));
    }
}
