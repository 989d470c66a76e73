//! The `ssecar` command.

use std::process::ExitCode;

use ssecar::config::{Command, ConfigError};

/// Half of what glibc's takes for a client under hyper, faster where a crowd comes, and it gives back what a crowd has left
/// (docs/dependencies.md).
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Command::from_args(std::env::args_os()) {
        Ok(command) => ssecar::commands::run(command),
        Err(ConfigError::Asked(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(ConfigError::Wrong(line)) => {
            eprintln!("ssecar: {line}");
            ExitCode::from(2)
        }
    }
}
