//! A real proxy, started from the file that operators are given: only addresses and paths are the test's own.

use std::path::{Path, PathBuf};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::process::Command;

use crate::support::{Process, Ssecar, free_port, listening};

/// Whose certificate it shows.
pub(super) const HOST: &str = "events.example";

/// The silence that ends a stream, in place of the shipped one, where a test waits for it.
const SHORT_SILENCE: &str = "1s";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Nginx,
    Haproxy,
    /// TLS goes through to ssecar, behind a header of the PROXY protocol.
    HaproxyTcp,
    Caddy,
    Envoy,
}

/// A folder of its own, with a certificate. Gone with it.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", free_port()));
        std::fs::create_dir_all(&path).unwrap();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let (chain, key) = (cert.pem(), signing_key.serialize_pem());
        std::fs::write(path.join("both.pem"), format!("{chain}{key}")).unwrap();
        std::fs::write(path.join("chain.pem"), chain).unwrap();
        std::fs::write(path.join("key.pem"), key).unwrap();
        Self(path)
    }

    pub(super) fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// A file of `deploy/proxies`, with these words in place of those; each must be there.
    pub(super) fn adapt(&self, name: &str, words: &[(&str, String)]) -> String {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/proxies").join(name);
        let mut text = std::fs::read_to_string(shipped).unwrap();
        for (word, other) in words {
            assert!(text.contains(word), "{name} does not say {word:?} any more");
            text = text.replace(word, other);
        }
        std::fs::write(self.0.join(name), text).unwrap();
        self.file(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays behind is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) struct Edge {
    pub(super) port: u16,
    pub(super) folder: Folder,
    _process: Process,
}

impl Edge {
    /// As shipped.
    pub(super) async fn start(kind: Kind, folder: Folder, ssecar: &Ssecar) -> Self {
        Self::with_silence(kind, folder, ssecar, None).await
    }

    /// With little patience for silence.
    pub(super) async fn impatient(kind: Kind, folder: Folder, ssecar: &Ssecar) -> Self {
        Self::with_silence(kind, folder, ssecar, Some(SHORT_SILENCE)).await
    }

    async fn with_silence(kind: Kind, folder: Folder, ssecar: &Ssecar, silence: Option<&str>) -> Self {
        let port = free_port();
        let silence = silence.unwrap_or("75s");
        let (mut check, mut run) = match kind {
            Kind::Nginx => nginx(&folder, port, ssecar, silence),
            Kind::Haproxy => haproxy(&folder, port, ssecar, silence),
            Kind::HaproxyTcp => haproxy_tcp(&folder, port, ssecar, silence),
            Kind::Caddy => caddy(&folder, port, ssecar, silence),
            Kind::Envoy => envoy(&folder, port, ssecar, silence),
        };
        accepts(&mut check).await;
        let process = Process::start(&mut run);
        listening(port).await;
        Self { port, folder, _process: process }
    }
}

/// The program's own check of its file.
pub(super) async fn accepts(check: &mut Command) {
    let output = check.output().await.unwrap_or_else(|error| panic!("{error}: run scripts/setup-deploy"));
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{check:?}: {}", String::from_utf8_lossy(&text));
}

fn nginx(folder: &Folder, port: u16, ssecar: &Ssecar, silence: &str) -> (Command, Command) {
    let mut words = nginx_places(folder);
    words.extend([
        ("/etc/nginx/tls/", folder.file("")),
        ("listen 443", format!("listen 127.0.0.1:{port}")),
        ("server 127.0.0.1:8080", format!("server 127.0.0.1:{}", ssecar.port)),
        ("proxy_read_timeout 75s", format!("proxy_read_timeout {silence}")),
    ]);
    nginx_commands(&folder.adapt("nginx.conf", &words))
}

/// Where nginx keeps what it writes.
pub(super) fn nginx_places(folder: &Folder) -> Vec<(&'static str, String)> {
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = kinds.map(|kind| format!("{kind}_temp_path {};", folder.file(kind))).concat();
    vec![
        ("/run/nginx.pid", folder.file("pid")),
        ("/var/log/nginx/", folder.file("")),
        ("http {\n", format!("http {{ {temporary}\n")),
    ]
}

/// To check it, and to run it.
pub(super) fn nginx_commands(file: &str) -> (Command, Command) {
    let [mut check, mut run] = [(); 2].map(|()| Command::new("/usr/sbin/nginx"));
    check.args(["-t", "-q", "-c", file]);
    run.args(["-c", file, "-g", "daemon off; master_process off;"]);
    (check, run)
}

fn haproxy(folder: &Folder, port: u16, ssecar: &Ssecar, silence: &str) -> (Command, Command) {
    let words = [
        ("bind :443", format!("bind 127.0.0.1:{port}")),
        ("/etc/haproxy/tls/", folder.file("")),
        ("ssecar 127.0.0.1:8080", format!("ssecar 127.0.0.1:{}", ssecar.port)),
        ("check port 9180", format!("check port {}", ssecar.admin)),
        ("75s", silence.to_owned()),
        // A test must not need the descriptors.
        ("maxconn 20000", "maxconn 1000".to_owned()),
    ];
    haproxy_commands(&folder.adapt("haproxy.cfg", &words))
}

fn haproxy_tcp(folder: &Folder, port: u16, ssecar: &Ssecar, silence: &str) -> (Command, Command) {
    let words = [
        ("bind :443", format!("bind 127.0.0.1:{port}")),
        ("ssecar 127.0.0.1:8443", format!("ssecar 127.0.0.1:{}", ssecar.port)),
        ("check port 9180", format!("check port {}", ssecar.admin)),
        ("75s", silence.to_owned()),
        // A test must not need the descriptors.
        ("maxconn 20000", "maxconn 1000".to_owned()),
    ];
    haproxy_commands(&folder.adapt("haproxy-tcp.cfg", &words))
}

fn haproxy_commands(file: &str) -> (Command, Command) {
    let [mut check, mut run] = [(); 2].map(|()| Command::new("/usr/sbin/haproxy"));
    check.args(["-c", "-f", file]);
    run.args(["-db", "-f", file]);
    (check, run)
}

fn caddy(folder: &Folder, port: u16, ssecar: &Ssecar, silence: &str) -> (Command, Command) {
    let words = [
        // For its redirects from http, in place of port 80.
        ("admin off", format!("admin off\n\thttp_port {}", free_port())),
        (HOST, format!("{HOST}:{port}")),
        ("tls /etc/caddy/tls/", format!("bind 127.0.0.1\n\ttls {}", folder.file(""))),
        ("/etc/caddy/tls/", folder.file("")),
        ("reverse_proxy 127.0.0.1:8080", format!("reverse_proxy 127.0.0.1:{}", ssecar.port)),
        ("\tread_timeout 75s", format!("\tread_timeout {silence}")),
    ];
    let file = folder.adapt("Caddyfile", &words);
    let [check, run] = ["validate", "run"].map(|verb| {
        let mut command = Command::new("caddy");
        command.args([verb, "--adapter", "caddyfile", "--config", &file]).env("HOME", &folder.0);
        command.env("XDG_DATA_HOME", &folder.0).env("XDG_CONFIG_HOME", &folder.0);
        command.stderr(std::process::Stdio::null());
        command
    });
    (check, run)
}

fn envoy(folder: &Folder, port: u16, ssecar: &Ssecar, silence: &str) -> (Command, Command) {
    let words = [
        ("address: 0.0.0.0, port_value: 443", format!("address: 127.0.0.1, port_value: {port}")),
        ("/etc/envoy/tls/", folder.file("")),
        ("port_value: 8080", format!("port_value: {}", ssecar.port)),
        ("stream_idle_timeout: 75s", format!("stream_idle_timeout: {silence}")),
    ];
    let file = folder.adapt("envoy.yaml", &words);
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/deploy-venv/bin/envoy");
    let [check, run] = ["validate", "serve"].map(|mode| {
        let mut command = Command::new(&program);
        command.args(["--mode", mode, "--config-path", &file, "--log-level", "error"]);
        command.args(["--concurrency", "1", "--disable-hot-restart"]);
        command
    });
    (check, run)
}
