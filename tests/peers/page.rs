//! The admin page in Chromium. Its pictures are left in `target/tmp/page` to be looked at.

use std::time::Duration;

use crate::support::{Process, Readers, Rooms, Ssecar, node};

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
