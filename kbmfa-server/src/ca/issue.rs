//! Creates authorities and server certificates. Reads neither files nor clocks.

use kbmfa_proto::pin::Pin;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use sha2::{Digest, Sha256};
use std::time::Duration;

use super::Error;
use crate::clock::Time;
use crate::random;
use crate::secret::Secret;

/// Validity of an authority.
pub const CA_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);

/// Validity of the server's certificate. The server renews it when a third of this is left.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(90 * 86_400);

/// Certificates become valid this long before they are made, for machines whose clock is behind.
const SKEW: Duration = Duration::from_secs(2 * 86_400);

/// A certificate authority.
pub struct Authority {
    /// Its certificate.
    pub pem: String,
    /// Its private key.
    pub key: Secret,
    /// The pin for machines.
    pub pin: Pin,
}

/// Makes an authority.
///
/// # Errors
/// [`Error::Rcgen`], [`Error::Random`], [`Error::Date`].
pub fn authority(now: Time) -> Result<Authority, Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("kbmfa CA {}", random::hex::<4>()?));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, now + CA_LIFE)?;
    let pem = params.self_signed(&key)?.pem();
    let pin = Pin::from_sha256(Sha256::digest(key.subject_public_key_info()).into());
    Ok(Authority { pem, key: Secret::new(key.serialize_pem()), pin })
}

/// The expiry that a certificate has if it is made now, by an authority with this expiry.
pub fn end(now: Time, authority_ends: Time) -> Time {
    (now + CERTIFICATE_LIFE).min(authority_ends)
}

/// Makes a server's certificate for these DNS names and IP addresses: its private key, the certificate, and
/// the authority's certificate, from which `join` checks the pin. All are in one text, so that a reader never
/// mixes two versions.
///
/// # Errors
/// [`Error::Rcgen`] if a name cannot be in a certificate; [`Error::Ended`].
pub fn certificate(
    authority: (&str, &Secret),
    authority_ends: Time,
    names: &[String],
    now: Time,
) -> Result<Secret, Error> {
    if authority_ends <= now {
        return Err(Error::Ended(authority_ends));
    }
    let (ca_pem, ca_key) = authority;
    let issuer = Issuer::from_ca_cert_pem(ca_pem, KeyPair::from_pem(ca_key.reveal())?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    let name = names.first().map_or("kbmfa-server", String::as_str);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, end(now, authority_ends))?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Secret::new(key.serialize_pem() + &certificate.pem() + ca_pem))
}

/// Sets the validity in whole days, which are easier to read.
fn set_validity(params: &mut CertificateParams, now: Time, end: Time) -> Result<(), Error> {
    let day = |time: Time| {
        let day = jiff::Timestamp::from_microsecond(time.micros()).map_err(|_| Error::Date)?;
        let day = day.to_zoned(jiff::tz::TimeZone::UTC).date();
        let (month, day_of_month) = (day.month().unsigned_abs(), day.day().unsigned_abs());
        Ok::<_, Error>(date_time_ymd(i32::from(day.year()), month, day_of_month))
    };
    params.not_before = day(now.minus(SKEW))?;
    params.not_after = day(end)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::facts;
    use crate::db::testing::START;

    const DAY: Duration = Duration::from_secs(86_400);

    fn made(authority: &Authority, now: Time) -> Vec<facts::Facts> {
        let names = ["kbmfa.example".to_owned(), "192.0.2.1".to_owned()];
        let ends = facts::of_pem(authority.pem.as_bytes()).unwrap()[0].not_after;
        let bundle = certificate((&authority.pem, &authority.key), ends, &names, now).unwrap();
        facts::of_pem(bundle.reveal().as_bytes()).unwrap()
    }

    #[test]
    fn the_chain_is_the_server_certificate_and_the_authority_that_the_pin_names() {
        let now = Time::from_micros(START);
        let authority = authority(now).unwrap();
        let chain = made(&authority, now);
        assert_eq!(chain.len(), 2);
        assert_eq!(chain[1].pin, authority.pin);
        assert_eq!(kbmfa_proto::client::pin_of(&chain[1].der), Some(authority.pin));
        assert!(chain[0].is_signed_by(&chain[1]) && !chain[1].is_signed_by(&chain[0]));
        assert!(chain[0].names.iter().eq(["192.0.2.1", "kbmfa.example"]));
        assert!(chain[0].not_after.since(now) + DAY > CERTIFICATE_LIFE);
    }

    #[test]
    fn a_certificate_never_outlives_its_authority() {
        let now = Time::from_micros(START);
        let authority = authority(now).unwrap();
        let late = (now + CA_LIFE).minus(DAY * 10);
        let chain = made(&authority, late);
        assert!(chain[0].not_after <= chain[1].not_after);
        let (after, names) = (now + CA_LIFE + DAY, ["x".to_owned()]);
        let refused = certificate((&authority.pem, &authority.key), chain[1].not_after, &names, after);
        assert!(matches!(refused, Err(Error::Ended(_))));
    }
}
