//! The private certificate authority: made once by `init`, it signs the server's certificate. Machines pin
//! its public key.

use kbmfa_proto::pin::Pin;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use sha2::{Digest, Sha256};
use std::time::Duration;

use crate::clock::Time;
use crate::random::{self, NoRandomness};
use crate::secret::Secret;

/// How long the CA is good for.
pub const CA_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);

/// How long the server's certificate is good for. This version does not renew it by itself.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(2 * 365 * 86_400);

/// Certificates begin this much in the past, for machines whose clock is behind.
const SKEW_DAYS: i64 = 2;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library refused.
    #[error("cannot make a certificate: {0}")]
    Rcgen(#[from] rcgen::Error),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The date is out of range.
    #[error("the clock shows no date that a certificate can bear")]
    Date,
}

/// A CA and the server's certificate that it signed, all in PEM.
pub struct Issued {
    /// The CA's certificate.
    pub ca_pem: String,
    /// The CA's private key.
    pub ca_key: Secret,
    /// The server's certificate with the CA's behind it, so that `join` can check the pin.
    pub chain_pem: String,
    /// The server's private key.
    pub key: Secret,
    /// What machines pin.
    pub pin: Pin,
}

/// Makes a CA, and a certificate of a server with these DNS names and IP addresses.
///
/// # Errors
/// [`Error::Rcgen`] if a name cannot stand in a certificate.
pub fn issue(names: &[String], now: Time) -> Result<Issued, Error> {
    let ca_key = KeyPair::generate()?;
    let ca_params = ca_params(now)?;
    let ca = ca_params.self_signed(&ca_key)?;
    let pin = Pin::from_sha256(Sha256::digest(ca_key.subject_public_key_info()).into());

    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    let name = names.first().map_or("kbmfa-server", String::as_str);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, CERTIFICATE_LIFE)?;
    let certificate = params.signed_by(&key, &Issuer::from_params(&ca_params, &ca_key))?;

    Ok(Issued {
        ca_pem: ca.pem(),
        ca_key: Secret::new(ca_key.serialize_pem()),
        chain_pem: certificate.pem() + &ca.pem(),
        key: Secret::new(key.serialize_pem()),
        pin,
    })
}

fn ca_params(now: Time) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("kbmfa CA {}", random::hex::<4>()?));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, CA_LIFE)?;
    Ok(params)
}

/// Whole days, as certificates are read by people too.
fn set_validity(params: &mut CertificateParams, now: Time, life: Duration) -> Result<(), Error> {
    let day = |time: Time, shift: i64| {
        let day = jiff::Timestamp::from_microsecond(time.micros()).map_err(|_| Error::Date)?;
        let day = day.to_zoned(jiff::tz::TimeZone::UTC).date().checked_add(jiff::Span::new().days(shift));
        let day = day.map_err(|_| Error::Date)?;
        let (month, day_of_month) = (day.month().unsigned_abs(), day.day().unsigned_abs());
        Ok::<_, Error>(date_time_ymd(i32::from(day.year()), month, day_of_month))
    };
    params.not_before = day(now, -SKEW_DAYS)?;
    params.not_after = day(now + life, 0)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn the_chain_is_the_server_certificate_and_the_ca_that_the_pin_names() {
        let names = ["kbmfa.example".to_owned(), "192.0.2.1".to_owned()];
        let issued = issue(&names, Time::from_micros(1_795_262_400_000_000)).unwrap();
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(chain.len(), 2);
        assert_eq!(kbmfa_proto::client::pin_of(&chain[1]), Some(issued.pin));
    }
}
