//! A service, ssecar before it, and what the system is told to do to them.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::process::Command;

use crate::support::{Process, curl, free_port, until};

pub(crate) const PATH: &str = "/v1/sessions/1/events";

/// Between two events of the service.
pub(crate) const EVERY: Duration = Duration::from_millis(20);

/// The service: a child, so that it can be killed and stopped.
pub(crate) struct Service {
    pub(crate) port: u16,
    address: String,
    started: u128,
    bytes: usize,
    netns: Option<String>,
    process: Option<Process>,
}

impl Service {
    pub(crate) async fn start(bytes: usize) -> Self {
        Self::at("127.0.0.1", None, bytes).await
    }

    pub(crate) async fn at(address: &str, netns: Option<&str>, bytes: usize) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let netns = netns.map(str::to_owned);
        let mut service =
            Self { port: free_port(), address: address.to_owned(), started, bytes, netns, process: None };
        service.revive().await;
        service
    }

    /// Starts it, again: events went on happening.
    pub(crate) async fn revive(&mut self) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/service.py");
        let mut command = within(self.netns.as_deref(), "python3");
        command.args([script, &self.address, &self.port.to_string(), &self.started.to_string()]);
        command.args([&EVERY.as_millis().to_string(), &self.bytes.to_string()]);
        self.process = Some(Process::start(&mut command));
        let (address, port) = (self.address.clone(), self.port);
        until("the service", || {
            let address = address.clone();
            async move { tokio::net::TcpStream::connect((address.as_str(), port)).await.is_ok() }
        })
        .await;
    }

    /// From now on it is reached here.
    pub(crate) fn put_behind(&mut self, port: u16) {
        (self.address, self.port) = ("127.0.0.1".to_owned(), port);
    }

    pub(crate) async fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.signal("KILL");
        process.ended().await;
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().unwrap().signal(name);
    }
}

/// A command, in a network namespace or in ours.
fn within(netns: Option<&str>, program: &str) -> Command {
    match netns {
        None => Command::new(program),
        Some(netns) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", netns, program]);
            command
        }
    }
}

/// The program under test.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    admin: u16,
    pub(crate) process: Process,
}

impl Proxy {
    pub(crate) async fn before(service: &Service, flags: &[&str]) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_ssecar")), service, flags).await
    }

    /// Run by `command`, which ends with the program's name.
    pub(crate) async fn run(command: Command, service: &Service, flags: &[&str]) -> Self {
        Self::run_before(command, (&service.address, service.port), flags).await
    }

    /// The same, before anything that answers there.
    pub(crate) async fn run_before(mut command: Command, upstream: (&str, u16), flags: &[&str]) -> Self {
        let (port, admin) = (free_port(), free_port());
        command.args([
            format!("--upstream=http://{}:{}", upstream.0, upstream.1),
            format!("--listen=0.0.0.0:{port}"),
            format!("--admin-listen=127.0.0.1:{admin}"),
            "--log-filter=error".to_owned(),
            "--backoff-initial=200ms".to_owned(),
            "--backoff-max=1s".to_owned(),
            "--heartbeat=1s".to_owned(),
        ]);
        let process = Process::start(command.args(flags));
        let proxy = Self { port, admin, process };
        until("ssecar", || proxy.is_ready()).await;
        proxy
    }

    async fn is_ready(&self) -> bool {
        tokio::net::TcpStream::connect(("127.0.0.1", self.admin)).await.is_ok()
    }

    /// What the admin listener tells.
    pub(crate) async fn state(&self) -> serde_json::Value {
        let state = curl(&[&format!("http://127.0.0.1:{}/api/state", self.admin)]).await;
        serde_json::from_str(&state).unwrap()
    }

    pub(crate) async fn clients(&self) -> u64 {
        self.state().await["clients"].as_u64().unwrap()
    }

    /// CPU time used so far, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // Linux counts hundredths of a second here, on every machine.
        Duration::from_millis(ticks * 10)
    }
}

/// A network namespace of the test's own, joined to ours by a pair of interfaces.
pub(crate) struct Netns {
    pub(crate) name: String,
    /// Ours, and the other side's address.
    pub(crate) here: String,
    pub(crate) there: String,
}

impl Netns {
    /// `number` tells those of one run apart: 1 to 250.
    pub(crate) async fn new(number: u8) -> Self {
        let name = format!("ssecar-{}-{number}", std::process::id());
        let netns = Self { here: format!("10.213.{number}.1"), there: format!("10.213.{number}.2"), name };
        let (ours, theirs) = (format!("ssc{number}a"), format!("ssc{number}b"));
        let Self { name, here, there } = &netns;
        // What a killed run left behind.
        let _ = Command::new("ip").args(["link", "del", &ours]).output().await;
        system(&["ip", "netns", "add", name]).await;
        system(&["ip", "link", "add", &ours, "type", "veth", "peer", "name", &theirs]).await;
        system(&["ip", "link", "set", &theirs, "netns", name]).await;
        system(&["ip", "addr", "add", &format!("{here}/30"), "dev", &ours]).await;
        system(&["ip", "link", "set", &ours, "up"]).await;
        netns.within(&["ip", "addr", "add", &format!("{there}/30"), "dev", &theirs]).await;
        netns.within(&["ip", "link", "set", &theirs, "up"]).await;
        netns.within(&["ip", "link", "set", "lo", "up"]).await;
        netns
    }

    /// Runs a command in it.
    pub(crate) async fn within(&self, command: &[&str]) {
        system(&[&["ip", "netns", "exec", &self.name], command].concat()).await;
    }

    /// Drops what `rule` says, in both directions: `drop` is everything.
    pub(crate) async fn filter(&self, rule: &str) {
        let table = format!(
            "table inet fault {{
               chain in {{ type filter hook input priority 0; iifname \"lo\" accept; {rule}; }}
               chain out {{ type filter hook output priority 0; oifname \"lo\" accept; {rule}; }}
             }}"
        );
        self.within(&["nft", &table]).await;
    }

    pub(crate) async fn heal(&self) {
        self.within(&["nft", "delete", "table", "inet", "fault"]).await;
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // The interfaces go with it.
        let _ = std::process::Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

async fn system(command: &[&str]) {
    let output = Command::new(command[0]).args(&command[1..]).output().await;
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}: run scripts/setup-faults"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether a story may be left out on this machine; says so.
pub(crate) fn is_missing(fault: &str, why: &str) -> bool {
    let allowed = std::env::var("SSECAR_FAULTS_ALLOW_MISSING").unwrap_or_default();
    assert!(
        allowed.split(',').any(|name| name == fault),
        "{fault} can't be tried on this machine: {why}. SSECAR_FAULTS_ALLOW_MISSING={fault} lets it pass"
    );
    println!("NOT RUN: {fault}: {why}");
    true
}

/// libfaketime, wherever Debian put it.
pub(crate) fn faketime() -> PathBuf {
    let libraries = std::fs::read_dir("/usr/lib").unwrap();
    libraries
        .filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketime.so.1")))
        .find(|path| path.exists())
        .expect("libfaketime is missing: run scripts/setup-faults")
}
