//! A proxy in this process, on free ports.

use std::net::SocketAddr;

use ssecar::app::App;
use ssecar::config::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Client, Upstream, soon};

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    drain: Option<oneshot::Sender<()>>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Proxy {
    /// Before this upstream, with these flags. Waits between attempts are short unless the flags
    /// say otherwise.
    pub(crate) async fn start(upstream: &Upstream, flags: &[&str]) -> Self {
        Self::with(&upstream.flag(), flags).await
    }

    pub(crate) async fn with(upstream_flag: &str, flags: &[&str]) -> Self {
        let mut args = vec!["ssecar", upstream_flag, "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"];
        args.extend(["--backoff-initial=20ms", "--backoff-max=100ms", "--drain=2s"]);
        // The suite runs over both ways to a client: see `scripts/test`.
        let lane = std::env::var("SSECAR_TEST_LANE").map(|lane| format!("--lane={lane}"));
        args.extend(lane.as_deref());
        args.extend(flags);
        let Ok(Command::Run(config)) = Command::from_args(args) else { panic!("wrong flags: {flags:?}") };
        let app = App::bind(*config).unwrap();
        let address = app.address().unwrap();
        let admin = app.admin_address().unwrap().unwrap();
        let (drain, first) = oneshot::channel();
        let (stop, second) = oneshot::channel();
        let wait = |signal: oneshot::Receiver<()>| async move {
            // A test that ends drops its proxy: that is no signal.
            if signal.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let running = tokio::spawn(app.run(wait(first), wait(second)));
        Self { address, admin, drain: Some(drain), stop: Some(stop), running }
    }

    /// The first signal.
    pub(crate) fn drain(&mut self) {
        self.drain.take().unwrap().send(()).unwrap();
    }

    /// The second signal.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until everything has ended.
    pub(crate) async fn ended(self) {
        soon("the proxy's end", self.running).await.unwrap();
    }

    /// Subscribes, and waits for the response head.
    pub(crate) async fn subscribe(&self, path: &str, headers: &[(&str, &str)]) -> Client {
        let mut client = self.ask(path, headers).await;
        client.head().await;
        client
    }

    /// Subscribes without waiting.
    pub(crate) async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Client {
        let mut all = vec![("Accept", "text/event-stream")];
        all.extend(headers);
        Client::get(self.address, path, &all).await
    }

    /// What the admin listener knows.
    pub(crate) async fn state(&self) -> serde_json::Value {
        let mut client = Client::get(self.admin, "/api/state", &[("Host", "localhost")]).await;
        let response = client.response().await;
        serde_json::from_slice(&response.body).unwrap()
    }

    /// One sample of `/metrics`.
    pub(crate) async fn metric(&self, sample: &str) -> f64 {
        let mut client = Client::get(self.admin, "/metrics", &[("Host", "localhost")]).await;
        let text = String::from_utf8(client.response().await.body).unwrap();
        let is_it = |line: &&str| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' '));
        let line = text.lines().find(is_it).unwrap_or_else(|| panic!("{sample} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until the admin listener's view fulfils a condition.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&serde_json::Value) -> bool) {
        soon(what, async {
            while !condition(&self.state().await) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}
