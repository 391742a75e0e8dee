//! Certificates that the server would not make: of any age, signed by its own authority.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(86_400);

/// The name of every server in the tests.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// A certificate with its key.
#[derive(Debug)]
pub struct Made {
    /// The certificate and its authority's, PEM.
    pub chain: String,
    /// The private key, PEM.
    pub key: String,
}

impl Made {
    /// A certificate for the server with this state directory, valid from this many days ago, for this many
    /// days.
    pub fn begun(state_dir: &Path, days_ago: u32, life_days: u32) -> Self {
        Self::naming(&NAMES, state_dir, days_ago, life_days)
    }

    /// As [`Self::begun`], but valid only from this many days in the future.
    pub fn beginning(state_dir: &Path, in_days: u32, life_days: u32) -> Self {
        Self::signed(&NAMES, state_dir, SystemTime::now() + DAY * in_days, life_days)
    }

    /// As [`Self::begun`], but for a server with other names.
    pub fn naming(names: &[&str], state_dir: &Path, days_ago: u32, life_days: u32) -> Self {
        Self::signed(names, state_dir, SystemTime::now() - DAY * days_ago, life_days)
    }

    fn signed(names: &[&str], state_dir: &Path, begin: SystemTime, life_days: u32) -> Self {
        let read = |name: &str| fs::read_to_string(state_dir.join("ca/signs").join(name)).unwrap();
        let ca = read("ca.pem");
        let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&read("ca.key")).unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.use_authority_key_identifier_extension = true;
        let since_1970 = begin.duration_since(UNIX_EPOCH).unwrap();
        params.not_before = date_time_ymd(1970, 1, 1) + since_1970;
        params.not_after = params.not_before + DAY * life_days;
        let chain = params.signed_by(&key, &issuer).unwrap().pem() + &ca;
        Self { chain, key: key.serialize_pem() }
    }
}

/// The certificate of an authority that has signed nothing, PEM.
pub fn foreign_authority() -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}
