//! What the user typed: flags, environment variables and their defaults, by theme.
//!
//! Values are parsed here one by one; what they mean together is checked in [`super::check`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use http::HeaderName;
use ipnet::IpNet;

use super::units::{duration, positive_duration, size};
use crate::proto::end_event::EndEvent;
use crate::proto::route::PathPattern;

/// Makes any service's Server-Sent Events robust: one upstream subscription per session, fan-out to
/// all clients, replay, heartbeats. A sidecar: clients talk to it instead of the service.
#[derive(Debug, Parser)]
#[command(name = "ssecar", version, args_override_self = true, args_conflicts_with_subcommands = true)]
pub(super) struct Flags {
    #[command(flatten)]
    pub upstream: UpstreamFlags,
    #[command(flatten)]
    pub listen: ListenFlags,
    #[command(flatten)]
    pub legacy: LegacyFlags,
    #[command(flatten)]
    pub sessions: SessionFlags,
    #[command(flatten)]
    pub streams: StreamFlags,
    #[command(flatten)]
    pub limits: LimitFlags,
    #[command(flatten)]
    pub admin: AdminFlags,
    #[command(flatten)]
    pub log: LogFlags,
    #[command(flatten)]
    pub tracing: TracingFlags,
    #[command(subcommand)]
    pub command: Option<SubCommand>,
}

/// What else the program can do.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum SubCommand {
    /// Show it: a deliberately flaky event source, the proxy before it, and a check that nothing is lost.
    Demo(DemoFlags),
    /// Exit 0 if the local instance is ready (for a container's HEALTHCHECK).
    Healthcheck(HealthcheckFlags),
    /// Print what a shell needs to complete ssecar's flags: `eval "$(ssecar completions bash)"`.
    Completions(CompletionsFlags),
    /// Print the manual page: `ssecar man | man -l -`.
    Man(ManFlags),
    /// The event source of the demo.
    #[command(hide = true)]
    DemoSource(DemoSourceFlags),
}

/// Of `ssecar demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoFlags {
    /// Where the proxy listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = address)]
    pub listen: SocketAddr,
    /// Where the admin listener is.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9180", value_parser = address)]
    pub admin_listen: SocketAddr,
    /// How often the source is killed and revived; without it until Ctrl-C.
    #[arg(long, value_name = "NUMBER")]
    pub rounds: Option<u32>,
}

/// Of `ssecar healthcheck`.
#[derive(Debug, Clone, Args)]
pub struct HealthcheckFlags {
    /// The admin listener to ask.
    #[arg(long, env = "SSECAR_ADMIN_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9180", value_parser = address)]
    pub admin_listen: SocketAddr,
    /// How long to wait for the answer.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = positive_duration)]
    pub timeout: Duration,
}

/// Of `ssecar completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsFlags {
    /// For which shell.
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Of `ssecar man`.
#[derive(Debug, Clone, Args)]
pub struct ManFlags {
    /// The page of one command, in place of the program's.
    #[arg(value_name = "COMMAND", value_parser = ["demo", "healthcheck", "completions", "man"])]
    pub command: Option<String>,
}

/// Of the demo's source.
#[derive(Debug, Clone, Args)]
pub struct DemoSourceFlags {
    /// Where it listens.
    #[arg(long, value_parser = address)]
    pub listen: SocketAddr,
    /// When event 1 happened, in milliseconds since 1970.
    #[arg(long)]
    pub started: u64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Upstream")]
pub(super) struct UpstreamFlags {
    /// The service: http://HOST:PORT, https://HOST:PORT (each with an optional /base path), or unix:/path/to/socket
    #[arg(long, env = "SSECAR_UPSTREAM", value_name = "URL", value_parser = super::target::parse)]
    pub upstream: Option<super::UpstreamTarget>,
    /// Certificate authorities to trust instead of the system's (PEM)
    #[arg(long, env = "SSECAR_UPSTREAM_CA", value_name = "FILE")]
    pub upstream_ca: Option<PathBuf>,
    /// A certificate to show to an https --upstream that asks for one, with its chain (PEM)
    #[arg(long, env = "SSECAR_UPSTREAM_CLIENT_CERT", value_name = "FILE")]
    pub upstream_client_cert: Option<PathBuf>,
    /// The private key of --upstream-client-cert (PEM)
    #[arg(long, env = "SSECAR_UPSTREAM_CLIENT_KEY", value_name = "FILE")]
    pub upstream_client_key: Option<PathBuf>,
    /// Subscribe with the Authorization that this file holds, where --share is authorized or public (read anew each time)
    #[arg(long, env = "SSECAR_UPSTREAM_AUTHORIZATION_FILE", value_name = "FILE")]
    pub upstream_authorization_file: Option<PathBuf>,
    /// Which Host the service sees: the client's own, or that of --upstream
    #[arg(long, env = "SSECAR_UPSTREAM_HOST_HEADER", value_name = "WHOSE", default_value = "client")]
    pub upstream_host_header: HostHeaderChoice,
    /// The longest wait for a connection
    #[arg(long, env = "SSECAR_UPSTREAM_CONNECT_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = positive_duration)]
    pub upstream_connect_timeout: Duration,
    /// The longest wait for a response head, from the last progress of the request's body
    #[arg(long, env = "SSECAR_UPSTREAM_RESPONSE_TIMEOUT", value_name = "DURATION", default_value = "60s", value_parser = positive_duration)]
    pub upstream_response_timeout: Duration,
    /// Idle connections kept
    #[arg(long, env = "SSECAR_UPSTREAM_POOL_IDLE_MAX", value_name = "NUMBER", default_value_t = 64)]
    pub upstream_pool_idle_max: usize,
    /// How long an idle connection is kept
    #[arg(long, env = "SSECAR_UPSTREAM_POOL_IDLE_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = positive_duration)]
    pub upstream_pool_idle_timeout: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Listening")]
pub(super) struct ListenFlags {
    /// Where clients connect
    #[arg(long, env = "SSECAR_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8080", value_parser = address)]
    pub listen: SocketAddr,
    /// Speak TLS to clients: the certificate, with its chain (PEM); read anew when the file changes
    #[arg(long, env = "SSECAR_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert (PEM)
    #[arg(long, env = "SSECAR_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Each connection begins with a PROXY protocol header (version 2) that names the client; only --trusted-proxy may connect
    #[arg(long, env = "SSECAR_PROXY_PROTOCOL", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub proxy_protocol: bool,
    /// Proxies before this one whose X-Forwarded-* and Forwarded are believed (may be repeated)
    #[arg(long, env = "SSECAR_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = '\n', value_parser = network)]
    pub trusted_proxy: Vec<IpNet>,
    /// How long stopping may take
    #[arg(long, env = "SSECAR_DRAIN", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub drain: Duration,
    /// Whether cleartext HTTP/1.1 clients of sessions are written to directly; `off` for comparison
    #[arg(long, env = "SSECAR_LANE", value_name = "SWITCH", default_value = "on", hide = true)]
    pub lane: Switch,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Legacy routes")]
pub(super) struct LegacyFlags {
    /// A path served as its /v1 twin, beside /sessions/{id}/events: {name} is one segment, a final ** the rest (may be repeated)
    #[arg(long, env = "SSECAR_LEGACY_ROUTE", value_name = "PATTERN", value_delimiter = '\n')]
    pub legacy_route: Vec<PathPattern>,
    /// What a legacy path is prefixed with
    #[arg(long, env = "SSECAR_API_PREFIX", value_name = "PATH", default_value = "/v1")]
    pub api_prefix: String,
    /// No legacy routes at all
    #[arg(long, env = "SSECAR_NO_LEGACY_ROUTES", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub no_legacy_routes: bool,
    /// Serve a legacy route, answer 308, or answer 410
    #[arg(long, env = "SSECAR_LEGACY_MODE", value_name = "MODE", default_value = "rewrite")]
    pub legacy_mode: LegacyModeChoice,
    /// The day when legacy routes will be gone, for the Sunset header: 2027-01-31
    #[arg(long, env = "SSECAR_LEGACY_SUNSET", value_name = "DATE", value_parser = super::date::parse)]
    pub legacy_sunset: Option<std::time::SystemTime>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Sessions")]
pub(super) struct SessionFlags {
    /// Paths that are event streams whatever the client accepts (may be repeated)
    #[arg(long, env = "SSECAR_SSE_PATH", value_name = "PATTERN", value_delimiter = '\n')]
    pub sse_path: Vec<PathPattern>,
    /// A request header that does not matter to the service: clients that differ in it share (may be repeated)
    #[arg(long, env = "SSECAR_IGNORE_HEADER", value_name = "NAME", value_delimiter = '\n', value_parser = header_name)]
    pub ignore_header: Vec<HeaderName>,
    /// A request header that does matter, although it usually doesn't (may be repeated)
    #[arg(long, env = "SSECAR_KEY_HEADER", value_name = "NAME", value_delimiter = '\n', value_parser = header_name)]
    pub key_header: Vec<HeaderName>,
    /// A request header that holds a credential, beside Authorization and Cookie (may be repeated)
    #[arg(long, env = "SSECAR_CREDENTIAL_HEADER", value_name = "NAME", value_delimiter = '\n', value_parser = header_name)]
    pub credential_header: Vec<HeaderName>,
    /// A query parameter that holds a credential (may be repeated)
    #[arg(long, env = "SSECAR_CREDENTIAL_QUERY", value_name = "NAME", value_delimiter = '\n')]
    pub credential_query: Vec<String>,
    /// Keep rings in this directory, so that a restart loses nothing (holds events; for one process only)
    #[arg(long, env = "SSECAR_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Options for some paths: 'PATTERN key=value …', each key a flag of the themes from here to Upstream failures; the first pattern that matches wins (may be repeated)
    #[arg(long, env = "SSECAR_ROUTE", value_name = "ROUTE", value_delimiter = '\n')]
    pub route: Vec<String>,
}

/// What may also be set for some paths by `--route`.
#[derive(Debug, Clone, Args)]
pub(super) struct StreamFlags {
    /// Who shares a session: clients with the same credentials, all whom the service lets in (each is checked), or everyone
    #[arg(
        long,
        env = "SSECAR_SHARE",
        value_name = "WHO",
        default_value = "same-credentials",
        help_heading = "Joining"
    )]
    pub share: ShareChoice,
    /// What a client without Last-Event-ID gets first: nothing, the ring, the service's opening, or a greeting of its own
    #[arg(
        long,
        env = "SSECAR_LATE_JOIN",
        value_name = "WHAT",
        default_value = "live",
        help_heading = "Joining"
    )]
    pub late_join: LateJoinChoice,
    /// The first silence of this length ends the service's opening
    #[arg(long, env = "SSECAR_OPENING_PAUSE", value_name = "DURATION", default_value = "250ms", value_parser = positive_duration, help_heading = "Joining")]
    pub opening_pause: Duration,
    /// How long a session lives on after its last client
    #[arg(long, env = "SSECAR_LINGER", value_name = "DURATION", default_value = "60s", value_parser = duration, help_heading = "Joining")]
    pub linger: Duration,

    /// Whose event ids clients see
    #[arg(
        long,
        env = "SSECAR_EVENT_IDS",
        value_name = "WHOSE",
        default_value = "own",
        help_heading = "Events and ids"
    )]
    pub event_ids: EventIdsChoice,
    /// An event type that is delivered without id and place in the ring (may be repeated; empty: none)
    #[arg(
        long,
        env = "SSECAR_EPHEMERAL",
        value_name = "NAME",
        value_delimiter = '\n',
        help_heading = "Events and ids"
    )]
    pub ephemeral: Vec<String>,
    /// Treat events without an id so too, where others have one
    #[arg(long, env = "SSECAR_EPHEMERAL_WITHOUT_ID", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", help_heading = "Events and ids")]
    pub ephemeral_without_id: bool,
    /// Drop the service's comments
    #[arg(long, env = "SSECAR_DROP_COMMENTS", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", help_heading = "Events and ids")]
    pub drop_comments: bool,
    /// The largest event; a larger one is skipped and told as a gap
    #[arg(long, env = "SSECAR_MAX_EVENT_SIZE", value_name = "SIZE", default_value = "1MiB", value_parser = size, help_heading = "Events and ids")]
    pub max_event_size: usize,
    /// The retry that clients are told, instead of the service's
    #[arg(long, env = "SSECAR_CLIENT_RETRY", value_name = "DURATION", value_parser = duration, help_heading = "Events and ids")]
    pub client_retry: Option<Duration>,

    /// Events kept for replay in each session
    #[arg(
        long,
        env = "SSECAR_REPLAY_EVENTS",
        value_name = "NUMBER",
        default_value_t = 50,
        help_heading = "Replay"
    )]
    pub replay_events: usize,
    /// Bytes kept for replay in each session
    #[arg(long, env = "SSECAR_REPLAY_BYTES", value_name = "SIZE", default_value = "1MiB", value_parser = size, help_heading = "Replay")]
    pub replay_bytes: usize,
    /// Whether a client whose events are no longer kept fetches them from the service, where that gives ids
    #[arg(
        long,
        env = "SSECAR_CATCH_UP",
        value_name = "WHETHER",
        default_value = "on",
        help_heading = "Replay"
    )]
    pub catch_up: Switch,
    /// The type of the event that tells a client of missing events (empty: none)
    #[arg(long, env = "SSECAR_GAP_EVENT", value_name = "NAME", default_value = "ssecar-gap", value_parser = event_name, help_heading = "Replay")]
    pub gap_event: String,

    /// The silence after which clients get a heartbeat comment
    #[arg(long, env = "SSECAR_HEARTBEAT", value_name = "DURATION", default_value = "15s", value_parser = positive_duration, help_heading = "Clients")]
    pub heartbeat: Duration,
    /// Bytes that a client may fall behind before it is closed
    #[arg(long, env = "SSECAR_CLIENT_LAG", value_name = "SIZE", default_value = "1MiB", value_parser = size, help_heading = "Clients")]
    pub client_lag: usize,

    /// The wait after a first failure; doubled for each further one
    #[arg(long, env = "SSECAR_BACKOFF_INITIAL", value_name = "DURATION", default_value = "1s", value_parser = positive_duration, help_heading = "Upstream failures")]
    pub backoff_initial: Duration,
    /// The longest wait between attempts
    #[arg(long, env = "SSECAR_BACKOFF_MAX", value_name = "DURATION", default_value = "30s", value_parser = positive_duration, help_heading = "Upstream failures")]
    pub backoff_max: Duration,
    /// How long failing attempts go on before a session's clients are closed
    #[arg(long, env = "SSECAR_GIVE_UP", value_name = "DURATION", default_value = "5m", value_parser = positive_duration, help_heading = "Upstream failures")]
    pub give_up: Duration,
    /// What a clean end of the service's stream means
    #[arg(
        long,
        env = "SSECAR_ON_END",
        value_name = "WHAT",
        default_value = "reconnect",
        help_heading = "Upstream failures"
    )]
    pub on_end: OnEndChoice,
    /// An event after which a clean end is final: event=NAME or data=TEXT (may be repeated; empty: none) [default: data=[DONE]]
    #[arg(long, env = "SSECAR_END_EVENT", value_name = "EVENT", value_delimiter = '\n', value_parser = end_event, help_heading = "Upstream failures")]
    pub end_event: Vec<Option<EndEvent>>,
    /// How long a client of an unreachable service waits for its response head
    #[arg(long, env = "SSECAR_HOLD_HEAD", value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = "Upstream failures")]
    pub hold_head: Duration,
    /// Hold such a client, or answer 503
    #[arg(
        long,
        env = "SSECAR_ON_UPSTREAM_DOWN",
        value_name = "WHAT",
        default_value = "hold",
        help_heading = "Upstream failures"
    )]
    pub on_upstream_down: OnUpstreamDownChoice,
    /// The silence after which a subscription counts as dead (0: never)
    #[arg(long, env = "SSECAR_UPSTREAM_IDLE_TIMEOUT", value_name = "DURATION", default_value = "0", value_parser = duration, help_heading = "Upstream failures")]
    pub upstream_idle_timeout: Duration,
    /// The type of the event that tells clients of the upstream's state (empty: none)
    #[arg(long, env = "SSECAR_STATUS_EVENT", value_name = "NAME", default_value = "", value_parser = event_name, help_heading = "Upstream failures")]
    pub status_event: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitFlags {
    /// Clients that read event streams at once
    #[arg(long, env = "SSECAR_MAX_CLIENTS", value_name = "NUMBER", default_value_t = 10_000)]
    pub max_clients: usize,
    /// Clients of one address at once; IPv6 counts by /64 (0: no such limit)
    #[arg(long, env = "SSECAR_MAX_CLIENTS_PER_IP", value_name = "NUMBER", default_value_t = 0)]
    pub max_clients_per_ip: usize,
    /// Sessions at once
    #[arg(long, env = "SSECAR_MAX_SESSIONS", value_name = "NUMBER", default_value_t = 10_000)]
    pub max_sessions: usize,
    /// Bytes that all sessions' events may take together
    #[arg(long, env = "SSECAR_MEMORY_BUDGET", value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    pub memory_budget: usize,
    /// Clients that fetch what they missed from the service at once; more wait, up to 10s
    #[arg(long, env = "SSECAR_CATCH_UP_MAX", value_name = "NUMBER", default_value = "16", value_parser = catch_ups)]
    pub catch_up_max: usize,
    /// The largest request head, 8KiB at least
    #[arg(long, env = "SSECAR_MAX_HEAD_SIZE", value_name = "SIZE", default_value = "16KiB", value_parser = size)]
    pub max_head_size: usize,
    /// The most header fields in a request
    #[arg(long, env = "SSECAR_MAX_HEADERS", value_name = "NUMBER", default_value_t = 100)]
    pub max_headers: usize,
    /// The longest time for a request head to arrive, idle keep-alive included
    #[arg(long, env = "SSECAR_HEAD_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = positive_duration)]
    pub head_timeout: Duration,
    /// A connection on which nothing could be delivered for so long is closed
    #[arg(long, env = "SSECAR_IDLE_TIMEOUT", value_name = "DURATION", default_value = "90s", value_parser = positive_duration)]
    pub idle_timeout: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Admin")]
pub(super) struct AdminFlags {
    /// Where health and state are served (off: nowhere)
    #[arg(long, env = "SSECAR_ADMIN_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9180", value_parser = address_or_off)]
    pub admin_listen: AdminListen,
    /// The bearer token for everything there but /livez, /readyz and the page itself: the file's first line; needed where --admin-listen is not on loopback
    #[arg(long, env = "SSECAR_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub(super) struct LogFlags {
    /// For people or for machines
    #[arg(long, env = "SSECAR_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormatChoice,
    /// What is logged: a level, or a filter such as info,ssecar=debug
    #[arg(long, env = "SSECAR_LOG_FILTER", value_name = "FILTER", default_value = "info", value_parser = log_filter)]
    pub log_filter: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Tracing")]
pub(super) struct TracingFlags {
    /// Send spans to this OpenTelemetry collector (OTLP/HTTP in JSON; /v1/traces follows its path), and pass traceparent on
    #[arg(long, env = "SSECAR_OTLP_ENDPOINT", value_name = "URL", value_parser = super::target::parse)]
    pub otlp_endpoint: Option<super::UpstreamTarget>,
    /// Certificate authorities to trust instead of the system's, for an https --otlp-endpoint (PEM)
    #[arg(long, env = "SSECAR_OTLP_CA", value_name = "FILE")]
    pub otlp_ca: Option<PathBuf>,
    /// Request headers for the collector, 'name: value' on each line of this file (read anew each time)
    #[arg(long, env = "SSECAR_OTLP_HEADER_FILE", value_name = "FILE")]
    pub otlp_header_file: Option<PathBuf>,
    /// The share of traces that is recorded, from 0 to 1; a client that sends a traceparent has decided already
    #[arg(long, env = "SSECAR_OTLP_SAMPLE", value_name = "RATIO", default_value = "1", value_parser = ratio)]
    pub otlp_sample: f64,
    /// The resource attribute service.name
    #[arg(long, env = "SSECAR_OTLP_SERVICE_NAME", value_name = "NAME", default_value = "ssecar", value_parser = service_name)]
    pub otlp_service_name: String,
    /// A further resource attribute, such as deployment.environment.name=prod (may be repeated)
    #[arg(long, env = "SSECAR_OTLP_ATTRIBUTE", value_name = "NAME=VALUE", value_delimiter = '\n', value_parser = attribute)]
    pub otlp_attribute: Vec<(String, String)>,
}

/// The largest `--catch-up-max`.
const CATCH_UPS_MAX: usize = 10_000;

/// An address, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AdminListen(pub Option<SocketAddr>);

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum HostHeaderChoice {
    Client,
    Upstream,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LegacyModeChoice {
    Rewrite,
    Redirect,
    Gone,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ShareChoice {
    SameCredentials,
    Authorized,
    Public,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LateJoinChoice {
    Live,
    Ring,
    Opening,
    Fresh,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum EventIdsChoice {
    Own,
    Upstream,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum OnEndChoice {
    Reconnect,
    Close,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum OnUpstreamDownChoice {
    Hold,
    Reject,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LogFormatChoice {
    Text,
    Json,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an address such as 127.0.0.1:8080 or [::]:8080".to_owned())
}

fn address_or_off(text: &str) -> Result<AdminListen, String> {
    match text {
        "" | "off" => Ok(AdminListen(None)),
        text => {
            address(text).map(|address| AdminListen(Some(address))).map_err(|expected| expected + ", or off")
        }
    }
}

fn catch_ups(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= CATCH_UPS_MAX);
    number.ok_or_else(|| format!("expected a number up to {CATCH_UPS_MAX}"))
}

fn network(text: &str) -> Result<IpNet, String> {
    let single = || text.parse().map(|address: std::net::IpAddr| IpNet::from(address)).ok();
    text.parse().ok().or_else(single).ok_or_else(|| "expected a network such as 10.0.0.0/8".to_owned())
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    text.parse().map_err(|_| "expected the name of a header such as X-Tenant".to_owned())
}

fn event_name(text: &str) -> Result<String, String> {
    if text.contains(['\r', '\n', '\0']) {
        return Err("expected the type of an event, on one line".into());
    }
    Ok(text.to_owned())
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "expected a number from 0 to 1, such as 0.1".to_owned())
}

fn service_name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("expected a name, such as shop-events".into()) } else { Ok(text.to_owned()) }
}

fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected NAME=VALUE, such as deployment.environment.name=prod".into()),
    }
}

fn end_event(text: &str) -> Result<Option<EndEvent>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|expected| format!("expected {expected}"))
}

fn log_filter(text: &str) -> Result<String, String> {
    let parsed: Result<tracing_subscriber::EnvFilter, _> = text.parse();
    parsed
        .map(|_| text.to_owned())
        .map_err(|_| "expected a level such as info, or a filter such as info,ssecar=debug".to_owned())
}
