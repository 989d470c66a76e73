//! The admin page in Chromium. Its pictures are left in `target/tmp/page` to be looked at.
//!
//! `SSECAR_PAGE_CROWD=1000x10000` sets how many sessions and clients the crowd is; the usual one is smaller,
//! since other tests run beside it.

use std::time::Duration;

use crate::support::{Process, Readers, Rooms, Ssecar, node, until};

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
    let ssecar = Ssecar::start(rooms.port, &flags).await;
    let mut readers = Readers::new();
    for room in 1..=ROOMS {
        let path = format!("/v1/rooms/{room}/events?lang=en");
        for _ in 0..if room == 1 { CROWD } else { 1 + room % 7 } {
            readers.read(ssecar.port, &path).await;
        }
    }
    let mut script = node("page.mjs");
    let (mut chromium, mut lines) = Process::with_lines(script.args([ssecar.admin_url(""), pictures()]));
    let mut said = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        match line.as_str() {
            "stop" => rooms.stop().await,
            "start" => rooms.start_again().await,
            _ => {}
        }
        said.push(line);
    }
    assert!(chromium.ended().await, "{said:?}");
    assert_eq!(said, ["stop", "start", "ok"]);
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
const USUAL_CROWD: (usize, usize) = (200, 2_000);

/// How long the proxy is watched, with the page and without.
const WATCH: Duration = Duration::from_secs(8);

fn crowd() -> (usize, usize) {
    let Ok(text) = std::env::var("SSECAR_PAGE_CROWD") else { return USUAL_CROWD };
    let (sessions, clients) = text.split_once('x').expect("SSECAR_PAGE_CROWD=SESSIONSxCLIENTS");
    (sessions.parse().unwrap(), clients.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_leaves_the_page_responsive_and_the_page_costs_the_proxy_little() {
    let (sessions, clients) = crowd();
    let rooms = Rooms::start(Duration::from_secs(2)).await;
    let ssecar = Ssecar::start(rooms.port, &["--log-filter=error"]).await;
    let mut readers = Readers::new();
    for client in 0..clients {
        readers.read(ssecar.port, &format!("/v1/rooms/{}/events", client % sessions)).await;
    }
    until("the crowd", || async { ssecar.state().await["clients"] == clients }).await;
    let share = |before: Duration, after: Duration| (after - before).as_secs_f64() / WATCH.as_secs_f64();
    let before = ssecar.processor_time();
    tokio::time::sleep(WATCH).await;
    let alone = share(before, ssecar.processor_time());

    let mut script = node("crowd.mjs");
    let (mut chromium, mut lines) = Process::with_lines(script.arg(ssecar.admin_url("")));
    let before = ssecar.processor_time();
    tokio::time::sleep(WATCH).await;
    let watched = share(before, ssecar.processor_time());
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(chromium.ended().await, "{line}");
    println!(
        "{sessions} sessions, {clients} clients: {alone:.3} cores alone, {watched:.3} with the page; {line}"
    );
    let page: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(page["slowest_click_ms"].as_u64() < Some(2_000), "{line}");
    assert!(page["bytes_a_second"].as_u64() < Some(200_000), "{line}");
    assert!(watched < alone + 0.5, "{alone} cores alone, {watched} with the page");
}
