//! What the admin listener answers is what others say that it must be: `openapi-spec-validator`, the parsers of
//! Prometheus' own client library, Prometheus' linter, and `schemathesis`, which makes up requests.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::{Process, Readers, Rooms, Ssecar, curl, free_port, python, until};

#[tokio::test]
async fn the_description_and_the_metrics_are_valid() {
    let ssecar = Ssecar::start(free_port(), &[]).await;
    let mut command = python("validate.py");
    let (mut validator, mut lines) = Process::with_lines(command.arg(ssecar.admin_url("")));
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("valid"));
    assert!(validator.ended().await);
}

#[tokio::test]
async fn names_and_units_of_the_metrics_are_as_prometheus_wants_them() {
    let ssecar = Ssecar::start(free_port(), &[]).await;
    let text = curl(&[&ssecar.admin_url("/metrics")]).await;
    let mut command = Command::new("promtool");
    command.args(["check", "metrics", "--extended"]).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().expect("promtool is missing: run scripts/setup-peers");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let output = promtool.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // Advice comes as lines there, whatever the exit code.
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    // How many series each metric has: all that there ever are.
    println!("{said}");
    let series: usize = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 200, "{series}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_that_can_be_made_up_is_answered_as_described() {
    const TOKEN: &str = "correct-horse-battery";
    let rooms = Rooms::start(Duration::from_secs(1)).await;
    let file = format!("{}/conform-token", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&file, TOKEN).unwrap();
    let flags = [&format!("--admin-token-file={file}") as &str, "--log-filter=error"];
    let ssecar = Ssecar::start(rooms.port, &flags).await;
    let mut readers = Readers::new();
    for client in 0..30 {
        readers.read(ssecar.port, &format!("/v1/rooms/{}/events", client % 10)).await;
    }
    let bearer = format!("Authorization: Bearer {TOKEN}");
    until("the readers", || async {
        curl(&["--header", &bearer, &ssecar.admin_url("/api/state")]).await.contains("\"clients\":30,")
    })
    .await;
    let mut command = python("conform.py");
    command.args([&ssecar.admin_url(""), TOKEN]).current_dir(env!("CARGO_TARGET_TMPDIR"));
    let (mut schemathesis, mut lines) = Process::with_lines(&mut command);
    let mut said = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push(line);
    }
    let said = said.join("\n");
    assert!(schemathesis.ended().await, "{said}");
    let count = said.lines().find(|line| line.contains("generated")).unwrap_or_default();
    println!("schemathesis:{count}");
    // All but the streams, the end of a session, and the description itself.
    assert!(said.contains("Tested: 12"), "{said}");
}
