//! The client against real loopback sockets: each transport, and each way to fail.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};

use super::testing::{PATIENCE, config, listen, read_head, read_to_close, read_until, tcp};
use super::*;
use crate::config::{HostHeader, Transport, UpstreamConfig};

const SHORT: Duration = Duration::from_millis(80);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn get(path: &str) -> Request<RequestBody> {
    Request::get(path).body(RequestBody::empty()).unwrap()
}

fn client(config: &UpstreamConfig) -> UpstreamClient {
    UpstreamClient::new(config).unwrap()
}

async fn fault(config: &UpstreamConfig) -> Fault {
    fault_of(client(config).send(get("/"))).await
}

async fn fault_of<T>(sending: impl Future<Output = Result<T, UpstreamError>>) -> Fault {
    let outcome = tokio::time::timeout(PATIENCE, sending).await.expect("an answer in time");
    outcome.err().expect("a failure").fault()
}

async fn text(client: &UpstreamClient, request: Request<RequestBody>) -> String {
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Answers one request with these bytes; gives its head.
async fn answer(io: &mut (impl AsyncRead + AsyncWrite + Unpin), response: &[u8]) -> String {
    let head = read_head(io).await;
    io.write_all(response).await.unwrap();
    head
}

/// What a client reports whose upstream answers its request with these bytes and closes.
async fn fault_after(response: &[u8]) -> Fault {
    let (listener, address) = listen().await;
    let config = tcp(address);
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        answer(&mut io, response).await;
    };
    tokio::join!(fault(&config), upstream).0
}

/// A body that is sent piece by piece.
fn body() -> (mpsc::Sender<Result<Frame<Bytes>, BoxError>>, RequestBody) {
    let (sender, mut receiver) = mpsc::channel(1);
    let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, RequestBody::streamed(StreamBody::new(stream)))
}

fn piece(text: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

#[tokio::test]
async fn a_request_goes_to_the_upstream_with_the_clients_host_and_below_the_base_path() {
    let (listener, address) = listen().await;
    let mut config = tcp(address);
    config.target.base_path = "/base".to_owned();
    let client = client(&config);
    let mut request = get("//a/../b%2f?q=%20");
    request.headers_mut().insert("host", "public.example".parse().unwrap());
    let upstream = async { answer(&mut listener.accept().await.unwrap().0, OK).await };
    let (text, head) = tokio::join!(text(&client, request), upstream);
    assert_eq!(text, "ok");
    assert_eq!(head, "GET /base//a/../b%2f?q=%20 HTTP/1.1\r\nhost: public.example\r\n\r\n");
}

#[tokio::test]
async fn the_upstreams_own_name_is_sent_where_told_or_where_the_client_gave_none() {
    for (rule, given) in [(HostHeader::Upstream, Some("public.example")), (HostHeader::Client, None)] {
        let (listener, address) = listen().await;
        let config = UpstreamConfig { host_header: rule, ..tcp(address) };
        let mut request = get("/");
        request.headers_mut().extend(given.map(|host| (http::header::HOST, host.parse().unwrap())));
        let upstream = async { answer(&mut listener.accept().await.unwrap().0, OK).await };
        let (_, head) = tokio::join!(async { client(&config).send(request).await }, upstream);
        assert_eq!(head, format!("GET / HTTP/1.1\r\nhost: {address}\r\n\r\n"));
    }
}

#[tokio::test]
async fn a_request_cannot_choose_where_it_goes() {
    let (listener, address) = listen().await;
    let (elsewhere, other) = listen().await;
    let mut request = get(&format!("http://{other}/x"));
    request.headers_mut().insert("host", other.to_string().parse().unwrap());
    let client = client(&tcp(address));
    let upstream = async { answer(&mut listener.accept().await.unwrap().0, OK).await };
    let head = tokio::select! {
        (_, head) = async { tokio::join!(text(&client, request), upstream) } => head,
        _ = elsewhere.accept() => panic!("connected where the request said"),
    };
    assert!(head.starts_with("GET /x HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn a_unix_socket_is_an_upstream_too() {
    let path = std::env::temp_dir().join(format!("ssecar-test-{}.sock", std::process::id()));
    let config = config(Transport::Unix { path: path.clone() });
    assert_eq!(fault(&config).await, Fault::Unreachable, "no such socket yet");
    let listener = UnixListener::bind(&path).unwrap();
    let client = client(&config);
    let upstream = async { answer(&mut listener.accept().await.unwrap().0, OK).await };
    let (text, head) = tokio::join!(text(&client, get("/")), upstream);
    std::fs::remove_file(&path).unwrap();
    assert_eq!((text.as_str(), head.as_str()), ("ok", "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"));
}

/// A server's certificate, made by an authority whose PEM is in a file of its own.
struct Certified {
    acceptor: TlsAcceptor,
    ca_file: PathBuf,
}

fn certified(name: &str, is_expired: bool) -> Certified {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    if is_expired {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    }
    let certificate = params.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let ca_file = std::env::temp_dir().join(format!("ssecar-test-ca-{}-{number}.pem", std::process::id()));
    std::fs::write(&ca_file, authority_pem).unwrap();
    Certified { acceptor: TlsAcceptor::from(Arc::new(server)), ca_file }
}

/// Sends a request to `localhost` over TLS, to a server with this certificate, trusting that authority.
async fn over_tls(server: &Certified, trusted: &Certified) -> Result<String, Fault> {
    let (listener, address) = listen().await;
    let mut config = config(Transport::Tls { host: "localhost".to_owned(), port: address.port() });
    config.ca_file = Some(trusted.ca_file.clone());
    let client = client(&config);
    let upstream = async {
        let (io, _) = listener.accept().await.unwrap();
        if let Ok(mut io) = server.acceptor.accept(io).await {
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
    let good = certified("localhost", false);
    let stranger = certified("localhost", false);
    let misnamed = certified("elsewhere.example", false);
    let expired = certified("localhost", true);
    assert_eq!(over_tls(&good, &good).await.as_deref(), Ok("ok"));
    assert_eq!(over_tls(&good, &stranger).await, Err(Fault::TlsCertificate), "another authority");
    assert_eq!(over_tls(&misnamed, &misnamed).await, Err(Fault::TlsCertificate), "another name");
    assert_eq!(over_tls(&expired, &expired).await, Err(Fault::TlsCertificate), "too old");
    for made in [good, stranger, misnamed, expired] {
        std::fs::remove_file(made.ca_file).unwrap();
    }
}

#[tokio::test]
async fn plain_http_where_tls_is_expected_is_a_tls_fault() {
    let trusted = certified("localhost", false);
    let (listener, address) = listen().await;
    let mut config = config(Transport::Tls { host: "localhost".to_owned(), port: address.port() });
    config.ca_file = Some(trusted.ca_file.clone());
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        io.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        read_to_close(&mut io).await;
    };
    let (fault, ()) = tokio::join!(fault(&config), upstream);
    std::fs::remove_file(trusted.ca_file).unwrap();
    assert_eq!(fault, Fault::TlsProtocol);
}

#[tokio::test]
async fn a_closed_port_is_refused_and_an_unknown_name_is_a_name_fault() {
    let (listener, address) = listen().await;
    drop(listener);
    assert_eq!(fault(&tcp(address)).await, Fault::Refused);
    let mut nowhere = tcp(address);
    nowhere.target.transport = Transport::Tcp { host: "no such name".to_owned(), port: 80 };
    assert_eq!(fault(&nowhere).await, Fault::Dns);
}

#[tokio::test]
async fn an_upstream_that_takes_no_connection_in_time_is_a_connect_timeout() {
    // A full backlog: further connections get no answer to their SYN.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    while let Ok(Ok(io)) = tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(address)).await {
        filling.push(io);
    }
    let config = UpstreamConfig { connect_timeout: SHORT, ..tcp(address) };
    assert_eq!(fault(&config).await, Fault::ConnectTimeout);
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_response_timeout_and_is_hung_up_on() {
    let (listener, address) = listen().await;
    let config = UpstreamConfig { response_timeout: SHORT, ..tcp(address) };
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        read_head(&mut io).await;
        read_to_close(&mut io).await;
    };
    assert_eq!(tokio::join!(fault(&config), upstream).0, Fault::ResponseTimeout);
}

#[tokio::test]
async fn the_response_timeout_counts_from_the_last_progress_of_the_request_body() {
    let (listener, address) = listen().await;
    let config = UpstreamConfig { response_timeout: SHORT * 3, ..tcp(address) };
    let client = client(&config);
    let (sender, body) = body();
    let upload = async {
        for _ in 0..6 {
            sender.send(piece("x")).await.unwrap();
            tokio::time::sleep(SHORT).await;
        }
        drop(sender);
    };
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        let request = read_until(&mut io, "0\r\n\r\n").await;
        io.write_all(OK).await.unwrap();
        request
    };
    let request = Request::post("/").body(body).unwrap();
    let (response, (), request) = tokio::join!(client.send(request), upload, upstream);
    assert_eq!(response.unwrap().status(), StatusCode::OK);
    assert_eq!(request.matches("1\r\nx\r\n").count(), 6, "{request}");
}

#[tokio::test]
async fn a_client_that_stalls_or_breaks_off_its_upload_is_not_the_upstreams_fault() {
    for breaks_off in [false, true] {
        let (listener, address) = listen().await;
        let config = UpstreamConfig { response_timeout: SHORT, ..tcp(address) };
        let client = client(&config);
        let (sender, body) = body();
        sender.send(piece("x")).await.unwrap();
        let upload = async {
            if breaks_off {
                sender.send(Err("gone".into())).await.unwrap();
            }
            &sender
        };
        let upstream = async {
            let (mut io, _) = listener.accept().await.unwrap();
            read_to_close(&mut io).await;
        };
        let request = Request::post("/").body(body).unwrap();
        let (fault, _, ()) = tokio::join!(fault_of(client.send(request)), upload, upstream);
        assert_eq!(fault, if breaks_off { Fault::ClientGone } else { Fault::ClientStalled });
        assert!(fault.is_client_fault() && !fault.is_upstream_down());
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_or_no_whole_head_says_so() {
    assert_eq!(fault_after(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await, Fault::Protocol);
    assert_eq!(fault_after(b"").await, Fault::Closed);
    assert_eq!(fault_after(b"HTTP/1.1 200 OK\r\nContent-Le").await, Fault::Closed);
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(128 * 1024));
    assert_eq!(fault_after(huge.as_bytes()).await, Fault::HeadTooLarge);
}

#[tokio::test]
async fn a_reset_before_the_head_is_a_reset() {
    let (listener, address) = listen().await;
    let config = tcp(address);
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        read_head(&mut io).await;
        socket2::SockRef::from(&io).set_linger(Some(Duration::ZERO)).unwrap();
    };
    let fault = tokio::join!(fault(&config), upstream).0;
    assert!(fault == Fault::Reset && fault.is_upstream_down());
}

#[tokio::test]
async fn a_head_and_then_silence_is_a_success() {
    let (listener, address) = listen().await;
    let client = client(&UpstreamConfig { response_timeout: SHORT, ..tcp(address) });
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        answer(&mut io, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
        io
    };
    let (response, mut io) = tokio::join!(client.send(get("/")), upstream);
    let mut body = response.unwrap().into_body();
    tokio::time::sleep(SHORT * 2).await; // Longer than the limit, which must be off by now.
    io.write_all(b"data: x\n\n").await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: x\n\n");
    drop(body);
    read_to_close(&mut io).await;
}

#[tokio::test]
async fn two_requests_share_one_connection() {
    let (listener, address) = listen().await;
    let client = client(&tcp(address));
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        [answer(&mut io, OK).await, answer(&mut io, OK).await]
    };
    let requests = async {
        text(&client, get("/1")).await;
        text(&client, get("/2")).await;
    };
    let ((), [first, second]) = tokio::join!(requests, upstream);
    assert!(first.starts_with("GET /1 ") && second.starts_with("GET /2 "));
}

/// Lets the upstream answer once, then close on the second request without a word.
async fn closes_on_the_second(listener: &TcpListener) {
    let (mut io, _) = listener.accept().await.unwrap();
    answer(&mut io, OK).await;
    read_head(&mut io).await;
}

#[tokio::test]
async fn a_pooled_connection_that_died_is_made_good_for_a_request_without_body() {
    let (listener, address) = listen().await;
    let client = client(&tcp(address));
    let upstream = async {
        closes_on_the_second(&listener).await;
        answer(&mut listener.accept().await.unwrap().0, OK).await
    };
    let requests = async {
        text(&client, get("/1")).await;
        text(&client, get("/2")).await
    };
    let (text, head) = tokio::join!(requests, upstream);
    assert_eq!(text, "ok");
    assert!(head.starts_with("GET /2 "));
}

#[tokio::test]
async fn what_may_have_been_done_already_is_not_sent_twice() {
    let (listener, address) = listen().await;
    let client = client(&tcp(address));
    let requests = async {
        text(&client, get("/1")).await;
        let request = Request::post("/2").body(RequestBody::empty()).unwrap();
        fault_of(client.send(request)).await
    };
    let (fault, ()) = tokio::join!(requests, closes_on_the_second(&listener));
    assert_eq!(fault, Fault::Closed);
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_not_tried_again() {
    let (listener, address) = listen().await;
    let config = tcp(address);
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        read_head(&mut io).await;
        drop(io);
        listener.accept().await.map(drop).unwrap();
    };
    tokio::select! {
        fault = fault(&config) => assert_eq!(fault, Fault::Closed),
        () = upstream => panic!("tried again"),
    }
}

#[tokio::test]
async fn a_get_keeps_its_body_and_trailers() {
    let (listener, address) = listen().await;
    let client = client(&tcp(address));
    let (sender, body) = body();
    let upload = async {
        sender.send(piece("x")).await.unwrap();
        let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
        sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
        drop(sender);
    };
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        let head = read_head(&mut io).await;
        let rest = read_head(&mut io).await;
        io.write_all(OK).await.unwrap();
        head + &rest
    };
    let request = Request::get("/").header("trailer", "x-sum").body(body).unwrap();
    let (_, (), sent) = tokio::join!(client.send(request), upload, upstream);
    assert!(sent.ends_with("\r\n\r\n1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n"), "{sent}");
}

#[tokio::test]
async fn dropping_the_wait_for_an_answer_closes_the_connection() {
    let (listener, address) = listen().await;
    let client = client(&tcp(address));
    let waiting = tokio::spawn(async move { client.send(get("/")).await.map(drop) });
    let (mut io, _) = listener.accept().await.unwrap();
    read_head(&mut io).await;
    waiting.abort();
    assert_eq!(read_to_close(&mut io).await, b"");
}

#[test]
fn each_fault_has_one_culprit_and_an_error_status() {
    for fault in [Fault::Dns, Fault::Closed, Fault::Protocol, Fault::ClientGone, Fault::BadRequest] {
        assert!(!(fault.is_client_fault() && fault.is_upstream_down()));
        assert_eq!(fault.is_client_fault(), fault.status().is_client_error());
        assert!(!fault.token().is_empty() && fault.detail().ends_with('.'));
    }
}
