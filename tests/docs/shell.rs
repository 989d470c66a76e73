//! Blocks of shell commands, as far as it must be known whether they end.

/// Where commands that need the repository live; `deploy/` is copied.
const OF_REPOSITORY: [&str; 6] = [".ci/", "bench/", "fuzz/", "scripts/", "target/", "tests/"];

/// How a block ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By itself.
    Ends,
    /// It is an ssecar that runs until it is stopped.
    Serves,
    /// It shows a stream until it is stopped.
    Streams,
}

/// Words that make what follows part of one command, and those that end it.
const OPENING: [&str; 5] = ["while", "until", "for", "if", "case"];
const CLOSING: [&str; 3] = ["done", "fi", "esac"];

/// The commands of a block: lines put together where they belong together.
pub(crate) fn commands(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let (mut depth, mut goes_on) = (0, false);
    for line in text.lines() {
        let line = line.split_once(" #").map_or(line, |(command, _)| command).trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bare = line.trim_end_matches('\\');
        match commands.last_mut() {
            Some(last) if goes_on || depth > 0 => *last = format!("{last} {bare}"),
            Some(_) | None => commands.push(bare.to_owned()),
        }
        let words = || line.split([' ', ';', '|', '(']);
        depth += words().filter(|word| OPENING.contains(word)).count();
        depth = depth.saturating_sub(words().filter(|word| CLOSING.contains(word)).count());
        goes_on = line.ends_with(['\\', '|']) || line.ends_with("&&");
    }
    commands
}

/// How the block ends.
///
/// # Errors
/// A command stands behind one that never ends.
pub(crate) fn kind(text: &str) -> Result<Kind, String> {
    let commands = commands(text);
    for (index, command) in commands.iter().enumerate() {
        let kind = kind_of(command);
        if kind != Kind::Ends {
            let is_last = index + 1 == commands.len();
            return is_last
                .then_some(kind)
                .ok_or_else(|| format!("nothing behind this would run: {command}"));
        }
    }
    Ok(Kind::Ends)
}

fn kind_of(command: &str) -> Kind {
    let words: Vec<&str> = command.split_whitespace().collect();
    let has = |word: &str| words.contains(&word);
    if command.ends_with('&') && !command.ends_with("&&") {
        return Kind::Ends;
    }
    let is_cut_short = has("head") || has("--max-time") || has("-m");
    let is_unbuffered = |word: &&str| {
        *word == "--no-buffer" || word.starts_with('-') && !word.starts_with("--") && word.contains('N')
    };
    if has("curl") && words.iter().any(is_unbuffered) && !is_cut_short {
        return Kind::Streams;
    }
    // It is expected to fail.
    if has("||") {
        return Kind::Ends;
    }
    let mut rest = words.iter().skip_while(|word| word.contains('=') && !word.starts_with('-'));
    let arguments: Vec<&str> = match rest.next() {
        Some(program) if program.rsplit('/').next() == Some("ssecar") => rest.copied().collect(),
        Some(&"cargo") if has("run") => rest.skip_while(|word| **word != "--").skip(1).copied().collect(),
        Some(_) | None => return Kind::Ends,
    };
    let answers = ["-h", "--help", "-V", "--version"].iter().any(|flag| arguments.contains(flag));
    match arguments.first() {
        Some(&"demo") => {
            let is_limited = arguments.iter().any(|word| word.starts_with("--rounds"));
            if is_limited || answers { Kind::Ends } else { Kind::Serves }
        }
        Some(first) if first.starts_with('-') && !answers => Kind::Serves,
        // By its environment alone.
        None => Kind::Serves,
        Some(_) => Kind::Ends,
    }
}

/// Whether it is to run in the repository.
pub(crate) fn is_of_repository(text: &str) -> bool {
    let is_ours = |word: &str| word == "cargo" || OF_REPOSITORY.iter().any(|folder| word.starts_with(folder));
    commands(text).iter().any(|command| command.split_whitespace().any(is_ours))
}

/// Whether what was printed is what was expected, or begins so. `…` stands for any letters, and alone for any lines.
pub(crate) fn is_printed(expected: &str, printed: &str, is_beginning_enough: bool) -> bool {
    let expected: Vec<&str> = expected.lines().collect();
    let printed: Vec<&str> = printed.lines().collect();
    lines_match(&expected, &printed, is_beginning_enough)
}

fn lines_match(expected: &[&str], printed: &[&str], is_beginning_enough: bool) -> bool {
    match expected.split_first() {
        None => is_beginning_enough || printed.is_empty(),
        Some((first, rest)) if first.trim() == "…" => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..], is_beginning_enough))
        }
        Some((first, rest)) => printed.split_first().is_some_and(|(line, behind)| {
            line_matches(first.trim_end(), line.trim_end()) && lines_match(rest, behind, is_beginning_enough)
        }),
    }
}

fn line_matches(expected: &str, line: &str) -> bool {
    let mut parts = expected.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    true
}

#[test]
fn it_is_known_whether_a_block_ends() {
    for (text, expected) in [
        ("curl -s http://a/b\n", Kind::Ends),
        ("curl -sN http://a/b # until Ctrl-C\n", Kind::Streams),
        ("curl -N http://a/b | head -n 3\n", Kind::Ends),
        ("x=\nwhile true; do\n  curl -N http://a |\n    cat || sleep 1\ndone\n", Kind::Streams),
        ("ssecar --upstream http://a \\\n  --route '/x on-end=close'\n", Kind::Serves),
        ("SSECAR_UPSTREAM=http://a ssecar\n", Kind::Serves),
        ("ssecar --version\nssecar healthcheck\n", Kind::Ends),
        ("ssecar demo --rounds 1\n", Kind::Ends),
        ("cargo run --release -- demo   # flaky\n", Kind::Serves),
        ("ssecar --heartbeat 10x || true\n", Kind::Ends),
        ("ssecar --upstream http://a &\nssecar healthcheck\n", Kind::Ends),
    ] {
        assert_eq!(kind(text), Ok(expected), "{text}");
    }
    assert!(kind("curl -N http://a\necho never\n").is_err());
    assert!(
        is_of_repository("cargo build\n")
            && is_of_repository("X=1 scripts/fuzz 3\n")
            && !is_of_repository("ssecar -V\n")
    );
}

#[test]
fn an_ellipsis_stands_for_anything_and_nothing_else_does() {
    for (expected, printed, is_whole, is_beginning) in [
        ("a\nb\n", "a\nb\n", true, true),
        ("a\n", "a\nb\n", false, true),
        ("a…c…e\n", "abcde\n", true, true),
        ("a…c\n", "abcd\n", false, false),
        ("a\n…\nd\n", "a\nb\nc\nd\n", true, true),
        ("a\nb\n", "a\n", false, false),
    ] {
        assert_eq!(is_printed(expected, printed, false), is_whole, "{expected} {printed}");
        assert_eq!(is_printed(expected, printed, true), is_beginning, "{expected} {printed}");
    }
}
