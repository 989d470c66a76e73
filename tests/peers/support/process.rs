//! One child process, ended by its id when it is dropped.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{PATIENCE, file};

pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a command whose output nobody reads.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self { child: spawn(command.stdout(Stdio::null())) }
    }

    /// Starts a command whose output comes as lines.
    pub(crate) fn with_lines(command: &mut Command) -> (Self, Lines<BufReader<ChildStdout>>) {
        let mut child = spawn(command.stdout(Stdio::piped()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (Self { child }, lines)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = std::process::Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end; whether it was a success.
    pub(crate) async fn ended(&mut self) -> bool {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap().success()
    }

    /// Asks it to end, and waits.
    pub(crate) async fn stop(mut self) {
        self.signal("TERM");
        self.ended().await;
    }
}

fn spawn(command: &mut Command) -> Child {
    let shown = format!("{command:?}");
    match command.stdin(Stdio::null()).kill_on_drop(true).spawn() {
        Ok(child) => child,
        Err(error) => panic!("{shown}: {error}: run scripts/setup-peers"),
    }
}

/// A script of `tests/peers/node`.
pub(crate) fn node(script: &str) -> Command {
    assert!(file("node/node_modules").is_dir(), "npm packages are missing: run scripts/setup-peers");
    let mut command = Command::new("node");
    command.arg(file("node").join(script));
    command
}

/// A script of `tests/peers/python`.
pub(crate) fn python(script: &str) -> Command {
    let interpreter = file("../../target/peers-venv/bin/python");
    assert!(interpreter.exists(), "Python packages are missing: run scripts/setup-peers");
    let mut command = Command::new(interpreter);
    command.arg(file("python").join(script));
    command
}
