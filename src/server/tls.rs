//! TLS towards clients: the certificate, read anew when its files change, and which HTTP is spoken (ALPN).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use crate::config::ServerCertificate;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// ALPN's name of HTTP/2 (RFC 9113, 3.2).
pub(super) const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// The certificate of the listener for clients, and the way to take it anew.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    identity: Arc<Identity>,
}

#[derive(Debug)]
struct Identity {
    files: ServerCertificate,
    current: RwLock<Arc<CertifiedKey>>,
}

/// Why clients can't be served over TLS.
#[derive(Debug)]
pub enum TlsError {
    /// A file can't be read, or holds no PEM of its kind.
    File {
        /// Which of the two.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: pem::Error,
    },
    /// The key is not that of the certificate, or of a kind that can't sign.
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong with it.
        cause: rustls::Error,
    },
    /// rustls refuses the settings.
    Setup(rustls::Error),
}

impl Tls {
    /// From the files as they are now.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(files: &ServerCertificate) -> Result<Self, TlsError> {
        let current = RwLock::new(Arc::new(read(files)?));
        let identity = Arc::new(Identity { files: files.clone(), current });
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&identity) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), identity })
    }

    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Takes the certificate anew whenever its files have changed. Never ends; what can't be used is told once, and the
    /// last good one stays.
    pub async fn keep_fresh(self) {
        let mut seen = contents(&self.identity.files).await;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = contents(&self.identity.files).await;
            if now == seen {
                continue;
            }
            seen = now;
            match read(&self.identity.files) {
                Ok(key) => {
                    *self.identity.current.write() = Arc::new(key);
                    tracing::info!("TLS certificate taken anew");
                }
                Err(error) => tracing::error!(%error, "TLS certificate not taken anew: the last one stays"),
            }
        }
    }
}

/// Their bytes, since a time stamp may stay the same and a symbolic link be turned. `None`: one can't be read.
async fn contents(files: &ServerCertificate) -> Option<(Vec<u8>, Vec<u8>)> {
    Some((tokio::fs::read(&files.chain).await.ok()?, tokio::fs::read(&files.key).await.ok()?))
}

fn read(files: &ServerCertificate) -> Result<CertifiedKey, TlsError> {
    let at = |flag, path: &Path| {
        let path = path.to_owned();
        move |cause| TlsError::File { flag, path, cause }
    };
    let chain = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
        .map_err(at("--tls-cert", &files.chain))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(at("--tls-key", &files.key))?;
    let pair = CertifiedKey::from_der(chain, key, &ring::default_provider());
    pair.map_err(|cause| TlsError::Pair { path: files.chain.clone(), cause })
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read()))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.identity.files).finish_non_exhaustive()
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { flag, path, cause } => {
                write!(f, "{flag} '{}': not readable as PEM of its kind: {cause}", path.display())
            }
            Self::Pair { path, cause } => {
                write!(f, "--tls-cert '{}': can't be used with --tls-key: {cause}", path.display())
            }
            Self::Setup(error) => write!(f, "TLS for clients: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}
