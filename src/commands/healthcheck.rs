//! `ssecar healthcheck`: asks the local instance's `/readyz`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::HealthcheckFlags;

/// Enough of the answer to see its status line, in bytes.
const ANSWER_MAX: u64 = 64;

pub(super) async fn run(flags: &HealthcheckFlags) -> ExitCode {
    let address = reachable(flags.admin_listen);
    let outcome = match tokio::time::timeout(flags.timeout, ask(address)).await {
        Ok(Ok(status)) if status.contains(" 200 ") => return ExitCode::SUCCESS,
        Ok(Ok(status)) => format!("not ready: {}", status.lines().next().unwrap_or("no answer")),
        Ok(Err(error)) => format!("not reachable: {error}"),
        Err(_) => "no answer in time".to_owned(),
    };
    eprintln!("ssecar: {address}: {outcome}");
    ExitCode::FAILURE
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Where a listener on all addresses is reached from here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
