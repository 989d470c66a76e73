//! TLS towards the upstream: whom to trust, which name its certificate must have, and whom ssecar
//! says it is itself.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, ConfigBuilder, RootCertStore, crypto::ring};

use crate::config::ClientCertificate;

/// Everything that a TLS handshake with the upstream needs.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
}

/// Why connections to the upstream can't be set up: a fault of the configuration or the machine.
#[derive(Debug)]
pub enum SetupError {
    /// `--upstream-ca` can't be read, or holds something that is no PEM file.
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: pem::Error,
    },
    /// The upstream is `https`, and there is no certificate authority to check it by.
    NoRoots {
        /// The file that was to hold some; `None`: the system's.
        path: Option<PathBuf>,
    },
    /// `--upstream-client-cert` or `--upstream-client-key` can't be read, or holds no PEM of its kind.
    ClientFile {
        /// Which of the two.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: pem::Error,
    },
    /// The key is not that of the certificate, or of a kind that can't sign.
    ClientCertificate {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong with it.
        cause: rustls::Error,
    },
    /// The host of `--upstream` is no name that a certificate could be for.
    BadName(String),
    /// rustls refuses the settings.
    Tls(rustls::Error),
}

/// Prepares TLS for `host`: only HTTP/1.1 is offered, as the client speaks nothing else.
///
/// The files are read once: an identity that is renewed on disk is used from the next start.
pub(super) fn setup(
    host: &str,
    ca_file: Option<&Path>,
    identity: Option<&ClientCertificate>,
) -> Result<Tls, SetupError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| SetupError::BadName(host.to_owned()))?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(SetupError::Tls)?
        .with_root_certificates(roots(ca_file)?);
    let mut config = match identity {
        Some(identity) => with_identity(config, identity)?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { connector: TlsConnector::from(Arc::new(config)), name })
}

fn with_identity(
    config: ConfigBuilder<ClientConfig, WantsClientCert>,
    identity: &ClientCertificate,
) -> Result<ClientConfig, SetupError> {
    let ClientCertificate { chain: path, key } = identity;
    let at = |flag, path: &Path| {
        let path = path.to_owned();
        move |cause| SetupError::ClientFile { flag, path, cause }
    };
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
        .map_err(at("--upstream-client-cert", path))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(at("--upstream-client-key", key))?;
    config
        .with_client_auth_cert(chain, key)
        .map_err(|cause| SetupError::ClientCertificate { path: path.clone(), cause })
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, SetupError> {
    let certificates = match ca_file {
        Some(path) => {
            let at = |cause| SetupError::CaFile { path: path.to_owned(), cause };
            let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(at)?.collect();
            read.map_err(at)?
        }
        // Single files of a system's store may be broken; what counts is whether any can be used.
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates);
    if store.is_empty() {
        return Err(SetupError::NoRoots { path: ca_file.map(Path::to_owned) });
    }
    Ok(store)
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CaFile { path, cause } => {
                write!(f, "--upstream-ca '{}': no readable PEM file of certificates: {cause}", path.display())
            }
            Self::NoRoots { path: Some(path) } => {
                write!(f, "--upstream-ca '{}': holds no certificate of an authority", path.display())
            }
            Self::NoRoots { path: None } => f.write_str(
                "--upstream is https, but this system has no certificate authorities: give --upstream-ca",
            ),
            Self::ClientFile { flag, path, cause } => {
                write!(f, "{flag} '{}': not readable as PEM of its kind: {cause}", path.display())
            }
            Self::ClientCertificate { path, cause } => {
                write!(f, "--upstream-client-cert '{}': can't be used with this key: {cause}", path.display())
            }
            Self::BadName(host) => write!(f, "--upstream: no certificate can be for the host '{host}'"),
            Self::Tls(error) => write!(f, "TLS to the upstream: {error}"),
        }
    }
}

impl Error for SetupError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_must_exist_and_hold_a_certificate() {
        let missing = setup("localhost", Some(Path::new("no-such-file.pem")), None).err().unwrap();
        assert!(matches!(missing, SetupError::CaFile { .. }), "{missing}");
        let empty = std::env::temp_dir().join(format!("ssecar-empty-ca-{}", std::process::id()));
        std::fs::write(&empty, "no certificate here\n").unwrap();
        let none = setup("localhost", Some(&empty), None).err().unwrap();
        std::fs::remove_file(&empty).unwrap();
        assert!(matches!(none, SetupError::NoRoots { path: Some(_) }), "{none}");
    }

    #[test]
    fn a_host_that_no_certificate_can_name_is_refused() {
        assert!(matches!(setup("a b", None, None), Err(SetupError::BadName(_))));
    }
}
