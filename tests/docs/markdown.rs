//! Markdown files, as far as the tests look at them: headings, links and fenced blocks.

use std::path::{Path, PathBuf};

use crate::file;

/// Folders that hold no document of ours.
const NOT_OURS: [&str; 4] = ["target", "node_modules", ".git", "corpus"];

/// One Markdown file.
pub(crate) struct Document {
    /// Below the repository.
    pub(crate) path: PathBuf,
    pub(crate) headings: Vec<Heading>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) links: Vec<Link>,
}

pub(crate) struct Heading {
    pub(crate) text: String,
    /// What a link to it ends with.
    pub(crate) anchor: String,
}

pub(crate) struct Link {
    pub(crate) line: usize,
    pub(crate) target: String,
}

/// A fenced block.
pub(crate) struct Block {
    /// Of its opening fence.
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) text: String,
    /// The heading it stands under, as an index; 0 before the second.
    pub(crate) section: usize,
    /// The comment right before it.
    pub(crate) mark: Mark,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    None,
    /// `<!-- not run: why -->`
    NotRun(String),
    /// `<!-- prints -->`
    Prints,
}

/// All documents of the repository, in a fixed order.
pub(crate) fn documents() -> Vec<Document> {
    let mut paths = Vec::new();
    find(Path::new(""), &mut paths);
    paths.sort();
    assert!(paths.len() > 10, "the documents were not found");
    paths.into_iter().map(Document::read).collect()
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(file("").join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        let is_ours = !NOT_OURS.iter().any(|name| entry.file_name() == *name);
        if entry.file_type().unwrap().is_dir() && is_ours {
            find(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

impl Document {
    pub(crate) fn read(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(file("").join(&path)).unwrap();
        Self::parse(path, &text)
    }

    pub(crate) fn parse(path: PathBuf, text: &str) -> Self {
        let mut document = Self { path, headings: Vec::new(), blocks: Vec::new(), links: Vec::new() };
        let mut mark = Mark::None;
        let mut lines = text.lines().zip(1..);
        while let Some((line, number)) = lines.next() {
            let bare = line.trim();
            if let Some(info) = bare.strip_prefix("```") {
                let indentation = line.len() - line.trim_start().len();
                let inside = lines.by_ref().map(|(line, _)| line).take_while(|line| line.trim() != "```");
                let text = inside
                    .map(|line| line.get(indentation..).unwrap_or_default().to_owned() + "\n")
                    .collect();
                document.blocks.push(Block {
                    line: number,
                    language: info.split_whitespace().next().unwrap_or_default().to_owned(),
                    text,
                    section: document.headings.len().saturating_sub(1),
                    mark: std::mem::replace(&mut mark, Mark::None),
                });
            } else if let Some(comment) = bare.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->"))
            {
                mark = match comment.trim().split_once(':') {
                    Some(("not run", why)) => Mark::NotRun(why.trim().to_owned()),
                    None if comment.trim() == "prints" => Mark::Prints,
                    Some(_) | None => Mark::None,
                };
            } else if !bare.is_empty() {
                mark = Mark::None;
                if let Some(heading) = bare.strip_prefix('#').filter(|_| !line.starts_with(' ')) {
                    document.add_heading(heading.trim_start_matches('#').trim());
                }
                document.add_links(bare, number);
            }
        }
        document
    }

    /// Where a block is, for people.
    pub(crate) fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    fn add_heading(&mut self, text: &str) {
        let text = text.replace('`', "");
        let letters = text.to_lowercase().replace(' ', "-");
        let slug: String =
            letters.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect();
        let earlier = self.headings.iter().filter(|heading| heading.anchor == slug).count();
        let anchor = if earlier == 0 { slug } else { format!("{slug}-{earlier}") };
        self.headings.push(Heading { text, anchor });
    }

    fn add_links(&mut self, line: &str, number: usize) {
        // What stands between backquotes is no link.
        let outside: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        let mut rest = outside.as_str();
        while let Some((_, behind)) = rest.split_once("](") {
            let Some((target, behind)) = behind.split_once(')') else { break };
            self.links.push(Link { line: number, target: target.to_owned() });
            rest = behind;
        }
    }
}

#[test]
fn blocks_have_their_language_section_and_mark() {
    let text = "# A `b` c!\n\n```sh\none\n```\n\n## D\n<!-- not run: no engine -->\n\n  ```sh\n  two\n    three\n  ```\n<!-- prints -->\n```text\nx\n```\n[a](b.md#c) `[x](y)` [d](#e)\n";
    let document = Document::parse("x.md".into(), text);
    let anchors: Vec<_> = document.headings.iter().map(|heading| heading.anchor.as_str()).collect();
    assert_eq!(anchors, ["a-b-c", "d"]);
    let blocks: Vec<_> =
        document.blocks.iter().map(|block| (block.text.as_str(), block.section, &block.mark)).collect();
    let why = Mark::NotRun("no engine".to_owned());
    assert_eq!(blocks, [("one\n", 0, &Mark::None), ("two\n  three\n", 1, &why), ("x\n", 1, &Mark::Prints)]);
    let links: Vec<_> = document.links.iter().map(|link| link.target.as_str()).collect();
    assert_eq!(links, ["b.md#c", "#e"]);
}
