//! nginx with nchan: a real event service, published to by HTTP.

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use super::{Process, free_port, listening};

/// Where Debian's `libnginx-mod-nchan` puts it.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

pub(crate) struct Nginx {
    pub(crate) port: u16,
    root: PathBuf,
    process: Process,
}

impl Nginx {
    pub(crate) async fn start() -> Self {
        assert!(std::path::Path::new(MODULE).exists(), "nchan is missing: run scripts/setup-peers");
        let port = free_port();
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("nginx-{port}"));
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("page.html"), "<!doctype html><title>reader</title>").unwrap();
        std::fs::write(root.join("nginx.conf"), config(&root, port)).unwrap();
        let process = spawn(&root);
        listening(port).await;
        Self { port, root, process }
    }

    /// Stops it for a while. What it kept in memory is gone.
    pub(crate) async fn restart(&mut self, away: Duration) {
        self.process.signal("TERM");
        // How it exits is its own affair: nchan is known to end without grace.
        self.process.ended().await;
        tokio::time::sleep(away).await;
        self.process = spawn(&self.root);
        listening(self.port).await;
    }

    /// Subscriptions that began, as its access log has them.
    pub(crate) fn subscriptions(&self) -> usize {
        let log = std::fs::read_to_string(self.root.join("access.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains("/v1/sessions/")).count()
    }

    /// Readers at this moment, by nchan's own count.
    pub(crate) async fn readers(&self) -> usize {
        let status = super::curl(&[&format!("http://127.0.0.1:{}/status", self.port)]).await;
        let line = status.lines().find_map(|line| line.strip_prefix("subscribers: ")).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A folder that stays behind is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn spawn(root: &std::path::Path) -> Process {
    Process::start(Command::new("/usr/sbin/nginx").arg("-p").arg(root).arg("-c").arg(root.join("nginx.conf")))
}

fn config(root: &std::path::Path, port: u16) -> String {
    let root = root.display();
    format!(
        "load_module {MODULE};
daemon off; master_process off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;
events {{ worker_connections 4096; }}
http {{
  client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
  log_format line '$request_method $request_uri $connection';
  access_log off;
  server {{
    listen 127.0.0.1:{port};
    root {root};
    types {{ text/html html; }}
    location ~ ^/v1/sessions/([0-9]+)/events$ {{
      access_log {root}/access.log line;
      nchan_subscriber eventsource;
      nchan_channel_id $1;
      nchan_message_buffer_length 1000;
    }}
    location ~ ^/publish/([0-9]+)$ {{
      nchan_publisher;
      nchan_channel_id $1;
      nchan_message_buffer_length 1000;
    }}
    location = /status {{ nchan_stub_status; }}
  }}
}}
"
    )
}
