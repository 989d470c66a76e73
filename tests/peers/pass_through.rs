//! What is no event stream passes, whatever its size, with flat memory (spec 3.1).

use tokio::process::Command;

use crate::support::{Process, Ssecar, curl, free_port, listening, node};

const GIBIBYTE: u64 = 1 << 30;

/// What buffers, pools and the allocator may take on the way.
const GROWTH_MAX: u64 = 16 << 20;

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

    let download = ssecar.url(&format!("/download?bytes={GIBIBYTE}"));
    let size = curl(&["--output", "/dev/null", "--write-out", "%{size_download}", &download]).await;
    assert_eq!(size, GIBIBYTE.to_string());
    assert_flat(&ssecar, before, "1 GiB down");

    let upload = format!(
        "head -c {GIBIBYTE} /dev/zero | curl --silent --show-error --max-time 120 --request POST --upload-file - '{}'",
        ssecar.url("/upload")
    );
    let output = Command::new("sh").args(["-c", &upload]).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), GIBIBYTE.to_string());
    assert_flat(&ssecar, before, "1 GiB up");

    let head = curl(&["--head", &download]).await.to_lowercase();
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {GIBIBYTE}\r\n")), "{head}");
    assert_flat(&ssecar, before, "HEAD of 1 GiB");
}
