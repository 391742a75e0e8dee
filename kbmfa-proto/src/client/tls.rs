//! The certificates that the client trusts: a list of pinned CAs, the system's list, or, at first contact, a
//! pin.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, KeyProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::SigningKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use std::sync::{Arc, OnceLock};

use super::Error;
use crate::pin::Pin;

/// The trusted certificates, ready for use.
#[derive(Clone, Debug)]
pub struct Trust {
    pub(super) config: Arc<ClientConfig>,
    first_contact: Option<Arc<PinVerifier>>,
}

/// Why the CAs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadCa {
    /// It is not PEM.
    #[error("not a PEM certificate: {0}")]
    Pem(rustls::pki_types::pem::Error),
    /// It holds no certificate.
    #[error("no certificate in it")]
    Empty,
    /// A certificate in it cannot be a trust anchor.
    #[error("not a CA certificate: {0}")]
    Certificate(rustls::Error),
    /// The TLS library refused the set-up.
    #[error("TLS set-up: {0}")]
    SetUp(rustls::Error),
}

impl Trust {
    /// Trusts the CA certificates in `pem`, and no other.
    ///
    /// # Errors
    /// [`BadCa`] if there is none, or one is not a CA certificate.
    pub fn in_cas(pem: &[u8]) -> Result<Self, BadCa> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(BadCa::Pem)?).map_err(BadCa::Certificate)?;
        }
        if roots.is_empty() {
            return Err(BadCa::Empty);
        }
        let config = builder()?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { config: finish(config), first_contact: None })
    }

    /// Trusts any chain that contains a CA with this pin, for `join`.
    ///
    /// # Errors
    /// [`BadCa::SetUp`] if the TLS library refuses.
    pub fn in_pin(pin: Pin) -> Result<Self, BadCa> {
        let verifier = Arc::new(PinVerifier { pin, seen: OnceLock::new(), provider: Arc::new(provider()) });
        let config =
            builder()?.dangerous().with_custom_certificate_verifier(verifier.clone()).with_no_client_auth();
        Ok(Self { config: finish(config), first_contact: Some(verifier) })
    }

    /// The CA certificate (DER) that matched the pin, after a successful call.
    pub fn pinned_ca(&self) -> Option<Vec<u8>> {
        let verifier = self.first_contact.as_ref()?;
        verifier.seen.get().cloned()
    }
}

/// The pin of a CA certificate in DER; `None` if it is not a certificate.
pub fn pin_of(certificate: &CertificateDer<'_>) -> Option<Pin> {
    let anchor = webpki::anchor_from_trusted_cert(certificate).ok()?;
    // webpki returns the content of the SubjectPublicKeyInfo; the pin is the hash of all of it, header
    // included.
    let content = anchor.subject_public_key_info.as_ref();
    let mut hash = Sha256::new();
    hash.update([0x30]);
    match u16::try_from(content.len()).ok()?.to_be_bytes() {
        [0, short @ 0..=0x7f] => hash.update([short]),
        [0, long] => hash.update([0x81, long]),
        [high, low] => hash.update([0x82, high, low]),
    }
    hash.update(content);
    Some(Pin::from_sha256(hash.finalize().into()))
}

/// `host:port` as in a URL.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The name that the server's certificate must contain.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(host.to_owned()).map_err(|_| Error::Garbage(format!("{host:?} is no host name")))
}

/// ring's algorithms without those for signing. A client without a certificate signs nothing, and RSA keys
/// alone would be 2.5 % of the module's size.
pub fn provider() -> CryptoProvider {
    CryptoProvider { key_provider: &NoKeys, ..ring::default_provider() }
}

/// A key provider that loads no private key.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("this client never uses a private key".into()))
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, BadCa> {
    ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(BadCa::SetUp)
}

/// One connection serves one login: sessions are never resumed, so no ticket is stored.
fn finish(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// Accepts a chain that contains a CA with the pin, if the rest of the chain is valid.
#[derive(Debug)]
struct PinVerifier {
    pin: Pin,
    seen: OnceLock<Vec<u8>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = intermediates.iter().find(|certificate| pin_of(certificate) == Some(self.pin));
        let Some(ca) = pinned else {
            return Err(rustls::Error::General("the server's chain holds no CA with the given pin".into()));
        };
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let strict = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?;
        let verified =
            strict.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        // All certificates with the pin have the same key, so the first one is enough.
        let _ = self.seen.set(ca.to_vec());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not supported".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
