//! Every command in the documents is run, as a reader would run it.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::markdown::{Block, Document, Mark, documents};
use crate::shell::{Kind, is_of_repository, is_printed, kind};
use crate::world::{Running, World, ready};

/// Sections that run at once.
const AT_ONCE: usize = 3;

/// The longest that a block may take, and one that builds.
const LIMIT: Duration = Duration::from_secs(60);
const BUILD_LIMIT: Duration = Duration::from_secs(1800);

/// What stands before the service where a section starts nothing itself.
const USUAL: &str = "ssecar --upstream http://127.0.0.1:9000";

/// Languages that name a shell otherwise: their blocks would be overlooked.
const OTHER_SHELLS: [&str; 6] = ["", "bash", "console", "shell", "shellsession", "zsh"];

/// The blocks under one heading that run.
struct Section {
    name: String,
    steps: Vec<Step>,
}

struct Step {
    place: String,
    commands: String,
    kind: Kind,
    prints: Option<String>,
}

/// What the documents ask for.
#[derive(Default)]
struct Plan {
    sections: Vec<Section>,
    not_run: Vec<String>,
    faults: Vec<String>,
}

impl Plan {
    fn add(&mut self, document: &Document) {
        let mut blocks = document.blocks.iter().peekable();
        let mut of_section = None;
        while let Some(block) = blocks.next() {
            let place = document.place(block.line);
            if OTHER_SHELLS.contains(&block.language.as_str()) {
                self.faults.push(format!("{place}: the language is `{}`: say sh, or text", block.language));
            }
            if block.language != "sh" {
                continue;
            }
            let checked = std::process::Command::new("sh").args(["-n", "-c", &block.text]).output().unwrap();
            if !checked.status.success() {
                self.faults.push(format!("{place}: {}", String::from_utf8_lossy(&checked.stderr)));
            }
            let prints = |next: &&Block| next.mark == Mark::Prints && next.section == block.section;
            let prints = blocks.next_if(|next| prints(next)).map(|next| next.text.clone());
            if let Mark::NotRun(why) = &block.mark {
                self.not_run.push(format!("{place}: {why}"));
                continue;
            }
            let kind = match kind(&block.text) {
                Ok(kind) => kind,
                Err(why) => {
                    self.faults.push(format!("{place}: {why}"));
                    continue;
                }
            };
            if of_section != Some(block.section) {
                of_section = Some(block.section);
                let name = document.path.with_extension("").display().to_string().replace('/', "-");
                self.sections.push(Section { name: format!("{name}-{}", block.section), steps: Vec::new() });
            }
            if let Some(section) = self.sections.last_mut() {
                section.steps.push(Step { place, commands: block.text.clone(), kind, prints });
            }
        }
    }
}

impl Section {
    /// Runs all blocks in order; what went wrong.
    async fn run(self) -> Result<(), String> {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("docs").join(&self.name);
        let world = World::open(folder).await;
        let has_its_own =
            self.steps.iter().any(|step| step.commands.contains("ssecar --") || step.kind == Kind::Serves);
        let mut proxy = None;
        if !has_its_own {
            let mut running = world.start(USUAL, false);
            ready(&world, &mut running, LIMIT).await?;
            proxy = Some((USUAL.to_owned(), running));
        }
        for step in &self.steps {
            let told = |why: String| format!("{}: {why}", step.place);
            if step.kind == Kind::Serves {
                stop(proxy.take()).await?;
            }
            let running = step.run(&world).await.map_err(told)?;
            proxy = running.map(|running| (step.place.clone(), running)).or(proxy);
        }
        stop(proxy).await
    }
}

async fn stop(proxy: Option<(String, Running)>) -> Result<(), String> {
    match proxy {
        Some((place, mut running)) => running.stop().await.map_err(|why| format!("{place}: stopped: {why}")),
        None => Ok(()),
    }
}

impl Step {
    /// Runs it; what goes on running is given back.
    async fn run(&self, world: &World) -> Result<Option<Running>, String> {
        let is_of_repository = is_of_repository(&self.commands);
        // It may have to be built first.
        let limit = if is_of_repository { BUILD_LIMIT } else { LIMIT };
        let mut running = world.start(&self.commands, is_of_repository);
        match self.kind {
            Kind::Ends => {
                running.end(limit).await?;
                let printed = running.printed();
                let is_as_told =
                    self.prints.as_ref().is_none_or(|prints| is_printed(prints, &printed, false));
                is_as_told
                    .then_some(None)
                    .ok_or_else(|| format!("printed something else:\n{}", running.shown()))
            }
            Kind::Serves => {
                ready(world, &mut running, limit).await?;
                if let Some(prints) = &self.prints {
                    running.shows(|printed| is_printed(prints, printed, true)).await?;
                }
                Ok(Some(running))
            }
            Kind::Streams => {
                running
                    .shows(|printed| match &self.prints {
                        Some(prints) => is_printed(prints, printed, true),
                        None => printed.lines().any(|line| !line.is_empty()),
                    })
                    .await?;
                Ok(None)
            }
        }
    }
}

async fn run(plan: Plan) -> Vec<String> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut faults = plan.faults;
    let running: Vec<_> = plan
        .sections
        .into_iter()
        .map(|section| {
            let places = Arc::clone(&places);
            tokio::spawn(async move {
                let _place = places.acquire_owned().await.unwrap();
                section.run().await
            })
        })
        .collect();
    for section in running {
        faults.extend(section.await.unwrap().err());
    }
    faults
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_in_the_documents_does_what_they_say() {
    let mut plan = Plan::default();
    documents().iter().for_each(|document| plan.add(document));
    let steps: usize = plan.sections.iter().map(|section| section.steps.len()).sum();
    println!("{steps} blocks under {} headings are run", plan.sections.len());
    // Not by `println`, which nobody sees where all is well.
    for place in &plan.not_run {
        writeln!(std::io::stderr(), "NOT RUN: {place}").unwrap();
    }
    assert!(steps > 10, "the blocks were not found");
    let faults = run(plan).await;
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_hold_is_told() {
    for (text, fault) in [
        ("```sh\nfalse\n```\n", "exit status: 1"),
        ("```sh\necho one\n```\n<!-- prints -->\n```text\ntwo\n```\n", "printed something else:\none"),
        (
            "```sh\ncurl -sN http://127.0.0.1:8080/v1/private/events -o /dev/null\n```\n",
            "did not show what it should",
        ),
        ("```sh\nssecar --upstream http://127.0.0.1:9000 --heartbeat 10x\n```\n", "ended at once"),
        ("```sh\ncurl -sf http://127.0.0.1:8080/v1/private/events\n```\n", "exit status: 22"),
        ("```bash\ntrue\n```\n", "say sh"),
        ("```sh\nif true\n```\n", "yntax error"),
    ] {
        let mut plan = Plan::default();
        plan.add(&Document::parse("made-up.md".into(), text));
        let faults = run(plan).await;
        assert!(
            faults.iter().any(|told| told.contains(fault) && told.contains("made-up.md:1")),
            "{text} {faults:?}"
        );
    }
}
