//! Server processes: started on their own core, found with all their children, ended without remains.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, kill_process, setrlimit, waitpid,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::clock::{SECOND, now};
use crate::load::Interrupt;

/// The longest wait for a server to listen.
const START_PATIENCE: u64 = 20 * SECOND;
/// How long a server may take to end by itself.
const STOP_PATIENCE: u64 = 2 * SECOND;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The core of the servers, and that of source and herd.
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// Puts this process on its core, where there are two; lets it and its children open as many files as may be.
pub(crate) fn prepare() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    // Children whose parent ended become ours, so that none is missed.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    pin(LOAD_CORE)
}

static HAS_TWO_CORES: OnceLock<bool> = OnceLock::new();

/// Whether there is a core for the server and one for the load. Asked first before this process is pinned.
pub(crate) fn has_two_cores() -> bool {
    *HAS_TWO_CORES.get_or_init(|| {
        sched_getaffinity(None).is_ok_and(|cores| cores.is_set(SERVER_CORE) && cores.is_set(LOAD_CORE))
    })
}

fn pin(core: usize) -> Result<()> {
    if !has_two_cores() {
        return Ok(());
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).context("pinning to a core")
}

/// Files that this process may have open.
pub(crate) fn files_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A port of the loopback that is free now.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// A running server with all its processes, and the folder it runs in.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    /// Starts a program on the servers' core, in a folder made for it. `prepare` may put files there.
    pub(crate) fn start(mut command: Command, folder: PathBuf) -> Result<Self> {
        let log = fs::File::create(folder.join("output.log"))?;
        command.current_dir(&folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A child inherits the core from this thread: none of its threads is ever elsewhere.
        pin(SERVER_CORE)?;
        let child = command.spawn().with_context(|| format!("starting {:?}", command.get_program()));
        pin(LOAD_CORE)?;
        Ok(Self { child: child?, folder })
    }

    /// Waits until it listens.
    pub(crate) fn wait_for(&mut self, address: SocketAddr, interrupt: &Interrupt) -> Result<()> {
        let until = now() + START_PATIENCE;
        while TcpStream::connect(address).is_err() {
            let has_ended = self.child.try_wait()?.is_some();
            if has_ended || now() >= until || interrupt.load(Ordering::Relaxed) {
                anyhow::bail!("the server did not start: {}", self.output());
            }
            pause();
        }
        Ok(())
    }

    /// The last lines it wrote.
    pub(crate) fn output(&self) -> String {
        let output = fs::read_to_string(self.folder.join("output.log")).unwrap_or_default();
        let lines: Vec<&str> = output.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Its process and all below it.
    pub(crate) fn processes(&self) -> Vec<u32> {
        family(self.child.id())
    }
}

impl Drop for Server {
    /// Ends all its processes, and removes its folder.
    fn drop(&mut self) {
        let family = family(self.child.id());
        signal(&family, Signal::TERM);
        let until = now() + STOP_PATIENCE;
        while now() < until && self.child.try_wait().is_ok_and(|status| status.is_none()) {
            pause();
        }
        signal(&family, Signal::KILL);
        if let Err(error) = self.child.wait() {
            eprintln!("a server's process could not be waited for: {error}");
        }
        // Those whose parent ended first are children of ours now.
        for &process in &family[1..] {
            reap(process);
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} was not removed: {error}", self.folder.display());
        }
    }
}

fn signal(processes: &[u32], signal: Signal) {
    for &process in processes {
        if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
            // One that has ended already is what is wanted.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Takes an ended child off the kernel's list, if it is ours.
fn reap(process: u32) {
    let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else { return };
    let until = now() + STOP_PATIENCE;
    while now() < until && matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)) {
        pause();
    }
}

fn pause() {
    std::thread::sleep(LOOK_EVERY);
}

/// A process and all below it.
fn family(root: u32) -> Vec<u32> {
    let mut family = vec![root];
    let mut known = HashSet::from([root]);
    let mut at = 0;
    while let Some(&process) = family.get(at) {
        at += 1;
        for child in children(process).unwrap_or_default() {
            if known.insert(child) {
                family.push(child);
            }
        }
    }
    family
}

/// Children of all threads of a process.
fn children(process: u32) -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end while we look.
        let list = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        children.extend(list.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_ends_with_all_its_processes_and_its_folder() {
        let folder = std::env::temp_dir().join(format!("ssecar-bench-test-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & sleep 1000 & wait"]);
        let server = Server::start(command, folder.clone()).unwrap();
        let until = now() + 10 * SECOND;
        while server.processes().len() < 3 {
            assert!(now() < until, "the shell starts two more");
            pause();
        }
        let processes = server.processes();
        drop(server);
        assert!(!folder.exists());
        for process in processes {
            let state = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            assert!(state.is_empty() || state.contains(") Z "), "{state}");
        }
    }
}
