//! What happens to networks. Needs root for namespaces and packet filters of its own.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::reader::Reader;
use crate::rig::{Netns, PATH, Proxy, Service};
use crate::support::{Process, until};

/// What the slow relay adds each way.
const DELAY: Duration = Duration::from_millis(200);

/// Pieces on their way through it.
const ON_THE_WAY: usize = 1_000;

const IDLE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_without_a_word_is_reaped() {
    let netns = Netns::new(1).await;
    let service = Service::start(100).await;
    let proxy = Proxy::before(&service, &["--idle-timeout=3s"]).await;
    let reader = Reader::of(proxy.port);
    reader.reads(20).await;
    let url = format!("http://{}:{}{PATH}", netns.here, proxy.port);
    let mut curl = Command::new("ip");
    curl.args(["netns", "exec", &netns.name, "curl", "--silent", "-N", "-H", "Host: a", "-H"]);
    let vanishing = Process::start(curl.args(["Accept: text/event-stream", &url]));
    until("the client in the namespace", || async { proxy.clients().await == 2 }).await;
    netns.filter("drop").await;
    let gone = Instant::now();
    until("the client to be reaped", || async { proxy.clients().await == 1 }).await;
    let reaped = gone.elapsed();
    assert!(reaped < IDLE * 5, "{reaped:?} with an idle timeout of {IDLE:?}");
    reader.reads(50).await;
    reader.judge("half-open client", &format!("nothing; the dead one was reaped after {reaped:?}"));
    drop(vanishing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_behind_a_dead_network_is_found_again_when_it_heals() {
    let netns = Netns::new(2).await;
    let service = Service::at(&netns.there, Some(&netns.name), 100).await;
    let flags = ["--upstream-idle-timeout=2s", "--upstream-connect-timeout=1s"];
    let proxy = Proxy::before(&service, &flags).await;
    let reader = Reader::of(proxy.port);
    reader.reads(50).await;
    netns.filter("drop").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    netns.heal().await;
    let healed = Instant::now();
    let before = reader.newest();
    until("the first event", || async { reader.newest() > before }).await;
    let first = healed.elapsed();
    reader.reads(100).await;
    assert_eq!(reader.connections(), 1);
    reader.judge("half-open service, 5s", &format!("heartbeats; first event {first:?} after the network"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loss_and_delay_cost_time_alone() {
    let netns = Netns::new(3).await;
    let mut service = Service::at(&netns.there, Some(&netns.name), 200).await;
    // Not every kernel has netem: the filter loses packets, and a relay holds bytes back.
    netns.filter("meta l4proto tcp numgen random mod 100 < 2 drop").await;
    service.put_behind(slow_relay(&netns.there, service.port).await);
    let proxy = Proxy::before(&service, &[]).await;
    let reader = Reader::of(proxy.port);
    until("the first event", || async { reader.newest() > 0 }).await;
    reader.reads(500).await;
    assert_eq!(reader.connections(), 1);
    reader.judge("2 % loss each way, 200 ms delay each way", "nothing but time");
}

/// Passes bytes on after a while; where it listens.
async fn slow_relay(address: &str, port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own_port = listener.local_addr().unwrap().port();
    let target = (address.to_owned(), port);
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let Ok(far) = TcpStream::connect((target.0.as_str(), target.1)).await else { continue };
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            tokio::spawn(pass_on_late(near_read, far_write));
            tokio::spawn(pass_on_late(far_read, near_write));
        }
    });
    own_port
}

async fn pass_on_late(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (sender, mut receiver) = mpsc::channel(ON_THE_WAY);
    tokio::spawn(async move {
        loop {
            let mut bytes = Vec::new();
            if !from.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                return;
            }
            if sender.send((Instant::now() + DELAY, bytes)).await.is_err() {
                return;
            }
        }
    });
    while let Some((due, bytes)) = receiver.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
