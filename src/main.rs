//! The `ssecar` command.

use std::process::ExitCode;

use ssecar::config::{Command, ConfigError};

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
