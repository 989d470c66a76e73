//! The container: the final stage of the Dockerfile, with the binary built outside, since nothing can be pulled here.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::Instant;

use crate::support::{free_port, until};

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
    std::fs::copy("/etc/ssl/certs/ca-certificates.crt", certificates.join("ca-certificates.crt")).unwrap();
    stage
}

/// An event service; answers every request with one event, then keeps quiet.
async fn service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let answer =
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: from inside\n\n";
                if stream.write_all(answer.as_bytes()).await.is_ok() {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    port
}

/// Subscribes, and waits for the event.
async fn reads_an_event(port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = "GET /v1/x HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let reading = async {
        while !text.contains("data: from inside\n") {
            let mut bytes = [0; 1024];
            let count = stream.read(&mut bytes).await.unwrap();
            assert_ne!(count, 0, "ended: {text}");
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), reading).await.is_ok(), "in vain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_image_is_small_has_no_rights_and_runs() {
    let (store, stage) = (Store::new(), built_outside().await);
    let context = format!("build={}", stage.display());
    let build = ["bud", "--format", "docker", "--build-context", &context, "-t", "ssecar-test", "."];
    run(&mut store.buildah(&build)).await;

    let image: serde_json::Value =
        serde_json::from_str(&run(&mut store.buildah(&["inspect", "--type", "image", "ssecar-test"])).await)
            .unwrap();
    let config = &image["Docker"]["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/ssecar"]));
    assert_eq!(config["Healthcheck"]["Test"], serde_json::json!(["CMD", "/ssecar", "healthcheck"]));
    assert_eq!(config["Labels"]["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));

    let container = run(&mut store.buildah(&["from", "ssecar-test"])).await.trim().to_owned();
    let mounted = PathBuf::from(run(&mut store.buildah(&["mount", &container])).await.trim());
    let size: u64 = ["ssecar", "etc/ssl/certs/ca-certificates.crt"]
        .iter()
        .map(|file| std::fs::metadata(mounted.join(file)).unwrap().len())
        .sum();
    assert!(size < IMAGE_BYTES_MAX, "{size} bytes");
    let service = service().await;
    // By address, and by a name that has to be looked up inside.
    for host in ["127.0.0.1", "localhost"] {
        let (port, admin) = (free_port(), free_port());
        let upstream = format!("--upstream=http://{host}:{service}");
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
        reads_an_event(port).await;
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
