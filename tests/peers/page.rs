//! The admin page in Chromium. Its pictures are left in `target/tmp/page` to be looked at.
//!
//! `SSECAR_PAGE_CROWD=200x2000` makes the crowd smaller: sessions and clients.

use std::time::Duration;

use tokio::process::Command;

use crate::support::{Process, Readers, Rooms, Ssecar, curl, node, until};

const ROOMS: usize = 60;

/// Readers of the first room, besides one in each.
const CROWD: usize = 40;

fn pictures() -> String {
    format!("{}/page", env!("CARGO_TARGET_TMPDIR"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_what_happens_and_obeys_mouse_and_keyboard() {
    let mut rooms = Rooms::start(Duration::from_millis(300)).await;
    let flags = ["--backoff-initial=500ms", "--backoff-max=1s", "--linger=2s", "--log-filter=error"];
    let mut ssecar = Some(Ssecar::start(rooms.port, &flags).await);
    let running = ssecar.as_ref().unwrap();
    let mut readers = Readers::new();
    for room in 1..=ROOMS {
        let path = format!("/v1/rooms/{room}/events?lang=en");
        for _ in 0..if room == 1 { CROWD } else { 1 + room % 7 } {
            readers.read(running.port, &path).await;
        }
    }
    let mut script = node("page.mjs");
    let (mut chromium, mut lines) = Process::with_lines(script.args([running.admin_url(""), pictures()]));
    let mut said = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        match line.as_str() {
            "stop" => rooms.stop().await,
            "start" => rooms.start_again().await,
            "lose" => drop(ssecar.take()),
            _ => {}
        }
        said.push(line);
    }
    assert!(chromium.ended().await, "{said:?}");
    assert_eq!(said, ["stop", "start", "lose", "ok"]);
}

#[tokio::test]
async fn behind_a_token_the_page_asks_for_it_and_keeps_it_for_its_tab() {
    const TOKEN: &str = "correct-horse-battery";
    let rooms = Rooms::start(Duration::from_secs(1)).await;
    let file = format!("{}/page-token", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&file, TOKEN).unwrap();
    let ssecar = Ssecar::start(rooms.port, &[&format!("--admin-token-file={file}")]).await;
    let mut script = node("login.mjs");
    let (mut chromium, mut lines) = Process::with_lines(script.args([&ssecar.admin_url(""), TOKEN]));
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ok"));
    assert!(chromium.ended().await);
}

/// Sessions and clients, unless the environment says otherwise.
const USUAL_CROWD: (usize, usize) = (1_000, 10_000);

/// Descriptors that this test needs for itself; ssecar takes what it needs.
const DESCRIPTORS: &str = "--nofile=16000";

/// How long the proxy is watched, with the page and without, in seconds.
const WATCH_SECONDS: u64 = 6;

/// How often the numbers are asked for.
const SCRAPES: usize = 20;

fn crowd() -> (usize, usize) {
    let Ok(text) = std::env::var("SSECAR_PAGE_CROWD") else { return USUAL_CROWD };
    let (sessions, clients) = text.split_once('x').expect("SSECAR_PAGE_CROWD=SESSIONSxCLIENTS");
    (sessions.parse().unwrap(), clients.parse().unwrap())
}

/// Cores that it takes, over the time of a watch.
async fn cores(ssecar: &Ssecar) -> f64 {
    let before = ssecar.processor_time();
    tokio::time::sleep(Duration::from_secs(WATCH_SECONDS)).await;
    (ssecar.processor_time() - before).as_secs_f64() / WATCH_SECONDS as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_leaves_the_page_responsive_and_the_page_costs_the_proxy_little() {
    let own = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &own, DESCRIPTORS]).status().await.unwrap();
    assert!(raised.success(), "this machine allows fewer than {DESCRIPTORS}");
    let (sessions, clients) = crowd();
    let rooms = Rooms::start(Duration::from_secs(2)).await;
    let ssecar = Ssecar::start(rooms.port, &["--log-filter=error"]).await;
    let mut readers = Readers::new();
    for client in 0..clients {
        readers.read(ssecar.port, &format!("/v1/rooms/{}/events", client % sessions)).await;
    }
    until("the crowd", || async {
        let state = ssecar.state().await;
        state["clients"] == clients && state["session_states"]["live"] == sessions
    })
    .await;
    let alone = cores(&ssecar).await;

    let mut scrapes = Vec::new();
    for _ in 0..SCRAPES {
        let url = ssecar.admin_url("/metrics");
        let written = ["--output", "/dev/null", "--write-out", "%{time_total} %{size_download}", &url];
        let said = curl(&written).await;
        let (seconds, bytes) = said.split_once(' ').unwrap();
        scrapes.push((seconds.parse::<f64>().unwrap() * 1e3, bytes.parse::<u64>().unwrap()));
    }
    scrapes.sort_by(|left, right| left.0.total_cmp(&right.0));
    let ((usual_ms, _), (worst_ms, bytes)) = (scrapes[SCRAPES / 2], scrapes[SCRAPES - 1]);

    let mut script = node("crowd.mjs");
    let (mut chromium, mut lines) =
        Process::with_lines(script.args([ssecar.admin_url(""), WATCH_SECONDS.to_string()]));
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("watching"));
    let watched = cores(&ssecar).await;
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(chromium.ended().await, "{line}");
    println!(
        "{sessions} sessions, {clients} clients: {alone:.3} cores alone, {watched:.3} with the page; {line}"
    );
    println!("/metrics: {bytes} bytes in {usual_ms:.1} ms, at worst {worst_ms:.1} ms, of {SCRAPES}");
    let page: serde_json::Value = serde_json::from_str(&line).unwrap();
    for act in ["sort_ms", "filter_ms", "open_ms", "turn_ms", "slowest_interaction_ms"] {
        assert!(page[act].as_u64() < Some(2_000), "{act}: {line}");
    }
    assert!(page["bytes_a_second"].as_u64() < Some(100_000), "{line}");
    assert!(watched < alone + 0.3, "{alone} cores alone, {watched} with the page");
    assert!(bytes < 50_000, "the size depends on no number of sessions or clients: {bytes}");
    assert!(worst_ms < 1_000.0, "{worst_ms} ms");
}
