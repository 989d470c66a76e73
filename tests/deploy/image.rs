//! The container: the final stage of the Dockerfile, with the binary built outside, since nothing can be pulled here.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::Instant;

use crate::service::Service;
use crate::support::{Process, free_port, listening, until};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The largest image that is still small, in bytes.
const IMAGE_BYTES_MAX: u64 = 25 << 20;

async fn run(command: &mut Command) -> String {
    let output = command.output().await.unwrap_or_else(|error| panic!("{error}: run scripts/setup-deploy"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An image store of the test's own.
struct Store(PathBuf);

impl Store {
    fn new() -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("images");
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// `buildah` in this store, isolated by no more than a changed root: what every machine allows.
    fn buildah(&self, args: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs"]);
        command.arg("--root").arg(self.0.join("root")).arg("--runroot").arg(self.0.join("run"));
        command.env("BUILDAH_ISOLATION", "chroot").current_dir(ROOT).args(args);
        command
    }
}

/// What the Dockerfile's first stage leaves behind, made by the same commands.
async fn built_outside() -> PathBuf {
    let host = run(Command::new("rustc").arg("-vV")).await;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned();
    let target = Path::new(ROOT).join("target/static");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--release", "--quiet", "--bin", "ssecar", "--target", &host]);
    cargo.arg("--target-dir").arg(&target).current_dir(ROOT);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    // Whole-program optimisation takes minutes, and changes nothing that is looked at here but a little of the size.
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    run(&mut cargo).await;
    let stage = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("stage");
    let certificates = stage.join("out/etc/ssl/certs");
    std::fs::create_dir_all(&certificates).unwrap();
    std::fs::copy(target.join(host).join("release/ssecar"), stage.join("out/ssecar")).unwrap();
    let licenses = stage.join("out/licenses");
    std::fs::create_dir_all(&licenses).unwrap();
    for license in ["LICENSE-APACHE", "LICENSE-MIT"] {
        std::fs::copy(Path::new(ROOT).join(license), licenses.join(license)).unwrap();
    }
    std::fs::copy("/etc/ssl/certs/ca-certificates.crt", certificates.join("ca-certificates.crt")).unwrap();
    stage
}

/// Subscribes, and waits for an event of the service.
async fn reads_an_event(port: u16, service: &Service) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = "GET /v1/x HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    service.asked_for("/v1/x").await;
    let mut text = String::new();
    let reading = async {
        while !text.contains("data: from inside\n") {
            service.publish("from inside");
            let mut bytes = [0; 1024];
            let count = stream.read(&mut bytes).await.unwrap();
            assert_ne!(count, 0, "ended: {text}");
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), reading).await.is_ok(), "in vain");
}

/// All files below.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let below = entries.flat_map(|entry| {
        if entry.file_type().unwrap().is_dir() { files(&entry.path()) } else { vec![entry.path()] }
    });
    below.collect()
}

/// Runs the image's program as `docker run --read-only --cap-drop ALL --security-opt no-new-privileges` does, as far as the
/// kernel is asked: a root of its own that can't be written, the image's user, no capability, none to be gained.
fn without_rights(root: &Path) -> Command {
    // An engine brings /dev and /proc along.
    const SCRIPT: &str = r#"mkdir -p "$0/dev" "$0/proc"
mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && mount --rbind /dev "$0/dev" && mount --rbind /proc "$0/proc" &&
exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid \
    chroot --userspec=65532:65532 --groups= "$0" /ssecar "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT]).arg(root);
    command
}

async fn runs_without_rights(root: &Path) {
    let (service, port, admin) = (Service::start().await, free_port(), free_port());
    let admin_listen = format!("--admin-listen=127.0.0.1:{admin}");
    let begun = Instant::now();
    let mut command = without_rights(root);
    command.arg(format!("--upstream=http://127.0.0.1:{}", service.port));
    command.args([&format!("--listen=127.0.0.1:{port}"), &admin_listen, "--drain=1s"]);
    let mut running = Process::start(&mut command);
    listening(admin).await;
    println!("read-only, without rights: listens {:?} after its start", begun.elapsed());
    let proc = PathBuf::from(format!("/proc/{}", running.id()));
    let status = std::fs::read_to_string(proc.join("status")).unwrap();
    for line in ["Uid:\t65532\t65532", "Gid:\t65532\t65532", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let mounts = std::fs::read_to_string(proc.join("mountinfo")).unwrap();
    let own_root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
    assert!(own_root.split(' ').nth(5).unwrap().starts_with("ro"), "{own_root}");
    reads_an_event(port, &service).await;
    run(without_rights(root).args(["healthcheck", &admin_listen])).await;
    running.signal("TERM");
    assert!(running.ended().await, "exit code 0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_image_is_small_has_no_rights_and_runs() {
    let (store, stage) = (Store::new(), built_outside().await);
    let context = format!("build={}", stage.display());
    let labels = ["--build-arg", "SOURCE=https://source.example/ssecar", "--build-arg", "REVISION=abc123"];
    let build = ["bud", "--format", "docker", "--build-context", &context, "-t", "ssecar-test"];
    let build = [&build[..], &labels[..], &["."]].concat();
    run(&mut store.buildah(&build)).await;

    let image: serde_json::Value =
        serde_json::from_str(&run(&mut store.buildah(&["inspect", "--type", "image", "ssecar-test"])).await)
            .unwrap();
    let config = &image["Docker"]["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/ssecar"]));
    assert_eq!(config["Healthcheck"]["Test"], serde_json::json!(["CMD", "/ssecar", "healthcheck"]));
    for (name, expected) in [
        ("version", env!("CARGO_PKG_VERSION")),
        ("source", "https://source.example/ssecar"),
        ("revision", "abc123"),
        ("licenses", "MIT OR Apache-2.0"),
    ] {
        assert_eq!(config["Labels"][format!("org.opencontainers.image.{name}")], expected);
    }

    let container = run(&mut store.buildah(&["from", "ssecar-test"])).await.trim().to_owned();
    let mounted = PathBuf::from(run(&mut store.buildah(&["mount", &container])).await.trim());
    let size: u64 = files(&mounted).iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
    assert!(size < IMAGE_BYTES_MAX, "{size} bytes");
    runs_without_rights(&mounted).await;
    let service = Service::start().await;
    // By address, and by a name that has to be looked up inside.
    for host in ["127.0.0.1", "localhost"] {
        let (port, admin) = (free_port(), free_port());
        let upstream = format!("--upstream=http://{host}:{}", service.port);
        let (listen, admin_listen) =
            (format!("--listen=127.0.0.1:{port}"), format!("--admin-listen=127.0.0.1:{admin}"));
        let begun = Instant::now();
        let mut command = store.buildah(&[
            "run",
            &container,
            "--",
            "/ssecar",
            &upstream,
            &listen,
            &admin_listen,
            "--drain=1s",
        ]);
        // A group of its own, to be stopped as a whole: what runs inside is no child of ours.
        let mut running = command.stdin(Stdio::null()).process_group(0).spawn().unwrap();
        until(
            "the container to listen",
            || async move { TcpStream::connect(("127.0.0.1", admin)).await.is_ok() },
        )
        .await;
        let started = begun.elapsed();
        reads_an_event(port, &service).await;
        let health = ["run", &container, "--", "/ssecar", "healthcheck", &admin_listen];
        run(&mut store.buildah(&health)).await;
        let group = format!("-{}", running.id().unwrap());
        run(Command::new("kill").args(["-TERM", "--", &group])).await;
        let ended = tokio::time::timeout(Duration::from_secs(20), running.wait()).await;
        ended.expect("it ends when it is told to").unwrap();
        until("nobody to listen", || async move { TcpStream::connect(("127.0.0.1", admin)).await.is_err() })
            .await;
        println!(
            "image: {size} bytes; by {host}: listens {started:?} after `buildah run`, and streams; healthy"
        );
    }
    let health = format!("--admin-listen=127.0.0.1:{}", free_port());
    let sick =
        store.buildah(&["run", &container, "--", "/ssecar", "healthcheck", &health]).output().await.unwrap();
    assert!(!sick.status.success(), "nobody is there");
    run(&mut store.buildah(&["rm", &container])).await;
}

#[tokio::test]
async fn the_dockerfile_has_no_known_faults() {
    let hadolint = Path::new(ROOT).join("target/deploy-venv/bin/hadolint");
    run(Command::new(hadolint).arg(Path::new(ROOT).join("Dockerfile"))).await;
}
