//! What happens to processes.

use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use crate::reader::Reader;
use crate::rig::{Proxy, Service, faketime};
use crate::support::until;

/// Seconds that the service is away; `SSECAR_FAULTS_OUTAGE=20` for the long form.
fn outage() -> Duration {
    let seconds = std::env::var("SSECAR_FAULTS_OUTAGE").map_or(5, |text| text.parse().unwrap());
    Duration::from_secs(seconds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_killed_and_comes_back_costs_clients_nothing_but_time() {
    let mut service = Service::start(100).await;
    let proxy = Proxy::before(&service, &[]).await;
    let readers = [Reader::of(proxy.port), Reader::of(proxy.port)];
    readers[0].reads(50).await;
    readers[1].reads(50).await;
    let heartbeats = readers[0].heartbeats();
    service.kill().await;
    tokio::time::sleep(outage()).await;
    let beats = readers[0].heartbeats() - heartbeats;
    assert!(beats >= 2, "heartbeats go on: {beats}");
    service.revive().await;
    let back = Instant::now();
    let before = readers[0].newest();
    until("the first event", || async { readers[0].newest() > before }).await;
    let first = back.elapsed();
    for reader in readers {
        reader.reads(100).await;
        assert_eq!(reader.connections(), 1, "it stayed connected");
        let noticed =
            format!("{beats} heartbeats instead of events, first event {first:?} after the service");
        reader.judge(&format!("kill -9, {:?} away", outage()), &noticed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_stands_still_is_left_and_what_it_sends_late_comes_once() {
    let service = Service::start(100).await;
    let proxy =
        Proxy::before(&service, &["--upstream-idle-timeout=2s", "--upstream-response-timeout=2s"]).await;
    let reader = Reader::of(proxy.port);
    reader.reads(50).await;
    service.signal("STOP");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let cpu = proxy.cpu();
    service.signal("CONT");
    let back = Instant::now();
    reader.reads(100).await;
    assert_eq!(reader.connections(), 1);
    assert!(proxy.cpu() - cpu < Duration::from_secs(1), "no storm");
    reader.judge("SIGSTOP for 5s", &format!("100 events within {:?} of SIGCONT", back.elapsed()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_set_back_an_hour_is_not_noticed() {
    let service = Service::start(100).await;
    let clock = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssecar"));
    command.env("LD_PRELOAD", faketime());
    // The wall clock alone, read anew each time.
    command.env("FAKETIME_TIMESTAMP_FILE", &clock).env("FAKETIME_NO_CACHE", "1");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let proxy = Proxy::run(command, &service, &[]).await;
    let reader = Reader::of(proxy.port);
    reader.reads(50).await;
    let before = date(proxy.port).await;
    // Forwards first: that can be seen by `Date`, which hyper does not turn back.
    std::fs::write(&clock, "+3600").unwrap();
    until("the clock to jump", || async { date(proxy.port).await > before + Duration::from_secs(3000) })
        .await;
    reader.reads(150).await;
    std::fs::write(&clock, "-3600").unwrap();
    reader.reads(150).await;
    assert_eq!(reader.connections(), 1);
    reader.judge("clock set on by an hour, back by two", "nothing");
}

/// What ssecar takes for the time, by the `Date` of an answer of its own.
async fn date(port: u16) -> std::time::SystemTime {
    let head =
        crate::support::curl(&["--head", "--request", "CONNECT", &format!("http://127.0.0.1:{port}/")]).await;
    let line = head.lines().find_map(|line| line.strip_prefix("date: ")).unwrap_or_else(|| panic!("{head}"));
    httpdate::parse_http_date(line.trim()).unwrap()
}
