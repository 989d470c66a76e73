//! What happens when the system runs short.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::reader::Reader;
use crate::rig::{PATH, Proxy, Service, is_missing};
use crate::support::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_running_streams_go_on_and_newcomers_wait() {
    let service = Service::start(100).await;
    let mut command = Command::new("prlimit");
    command.args(["--nofile=40:40", env!("CARGO_BIN_EXE_ssecar")]);
    let proxy = Proxy::run(command, &service, &["--head-timeout=60s"]).await;
    let reader = Reader::of(proxy.port);
    reader.reads(50).await;
    // More than there are descriptors: the rest waits in the kernel's queue.
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap());
    }
    let cpu = proxy.cpu();
    reader.reads(150).await;
    let busy = proxy.cpu() - cpu;
    assert!(busy < Duration::from_millis(1_500), "a busy loop: {busy:?} in three seconds");
    let mut last = crowd.pop().unwrap();
    drop(crowd);
    last.write_all(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    let answered = tokio::time::timeout(Duration::from_secs(20), last.read_exact(&mut answer)).await;
    answered.expect("the newcomer is served once others left").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 405");
    assert_eq!(reader.connections(), 1);
    reader.judge("no descriptors left, a full queue", &format!("nothing; {busy:?} of CPU meanwhile"));
}

/// A memory group of the test's own; gone with it.
struct Cgroup(PathBuf);

impl Cgroup {
    /// `None`: this machine gives none.
    fn with_limit(bytes: u64) -> Option<Self> {
        let name = format!("ssecar-test-{}", std::process::id());
        let (group, limit) = [
            (Path::new("/sys/fs/cgroup/memory").join(&name), "memory.limit_in_bytes"),
            (Path::new("/sys/fs/cgroup").join(&name), "memory.max"),
        ]
        .into_iter()
        .find(|(group, limit)| std::fs::create_dir(group).is_ok() && group.join(limit).exists())?;
        let group = Self(group);
        std::fs::write(group.0.join(limit), bytes.to_string()).ok()?;
        Some(group)
    }

    /// The program's name is put in the group before it starts.
    fn command(&self) -> Command {
        let procs = self.0.join("cgroup.procs");
        let script = format!("echo $$ > {} && exec \"$@\"", procs.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_ssecar")]);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Fails while the program still ends; an empty group costs nothing.
        let _ = std::fs::remove_dir(&self.0);
    }
}

const LIMIT: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_slow_readers_in_little_memory_harms_nobody_who_reads() {
    let Some(group) = Cgroup::with_limit(LIMIT) else {
        is_missing("memory-limit", "no memory cgroup can be made");
        return;
    };
    let service = Service::start(20_000).await;
    let flags = ["--client-lag=256KiB", "--memory-budget=4MiB", "--replay-bytes=512KiB"];
    let proxy = Proxy::run(group.command(), &service, &flags).await;
    let reader = Reader::of(proxy.port);
    reader.reads(20).await;
    let mut slow = Vec::new();
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
    for _ in 0..300 {
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
        socket2::SockRef::from(&client).set_recv_buffer_size(4096).unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        slow.push(client);
    }
    let most = std::cell::Cell::new(0);
    until("the slow ones to be closed", || async {
        let clients = proxy.clients().await;
        most.set(most.get().max(clients));
        most.get() > 100 && clients < 20
    })
    .await;
    reader.reads(100).await;
    assert_eq!(reader.connections(), 1);
    let peak = std::fs::read_to_string(format!("/proc/{}/status", proxy.process.id())).unwrap();
    let peak = peak.lines().find(|line| line.starts_with("VmHWM:")).unwrap().to_owned();
    let noticed = format!("nothing; {} slow ones at once, closed; {peak}", most.get() - 1);
    reader.judge("64 MiB, 300 slow readers of 1 MB/s", &noticed);
    drop((slow, proxy, group));
}

/// A small disk of the test's own, unmounted with it.
struct Disk(PathBuf);

impl Disk {
    async fn new(size: &str) -> Option<Self> {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("small-disk");
        std::fs::create_dir_all(&path).unwrap();
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).output().await;
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }

    /// Takes all that is left of it.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filling")).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the program may still end.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_delays_nothing_and_is_told_to_operators() {
    let Some(disk) = Disk::new("4m").await else {
        is_missing("full-disk", "no disk can be mounted");
        return;
    };
    let service = Service::start(20_000).await;
    let state_dir = format!("--state-dir={}", disk.0.join("state").display());
    let proxy = Proxy::before(&service, &[&state_dir]).await;
    let reader = Reader::of(proxy.port);
    reader.reads(3).await;
    disk.fill();
    until("a write to fail", || async { proxy.state().await["state_write_failures"].as_u64() > Some(0) })
        .await;
    reader.reads(150).await;
    assert_eq!(reader.connections(), 1);
    let failures = proxy.state().await["state_write_failures"].clone();
    reader.judge("a full disk under --state-dir", &format!("nothing; {failures} writes failed"));
    drop((proxy, disk));
}
