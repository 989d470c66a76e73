//! TLS: whom the client trusts, and what it shows of itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::super::testing::{config, listen, read_to_close};
use super::{Fault, OK, UpstreamClient, client, fault, get};
use crate::config::{ClientCertificate, Transport};

/// A certificate for a name, its key, and the authority that made it; the PEM files end with it.
struct Certified {
    certificate: CertificateDer<'static>,
    authority: CertificateDer<'static>,
    key: KeyPair,
    ca_file: PathBuf,
    identity: ClientCertificate,
}

impl Certified {
    fn new(name: &str) -> Self {
        Self::until(name, 2100)
    }

    fn until(name: &str, year: i32) -> Self {
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&authority_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = |kind: &str, pem: String| {
            let name = format!("ssecar-test-{kind}-{}-{number}.pem", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        Self {
            ca_file: file("ca", root.pem()),
            identity: ClientCertificate {
                chain: file("cert", certificate.pem()),
                key: file("key", key.serialize_pem()),
            },
            certificate: certificate.der().clone(),
            authority: root.der().clone(),
            key,
        }
    }

    /// Serves with it. `asks_for`: only clients with a certificate of that authority.
    fn acceptor(&self, asks_for: Option<&Self>) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let server = match asks_for {
            None => server.with_no_client_auth(),
            Some(of) => {
                let mut roots = RootCertStore::empty();
                roots.add(of.authority.clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                server.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let mut server = server.with_single_cert(vec![self.certificate.clone()], key).unwrap();
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(server))
    }
}

impl Drop for Certified {
    fn drop(&mut self) {
        for file in [&self.ca_file, &self.identity.chain, &self.identity.key] {
            std::fs::remove_file(file).unwrap();
        }
    }
}

/// Sends a request to `localhost` over TLS, trusting that authority, as that client.
async fn over_tls(
    server: TlsAcceptor,
    trusted: &Certified,
    identity: Option<&Certified>,
) -> Result<String, Fault> {
    let (listener, address) = listen().await;
    let mut config = config(Transport::Tls { host: "localhost".to_owned(), port: address.port() });
    config.ca_file = Some(trusted.ca_file.clone());
    config.client_certificate = identity.map(|certified| certified.identity.clone());
    let client = client(&config);
    let upstream = async {
        let (io, _) = listener.accept().await.unwrap();
        if let Ok(mut io) = server.accept(io).await {
            assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            // A client that doesn't trust us may hang up only now.
            let mut head = vec![0; 1024];
            if io.read(&mut head).await.is_ok_and(|len| len > 0) {
                io.write_all(OK).await.unwrap();
                io.shutdown().await.unwrap();
            }
        }
    };
    let (outcome, ()) = tokio::join!(client.send(get("/")), upstream);
    match outcome {
        Ok(response) => {
            let body = response.into_body().collect().await.unwrap().to_bytes();
            Ok(String::from_utf8(body.to_vec()).unwrap())
        }
        Err(error) => Err(error.fault()),
    }
}

#[tokio::test]
async fn a_certificate_must_be_of_a_trusted_authority_for_this_name_and_in_force() {
    let good = Certified::new("localhost");
    let stranger = Certified::new("localhost");
    let misnamed = Certified::new("elsewhere.example");
    let expired = Certified::until("localhost", 2020);
    let served = |by: &Certified| by.acceptor(None);
    assert_eq!(over_tls(served(&good), &good, None).await.as_deref(), Ok("ok"));
    let distrusted = Err(Fault::TlsCertificate);
    assert_eq!(over_tls(served(&good), &stranger, None).await, distrusted, "another authority");
    assert_eq!(over_tls(served(&misnamed), &misnamed, None).await, distrusted, "another name");
    assert_eq!(over_tls(served(&expired), &expired, None).await, distrusted, "too old");
}

#[tokio::test]
async fn an_upstream_that_asks_for_a_certificate_gets_the_one_that_was_given() {
    let server = Certified::new("localhost");
    let sidecar = Certified::new("sidecar.example");
    let stranger = Certified::new("sidecar.example");
    let acceptor = || server.acceptor(Some(&sidecar));
    assert_eq!(over_tls(acceptor(), &server, Some(&sidecar)).await.as_deref(), Ok("ok"));
    assert_eq!(
        over_tls(server.acceptor(None), &server, Some(&sidecar)).await.as_deref(),
        Ok("ok"),
        "unasked"
    );
    for refused in [None, Some(&stranger)] {
        let fault = over_tls(acceptor(), &server, refused).await.unwrap_err();
        // The alert says why, unless the reset behind it was faster.
        assert!(matches!(fault, Fault::TlsProtocol | Fault::Reset | Fault::Closed), "{fault:?}");
    }
}

#[test]
fn an_identity_must_be_readable_and_its_key_its_own() {
    let trusted = Certified::new("localhost");
    let other = Certified::new("localhost");
    let tried = |chain: &PathBuf, key: &PathBuf| {
        let mut config = config(Transport::Tls { host: "localhost".to_owned(), port: 1 });
        config.ca_file = Some(trusted.ca_file.clone());
        config.client_certificate = Some(ClientCertificate { chain: chain.clone(), key: key.clone() });
        UpstreamClient::new(&config).map(drop).map_err(|error| error.to_string())
    };
    let ClientCertificate { chain, key } = &trusted.identity;
    assert_eq!(tried(chain, key), Ok(()));
    let starts = |outcome: Result<(), String>, flag: &str, file: &Path| {
        let line = outcome.unwrap_err();
        assert!(line.starts_with(&format!("{flag} '{}': ", file.display())), "{line}");
    };
    let missing = PathBuf::from("no-such-file.pem");
    starts(tried(&missing, key), "--upstream-client-cert", &missing);
    starts(tried(key, key), "--upstream-client-cert", key);
    starts(tried(chain, &missing), "--upstream-client-key", &missing);
    starts(tried(chain, chain), "--upstream-client-key", chain);
    starts(tried(chain, &other.identity.key), "--upstream-client-cert", chain);
}

#[tokio::test]
async fn plain_http_where_tls_is_expected_is_a_tls_fault() {
    let trusted = Certified::new("localhost");
    let (listener, address) = listen().await;
    let mut config = config(Transport::Tls { host: "localhost".to_owned(), port: address.port() });
    config.ca_file = Some(trusted.ca_file.clone());
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        io.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        read_to_close(&mut io).await;
    };
    let (fault, ()) = tokio::join!(fault(&config), upstream);
    assert_eq!(fault, Fault::TlsProtocol);
}
