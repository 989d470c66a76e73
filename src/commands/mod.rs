//! What the command line can ask for: the proxy, its demo, its health check, its manual.

mod demo;
mod demo_source;
mod descriptors;
mod healthcheck;
mod manual;
mod signals;

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::app::App;
use crate::config::{Command, Config, LogConfig, LogFormat};

/// The exit code of a wrong command line.
const EXIT_USAGE: u8 = 2;

/// Does what was asked.
#[must_use]
pub fn run(command: Command) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the runtime can't start: {error}")),
    };
    runtime.block_on(async {
        match command {
            Command::Run(config) => proxy(*config).await,
            Command::Demo(flags) => demo::run(flags).await,
            Command::DemoSource(flags) => demo_source::run(&flags).await,
            Command::Healthcheck(flags) => healthcheck::run(&flags).await,
            Command::Completions(flags) => manual::completions(&flags),
            Command::Man(flags) => manual::page(&flags),
        }
    })
}

async fn proxy(config: Config) -> ExitCode {
    log_to_stderr(&config.log);
    descriptors::raise_limit(config.server.clients_max);
    let upstream = config.upstream.target.clone();
    let app = match App::bind(config) {
        Ok(app) => app,
        Err(error) => {
            eprintln!("ssecar: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match (app.address(), app.admin_address()) {
        (Ok(address), Ok(admin)) => {
            let admin = admin.map_or_else(|| "off".to_owned(), |admin| admin.to_string());
            tracing::info!(%address, %admin, %upstream, "listening");
        }
        (Err(error), _) | (_, Err(error)) => return failed(&format!("no address: {error}")),
    }
    match signals::listen() {
        Ok((first, second)) => {
            app.run(first, second).await;
            ExitCode::SUCCESS
        }
        Err(error) => failed(&format!("signals can't be heard: {error}")),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("ssecar: {why}");
    ExitCode::FAILURE
}

fn log_to_stderr(config: &LogConfig) {
    // Checked when the flags were; a filter that can't be read logs what is important.
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = match config.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = result {
        eprintln!("ssecar: logging can't start: {error}");
    }
}
