//! What `deploy/` gives to operators, read by the programs that it is for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::support::{Process, curl, free_port, until};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}

pub(crate) async fn accepts(command: &mut Command) {
    let output = command.output().await.unwrap_or_else(|error| panic!("{error}: run scripts/setup-deploy"));
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&text));
}

#[tokio::test]
async fn prometheus_takes_the_configuration_and_the_alerts_fire_when_they_should() {
    let promtool = |args: &[&str]| {
        let mut command = Command::new("promtool");
        command.args(args).current_dir(file("deploy/prometheus"));
        command
    };
    accepts(&mut promtool(&["check", "config", "--syntax-only", "prometheus.yml"])).await;
    accepts(&mut promtool(&["check", "rules", "alerts.yml"])).await;
    accepts(&mut promtool(&["test", "rules", "alerts_test.yml"])).await;
}

#[tokio::test]
async fn every_metric_that_an_alert_names_is_served_and_every_alert_has_its_section() {
    let (port, admin) = (free_port(), free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssecar"));
    command.args(["--upstream=http://127.0.0.1:1", &format!("--listen=127.0.0.1:{port}")]);
    command.args([&format!("--admin-listen=127.0.0.1:{admin}"), "--log-filter=error"]);
    let _ssecar = Process::start(&mut command);
    until("ssecar", || async move { tokio::net::TcpStream::connect(("127.0.0.1", admin)).await.is_ok() })
        .await;
    let scrape = curl(&[&format!("http://127.0.0.1:{admin}/metrics")]).await;
    let served: BTreeSet<&str> = scrape
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let text = |path| std::fs::read_to_string(file(path)).unwrap();
    let (alerts, runbook) = (text("deploy/prometheus/alerts.yml"), text("docs/runbook.md"));
    let tests = text("deploy/prometheus/alerts_test.yml");
    let names: Vec<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 10, "the alerts were not read");
    for name in names {
        assert!(runbook.contains(&format!("## {name}\n")), "{name} has no section");
        assert!(alerts.contains(&format!("docs/runbook.md#{}\n", name.to_lowercase())), "{name}");
        let tried = format!("alertname: {name}\n        exp_alerts:\n          - exp_labels");
        assert!(tests.contains(&tried), "no test in which {name} fires");
    }
    let words = alerts.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
    for metric in words.filter(|word| word.starts_with("ssecar_") || word.starts_with("process_")) {
        assert!(served.contains(metric), "{metric} is not served: {served:?}");
    }
}

#[tokio::test]
async fn systemd_takes_the_unit() {
    // The program and its environment are not installed here; everything else is looked at.
    let unit = std::fs::read_to_string(file("deploy/systemd/ssecar.service")).unwrap();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("unit");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("ssecar.service");
    std::fs::write(&path, unit.replace("/usr/local/bin/ssecar", env!("CARGO_BIN_EXE_ssecar"))).unwrap();
    accepts(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(path)).await;
}

/// systemd's own measure of what a unit may do, in tenths: 0 nothing, 100 everything.
const EXPOSURE_MAX: &str = "13";

#[tokio::test]
async fn systemd_finds_little_that_the_unit_may_do() {
    let unit = file("deploy/systemd/ssecar.service");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let mut analyze = Command::new("systemd-analyze");
    accepts(analyze.args(["security", "--no-pager", "--offline=true", &threshold]).arg(unit)).await;
}

#[tokio::test]
async fn compose_takes_the_file() {
    let check = file("target/deploy-venv/bin/check-jsonschema");
    let compose = file("deploy/compose/compose.yaml");
    accepts(Command::new(check).args(["--builtin-schema", "vendor.compose-spec"]).arg(compose)).await;
}
