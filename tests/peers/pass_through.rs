//! What is no event stream passes, whatever its size, with flat memory (spec 3.1).

use tokio::process::Command;

use crate::support::{Process, Ssecar, curl, free_port, listening, node};

const GIBIBYTE: u64 = 1 << 30;

/// What buffers, pools and the allocator may take on the way.
const GROWTH_MAX: u64 = 16 << 20;

const CURL: &str = "curl --silent --show-error --fail --max-time 120";

struct Service {
    port: u16,
    _process: Process,
}

impl Service {
    async fn start() -> Self {
        let port = free_port();
        let process = Process::start(node("websocket-echo.mjs").arg(port.to_string()));
        listening(port).await;
        Self { port, _process: process }
    }

    /// Past ssecar.
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

/// What a pipe of commands prints, each of which must succeed.
async fn shell(pipe: &str) -> String {
    let output = Command::new("bash").args(["-o", "pipefail", "-c", pipe]).output().await.unwrap();
    assert!(output.status.success(), "{pipe}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn assert_flat(ssecar: &Ssecar, before: u64, what: &str) {
    let after = ssecar.memory_peak();
    let mib = |bytes: u64| bytes >> 20;
    println!("{what}: peak memory {} MiB before, {} MiB after", mib(before), mib(after));
    assert!(after < before + GROWTH_MAX, "{what}: {before} bytes became {after}");
}

#[tokio::test]
async fn a_websocket_is_tunnelled_unchanged() {
    let service = Service::start().await;
    let ssecar = Ssecar::start(service.port, &[]).await;
    let url = ssecar.url("/echo").replace("http:", "ws:");
    let (mut client, mut lines) = Process::with_lines(node("websocket-client.mjs").arg(url));
    let said = lines.next_line().await.unwrap().expect("the client says how it went");
    assert_eq!(said, r#"{"back":200,"code":1000}"#);
    assert!(client.ended().await);
}

#[tokio::test]
async fn a_gibibyte_each_way_and_a_head_leave_memory_flat() {
    let service = Service::start().await;
    let ssecar = Ssecar::start(service.port, &[]).await;
    // Warm up: what any first request costs.
    curl(&[&ssecar.url("/download?bytes=1000000")]).await;
    let before = ssecar.memory_peak();

    let path = format!("/download?bytes={GIBIBYTE}");
    let (direct, download) = (service.url(&path), ssecar.url(&path));
    let digest = shell(&format!("{CURL} '{direct}' | sha256sum")).await;
    assert_eq!(shell(&format!("{CURL} '{download}' | sha256sum")).await, digest);
    assert_flat(&ssecar, before, "1 GiB down");

    let upload = ssecar.url("/upload");
    let received = shell(&format!("{CURL} '{direct}' | {CURL} --upload-file - '{upload}'")).await;
    assert_eq!(format!("{received}  -\n"), digest);
    assert_flat(&ssecar, before, "1 GiB up");

    let head = curl(&["--head", &download]).await.to_lowercase();
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {GIBIBYTE}\r\n")), "{head}");
    assert_flat(&ssecar, before, "HEAD of 1 GiB");
}
