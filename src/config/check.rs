//! From what the user typed to what the program relies on, or to one line that says what is wrong
//! (spec 2).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args as _, CommandFactory, Parser};
use http::header::{AUTHORIZATION, COOKIE};

use super::flags::{
    AdminFlags, AdminListen, CompletionsFlags, DemoFlags, DemoSourceFlags, EventIdsChoice, Flags,
    HealthcheckFlags, HostHeaderChoice, LateJoinChoice, LegacyFlags, LegacyModeChoice, LimitFlags,
    ListenFlags, LogFlags, LogFormatChoice, ManFlags, OnEndChoice, OnUpstreamDownChoice, SessionFlags,
    ShareChoice, StreamFlags, SubCommand, Switch, TracingFlags, UpstreamFlags,
};
use super::units::show;
use super::{
    AdminConfig, ClientCertificate, Config, EventIds, HostHeader, LateJoin, LegacyConfig, LegacyMode,
    LogConfig, LogFormat, OnUpstreamDown, RouteSettings, RouteTable, ServerCertificate, ServerConfig,
    SessionsConfig, Share, TracingConfig, Transport, UpstreamConfig,
};
use crate::proto::backoff::BackoffLimits;
use crate::proto::end_event::EndEvent;
use crate::proto::log::ReplayLimits;
use crate::proto::route::{LegacyRoutes, PathPattern};

/// The smallest `--max-head-size`: hyper's least buffer.
const HEAD_BYTES_MIN: usize = 8 * 1024;

/// The event after which a clean end is final, if none is named: that of most language models' APIs.
const DEFAULT_END_EVENT: &str = "[DONE]";

/// What the program was asked to do.
#[derive(Debug, Clone)]
pub enum Command {
    /// Run the proxy.
    Run(Box<Config>),
    /// Show it.
    Demo(DemoFlags),
    /// Serve the demo's events.
    DemoSource(DemoSourceFlags),
    /// Ask the local instance whether it is ready.
    Healthcheck(HealthcheckFlags),
    /// Print completions for a shell.
    Completions(CompletionsFlags),
    /// Print a manual page.
    Man(ManFlags),
}

/// Why the program does not start.
#[derive(Debug)]
pub enum ConfigError {
    /// One line that names the flag, the value and what is accepted.
    Wrong(String),
    /// `--help` or `--version`: what to print; not an error.
    Asked(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(line) | Self::Asked(line) => f.write_str(line),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Command {
    /// Parses and checks arguments, the program's name first, and the environment.
    ///
    /// # Errors
    /// [`ConfigError`]: the first thing that is wrong.
    pub fn from_args(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, ConfigError> {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let flags = parse(&args)?;
        match flags.command.clone() {
            Some(SubCommand::Demo(flags)) => Ok(Self::Demo(flags)),
            Some(SubCommand::DemoSource(flags)) => Ok(Self::DemoSource(flags)),
            Some(SubCommand::Healthcheck(flags)) => Ok(Self::Healthcheck(flags)),
            Some(SubCommand::Completions(flags)) => Ok(Self::Completions(flags)),
            Some(SubCommand::Man(flags)) => Ok(Self::Man(flags)),
            None => Ok(Self::Run(Box::new(check(flags, &args)?))),
        }
    }
}

fn parse(args: &[OsString]) -> Result<Flags, ConfigError> {
    Flags::try_parse_from(args).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ConfigError::Asked(error.render().to_string()),
        _ => ConfigError::Wrong(one_line(&error)),
    })
}

fn one_line(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        Some(_) | None => None,
    };
    let flag = text(ContextKind::InvalidArg).unwrap_or_default();
    // `--heartbeat <DURATION>`: the name alone.
    let flag = flag.split_whitespace().next().unwrap_or_default().trim_end_matches('=');
    let flag = flag.split_once("[=").map_or(flag, |(name, _)| name);
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            let accepted = text(ContextKind::ValidValue).map(|values| format!("expected one of {values}"));
            format!("{flag} '{value}': {}", accepted.or(cause).unwrap_or_else(|| "a value is missing".into()))
        }
        ErrorKind::MissingRequiredArgument => format!("{flag}: missing; --help says what is accepted"),
        ErrorKind::UnknownArgument => match text(ContextKind::SuggestedArg) {
            Some(known) => format!("{flag}: no such flag; did you mean {known}?"),
            None => format!("{flag}: no such flag; --help lists all"),
        },
        _ => {
            let rendered = error.render().to_string();
            rendered.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    }
}

fn wrong(line: impl Into<String>) -> ConfigError {
    ConfigError::Wrong(line.into())
}

fn check(flags: Flags, args: &[OsString]) -> Result<Config, ConfigError> {
    let Flags { upstream, listen, legacy, sessions, streams, limits, admin, log, tracing, command: _ } =
        flags;
    let ListenFlags { listen, tls_cert, tls_key, proxy_protocol, trusted_proxy, drain, lane } = listen;
    let certificate = match (tls_cert, tls_key) {
        (Some(chain), Some(key)) => Some(ServerCertificate { chain, key }),
        (None, None) => None,
        (Some(_), None) => return Err(wrong("--tls-cert needs --tls-key too")),
        (None, Some(_)) => return Err(wrong("--tls-key needs --tls-cert too")),
    };
    if proxy_protocol && trusted_proxy.is_empty() {
        return Err(wrong("--proxy-protocol needs --trusted-proxy: whose word is to be taken"));
    }
    let LimitFlags {
        max_clients,
        max_clients_per_ip,
        max_sessions,
        memory_budget,
        catch_up_max,
        max_head_size,
        max_headers,
        head_timeout,
        idle_timeout,
    } = limits;
    let SessionFlags {
        sse_path,
        ignore_header,
        key_header,
        credential_header,
        credential_query,
        state_dir,
        route,
    } = sessions;
    let AdminFlags { admin_listen: AdminListen(admin_listen), admin_token_file } = admin;
    let LogFlags { log_format, log_filter } = log;
    let mut credentials = [AUTHORIZATION, COOKIE].into_iter().chain(credential_header.iter().cloned());
    if let Some(name) = credentials.find(|name| ignore_header.contains(name)) {
        return Err(wrong(format!(
            "--ignore-header '{name}': it holds a credential, and clients with differing ones must not share by it"
        )));
    }
    if max_head_size < HEAD_BYTES_MIN {
        return Err(wrong(format!("--max-head-size '{max_head_size}': expected at least 8KiB")));
    }
    if admin_listen == Some(listen) && listen.port() != 0 {
        return Err(wrong(format!("--admin-listen '{listen}': expected another address than --listen")));
    }
    let is_beyond_loopback = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
    if let Some(address) = admin_listen.filter(is_beyond_loopback)
        && admin_token_file.is_none()
    {
        return Err(wrong(format!(
            "--admin-listen '{address}': not on loopback, so --admin-token-file is needed"
        )));
    }
    let routes = RouteTable {
        routes: route.iter().map(|text| check_route(text, args)).collect::<Result<_, _>>()?,
        defaults: Arc::new(check_streams(streams)?),
    };
    let heartbeats = routes.routes.iter().map(|(_, settings)| settings).chain([&routes.defaults]);
    if let Some(heartbeat) =
        heartbeats.map(|settings| settings.heartbeat).find(|every| *every >= idle_timeout)
    {
        let (idle, heartbeat) = (show(idle_timeout), show(heartbeat));
        return Err(wrong(format!("--idle-timeout ({idle}) must exceed --heartbeat ({heartbeat})")));
    }
    let is_shared = |settings: &Arc<RouteSettings>| settings.share != Share::SameCredentials;
    if upstream.upstream_authorization_file.is_some()
        && !routes.routes.iter().map(|(_, settings)| settings).chain([&routes.defaults]).any(is_shared)
    {
        return Err(wrong(
            "--upstream-authorization-file needs --share authorized or public, be it for one route: \
             else each session's own clients are its credentials",
        ));
    }
    Ok(Config {
        upstream: check_upstream(upstream)?,
        server: ServerConfig {
            listen,
            certificate,
            proxy_protocol,
            trusted_proxies: trusted_proxy,
            clients_max: max_clients,
            clients_per_ip_max: (max_clients_per_ip > 0).then_some(max_clients_per_ip),
            head_bytes_max: max_head_size,
            header_count_max: max_headers,
            head_timeout,
            idle_timeout,
            drain,
            lane: matches!(lane, Switch::On),
        },
        legacy: check_legacy(legacy)?,
        sessions: SessionsConfig {
            sse_paths: sse_path,
            ignored_headers: ignore_header,
            key_headers: key_header,
            credential_headers: credential_header,
            credential_query,
            sessions_max: max_sessions,
            state_dir,
            memory_budget,
            catch_ups_max: catch_up_max,
        },
        routes,
        admin: AdminConfig { listen: admin_listen, token_file: admin_token_file },
        log: LogConfig {
            format: match log_format {
                LogFormatChoice::Text => LogFormat::Text,
                LogFormatChoice::Json => LogFormat::Json,
            },
            filter: log_filter,
        },
        tracing: check_tracing(tracing)?,
    })
}

fn check_tracing(flags: TracingFlags) -> Result<Option<TracingConfig>, ConfigError> {
    let TracingFlags {
        otlp_endpoint,
        otlp_ca,
        otlp_header_file,
        otlp_sample,
        otlp_service_name,
        otlp_attribute,
    } = flags;
    let Some(endpoint) = otlp_endpoint else {
        let given = [
            ("--otlp-ca", otlp_ca.is_some()),
            ("--otlp-header-file", otlp_header_file.is_some()),
            ("--otlp-attribute", !otlp_attribute.is_empty()),
        ];
        return match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(wrong(format!("{flag} needs --otlp-endpoint too"))),
            None => Ok(None),
        };
    };
    let mut names = BTreeSet::from(["service.name", "service.version"]);
    for (name, value) in &otlp_attribute {
        if !names.insert(name) {
            return Err(wrong(format!("--otlp-attribute '{name}={value}': it has a value already")));
        }
    }
    Ok(Some(TracingConfig {
        endpoint,
        ca_file: otlp_ca,
        header_file: otlp_header_file,
        sample: otlp_sample,
        service_name: otlp_service_name,
        attributes: otlp_attribute,
    }))
}

fn check_upstream(flags: UpstreamFlags) -> Result<UpstreamConfig, ConfigError> {
    let UpstreamFlags {
        upstream,
        upstream_ca,
        upstream_client_cert,
        upstream_client_key,
        upstream_authorization_file,
        upstream_host_header,
        upstream_connect_timeout,
        upstream_response_timeout,
        upstream_pool_idle_max,
        upstream_pool_idle_timeout,
    } = flags;
    let target = upstream.ok_or_else(|| {
        wrong("--upstream is missing: where is the service? For example --upstream http://127.0.0.1:9000")
    })?;
    let client_certificate = match (upstream_client_cert, upstream_client_key) {
        (Some(chain), Some(key)) => Some(ClientCertificate { chain, key }),
        (None, None) => None,
        (Some(_), None) => return Err(wrong("--upstream-client-cert needs --upstream-client-key too")),
        (None, Some(_)) => return Err(wrong("--upstream-client-key needs --upstream-client-cert too")),
    };
    if client_certificate.is_some() && !matches!(target.transport, Transport::Tls { .. }) {
        return Err(wrong("--upstream-client-cert needs an https --upstream: only TLS can show it"));
    }
    Ok(UpstreamConfig {
        target,
        ca_file: upstream_ca,
        client_certificate,
        authorization_file: upstream_authorization_file,
        host_header: match upstream_host_header {
            HostHeaderChoice::Client => HostHeader::Client,
            HostHeaderChoice::Upstream => HostHeader::Upstream,
        },
        connect_timeout: upstream_connect_timeout,
        response_timeout: upstream_response_timeout,
        pool_idle_max: upstream_pool_idle_max,
        pool_idle_timeout: upstream_pool_idle_timeout,
    })
}

fn check_legacy(flags: LegacyFlags) -> Result<LegacyConfig, ConfigError> {
    let LegacyFlags { legacy_route, api_prefix, no_legacy_routes, legacy_mode, legacy_sunset } = flags;
    let routes = if no_legacy_routes {
        LegacyRoutes::none()
    } else {
        let patterns = LegacyRoutes::default_patterns().into_iter().chain(legacy_route).collect();
        LegacyRoutes::new(patterns, &api_prefix)
            .map_err(|error| wrong(format!("--api-prefix '{api_prefix}': {error}")))?
    };
    let mode = match legacy_mode {
        LegacyModeChoice::Rewrite => LegacyMode::Rewrite,
        LegacyModeChoice::Redirect => LegacyMode::Redirect,
        LegacyModeChoice::Gone => LegacyMode::Gone,
    };
    Ok(LegacyConfig { routes, mode, sunset: legacy_sunset })
}

/// A route's options are the global flags, typed once more behind them.
fn check_route(text: &str, args: &[OsString]) -> Result<(PathPattern, Arc<RouteSettings>), ConfigError> {
    let about = |problem: String| wrong(format!("--route '{text}': {problem}"));
    let mut words = text.split_whitespace();
    let pattern = words.next().ok_or_else(|| about("expected 'PATTERN key=value …'".into()))?;
    let pattern = pattern.parse().map_err(|error| about(format!("{error}")))?;
    let known = StreamFlags::augment_args(clap::Command::new("route"));
    let mut args = args.to_vec();
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| about(format!("'{word}' is no key=value")))?;
        if !known.get_arguments().any(|argument| argument.get_long() == Some(key)) {
            return Err(about(format!("'{key}' can't be set for one route")));
        }
        args.push(format!("--{key}={value}").into());
    }
    let flags = parse(&args).map_err(|error| about(error.to_string()))?;
    let settings = check_streams(flags.streams).map_err(|error| about(error.to_string()))?;
    Ok((pattern, Arc::new(settings)))
}

fn check_streams(flags: StreamFlags) -> Result<RouteSettings, ConfigError> {
    let StreamFlags {
        share,
        late_join,
        opening_pause,
        linger,
        event_ids,
        ephemeral,
        ephemeral_without_id,
        drop_comments,
        max_event_size,
        client_retry,
        replay_events,
        replay_bytes,
        catch_up,
        gap_event,
        heartbeat,
        client_lag,
        backoff_initial,
        backoff_max,
        give_up,
        on_end,
        end_event,
        hold_head,
        on_upstream_down,
        upstream_idle_timeout,
        status_event,
    } = flags;
    if backoff_initial > backoff_max {
        let (initial, max) = (show(backoff_initial), show(backoff_max));
        return Err(wrong(format!("--backoff-initial ({initial}) must not exceed --backoff-max ({max})")));
    }
    for (flag, value) in [("--max-event-size", max_event_size), ("--client-lag", client_lag)] {
        if value == 0 {
            return Err(wrong(format!("{flag} '0': expected more than 0")));
        }
    }
    if !gap_event.is_empty() && gap_event == status_event {
        return Err(wrong(format!(
            "--status-event '{status_event}': expected another name than --gap-event"
        )));
    }
    Ok(RouteSettings {
        share: match share {
            ShareChoice::SameCredentials => Share::SameCredentials,
            ShareChoice::Authorized => Share::Authorized,
            ShareChoice::Public => Share::Public,
        },
        late_join: match late_join {
            LateJoinChoice::Live => LateJoin::Live,
            LateJoinChoice::Ring => LateJoin::Ring,
            LateJoinChoice::Opening => LateJoin::Opening,
            LateJoinChoice::Fresh => LateJoin::Fresh,
        },
        opening_pause,
        event_ids: match event_ids {
            EventIdsChoice::Own => EventIds::Own,
            EventIdsChoice::Upstream => EventIds::Upstream,
        },
        replay: ReplayLimits { events: replay_events, bytes: replay_bytes },
        client_lag_max: client_lag,
        event_bytes_max: max_event_size,
        // An empty value clears what was named before it, by the global flag above all.
        ephemeral: ephemeral.rsplit(String::is_empty).next().unwrap_or_default().to_vec(),
        ephemeral_without_id,
        drop_comments,
        client_retry,
        catch_up: match catch_up {
            Switch::On => true,
            Switch::Off => false,
        },
        gap_event: (!gap_event.is_empty()).then_some(gap_event),
        status_event: (!status_event.is_empty()).then_some(status_event),
        heartbeat,
        linger,
        backoff: BackoffLimits { initial: backoff_initial, max: backoff_max },
        give_up,
        on_end_close: match on_end {
            OnEndChoice::Reconnect => false,
            OnEndChoice::Close => true,
        },
        end_events: if end_event.is_empty() {
            vec![EndEvent::Data(DEFAULT_END_EVENT.into())]
        } else {
            end_event.rsplit(Option::is_none).next().unwrap_or_default().iter().flatten().cloned().collect()
        },
        hold_head,
        on_upstream_down: match on_upstream_down {
            OnUpstreamDownChoice::Hold => OnUpstreamDown::Hold,
            OnUpstreamDownChoice::Reject => OnUpstreamDown::Reject,
        },
        upstream_idle_timeout: (upstream_idle_timeout > Duration::ZERO).then_some(upstream_idle_timeout),
    })
}

/// The definition of all flags, for the manual, completions, and tests of the help.
#[must_use]
pub fn definition() -> clap::Command {
    Flags::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<Config, String> {
        let all = ["ssecar", "--upstream", "http://127.0.0.1:9000"].iter().chain(args);
        match Command::from_args(all) {
            Ok(Command::Run(config)) => Ok(*config),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_wrong_value_is_told_in_one_line_with_what_is_accepted() {
        for (args, line) in [
            (
                &["--heartbeat", "10x"][..],
                "--heartbeat '10x': expected a duration such as 250ms, 90s, 5m or 1h",
            ),
            (&["--heartbeat", "0s"], "--heartbeat '0s': expected a duration longer than 0"),
            (&["--replay-bytes=1M"], "--replay-bytes '1M': expected a size such as 1000, 64KiB or 1MiB"),
            (&["--late-join", "now"], "--late-join 'now': expected one of live, ring, opening, fresh"),
            (
                &["--listen", "8080"],
                "--listen '8080': expected an address such as 127.0.0.1:8080 or [::]:8080",
            ),
            (&["--trusted-proxy", "x"], "--trusted-proxy 'x': expected a network such as 10.0.0.0/8"),
            (&["--end-event", "done"], "--end-event 'done': expected event=NAME or data=TEXT"),
            (&["--hartbeat", "5s"], "--hartbeat: no such flag; did you mean --heartbeat?"),
            (&["--backoff-initial", "60s"], "--backoff-initial (1m) must not exceed --backoff-max (30s)"),
            (&["--max-event-size", "0"], "--max-event-size '0': expected more than 0"),
            (&["--max-head-size", "1KiB"], "--max-head-size '1024': expected at least 8KiB"),
            (&["--route", "/a share"], "--route '/a share': 'share' is no key=value"),
            (&["--route", "/a listen=x"], "--route '/a listen=x': 'listen' can't be set for one route"),
            (
                &["--route", "/a linger=x"],
                "--route '/a linger=x': --linger 'x': expected a duration such as 250ms, 90s, 5m or 1h",
            ),
            (&["--drop-comments=perhaps"], "--drop-comments 'perhaps': expected one of true, false"),
        ] {
            assert_eq!(run(args).unwrap_err(), line);
        }
        for (args, line) in [
            (&["--upstream-client-cert=c"][..], "--upstream-client-cert needs --upstream-client-key too"),
            (&["--upstream-client-key=k"], "--upstream-client-key needs --upstream-client-cert too"),
            (
                &["--upstream-client-cert=c", "--upstream-client-key=k"],
                "--upstream-client-cert needs an https --upstream: only TLS can show it",
            ),
        ] {
            assert_eq!(run(args).unwrap_err(), line);
        }
        for (args, line) in [
            (
                &["--otlp-endpoint=collector:4318"][..],
                "--otlp-endpoint 'collector:4318': expected http://HOST:PORT, https://HOST:PORT or unix:/path/to/socket",
            ),
            (&["--otlp-sample=1.1"], "--otlp-sample '1.1': expected a number from 0 to 1, such as 0.1"),
            (&["--otlp-sample=NaN"], "--otlp-sample 'NaN': expected a number from 0 to 1, such as 0.1"),
            (
                &["--otlp-attribute==x"],
                "--otlp-attribute '=x': expected NAME=VALUE, such as deployment.environment.name=prod",
            ),
            (&["--otlp-attribute=a=b"], "--otlp-attribute needs --otlp-endpoint too"),
            (&["--otlp-ca=x"], "--otlp-ca needs --otlp-endpoint too"),
            (&["--otlp-header-file=x"], "--otlp-header-file needs --otlp-endpoint too"),
            (&["--otlp-service-name="], "--otlp-service-name '': expected a name, such as shop-events"),
            (
                &["--otlp-endpoint=http://c", "--otlp-attribute=service.name=x"],
                "--otlp-attribute 'service.name=x': it has a value already",
            ),
            (
                &["--otlp-endpoint=http://c", "--otlp-attribute=a=1", "--otlp-attribute=a=2"],
                "--otlp-attribute 'a=2': it has a value already",
            ),
        ] {
            assert_eq!(run(args).unwrap_err(), line);
        }
        let missing = Command::from_args(["ssecar"]).unwrap_err().to_string();
        assert!(missing.starts_with("--upstream is missing"), "{missing}");
        let patterns = run(&["--route", "relative linger=5s"]).unwrap_err();
        assert!(patterns.starts_with("--route 'relative linger=5s': "), "{patterns}");
        assert!(run(&["--api-prefix", "v1"]).unwrap_err().starts_with("--api-prefix 'v1': "));
    }

    #[test]
    fn spans_are_off_unless_there_is_a_collector() {
        assert!(run(&["--otlp-sample=0.5", "--otlp-service-name=shop"]).unwrap().tracing.is_none());
        let args = ["--otlp-endpoint=http://c:4318/otlp", "--otlp-sample=0.25", "--otlp-attribute=a=b=c"];
        let tracing = run(&args).unwrap().tracing.unwrap();
        assert_eq!(tracing.endpoint.to_string(), "http://c:4318/otlp");
        assert_eq!((tracing.sample, &*tracing.service_name), (0.25, "ssecar"));
        assert_eq!(tracing.attributes, [("a".to_owned(), "b=c".to_owned())]);
    }

    #[test]
    fn a_route_starts_from_the_global_flags_wherever_they_stand() {
        let config = run(&[
            "--route",
            "/v1/chat/** on-end=close linger=5s drop-comments=true end-event=event=bye",
            "--heartbeat",
            "7s",
            "--linger",
            "9s",
            "--ephemeral",
            "ping",
        ])
        .unwrap();
        let route = config.routes.settings("/v1/chat/1");
        assert_eq!(route.linger, Duration::from_secs(5));
        assert_eq!(route.heartbeat, Duration::from_secs(7));
        assert!(route.on_end_close && route.drop_comments);
        assert_eq!(route.ephemeral, ["ping"]);
        assert_eq!(route.end_events, [EndEvent::Type("bye".into())]);
        let others = config.routes.settings("/v1/else");
        assert_eq!(others.linger, Duration::from_secs(9));
        assert_eq!(others.end_events, [EndEvent::Data("[DONE]".into())]);
    }

    #[test]
    fn an_empty_value_clears_a_list() {
        let config = run(&["--ephemeral", "ping", "--route", "/a ephemeral= end-event="]).unwrap();
        assert!(config.routes.settings("/a").ephemeral.is_empty());
        assert!(config.routes.settings("/a").end_events.is_empty());
        assert_eq!(config.routes.settings("/b").ephemeral, ["ping"]);
    }

    #[test]
    fn the_defaults_are_the_specs() {
        let config = run(&[]).unwrap();
        let settings = &config.routes.defaults;
        assert_eq!(settings.replay, ReplayLimits { events: 50, bytes: 1 << 20 });
        assert_eq!(settings.heartbeat, Duration::from_secs(15));
        assert_eq!(settings.gap_event.as_deref(), Some("ssecar-gap"));
        assert_eq!(settings.status_event, None);
        assert_eq!(settings.upstream_idle_timeout, None);
        assert_eq!(config.sessions.memory_budget, 256 << 20);
        assert!(config.legacy.routes.twin("/sessions/1/events").is_some());
        assert!(run(&["--no-legacy-routes"]).unwrap().legacy.routes.twin("/sessions/1/events").is_none());
    }

    #[test]
    fn every_flag_has_a_help_a_variable_and_a_theme() {
        for argument in definition().get_arguments() {
            let name = argument.get_long().unwrap();
            if matches!(name, "help" | "version") {
                continue;
            }
            assert!(argument.get_help().is_some(), "{name}");
            assert!(argument.get_help_heading().is_some(), "{name}");
            let variable = format!("SSECAR_{}", name.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env().unwrap().to_str(), Some(variable.as_str()));
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for flag in ["--help", "--version"] {
            assert!(matches!(Command::from_args(["ssecar", flag]), Err(ConfigError::Asked(_))));
        }
    }
}
