//! A raw upstream for tests, played line by line, and the settings that lead to it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpListener;

use crate::config::{HostHeader, Transport, UpstreamConfig, UpstreamTarget};

/// Long enough for a busy machine; a test that gets here has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn config(transport: Transport) -> UpstreamConfig {
    let authority = match &transport {
        Transport::Tcp { host, port } | Transport::Tls { host, port } => format!("{host}:{port}"),
        Transport::Unix { .. } => "localhost".to_owned(),
    };
    UpstreamConfig {
        target: UpstreamTarget { transport, authority: authority.parse().unwrap(), base_path: String::new() },
        ca_file: None,
        client_certificate: None,
        authorization_file: None,
        host_header: HostHeader::Client,
        connect_timeout: PATIENCE,
        response_timeout: PATIENCE,
        pool_idle_max: 4,
        pool_idle_timeout: Duration::from_secs(30),
    }
}

pub(crate) fn tcp(address: SocketAddr) -> UpstreamConfig {
    config(Transport::Tcp { host: address.ip().to_string(), port: address.port() })
}

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads up to and with the first `end`; what came after it is lost, so ask for what comes last.
pub(crate) async fn read_until(io: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut read = Vec::new();
    let reading = async {
        while !read.ends_with(end.as_bytes()) {
            read.push(io.read_u8().await.unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&read));
            }));
        }
    };
    let finished = tokio::time::timeout(PATIENCE, reading).await;
    assert!(finished.is_ok(), "waiting for {end:?} after {:?}", String::from_utf8_lossy(&read));
    String::from_utf8(read).unwrap()
}

pub(crate) async fn read_head(io: &mut (impl AsyncRead + Unpin)) -> String {
    read_until(io, "\r\n\r\n").await
}

/// Waits for the other side to go, by FIN or RST.
pub(crate) async fn read_to_close(io: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = io.read(&mut buffer).await {
            rest.extend_from_slice(&buffer[..len]);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the other side closes");
    rest
}
