//! The built program as a child, on ports that stay the same over restarts.

use tokio::process::Command;

use super::{Process, curl, free_port, until};

pub(crate) struct Ssecar {
    pub(crate) port: u16,
    /// The port of the admin listener.
    pub(crate) admin: u16,
    args: Vec<String>,
    process: Process,
}

impl Ssecar {
    /// Before the service on this port, with these flags.
    pub(crate) async fn start(upstream: u16, flags: &[&str]) -> Self {
        let (port, admin) = (free_port(), free_port());
        let mut args = vec![
            format!("--upstream=http://127.0.0.1:{upstream}"),
            format!("--listen=127.0.0.1:{port}"),
            format!("--admin-listen=127.0.0.1:{admin}"),
            "--log-filter=warn".to_owned(),
        ];
        args.extend(flags.iter().map(|&flag| flag.to_owned()));
        let process = spawn(&args);
        ready(admin).await;
        Self { port, admin, args, process }
    }

    /// Ends it with this signal, and starts another on the same ports.
    pub(crate) async fn restart(&mut self, signal: &str) {
        self.process.signal(signal);
        let was_clean = self.process.ended().await;
        assert_eq!(was_clean, signal == "TERM", "exit code 0 exactly when it was asked to stop");
        self.process = spawn(&self.args);
        ready(self.admin).await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// On the admin listener.
    pub(crate) fn admin_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.admin)
    }

    /// Whether it was started with exactly this flag.
    pub(crate) fn has_flag(&self, flag: &str) -> bool {
        self.args.iter().any(|arg| arg == flag)
    }

    /// What the admin listener tells.
    pub(crate) async fn state(&self) -> serde_json::Value {
        let text = curl(&[&self.admin_url("/api/state")]).await;
        serde_json::from_str(&text).unwrap()
    }

    /// Processor time that it took so far (`utime` and `stime` of `/proc/PID/stat`, in 1/100 s).
    pub(crate) fn processor_time(&self) -> std::time::Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        std::time::Duration::from_millis(ticks * 10)
    }

    /// The most memory it ever had, in bytes (`VmHWM`).
    pub(crate) fn memory_peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

fn spawn(args: &[String]) -> Process {
    Process::start(Command::new(env!("CARGO_BIN_EXE_ssecar")).args(args))
}

async fn ready(admin: u16) {
    until("ssecar", || async move {
        let check = Command::new(env!("CARGO_BIN_EXE_ssecar"))
            .args(["healthcheck", &format!("--admin-listen=127.0.0.1:{admin}")])
            .stderr(std::process::Stdio::null())
            .status()
            .await;
        check.unwrap().success()
    })
    .await;
}
