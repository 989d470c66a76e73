//! Wiring: every part from its configuration, listeners bound, run until told to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin;
use crate::config::Config;
use crate::message::session_key::{KeyHasher, KeyRules};
use crate::metrics::Metrics;
use crate::server::accept::{self, ServerLimits};
use crate::server::connection::{ConnectionLimits, Entrance};
use crate::server::gateway::Gateway;
use crate::server::tls::{Tls, TlsError};
use crate::session::{ClientLimits, Parts, Registry};
use crate::shutdown::{Shutdown, ShutdownTrigger};
use crate::store::{Opened, Store, StoreError};
use crate::telemetry::{self, Exporter};
use crate::upstream::authorization::{NoAuthorization, OwnAuthorization};
use crate::upstream::health::Health;
use crate::upstream::{SetupError, UpstreamClient};

/// Why the program can't start: one line that names the flag.
#[derive(Debug)]
pub enum StartError {
    /// The upstream can't be used as configured.
    Upstream(SetupError),
    /// An address can't be listened on.
    Bind {
        /// The flag that named it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The token for the admin listener can't be read.
    AdminToken {
        /// What `--admin-token-file` named.
        file: PathBuf,
        /// What is wrong with it.
        error: admin::BadToken,
    },
    /// Clients can't be served over TLS.
    Tls(TlsError),
    /// The system gives no random numbers.
    Random(getrandom::Error),
    /// ssecar's own credential can't be used.
    Authorization(NoAuthorization),
    /// There is no way to the collector of spans.
    Tracing(telemetry::NoCollector),
    /// The rings of the last process can't be kept.
    State {
        /// What `--state-dir` named.
        dir: PathBuf,
        /// What is wrong with it.
        error: StoreError,
    },
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Upstream(error) => write!(f, "{error}"),
            Self::Bind { flag, address, error } => write!(f, "{flag} '{address}': {error}"),
            Self::Tls(error) => write!(f, "{error}"),
            Self::Authorization(error) => write!(f, "{error}"),
            Self::Tracing(error) => write!(f, "{error}"),
            Self::AdminToken { file, error } => {
                write!(f, "--admin-token-file '{}': {error}", file.display())
            }
            Self::Random(error) => write!(f, "no random numbers: {error}"),
            Self::State { dir, error } => write!(f, "--state-dir '{}': {error}", dir.display()),
        }
    }
}

impl std::error::Error for StartError {}

/// The program, bound and ready to run.
#[derive(Debug)]
pub struct App {
    config: Config,
    clients: TcpListener,
    admin: Option<admin::Listener>,
    registry: Registry,
    rings: Option<(Opened, Duration)>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    gateway: Gateway,
    tls: Option<Tls>,
    exporter: Option<Exporter>,
    trigger: ShutdownTrigger,
    shutdown: Shutdown,
}

impl App {
    /// Builds all parts and binds the listeners. Nothing is asked of the upstream.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn bind(config: Config) -> Result<Self, StartError> {
        let upstream = UpstreamClient::new(&config.upstream).map_err(StartError::Upstream)?;
        let authorization = config.upstream.authorization_file.as_deref().map(OwnAuthorization::open);
        let authorization = authorization.transpose().map_err(StartError::Authorization)?.map(Arc::new);
        let tls = config.server.certificate.as_ref().map(Tls::open).transpose().map_err(StartError::Tls)?;
        let unacknowledged_max = Some(config.server.idle_timeout);
        let listen = |flag, address: SocketAddr| {
            accept::listen(address, unacknowledged_max).map_err(|error| StartError::Bind {
                flag,
                address,
                error,
            })
        };
        let clients = listen("--listen", config.server.listen)?;
        let admin = config.admin.listen.map(|address| listen("--admin-listen", address)).transpose()?;
        let token = config.admin.token_file.as_deref().map(|file| {
            let read = admin::Token::read(file);
            read.map_err(|error| StartError::AdminToken { file: file.to_owned(), error })
        });
        let token = token.transpose()?;
        let admin = admin.map(|listener| admin::Listener::new(listener, token));
        let opened = config.sessions.state_dir.as_deref().map(|dir| open_state(dir, &config)).transpose()?;
        let mut key = [0; 16];
        match &opened {
            Some(opened) => key = opened.key,
            None => getrandom::fill(&mut key).map_err(StartError::Random)?,
        }
        let seed = getrandom::u64().map_err(StartError::Random)?;
        let (key_rules, metrics) = (Arc::new(key_rules(&config)), Arc::<Metrics>::default());
        let tracing = config.tracing.as_ref().map(|tracing| {
            let (rules, metrics) = (Arc::clone(&key_rules), Arc::clone(&metrics));
            telemetry::open(tracing, &config.upstream.target, rules, metrics).map_err(StartError::Tracing)
        });
        let (tracer, exporter) = tracing.transpose()?.unzip();
        let parts = Parts {
            hasher: KeyHasher::new(key),
            key_rules,
            upstream,
            health: Arc::default(),
            metrics,
            tracer: tracer.unwrap_or_default(),
        };
        let (health, metrics) = (Arc::clone(&parts.health), Arc::clone(&parts.metrics));
        let (trigger, shutdown) = Shutdown::new();
        let limits =
            ClientLimits { all: config.server.clients_max, per_ip: config.server.clients_per_ip_max };
        let registry = Registry::new(&config.sessions, limits, parts.clone(), seed);
        let rings = opened.map(|opened| (opened, longest_linger(&config)));
        let gateway = Gateway::new(&config, parts, registry.clone(), authorization);
        Ok(Self {
            config,
            clients,
            admin,
            registry,
            rings,
            health,
            metrics,
            gateway,
            tls,
            exporter,
            trigger,
            shutdown,
        })
    }

    /// Where clients connect.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.clients.local_addr()
    }

    /// Where the admin listener is, if there is one.
    ///
    /// # Errors
    /// The system does not say.
    pub fn admin_address(&self) -> io::Result<Option<SocketAddr>> {
        self.admin.as_ref().map(admin::Listener::address).transpose()
    }

    /// Runs until `first` is done, then drains (spec 11), at most until `second` is done.
    pub async fn run(self, first: impl Future<Output = ()>, second: impl Future<Output = ()>) {
        let Self {
            config,
            clients,
            admin,
            registry,
            rings,
            health,
            metrics,
            gateway,
            tls,
            exporter,
            trigger,
            shutdown,
        } = self;
        let export_stop = CancellationToken::new();
        let export =
            exporter.map(|exporter| AbortOnDropHandle::new(tokio::spawn(exporter.run(export_stop.clone()))));
        let renewal = tls.clone().map(|tls| AbortOnDropHandle::new(tokio::spawn(tls.keep_fresh())));
        if let Some((opened, linger)) = rings {
            registry.keep(opened, linger);
        }
        let (admin_trigger, admin_shutdown) = Shutdown::new();
        let admin_task = admin.map(|listener| {
            let state = admin::State::new(
                config.upstream.target.to_string(),
                registry.clone(),
                Arc::clone(&health),
                Arc::clone(&metrics),
                shutdown.clone(),
            );
            tokio::spawn(listener.run(state, admin_shutdown))
        });
        let drain = config.server.drain;
        let handler = gateway.clone();
        let service = service_fn(move |request| {
            let handler = handler.clone();
            async move { Ok(handler.handle(request).await) }
        });
        let mut server =
            tokio::spawn(accept::serve(clients, service, limits(&config, metrics, tls), shutdown));

        first.await;
        tracing::info!(drain = ?drain, clients = registry.clients(), "stopping: draining");
        trigger.drain(drain);
        let mut served = None;
        let finish = async {
            registry.drain(drain.mul_f64(DRAIN_SHARE)).await;
            // The last clients still have to get their farewell, and forwarded requests their answers.
            served = Some((&mut server).await);
            gateway.tunnels_ended().await;
        };
        let mut second = pin!(second);
        let mut is_hurried = false;
        tokio::select! {
            () = finish => {}
            () = tokio::time::sleep(drain) => tracing::info!("stopping: the time to drain is over"),
            () = &mut second => {
                is_hurried = true;
                tracing::info!("stopping at once");
            }
        }
        trigger.now();
        registry.stop().await;
        match served {
            Some(result) => report_end("server", Ok(result)),
            None => report_end("server", tokio::time::timeout(END_TIMEOUT, server).await),
        }
        gateway.end_tunnels().await;
        // Nothing begins a span any more.
        export_stop.cancel();
        if let Some(mut export) = export.filter(|_| !is_hurried) {
            tokio::select! {
                end = tokio::time::timeout(END_TIMEOUT, &mut export) => report_end("exporter of spans", end),
                () = second => tracing::info!("stopping at once: spans may be lost"),
            }
        }
        admin_trigger.now();
        if let Some(task) = admin_task {
            report_end("admin listener", tokio::time::timeout(END_TIMEOUT, task).await);
        }
        drop(renewal);
        tracing::info!("stopped");
    }
}

fn open_state(dir: &Path, config: &Config) -> Result<Opened, StartError> {
    let opened = Store::open(dir, config.sessions.memory_budget, SystemTime::now());
    opened.map_err(|error| StartError::State { dir: dir.to_owned(), error })
}

/// How long any session lives on without clients: so long a kept ring waits for its first.
fn longest_linger(config: &Config) -> Duration {
    let routes = config.routes.routes.iter().map(|(_, settings)| settings.linger);
    routes.fold(config.routes.defaults.linger, Duration::max)
}

fn key_rules(config: &Config) -> KeyRules {
    KeyRules {
        ignored: config.sessions.ignored_headers.clone(),
        key: config.sessions.key_headers.clone(),
        credential_headers: config.sessions.credential_headers.clone(),
        credential_query: config.sessions.credential_query.clone(),
    }
}

fn limits(config: &Config, metrics: Arc<Metrics>, tls: Option<Tls>) -> ServerLimits {
    let balancers = config.server.proxy_protocol.then(|| config.server.trusted_proxies.clone().into());
    ServerLimits {
        connections_max: config.server.clients_max.saturating_add(CONNECTIONS_RESERVE),
        metrics,
        entrance: Entrance { balancers, tls },
        connection: ConnectionLimits::from(&config.server),
    }
}

/// Connections beyond `--max-clients`: short requests, and those who are told that it is full.
const CONNECTIONS_RESERVE: usize = 1024;

/// The part of `--drain` over which clients are closed; the rest is for what they still have to get.
const DRAIN_SHARE: f64 = 0.8;

/// How long a part may take to end after it was told to stop at once.
const END_TIMEOUT: Duration = Duration::from_secs(5);

fn report_end(
    part: &'static str,
    end: Result<Result<(), tokio::task::JoinError>, tokio::time::error::Elapsed>,
) {
    match end {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(part, %error, "a part failed"),
        Err(_) => tracing::error!(part, "a part did not end in time"),
    }
}
