//! What the program relies on: immutable, checked settings, one struct for each part.
//!
//! `flags` holds what the user typed; [`Config`] is what comes out of it once, at the start.
//! Nothing here knows sockets or tasks, and nothing else reads flags or environment variables.

mod check;
mod date;
mod flags;
mod routes;
mod target;
pub mod units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::proto::route::{LegacyRoutes, PathPattern};
pub use check::{Command, ConfigError, definition};
pub use flags::{CompletionsFlags, DemoFlags, DemoSourceFlags, HealthcheckFlags, ManFlags};
pub use routes::{EventIds, LateJoin, OnUpstreamDown, RouteSettings, RouteTable, Share};

/// Everything that was configured, checked as a whole.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the event-producing service is and how it is reached.
    pub upstream: UpstreamConfig,
    /// The listener for clients and its limits.
    pub server: ServerConfig,
    /// The rewriting of legacy routes (spec 3).
    pub legacy: LegacyConfig,
    /// What counts as a session and what tells sessions apart (spec 4.1, 4.2).
    pub sessions: SessionsConfig,
    /// Settings that may differ by path: the first matching pattern wins.
    pub routes: RouteTable,
    /// The admin listener (spec 10.1).
    pub admin: AdminConfig,
    /// The form of log lines (spec 10.2).
    pub log: LogConfig,
    /// Spans for OpenTelemetry; `None`: none.
    pub tracing: Option<TracingConfig>,
}

/// Where the upstream is and how it is reached.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// The only place that ssecar ever connects to (spec 3.3).
    pub target: UpstreamTarget,
    /// A PEM file of certificate authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What ssecar shows to an upstream that asks who it is.
    pub client_certificate: Option<ClientCertificate>,
    /// A file with the `Authorization` to subscribe with, where clients with different credentials share.
    pub authorization_file: Option<PathBuf>,
    /// Whether requests carry the client's `Host` or the upstream's own name.
    pub host_header: HostHeader,
    /// The longest wait for a TCP, TLS or unix-socket connection.
    pub connect_timeout: Duration,
    /// The longest wait for a response head, from the last progress of the request body (504 after it).
    pub response_timeout: Duration,
    /// How many idle connections the pool keeps.
    pub pool_idle_max: usize,
    /// How long an idle connection is kept.
    pub pool_idle_timeout: Duration,
}

/// The files of a TLS client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// A PEM file: the certificate, then those between it and its authority.
    pub chain: PathBuf,
    /// A PEM file with the private key.
    pub key: PathBuf,
}

/// A parsed `--upstream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTarget {
    /// How to connect.
    pub transport: Transport,
    /// `host[:port]` for the `Host` header where the client's is not kept; `localhost` for a unix socket.
    pub authority: http::uri::Authority,
    /// A path put before every forwarded path: empty, or `/base` without a slash at its end.
    pub base_path: String,
}

/// How bytes get to the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// `http://HOST:PORT`
    Tcp {
        /// A name or an IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `https://HOST:PORT`
    Tls {
        /// A name or an IP address, without brackets; the certificate must be for it.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:/path/to/socket`
    Unix {
        /// The socket's path.
        path: PathBuf,
    },
}

/// Which `Host` the upstream sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostHeader {
    /// The client's own: the default, as if ssecar were not there.
    Client,
    /// The authority of `--upstream`.
    Upstream,
}

/// The listener for clients and its limits (spec 9.1).
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The certificate for TLS; `None`: cleartext.
    pub certificate: Option<ServerCertificate>,
    /// Whether each connection begins with a header of the PROXY protocol, from a trusted proxy.
    pub proxy_protocol: bool,
    /// Peers whose forwarding headers are believed (spec 3.2).
    pub trusted_proxies: Vec<IpNet>,
    /// The most clients that read event streams at once.
    pub clients_max: usize,
    /// The most of them with one address; `None`: no such limit.
    pub clients_per_ip_max: Option<usize>,
    /// The largest request head, in bytes.
    pub head_bytes_max: usize,
    /// The most header fields in a request.
    pub header_count_max: usize,
    /// The longest time for a request head to arrive, idle keep-alive included.
    pub head_timeout: Duration,
    /// A connection on which nothing could be delivered for so long is reaped (spec 7.5).
    pub idle_timeout: Duration,
    /// The time that stopping may take (spec 11).
    pub drain: Duration,
    /// Whether cleartext HTTP/1.1 clients of sessions are written to without hyper.
    pub lane: bool,
}

/// The files of the certificate that clients are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    /// A PEM file: the certificate, then those between it and its authority.
    pub chain: PathBuf,
    /// A PEM file with the private key.
    pub key: PathBuf,
}

/// The rewriting of legacy routes.
#[derive(Debug, Clone)]
pub struct LegacyConfig {
    /// The patterns and the prefix.
    pub routes: LegacyRoutes,
    /// What happens to a request that matches.
    pub mode: LegacyMode,
    /// The date for the `Sunset` header (RFC 8594).
    pub sunset: Option<std::time::SystemTime>,
}

/// What happens to a request for a legacy route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegacyMode {
    /// Served as its twin.
    Rewrite,
    /// Answered 308 with the twin's address.
    Redirect,
    /// Answered 410.
    Gone,
}

/// What counts as a session, and what tells sessions apart.
#[derive(Debug, Clone)]
pub struct SessionsConfig {
    /// Paths that are event streams whatever `Accept` says.
    pub sse_paths: Vec<PathPattern>,
    /// Headers that never matter to the upstream, beside the built-in list; lower case.
    pub ignored_headers: Vec<http::HeaderName>,
    /// Headers that do matter, although the built-in list says that they don't; lower case.
    pub key_headers: Vec<http::HeaderName>,
    /// Headers that hold credentials, beside `Authorization` and `Cookie`.
    pub credential_headers: Vec<http::HeaderName>,
    /// Query parameters that hold credentials.
    pub credential_query: Vec<String>,
    /// The most sessions at once.
    pub sessions_max: usize,
    /// Where rings are kept over a restart; `None`: nowhere.
    pub state_dir: Option<PathBuf>,
    /// Bytes that all rings together may hold (spec 6.2).
    pub memory_budget: usize,
    /// Clients that catch up by a request of their own at once (spec 6.7).
    pub catch_ups_max: usize,
}

/// The admin listener.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Where it listens; `None`: not at all.
    pub listen: Option<SocketAddr>,
    /// The file whose first line is the bearer token; `None` only on loopback.
    pub token_file: Option<PathBuf>,
}

/// The form of log lines.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Text for people or JSON for machines.
    pub format: LogFormat,
    /// A filter in the syntax of `tracing_subscriber::EnvFilter`, such as `info,ssecar=debug`.
    pub filter: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where spans go, and what is said of their sender.
#[derive(Debug, Clone)]
pub struct TracingConfig {
    /// The collector; `/v1/traces` follows its path.
    pub endpoint: UpstreamTarget,
    /// A PEM file of certificate authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A file of request headers for the collector, `name: value` on each line.
    pub header_file: Option<PathBuf>,
    /// The share of new traces that is recorded, from 0 to 1. Where a client's request belongs to a trace, that decides.
    pub sample: f64,
    /// `service.name`
    pub service_name: String,
    /// Further attributes of the resource; names differ.
    pub attributes: Vec<(String, String)>,
}
