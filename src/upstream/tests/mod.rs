//! The client against real loopback sockets: where requests go, over which connections.

mod bodies;
mod failures;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;

use super::testing::{PATIENCE, config, listen, read_head, read_to_close, tcp};
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
async fn dropping_the_wait_for_an_answer_closes_the_connection() {
    let (listener, address) = listen().await;
    let client = client(&tcp(address));
    let waiting = tokio::spawn(async move { client.send(get("/")).await.map(drop) });
    let (mut io, _) = listener.accept().await.unwrap();
    read_head(&mut io).await;
    waiting.abort();
    assert_eq!(read_to_close(&mut io).await, b"");
}
