//! Where the commands of one section run: a loopback and processes of their own, so that the ports that the document
//! names are free, and nothing is left behind.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::file;
use crate::support::{PATIENCE, Process};

/// Between two events of the service, in milliseconds.
const PACE: &str = "100";

/// The most of an output that a failure shows.
const SHOWN_MAX: usize = 1500;

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) struct World {
    _service: Process,
    /// Ends all that runs in it when it is dropped.
    _namespace: Process,
    /// The first process in it.
    first: u32,
    /// Where commands start, with a copy of `deploy/`.
    folder: PathBuf,
}

/// A block that runs.
pub(crate) struct Running {
    child: Child,
    output: PathBuf,
}

impl World {
    /// A new one, with the service at 127.0.0.1:9000.
    pub(crate) async fn open(folder: PathBuf) -> Self {
        // What an earlier run left.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("bin")).unwrap();
        std::fs::create_dir_all(folder.join("here")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ssecar"), folder.join("bin/ssecar")).unwrap();
        std::fs::create_dir_all(folder.join("home")).unwrap();
        std::fs::write(folder.join("home/.curlrc"), "no-progress-meter\n").unwrap();
        copy(&file("deploy"), &folder.join("here/deploy"));
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--pid", "--fork", "--kill-child", "sh", "-c"]);
        unshare.arg("ip link set lo up && echo up && exec sleep infinity");
        let (namespace, mut said) = Process::with_lines(&mut unshare);
        let up = said.next_line().await.unwrap();
        assert_eq!(up.as_deref(), Some("up"), "no namespace: it takes root, and scripts/setup-docs");
        let first = children(namespace.id())[0];
        let mut service = entering(first);
        service.arg("python3").arg(file("tests/docs/service.py")).args(["9000", PACE]);
        let (service, mut said) = Process::with_lines(&mut service);
        assert_eq!(said.next_line().await.unwrap().as_deref(), Some("ready"));
        Self { _service: service, _namespace: namespace, first, folder }
    }

    /// Starts a block of shell commands.
    pub(crate) fn start(&self, commands: &str, is_of_repository: bool) -> Running {
        let number = std::fs::read_dir(&self.folder).unwrap().count();
        let output = self.folder.join(format!("output-{number}"));
        let written = std::fs::File::create(&output).unwrap();
        let bin = self.folder.join("bin");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut command = entering(self.first);
        command.args(["sh", "-e", "-c", commands]).env("PATH", path);
        command.current_dir(if is_of_repository { file("") } else { self.folder.join("here") });
        // There is no network here, and nobody wants to wait for clients to leave.
        command.env("CARGO_NET_OFFLINE", "true").env("SSECAR_DRAIN", "1s");
        // A home of its own, in which curl shows no progress meter: as in a terminal.
        let home = std::env::var("HOME").unwrap();
        for (variable, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            let usual = std::env::var(variable).unwrap_or_else(|_| format!("{home}/{folder}"));
            command.env(variable, usual);
        }
        command.env("HOME", self.folder.join("home"));
        command.stdin(Stdio::null()).stdout(written.try_clone().unwrap()).stderr(written);
        Running { child: command.kill_on_drop(true).spawn().unwrap(), output }
    }

    /// Whether an ssecar is ready.
    pub(crate) async fn is_ready(&self) -> bool {
        let mut check = entering(self.first);
        check.args([env!("CARGO_BIN_EXE_ssecar"), "healthcheck"]).stderr(Stdio::null());
        check.status().await.unwrap().success()
    }
}

/// A command beside this process, in its namespaces.
fn entering(first: u32) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--net", "--pid", "--target", &first.to_string()]);
    command
}

impl Running {
    /// What it printed so far.
    pub(crate) fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap()).into_owned()
    }

    /// The beginning of it, for people.
    pub(crate) fn shown(&self) -> String {
        self.printed().chars().take(SHOWN_MAX).collect()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end; why that was none of a success.
    pub(crate) async fn end(&mut self, limit: Duration) -> Result<(), String> {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
            Ok(status) => Err(format!("{}, printed:\n{}", status.unwrap(), self.shown())),
            Err(_) => Err(format!("did not end within {limit:?}, printed:\n{}", self.shown())),
        }
    }

    /// Asks the ssecar in it to end, as Ctrl-C would; it must do so well.
    pub(crate) async fn stop(&mut self) -> Result<(), String> {
        let mut below = vec![self.child.id().ok_or("it has ended before")?];
        while let Some(id) = below.pop() {
            let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
            if name.trim() == "ssecar" {
                let sent = std::process::Command::new("kill").args(["-s", "TERM", &id.to_string()]).status();
                assert!(sent.unwrap().success());
                return self.end(PATIENCE).await;
            }
            below.extend(children(id));
        }
        Err("no ssecar runs in it".to_owned())
    }

    /// Waits until it printed what is wanted, or ended.
    pub(crate) async fn shows(&mut self, wanted: impl Fn(&str) -> bool) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            // In this order: what it printed before its end counts.
            let (has_ended, printed) = (self.has_ended(), self.printed());
            if wanted(&printed) {
                return Ok(());
            }
            if has_ended || tokio::time::Instant::now() > deadline {
                let how = if has_ended { "ended" } else { "went on" };
                return Err(format!("{how}, but did not show what it should; printed:\n{}", self.shown()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Waits until an ssecar is ready in this world, or the block that should start it has ended.
pub(crate) async fn ready(world: &World, running: &mut Running, limit: Duration) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + limit;
    while !world.is_ready().await {
        if running.has_ended() {
            return Err(format!("ended at once, printed:\n{}", running.shown()));
        }
        if tokio::time::Instant::now() > deadline {
            return Err(format!("no ssecar was ready within {limit:?}, printed:\n{}", running.shown()));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn children(id: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    listed.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
