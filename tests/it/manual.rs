//! The manual page and the completions: read and used by the programs that they are for. `scripts/setup-manual`
//! installs those.

use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::soon;

const PAGES: [&[&str]; 5] =
    [&["man"], &["man", "demo"], &["man", "healthcheck"], &["man", "completions"], &["man", "man"]];

/// What ssecar prints.
async fn printed(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssecar"));
    let output = soon("the exit", command.args(args).output()).await.unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a program makes of a text.
async fn given(program: &str, args: &[&str], text: &str) -> Output {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("{program}: {error}: run scripts/setup-manual"));
    let mut input = child.stdin.take().unwrap();
    let writing = async move { input.write_all(text.as_bytes()).await.unwrap() };
    let (output, ()) = soon(program, async { tokio::join!(child.wait_with_output(), writing) }).await;
    output.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn two_programs_find_nothing_wrong_with_a_page() {
    for args in PAGES {
        let page = printed(args).await;
        assert!(page.is_ascii(), "{args:?}");
        let lint = given("mandoc", &["-T", "lint", "-W", "warning"], &page).await;
        assert_eq!((lint.status.code(), text(&lint.stdout)), (Some(0), String::new()), "{args:?}");
        let groff = given("groff", &["-man", "-ww", "-z", "-Tutf8"], &page).await;
        assert_eq!((groff.status.code(), text(&groff.stderr)), (Some(0), String::new()), "{args:?}");
    }
    let broken = given("mandoc", &["-T", "lint", "-W", "warning"], ".TH\n.SH\n.XX\n").await;
    assert_ne!(broken.status.code(), Some(0), "the check can fail");
}

#[tokio::test]
async fn the_page_tells_all_that_the_help_tells_by_theme() {
    let page = printed(&["man"]).await;
    let shown = given("man", &["-l", "-"], &page).await;
    // A line that was broken, and a hyphen where it was.
    let shown = text(&shown.stdout).replace('\u{2010}', "");
    let shown: String = shown.split_whitespace().collect();
    let help = printed(&["--help"]).await;
    let mut flags = 0;
    for line in help.lines() {
        if let Some(flag) = line.trim_start().split([' ', '[']).next().filter(|flag| flag.starts_with("--")) {
            assert!(shown.contains(flag), "{flag}");
            flags += 1;
        }
        if let Some(theme) = line.strip_suffix(':').filter(|theme| !theme.starts_with(' ')) {
            let title = if theme == "Commands" { "SUBCOMMANDS" } else { theme };
            assert!(shown.contains(&title.to_uppercase().replace(' ', "")), "{theme}");
        }
    }
    assert!(flags > 60, "the help was not read");
    assert!(!shown.contains("--lane") && !shown.contains("demo-source"), "what is hidden is not told");
    for section in ["VALUES", "SIGNALS", "EXITSTATUS", "SSECAR_UPSTREAMenvironmentvariable"] {
        assert!(shown.contains(section), "{section}");
    }
}

#[tokio::test]
async fn every_command_has_a_page_and_is_in_the_help() {
    let help = printed(&["--help"]).await;
    let commands = ssecar::config::definition();
    let shown = commands.get_subcommands().filter(|command| !command.is_hide_set());
    let names: Vec<_> = shown.map(|command| command.get_name()).collect();
    let pages: Vec<_> = PAGES.iter().filter_map(|args| args.get(1).copied()).collect();
    assert_eq!(names, pages);
    for name in names {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{name}  "))), "{name}");
    }
}

#[tokio::test]
async fn bash_completes_flags_values_and_commands() {
    let script = printed(&["completions", "bash"]).await;
    // As readline does it: the function that was named for ssecar, with the words so far.
    let ask = r#"
        completed() {
            local function
            function=$(complete -p ssecar | sed 's/.* -F \([^ ]*\) .*/\1/')
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            "$function" "$1" "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "${COMPREPLY[*]}"
        }
        completed ssecar --upst
        completed ssecar --late-join ''
        completed ssecar heal
        completed ssecar completions ''
        completed ssecar --lan
        completed ssecar demo
    "#;
    let output = given("bash", &["--norc", "-u", "-s"], &format!("{script}\n{ask}")).await;
    let lines: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!((lines.len(), text(&output.stderr)), (6, String::new()), "{lines:?}");
    assert!(
        lines[0].starts_with("--upstream --upstream-ca ") && !lines[0].contains("listen"),
        "{}",
        lines[0]
    );
    assert_eq!(lines[1], "live ring opening fresh");
    assert_eq!(lines[2], "healthcheck");
    assert!(lines[3].ends_with("bash elvish fish powershell zsh"), "{}", lines[3]);
    assert_eq!(lines[4..], ["", "demo"], "what is hidden is not completed");
}

#[tokio::test]
async fn fish_completes_and_zsh_reads_what_it_is_given() {
    let script = printed(&["completions", "fish"]).await;
    let fish = given("fish", &["--no-config"], &format!("{script}\ncomplete -C 'ssecar --upstream-c'")).await;
    let flags: Vec<_> =
        text(&fish.stdout).lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect();
    let expected = ["ca", "client-cert", "client-key", "connect-timeout"];
    assert_eq!(flags, expected.map(|flag| format!("--upstream-{flag}")), "{}", text(&fish.stderr));

    let script = printed(&["completions", "zsh"]).await;
    let ask = "autoload -U compinit && compinit -D -u && source /dev/stdin && print ${_comps[ssecar]}";
    let zsh = given("zsh", &["-f", "-c", ask], &script).await;
    assert_eq!((text(&zsh.stdout), text(&zsh.stderr)), ("_ssecar\n".to_owned(), String::new()));
}

#[tokio::test]
async fn a_shell_that_is_not_known_is_told_in_one_line() {
    for (args, line) in [
        (
            &["completions", "tcsh"][..],
            "ssecar: <SHELL> 'tcsh': expected one of bash, elvish, fish, powershell, zsh\n",
        ),
        (&["completions"], "ssecar: <SHELL>: missing; --help says what is accepted\n"),
        (&["man", "x"], "ssecar: [COMMAND] 'x': expected one of demo, healthcheck, completions, man\n"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ssecar"));
        let output = soon("the exit", command.args(args).output()).await.unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(2), line.to_owned()));
    }
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let binary = env!("CARGO_BIN_EXE_ssecar");
    let ask = format!("'{binary}' man | head -1 >/dev/null; echo ${{PIPESTATUS[0]}}");
    let output = given("bash", &["-c", &ask], "").await;
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("0\n".to_owned(), String::new()));
}

/// The commands in the fenced blocks of a page.
fn blocks(page: &'static str) -> impl Iterator<Item = &'static str> {
    page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next())
}

#[tokio::test]
async fn the_commands_that_install_the_page_and_completions_work() {
    let home = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("home-{}", std::process::id()));
    std::fs::create_dir_all(&home).unwrap();
    let binaries = std::path::Path::new(env!("CARGO_BIN_EXE_ssecar")).parent().unwrap();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    // The others build the program, which was built for this test.
    let run: Vec<_> =
        blocks(include_str!("../../docs/install.md")).filter(|block| !block.contains("cargo")).collect();
    assert_eq!(run.len(), 2);
    for block in run {
        let mut command = Command::new("sh");
        command.args(["-euc", block]).env("HOME", &home).env("PATH", &path).stdin(Stdio::null());
        let output = soon("the commands", command.output()).await.unwrap();
        assert!(output.status.success(), "{block}: {}", text(&output.stderr));
    }
    for file in [
        ".local/share/bash-completion/completions/ssecar",
        ".config/fish/completions/ssecar.fish",
        ".zfunc/_ssecar",
        ".local/share/man/man1/ssecar.1",
        ".local/share/man/man1/ssecar-demo.1",
        ".local/share/man/man1/ssecar-man.1",
    ] {
        assert!(std::fs::metadata(home.join(file)).unwrap().len() > 300, "{file}");
    }
    std::fs::remove_dir_all(&home).unwrap();
}

#[test]
fn the_command_lines_of_the_page_on_traces_are_right() {
    let blocks: Vec<_> = blocks(include_str!("../../docs/tracing.md")).collect();
    assert_eq!(blocks.len(), 1);
    for block in blocks {
        let parsed = ssecar::config::Command::from_args(block.split_whitespace());
        let Ok(ssecar::config::Command::Run(config)) = parsed else { panic!("{block}: {parsed:?}") };
        assert!(config.tracing.is_some());
    }
}
