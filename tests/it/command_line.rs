//! The built binary: exit codes, the health check, the demo.

use std::process::Stdio;

use tokio::process::Command;

use crate::support::{Proxy, Upstream, soon};

fn ssecar(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssecar"));
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn a_wrong_value_stops_the_start_with_one_line_and_exit_code_2() {
    for (args, line) in [
        (&["--upstream=ftp://x"][..], "ssecar: --upstream 'ftp://x': expected http://HOST:PORT"),
        (&[], "ssecar: --upstream is missing"),
        (&["--upstream=http://127.0.0.1:1", "--listen=203.0.113.1:1"], "ssecar: --listen '203.0.113.1:1': "),
        (
            &["--upstream=http://127.0.0.1:1", "--admin-listen=0.0.0.0:0"],
            "ssecar: --admin-listen '0.0.0.0:0': not on loopback, so --admin-token-file is needed",
        ),
        (
            &["--upstream=http://127.0.0.1:1", "--listen=127.0.0.1:0", "--admin-token-file=/nowhere"],
            "ssecar: --admin-token-file '/nowhere': ",
        ),
        (
            &["--upstream=http://127.0.0.1:1", "--listen=127.0.0.1:0", "--admin-token-file=/dev/null"],
            "ssecar: --admin-token-file '/dev/null': expected a line of at least 16",
        ),
        (&["--upstream=https://x", "--upstream-ca=/nowhere"], "ssecar: --upstream-ca '/nowhere': "),
        (
            &[
                "--upstream=http://127.0.0.1:1",
                "--listen=127.0.0.1:0",
                "--admin-listen=off",
                "--otlp-endpoint=https://x",
                "--otlp-ca=/nowhere",
            ],
            "ssecar: --otlp-ca '/nowhere': no readable PEM file",
        ),
        (
            &[
                "--upstream=http://127.0.0.1:1",
                "--listen=127.0.0.1:0",
                "--admin-listen=off",
                "--otlp-endpoint=http://x",
                "--otlp-header-file=/nowhere",
            ],
            "ssecar: --otlp-header-file '/nowhere': ",
        ),
    ] {
        let output = soon("the exit", ssecar(args).env_remove("SSECAR_UPSTREAM").output()).await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with(line), "{stderr}");
    }
}

#[tokio::test]
async fn a_variable_is_as_good_as_a_flag() {
    let mut command = ssecar(&["--upstream=http://127.0.0.1:1"]);
    let output = soon("the exit", command.env("SSECAR_HEARTBEAT", "10x").output()).await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("ssecar: --heartbeat '10x': "), "{stderr}");
}

#[tokio::test]
async fn help_is_grouped_and_shows_defaults() {
    let output = soon("the exit", ssecar(&["--help"]).output()).await.unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for theme in [
        "Upstream:",
        "Listening:",
        "Legacy routes:",
        "Sessions:",
        "Replay:",
        "Limits:",
        "Admin:",
        "Logging:",
        "Tracing:",
    ] {
        assert!(help.contains(theme), "{theme}");
    }
    assert!(help.contains("[default: 15s]") && help.contains("SSECAR_HEARTBEAT"));
}

#[tokio::test]
async fn the_health_check_tells_whether_the_instance_is_ready() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let flag = format!("--admin-listen={}", proxy.admin);
    let ready = soon("the exit", ssecar(&["healthcheck", &flag]).status()).await.unwrap();
    assert_eq!(ready.code(), Some(0));
    let nobody =
        soon("the exit", ssecar(&["healthcheck", "--admin-listen=127.0.0.1:1"]).output()).await.unwrap();
    assert_eq!(nobody.status.code(), Some(1));
}

#[tokio::test]
async fn the_demo_kills_its_source_and_loses_nothing() {
    let args = ["demo", "--rounds=1", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"];
    let output = tokio::time::timeout(std::time::Duration::from_secs(60), ssecar(&args).output());
    let output = output.await.expect("the demo ends").unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout} {}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("none lost, none twice"), "{stdout}");
}

#[test]
fn every_dependency_has_its_reason_written_down() {
    let manifest = include_str!("../../Cargo.toml");
    let reasons = include_str!("../../docs/dependencies.md");
    let mut section = "";
    let mut count = 0;
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.contains("dependencies]")
            && let Some((name, _)) = line.split_once(" = ")
        {
            let is_named = |text: &str| {
                text.split(|letter: char| !(letter.is_alphanumeric() || "-_".contains(letter)))
                    .any(|word| word == name)
            };
            assert!(is_named(reasons), "{name} is not in docs/dependencies.md");
            count += 1;
        }
    }
    assert!(count > 20, "the manifest was not read");
}
