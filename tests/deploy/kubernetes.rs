//! The manifests: built by kubectl's kustomize, and held against the schemas of Kubernetes and of the Prometheus operator.

use std::path::PathBuf;

use tokio::process::Command;

use crate::files::{accepts, file};

/// From the first with native sidecars to the newest whose schema is known.
const VERSIONS: [&str; 4] = ["1.29.0", "1.31.0", "1.34.0", "1.37.0"];

async fn built(folder: &str) -> String {
    let output = Command::new(file("target/deploy-venv/bin/kubectl"))
        .arg("kustomize")
        .arg(file("deploy/kubernetes").join(folder))
        .output()
        .await
        .unwrap_or_else(|error| panic!("{error}: run scripts/setup-deploy"));
    assert!(output.status.success(), "{folder}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn kinds(manifests: &str) -> Vec<&str> {
    let mut kinds: Vec<_> = manifests.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    kinds.sort_unstable();
    kinds
}

#[tokio::test]
async fn kubernetes_takes_what_is_built_from_the_manifests() {
    let manifests = built("events").await;
    assert_eq!(kinds(&manifests), ["Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service"]);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("manifests.yaml");
    std::fs::write(&path, &manifests).unwrap();
    for version in VERSIONS {
        let mut validate = Command::new(file("target/deploy-venv/bin/kubernetes-validate"));
        accepts(validate.args(["--strict", "--kubernetes-version", version]).arg(&path)).await;
    }
    // A pod that is restricted in the sense of Kubernetes' own security standards.
    for rule in [
        "restartPolicy: Always",
        "runAsNonRoot: true",
        "readOnlyRootFilesystem: true",
        "type: RuntimeDefault",
        "automountServiceAccountToken: false",
    ] {
        assert!(manifests.contains(rule), "{rule}");
    }
    assert_eq!(manifests.matches("allowPrivilegeEscalation: false").count(), 2, "of both containers");
    assert_eq!(manifests.matches("- ALL").count(), 2, "both containers drop all capabilities");
}

#[tokio::test]
async fn the_prometheus_operator_takes_the_monitor() {
    let manifests = built("events-monitored").await;
    assert_eq!(
        kinds(&manifests),
        ["Deployment", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "Service"]
    );
    let check = file("tests/deploy/node/podmonitor.mjs");
    let monitor = file("deploy/kubernetes/events-monitored/podmonitor.yaml");
    accepts(Command::new("node").arg(check).arg(monitor)).await;
}

#[tokio::test]
async fn the_grace_period_covers_what_stopping_takes() {
    let manifests = built("events").await;
    let number = |name: &str| {
        let line = manifests.lines().find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} is not there")).trim().parse::<u64>().unwrap()
    };
    // The service's pause, and ssecar's --drain after it, leave the service as long again as ssecar takes.
    let drain = 10;
    assert!(number("terminationGracePeriodSeconds:") >= number("seconds:") + 2 * drain);
}
