//! `ssecar man` and `ssecar completions`: what the flags' definition says, as a manual page and for shells.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Command;
use clap_mangen::Man;

use super::failed;
use crate::config::{CompletionsFlags, ManFlags, definition};

/// The program in a few words, as `apropos` lists it.
const ABOUT: &str = "a sidecar reverse proxy that makes Server-Sent Events robust";

/// What is typed to run it.
const NAME: &str = "ssecar";

const SOURCE: &str = concat!("ssecar ", env!("CARGO_PKG_VERSION"));

/// The day of the first version: that of the build would make each build another.
const DATE: &str = "2026-11-23";

/// In place of a line of all flags.
const USAGE: &str = "ssecar --upstream URL [--FLAG VALUE]...\nssecar COMMAND";

/// What the definition doesn't hold, in the language of manual pages: a line that begins with a dot is an instruction.
const FURTHER: &str = r#".SH VALUES
Durations are written 250ms, 90s, 5m, 1h or 2d; sizes 1000, 64KiB, 1MiB or 1MB.
.PP
Each flag has an environment variable; a flag wins over its variable.
Several values of one variable are separated by line breaks.
.PP
A wrong value stops the start with one line that names the flag, the value and what is accepted.
.SH SIGNALS
SIGTERM and SIGINT drain: clients are told one by one when to come back, within \fB\-\-drain\fR.
A second signal stops at once.
.SH "EXIT STATUS"
.TP
0
It was told to stop, or did what it was asked to.
.TP
1
It could not; for \fBhealthcheck\fR: the instance is not ready.
.TP
2
The command line is wrong, or what it names can't be used.
"#;

pub(super) fn completions(flags: &CompletionsFlags) -> ExitCode {
    let whole = definition();
    // What is hidden in the help would be completed all the same.
    let flags_shown = whole.get_arguments().filter(|flag| !flag.is_hide_set()).cloned();
    let commands_shown = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut shown =
        Command::new(NAME).version(env!("CARGO_PKG_VERSION")).args(flags_shown).subcommands(commands_shown);
    let mut text = Vec::new();
    clap_complete::generate(flags.shell, &mut shown, NAME, &mut text);
    print(&text)
}

pub(super) fn page(flags: &ManFlags) -> ExitCode {
    match rendered(flags) {
        Ok(text) => print(text.as_bytes()),
        Err(error) => failed(&format!("the page can't be written: {error}")),
    }
}

fn rendered(flags: &ManFlags) -> std::io::Result<String> {
    let mut definition = definition();
    // Gives the commands their full names.
    definition.build();
    let chosen = flags.command.as_deref().and_then(|name| definition.find_subcommand(name)).cloned();
    let (page, further) = match chosen {
        Some(command) => (command, ""),
        None => {
            let about = definition.get_about().cloned().unwrap_or_default();
            (definition.long_about(about).about(ABOUT).override_usage(USAGE), FURTHER)
        }
    };
    let title = page.get_display_name().unwrap_or_else(|| page.get_name()).to_uppercase();
    let man = Man::new(page).title(title).date(DATE).source(SOURCE).manual("ssecar manual");
    let mut text = Vec::new();
    man.render(&mut text)?;
    Ok(tidied(&String::from_utf8_lossy(&text)) + further)
}

/// The same page, as all that read such pages like it: no letters beyond ASCII, and no break before or after a blank line.
fn tidied(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    for letter in page.replace(".br\n\n.br\n", ".sp\n").chars() {
        if letter.is_ascii() {
            text.push(letter);
        } else {
            text.push_str(&format!("\\[u{:04X}]", u32::from(letter)));
        }
    }
    text
}

/// Whoever reads it may have seen enough: a pipe that is closed is no failure.
fn print(text: &[u8]) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            failed(&format!("nothing can be written: {error}"))
        }
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}
