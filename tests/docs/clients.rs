//! The client programs of `docs/clients.md`, as they stand there, before a real service and behind a relay that cuts them off.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::file;
use crate::markdown::Document;
use crate::support::{Process, Relay, Ssecar, free_port, until};

/// Where the programs think that ssecar is.
const WRITTEN: &str = "127.0.0.1:8080";

/// Between two events, in milliseconds.
const PACE: &str = "20";

/// Events that everybody reads between two disturbances.
const CALM: usize = 30;

/// Held while the Rust program is built.
static BUILDING: Mutex<()> = Mutex::new(());

const NODE_MODULES: &str = "tests/peers/node/node_modules";

const PYTHON: &str = "target/docs-venv/bin/python";

/// One program that reads.
struct Program {
    name: &'static str,
    printed: Arc<Mutex<Vec<String>>>,
    reading: JoinHandle<()>,
    process: Process,
}

impl Program {
    fn start(name: &'static str, command: &mut Command) -> Self {
        let (process, mut lines) = Process::with_lines(command);
        let printed = Arc::new(Mutex::new(Vec::new()));
        let writing = Arc::clone(&printed);
        let reading = tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                writing.lock().unwrap().push(line);
            }
        });
        Self { name, printed, reading, process }
    }

    fn count(&self) -> usize {
        self.printed.lock().unwrap().len()
    }

    /// The first place where what it printed is not each number once, in order.
    fn fault(&self) -> Option<String> {
        let printed = self.printed.lock().unwrap();
        let follows = |pair: &[String]| matches!(pair, [one, next] if next.parse() == one.parse().map(|one: u64| one + 1));
        let broken = printed.windows(2).find(|pair| !follows(pair));
        broken.map(|pair| format!("{}: {pair:?}", self.name))
    }

    /// Whether it was told that events are missing, and for this reason.
    fn is_told(&self, reason: &str) -> bool {
        let printed = self.printed.lock().unwrap();
        printed.iter().any(|line| line.contains(&format!("\"reason\":\"{reason}\"")))
    }
}

/// The programs in a folder, with what stands in the place of what they name.
struct Programs<'a> {
    document: Document,
    folder: PathBuf,
    places: &'a [(&'a str, &'a str)],
}

impl<'a> Programs<'a> {
    fn new(name: &str, places: &'a [(&'a str, &'a str)]) -> Self {
        let document = Document::read("docs/clients.md".into());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        // What an earlier run left.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("pages")).unwrap();
        assert!(file(NODE_MODULES).is_dir(), "npm packages are missing: run scripts/setup-peers");
        for name in ["node_modules", "pages/modules"] {
            std::os::unix::fs::symlink(file(NODE_MODULES), folder.join(name)).unwrap();
        }
        Self { document, folder, places }
    }

    /// The last block of this language under this heading.
    fn text(&self, heading: &str, language: &str) -> String {
        let section = self.document.headings.iter().position(|known| known.text == heading).unwrap();
        let mut blocks = self.document.blocks.iter().rev();
        let block =
            blocks.find(|block| block.section == section && block.language == language).expect(heading);
        self.places.iter().fold(block.text.clone(), |text, (from, to)| text.replace(from, to))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn start(&self, address: &str) -> Vec<Program> {
        let with_header = self.text("Browser or Node.js, with an Authorization header", "js");
        self.write("pages/page.html", &self.text("Browser", "html"));
        self.write("pages/module.html", &page_of(&with_header));
        let script = |name, text: &str| {
            let mut command = Command::new("node");
            command.arg(self.write(name, text));
            command
        };
        let browser = |page: &str| {
            let mut command = Command::new("node");
            command.arg(file("tests/docs/browser.mjs")).arg(format!("http://{address}/{page}"));
            command
        };
        assert!(file(PYTHON).exists(), "Python packages are missing: run scripts/setup-docs");
        let mut python = Command::new(file(PYTHON));
        python.arg(self.write("client.py", &self.text("Python", "python")));
        let mut shell = Command::new("sh");
        shell.arg("-e").arg(self.write("client.sh", &self.text("curl", "sh"))).current_dir(&self.folder);
        let parser = self.text("Node.js, with the loop in your hands", "js");
        vec![
            Program::start("browser", &mut browser("page.html")),
            Program::start("browser, with a header", &mut browser("module.html")),
            Program::start("Node.js, with a header", &mut script("header.mjs", &with_header)),
            Program::start("Node.js", &mut script("parser.mjs", &parser)),
            Program::start("Python", &mut python),
            Program::start("Rust", &mut Command::new(built(&self.folder, &self.text("Rust", "rust")))),
            Program::start("curl", &mut shell),
        ]
    }
}

/// A page that runs a module; a bundler would find what it imports.
fn page_of(module: &str) -> String {
    format!(
        "<!doctype html><script type=importmap>{{\"imports\":{{\
         \"eventsource\":\"/modules/eventsource/dist/index.js\",\
         \"eventsource-parser\":\"/modules/eventsource-parser/dist/index.js\"}}}}</script>\
         <script type=module>{module}</script>"
    )
}

/// Compiles the Rust program, with what `tests/docs/rust` lists.
fn built(folder: &Path, text: &str) -> PathBuf {
    // One at a time, in one place: cargo tells two packages of one name apart by less than their folders.
    let _turn = BUILDING.lock().unwrap();
    let package = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("docs-rust");
    std::fs::create_dir_all(package.join("src")).unwrap();
    for name in ["Cargo.toml", "Cargo.lock"] {
        std::fs::copy(file("tests/docs/rust").join(name), package.join(name)).unwrap();
    }
    std::fs::write(package.join("src/main.rs"), text).unwrap();
    let target = file("target/docs-rust");
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--quiet", "--target-dir"]).arg(&target).current_dir(&package);
    let output = cargo.env("RUSTFLAGS", "-D warnings").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built = folder.join("client");
    std::fs::copy(target.join("debug/docs-client"), &built).unwrap();
    built
}

/// A service, ssecar before it, and the programs, behind a relay.
struct Story {
    _service: Process,
    ssecar: Ssecar,
    relay: Relay,
    programs: Vec<Program>,
}

impl Story {
    /// `paths` are what stands in the place of the paths that the programs name.
    async fn begin(name: &str, paths: &[(&str, &str)]) -> Self {
        let port = free_port();
        let ssecar = Ssecar::start(port, &["--client-retry=100ms", "--drain=1s"]).await;
        let relay = Relay::to(ssecar.port).await;
        let address = format!("127.0.0.1:{}", relay.port);
        let places = [&[(WRITTEN, address.as_str())], paths].concat();
        let programs = Programs::new(name, &places);
        let mut service = Command::new("python3");
        service
            .arg(file("tests/docs/service.py"))
            .args([&port.to_string(), PACE])
            .arg(programs.folder.join("pages"));
        let (service, mut said) = Process::with_lines(&mut service);
        assert_eq!(said.next_line().await.unwrap().as_deref(), Some("ready"));
        let story = Self { _service: service, ssecar, relay, programs: programs.start(&address) };
        story.goes_on("the start").await;
        story
    }

    /// Everybody reads on.
    async fn goes_on(&self, what: &str) {
        let goals: Vec<_> = self.programs.iter().map(|program| program.count() + CALM).collect();
        let caught_up = || self.programs.iter().zip(&goals).all(|(program, goal)| program.count() >= *goal);
        until(&format!("every program to read on after {what}"), || async { caught_up() }).await;
    }

    /// What each program has to be blamed for.
    async fn end(self, fault: impl Fn(&Program) -> Option<String>) {
        let mut faults = Vec::new();
        for program in self.programs {
            println!("{:24} {:4} lines", program.name, program.count());
            faults.extend(fault(&program));
            program.process.stop().await;
            program.reading.abort();
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_program_prints_every_event_once_while_it_is_cut_off_and_ssecar_restarts() {
    let mut story = Story::begin("docs-clients", &[]).await;
    for round in ["a cut", "another cut"] {
        let before = story.relay.taken();
        story.relay.cut();
        let all = before + story.programs.len();
        until(&format!("each program to come back after {round}"), || async { story.relay.taken() >= all })
            .await;
        story.goes_on(round).await;
    }
    for signal in ["TERM", "KILL"] {
        story.ssecar.restart(signal).await;
        story.goes_on(signal).await;
    }
    story.end(Program::fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_program_says_so_when_events_are_missing() {
    let plain = [("/v1/sessions/1/", "/v1/plain/1/"), ("/v1/private/", "/v1/private/plain/")];
    let mut story = Story::begin("docs-clients-plain", &plain).await;
    story.ssecar.restart("KILL").await;
    story.goes_on("the loss of what was kept").await;
    story
        .end(|program| (!program.is_told("other-epoch")).then(|| format!("{} was not told", program.name)))
        .await;
}
