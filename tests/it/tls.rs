//! TLS towards clients, and the PROXY protocol before it.

use std::path::PathBuf;
use std::sync::Arc;

use http::Version;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::{Proxy, Upstream, soon};

const PATH: &str = "/v1/sessions/1/events";

/// A certificate's files, gone with it.
struct Files {
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new(name: &str) -> Self {
        let file = |kind: &str| {
            std::env::temp_dir().join(format!("ssecar-it-{}-{name}-{kind}.pem", std::process::id()))
        };
        let files = Self { chain: file("chain"), key: file("key") };
        files.renew();
        files
    }

    /// Writes another certificate.
    fn renew(&self) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&self.chain, cert.pem()).unwrap();
        std::fs::write(&self.key, signing_key.serialize_pem()).unwrap();
    }

    fn flags(&self) -> [String; 2] {
        [format!("--tls-cert={}", self.chain.display()), format!("--tls-key={}", self.key.display())]
    }

    /// A client that trusts the certificate as it is now, and nothing else.
    async fn connect(&self, stream: TcpStream, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.chain).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        soon("the handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for file in [&self.chain, &self.key] {
            std::fs::remove_file(file).unwrap();
        }
    }
}

/// Reads until the text is there.
async fn read_until(stream: &mut (impl AsyncReadExt + Unpin), text: &str) -> String {
    soon(text, async {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut bytes = [0; 1024];
            let count = stream.read(&mut bytes).await.unwrap();
            assert_ne!(count, 0, "ended: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&bytes[..count]);
        }
        String::from_utf8(seen).unwrap()
    })
    .await
}

async fn start(files: &Files, upstream: &Upstream, more: &[&str]) -> Proxy {
    let tls = files.flags();
    let mut flags: Vec<&str> = tls.iter().map(String::as_str).collect();
    flags.extend(more);
    Proxy::start(upstream, &flags).await
}

fn get() -> String {
    format!("GET {PATH} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
}

#[tokio::test]
async fn an_event_stream_over_tls_is_like_any_other() {
    let (files, upstream) = (Files::new("http1"), Upstream::start().await);
    let proxy = start(&files, &upstream, &["--linger=0s"]).await;
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let stream = TcpStream::connect(proxy.address).await.unwrap();
        let mut client = files.connect(stream, alpn).await.unwrap();
        client.write_all(get().as_bytes()).await.unwrap();
        let mut exchange = upstream.stream().await;
        assert_eq!(exchange.header("x-forwarded-proto"), Some("https"));
        exchange.send("data: hello\n\n").await;
        read_until(&mut client, "data: hello\n\n").await;
        // Who leaves is noticed at once, though it is the record layer's business what comes.
        drop(client);
        exchange.closed().await;
    }
}

#[tokio::test]
async fn http2_is_spoken_by_alpn() {
    let (files, upstream) = (Files::new("http2"), Upstream::start().await);
    let proxy = start(&files, &upstream, &[]).await;
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let client = files.connect(stream, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = hyper_util::rt::TokioIo::new(client);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, http_body_util::Empty<bytes::Bytes>>(executor, io)
            .await
            .unwrap();
    let driver = tokio::spawn(connection);
    let request = http::Request::get(format!("https://localhost{PATH}"))
        .header("accept", "text/event-stream")
        .body(http_body_util::Empty::new())
        .unwrap();
    let (response, mut exchange) = tokio::join!(sender.send_request(request), upstream.stream());
    let response = response.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    exchange.send("data: hello\n\n").await;
    let mut body = response.into_body();
    let frame = soon("a frame", http_body_util::BodyExt::frame(&mut body)).await.unwrap().unwrap();
    assert!(frame.into_data().unwrap().ends_with(b"data: hello\n\n"));
    driver.abort();
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_clients_and_running_streams_go_on() {
    let (files, upstream) = (Files::new("renewed"), Upstream::start().await);
    let proxy = start(&files, &upstream, &[]).await;
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let mut running = files.connect(stream, &[]).await.unwrap();
    running.write_all(get().as_bytes()).await.unwrap();
    let mut exchange = upstream.stream().await;
    // Half written: the old one stays.
    std::fs::write(&files.key, "half a key").unwrap();
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    files.connect(stream, &[]).await.unwrap();
    files.renew();
    soon("the new certificate", async {
        loop {
            let stream = TcpStream::connect(proxy.address).await.unwrap();
            if files.connect(stream, &[]).await.is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    exchange.send("data: still here\n\n").await;
    read_until(&mut running, "still here").await;
}

#[tokio::test]
async fn a_load_balancer_names_the_client_and_nobody_else_may_connect() {
    let (files, upstream) = (Files::new("balancer"), Upstream::start().await);
    let proxy = start(&files, &upstream, &["--proxy-protocol", "--trusted-proxy=127.0.0.1"]).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend([192, 0, 2, 7, 198, 51, 100, 1, 0x10, 0, 1, 187]);
    stream.write_all(&header).await.unwrap();
    let mut client = files.connect(stream, &[]).await.unwrap();
    client
        .write_all(get().replace("Accept", "X-Forwarded-For: 10.0.0.1\r\nAccept").as_bytes())
        .await
        .unwrap();
    let exchange = upstream.stream().await;
    assert_eq!(exchange.header("x-forwarded-for"), Some("192.0.2.7"), "the client's own word counts nothing");

    // Without its header a connection is closed, whatever else comes.
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    assert!(files.connect(stream, &[]).await.is_err());

    let stranger = start(&files, &upstream, &["--proxy-protocol", "--trusted-proxy=192.0.2.0/24"]).await;
    let mut stream = TcpStream::connect(stranger.address).await.unwrap();
    stream.write_all(&header).await.unwrap();
    assert!(files.connect(stream, &[]).await.is_err());
}

#[test]
fn a_certificate_that_can_not_be_used_stops_the_start() {
    let files = Files::new("start");
    let other = Files::new("other");
    std::fs::write(&other.chain, "no certificate").unwrap();
    let bind = |chain: &PathBuf, key: &PathBuf| {
        let args = [
            "ssecar".to_owned(),
            "--upstream=http://127.0.0.1:1".to_owned(),
            "--listen=127.0.0.1:0".to_owned(),
            "--admin-listen=off".to_owned(),
            format!("--tls-cert={}", chain.display()),
            format!("--tls-key={}", key.display()),
        ];
        let Ok(ssecar::config::Command::Run(config)) = ssecar::config::Command::from_args(args) else {
            panic!("wrong flags")
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        ssecar::app::App::bind(*config).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(bind(&files.chain, &files.key), Ok(()));
    assert!(bind(&other.chain, &files.key).unwrap_err().starts_with("--tls-cert '"));
    assert!(bind(&files.chain, &other.chain).unwrap_err().starts_with("--tls-key '"));
    let mismatch = bind(&files.chain, &other.key).unwrap_err();
    assert!(mismatch.contains("can't be used with --tls-key"), "{mismatch}");
}
