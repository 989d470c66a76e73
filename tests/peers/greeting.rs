//! sse-starlette greets each connection with a snapshot: what a late client gets (spec 4.8).

use tokio::process::Command;

use crate::support::{Process, Ssecar, curl, free_port, listening, python, until};

/// What a client that reads for a moment got: types and data, in order.
async fn seen_by_late_client(ssecar: &Ssecar, service: u16, then: u32) -> Vec<String> {
    let (mut client, mut lines) = Process::with_lines(Command::new("curl").args([
        "--silent",
        "-N",
        "-H",
        "Accept: text/event-stream",
        &ssecar.url("/v1/events"),
    ]));
    let before = ssecar.state().await["clients"].as_u64().unwrap();
    until("the late client", || async { ssecar.state().await["clients"].as_u64().unwrap() >= before.max(2) })
        .await;
    change(service).await;
    let last = format!("data: {then}");
    let (mut seen, mut kind) = (Vec::new(), String::new());
    loop {
        let line = lines.next_line().await.unwrap().expect("the stream goes on");
        if let Some(value) = line.strip_prefix("event: ") {
            kind = format!("{value} ");
        } else if let Some(value) = line.strip_prefix("data: ") {
            seen.push(format!("{kind}{value}"));
        } else if line.is_empty() {
            kind.clear();
        }
        if line == last && kind.is_empty() {
            break;
        }
    }
    client.signal("KILL");
    client.ended().await;
    seen
}

async fn change(service: u16) {
    curl(&["--request", "POST", &format!("http://127.0.0.1:{service}/change")]).await;
}

async fn service_state(service: u16) -> serde_json::Value {
    serde_json::from_str(&curl(&[&format!("http://127.0.0.1:{service}/state")]).await).unwrap()
}

/// The service after two changes, with one client that was there from the start, before the first.
async fn late(late_join: &str) -> Vec<String> {
    let service = free_port();
    let _process = Process::start(python("greeter.py").arg(service.to_string()));
    listening(service).await;
    let ssecar = Ssecar::start(service, &[&format!("--late-join={late_join}")]).await;
    let mut first = Command::new("curl");
    let _first = Process::start(first.args(["--silent", "-N", &ssecar.url("/v1/events")]));
    let ring = |events: u64| {
        let ssecar = &ssecar;
        until("the ring", move || async move {
            ssecar.state().await["sessions"][0]["ring_events"].as_u64() == Some(events)
        })
    };
    ring(1).await;
    // The greeting is over with the first pause of 250 ms.
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    change(service).await;
    change(service).await;
    ring(3).await;
    let seen = seen_by_late_client(&ssecar, service, 3).await;
    let connections = service_state(service).await["connections"].as_u64().unwrap();
    assert_eq!(connections, if late_join == "fresh" { 2 } else { 1 }, "late-join={late_join}");
    println!("late-join={late_join}: {seen:?}");
    seen
}

#[tokio::test]
async fn live_gives_what_comes_from_now_on() {
    assert_eq!(late("live").await, ["3"]);
}

#[tokio::test]
async fn ring_gives_what_is_kept() {
    assert_eq!(late("ring").await, ["snapshot 0", "1", "2", "3"]);
}

#[tokio::test]
async fn opening_gives_the_greeting_and_then_all_that_followed() {
    assert_eq!(late("opening").await, ["snapshot 0", "1", "2", "3"]);
}

#[tokio::test]
async fn fresh_fetches_a_greeting_for_this_client_alone() {
    assert_eq!(late("fresh").await, ["snapshot 2", "3"]);
}
