//! The server's side of TLS: 1.3 only, one provider, certificates from files.

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// The files do not go together, or are not for TLS.
    #[error("cannot use {} with its key: {cause}", path.display())]
    Unfit {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        cause: rustls::Error,
    },
}

/// Where `init` puts the server's certificate and key.
pub fn default_paths(state_dir: &Path) -> (PathBuf, PathBuf) {
    (state_dir.join("tls/server.pem"), state_dir.join("tls/server.key"))
}

/// Loads the certificate chain and key.
///
/// # Errors
/// [`Error`].
pub fn load(settings: &super::Settings) -> Result<Arc<ServerConfig>, Error> {
    let (cert, key) = (&settings.tls_cert, &settings.tls_key);
    let in_file = |path: &Path| {
        let path = path.to_owned();
        move |cause| Error::File { path, cause }
    };
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect).map_err(in_file(cert))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(in_file(key))?;
    let unfit = |cause| Error::Unfit { path: cert.clone(), cause };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(unfit)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A login is one connection: nothing is resumed, so tickets would be bytes for nothing.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
