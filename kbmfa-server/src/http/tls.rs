//! The server's TLS: version 1.3 only, one provider, certificates from files.

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Certificate;
use crate::ca::{Dates, facts};
use crate::secret::SecretHash;

/// The fix if there is no usable certificate.
pub const NO_CERTIFICATE: &str = "the server makes its own at its start, from ca/ in the state directory; \
                                  if that is lost, `kbmfa-server ca new` creates another. For a certificate \
                                  of your own, correct tls_cert and tls_key";

/// Why the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read, or is not PEM.
    #[error("cannot use {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: pem::Error,
    },
    /// The certificate and the key do not match, or cannot be used for TLS.
    #[error("cannot use {} with its key: {cause}", path.display())]
    Unfit {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        cause: rustls::Error,
    },
}

/// A certificate that is ready to serve.
pub struct Loaded {
    /// The TLS configuration for the accept loop.
    pub config: Arc<ServerConfig>,
    /// Expiry dates of its certificates.
    pub dates: Dates,
    /// Hash of the files, to detect changes.
    pub print: SecretHash,
}

/// Loads the certificate chain and key.
pub fn load(settings: &super::Settings) -> Result<Loaded, Error> {
    let (path, texts) = read(&settings.certificate)?;
    let in_file = |cause| Error::File { path: path.clone(), cause };
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(texts.as_bytes()).collect::<Result<_, _>>().map_err(in_file)?;
    let secret = PrivateKeyDer::from_pem_slice(texts.as_bytes()).map_err(in_file)?;
    let unfit = |cause| Error::Unfit { path: path.clone(), cause };
    let dates = dates(&chain).ok_or_else(|| unfit(rustls::CertificateError::BadEncoding.into()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A login uses one connection, so sessions are never resumed, and tickets would be useless.
    config.send_tls13_tickets = 0;
    Ok(Loaded { config: Arc::new(config), dates, print: SecretHash::of(&texts) })
}

/// Hash of the current files, to compare with [`Loaded::print`]. `None` if they cannot be read.
pub fn print(settings: &super::Settings) -> Option<SecretHash> {
    read(&settings.certificate).ok().map(|(_, texts)| SecretHash::of(&texts))
}

/// The path of the certificate, and the text of all files, each read once.
fn read(certificate: &Certificate) -> Result<(PathBuf, String), Error> {
    let text = |path: &Path| {
        fs::read_to_string(path)
            .map_err(|cause| Error::File { path: path.to_owned(), cause: pem::Error::Io(cause) })
    };
    match certificate {
        Certificate::Ours(files) => {
            let path = files.certificate();
            text(&path).map(|texts| (path, texts))
        }
        Certificate::Own { cert, key } => Ok((cert.clone(), text(cert)? + &text(key)?)),
    }
}

fn dates(chain: &[CertificateDer<'_>]) -> Option<Dates> {
    let (server, rest) = chain.split_first()?;
    let ca = rest.last().and_then(facts::of).map(|facts| facts.not_after);
    Some(Dates { server: facts::of(server)?.not_after, ca })
}
