//! `docs/flags.md` is made of what `--help` says: every flag, its default, its variable. After a change of the flags:
//! `SSECAR_WRITE_DOCS=1 cargo test --test docs flags`.

use std::fmt::Write as _;

use crate::file;

const DOCUMENT: &str = "docs/flags.md";

/// What stands before the tables; the rest of the document is made.
const END_OF_PREFACE: &str = "<!-- From here on made of `ssecar --help` by tests/docs/flags.rs. -->\n";

/// Themes whose flags may be set for some paths by `--route`.
const OF_ROUTES: [&str; 5] = ["Joining", "Events and ids", "Replay", "Clients", "Upstream failures"];

/// One flag, as `--help` has it.
pub(crate) struct Flag {
    theme: String,
    pub(crate) name: String,
    value: String,
    help: String,
    variable: String,
    default: Option<String>,
    choices: Option<String>,
}

#[test]
fn the_table_of_flags_is_what_help_says() {
    let path = file(DOCUMENT);
    let written = std::fs::read_to_string(&path).unwrap();
    let (preface, table) = written.split_once(END_OF_PREFACE).expect("the line behind the preface");
    let made = tables(&flags());
    if std::env::var_os("SSECAR_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{preface}{END_OF_PREFACE}{made}")).unwrap();
        return;
    }
    let (mut written, mut wanted) = (table.lines(), made.lines());
    while let (one, other) = (written.next(), wanted.next())
        && (one.is_some() || other.is_some())
    {
        assert_eq!(one, other, "{DOCUMENT} is not what --help says: write it anew (see above)");
    }
}

/// All that `--help` names.
pub(crate) fn flags() -> Vec<Flag> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ssecar"));
    let output = command.arg("--help").env_clear().output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let mut entries: Vec<(String, String)> = Vec::new();
    let mut theme = String::new();
    for line in help.lines() {
        if let Some(heading) = line.strip_suffix(':').filter(|heading| !heading.starts_with(' ')) {
            heading.clone_into(&mut theme);
        } else if line.trim_start().starts_with("--") && line.starts_with("      --") {
            entries.push((theme.clone(), line.trim().to_owned()));
        } else if let Some((_, entry)) = entries.last_mut().filter(|(of, _)| *of == theme) {
            write!(entry, " {}", line.trim()).unwrap();
        }
    }
    let flags: Vec<_> = entries.iter().map(|(theme, entry)| Flag::parse(theme, entry)).collect();
    assert!(flags.len() > 60, "the help was not read");
    flags
}

impl Flag {
    /// From `--name <VALUE> What it does [env: VARIABLE=] [default: x] [possible values: x, y]`.
    fn parse(theme: &str, entry: &str) -> Self {
        let entry = entry.split_whitespace().collect::<Vec<_>>().join(" ");
        let (usage, rest) = entry.split_once(' ').unwrap();
        let (name, value, rest) = match (usage.split_once("[="), rest.split_once("> ")) {
            // On or off: its value may be left out.
            (Some((name, _)), _) => (name, String::new(), rest),
            (None, Some((value, rest))) if value.starts_with('<') => (usage, value.replace('<', " "), rest),
            (None, _) => (usage, String::new(), rest),
        };
        let (mut help, mut default, mut choices, mut variable) = (rest.to_owned(), None, None, String::new());
        // From the end, since a help text may hold brackets of its own.
        while let Some(start) = help.rfind(" [") {
            let bracket = help[start + 2..].to_owned();
            match bracket.trim_end_matches(']').split_once(": ") {
                Some(("env", text)) => variable = text.trim_end_matches('=').to_owned(),
                // `data=[DONE]` ends with a bracket of its own.
                Some(("default", text)) if text.contains('[') => default = Some(format!("{text}]")),
                Some(("default", text)) => default = Some(text.to_owned()),
                Some(("possible values", "true, false")) => {}
                Some(("possible values", text)) => choices = Some(text.to_owned()),
                Some(_) | None => break,
            }
            help.truncate(start);
        }
        Self { theme: theme.to_owned(), name: name.to_owned(), value, help, variable, default, choices }
    }
}

fn tables(flags: &[Flag]) -> String {
    let mut made = String::new();
    let mut theme = "";
    for flag in flags {
        if flag.theme != theme {
            theme = &flag.theme;
            let where_to_set = if OF_ROUTES.contains(&theme) { " (also for one route)" } else { "" };
            write!(made, "\n## {theme}\n\n| flag{where_to_set} | default | what it does |\n|---|---|---|\n")
                .unwrap();
        }
        let Flag { name, value, help, default, choices, variable, .. } = flag;
        assert_eq!(
            *variable,
            format!("SSECAR{}", name.to_uppercase().replace("--", "_").replace('-', "_")),
            "{name}"
        );
        let shown = match default.as_deref() {
            None => "–".to_owned(),
            Some("" | "\"\"") => "empty".to_owned(),
            Some(default) => format!("`{default}`"),
        };
        let choices = choices.as_deref().map(|choices| format!(". One of {choices}")).unwrap_or_default();
        let help = format!("{help}{choices}").replace('|', "\\|").replace('<', "&lt;");
        writeln!(made, "| `{name}{value}` | {shown} | {help} |").unwrap();
    }
    made
}
