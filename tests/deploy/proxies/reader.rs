//! A client: curl, line by line.

use std::time::Duration;

use tokio::io::{BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use super::edge::{Edge, HOST};
use crate::support::Process;

/// The longest wait for a line. Less than the heartbeat of ssecar (15 s): what was held back until then would come too late.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Reader {
    lines: Lines<BufReader<ChildStdout>>,
    /// The last one seen.
    pub(super) id: String,
    _process: Process,
}

impl Reader {
    /// Asks an edge for a path over TLS, from this address of loopback, with these further arguments.
    pub(super) fn open(edge: &Edge, path: &str, from: &str, args: &[&str]) -> Self {
        let mut command = Command::new("curl");
        let port = edge.port;
        command.args(["--cacert", &edge.folder.file("chain.pem"), "--interface", from]);
        command.args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")]).args(args);
        Self::ask(command.arg(format!("https://{HOST}:{port}{path}")))
    }

    /// Asks without TLS.
    pub(super) fn plain(url: &str, from: &str) -> Self {
        Self::ask(Command::new("curl").args(["--interface", from, url]))
    }

    fn ask(command: &mut Command) -> Self {
        command.args(["--silent", "--no-buffer", "--include", "--header", "Accept: text/event-stream"]);
        let (process, lines) = Process::with_lines(command);
        Self { lines, id: String::new(), _process: process }
    }

    /// The next line, `None` at the end.
    pub(super) async fn line(&mut self) -> Option<String> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("nothing came for {PATIENCE:?}")).unwrap()?;
        if let Some(id) = line.strip_prefix("id: ") {
            id.clone_into(&mut self.id);
        }
        Some(line.trim_end().to_owned())
    }

    /// The response head: protocol and status, then the fields in lower case.
    pub(super) async fn head(&mut self) -> (String, String) {
        let status = self.line().await.expect("an answer").to_lowercase();
        let mut fields = String::new();
        while let Some(line) = self.line().await.filter(|line| !line.is_empty()) {
            fields.push_str(&line.to_lowercase());
            fields.push('\n');
        }
        (status.trim().to_owned(), fields)
    }

    /// The data of the next event; a heartbeat before it is a failure.
    pub(super) async fn data(&mut self) -> String {
        loop {
            let line = self.line().await.expect("the stream goes on");
            assert!(!line.starts_with(':'), "a heartbeat, where an event should have come");
            if let Some(data) = line.strip_prefix("data: ") {
                return data.to_owned();
            }
        }
    }

    /// Waits for so many heartbeats.
    pub(super) async fn heartbeats(&mut self, count: usize) {
        let mut seen = 0;
        while seen < count {
            let line = self.line().await;
            seen += usize::from(line.expect("the stream goes on").starts_with(':'));
        }
    }

    /// Waits until it is over.
    pub(super) async fn end(&mut self) {
        while self.line().await.is_some() {}
    }
}
