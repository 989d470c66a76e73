//! Links within the repository lead to files and headings that exist, and the files that are named in passing exist too.

use std::path::{Component, PathBuf};

use crate::file;
use crate::markdown::{Document, documents};

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    let mut broken = Vec::new();
    let mut count = 0;
    for document in &documents {
        for link in &document.links {
            let is_elsewhere = link.target.contains("://") || link.target.starts_with("mailto:");
            if is_elsewhere {
                continue;
            }
            count += 1;
            if let Err(why) = follow(document, &link.target, &documents) {
                broken.push(format!("{}: {}: {why}", document.place(link.line), link.target));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(count > 30, "the links were not read");
}

fn follow(from: &Document, target: &str, documents: &[Document]) -> Result<(), &'static str> {
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    let path = if path.is_empty() { from.path.clone() } else { resolve(from, path) };
    if !file("").join(&path).exists() {
        return Err("no such file");
    }
    let Some(anchor) = anchor else { return Ok(()) };
    let document = documents.iter().find(|document| document.path == path).ok_or("no Markdown file")?;
    let is_there = document.headings.iter().any(|heading| heading.anchor == anchor);
    is_there.then_some(()).ok_or("no such heading")
}

/// A path as seen from the folder of a document.
fn resolve(from: &Document, path: &str) -> PathBuf {
    let mut resolved = PathBuf::new();
    for part in from.path.parent().unwrap().join(path).components() {
        match part {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::Normal(name) => resolved.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    resolved
}

/// Folders whose files documents name in backquotes.
const FOLDERS: [&str; 8] = ["benches/", "deploy/", "docs/", "fuzz/", "scripts/", "src/", "tests/", "proto/"];

#[test]
fn every_file_that_is_named_exists() {
    let mut missing = Vec::new();
    let mut count = 0;
    for document in documents() {
        let text = std::fs::read_to_string(file("").join(&document.path)).unwrap();
        // Between backquotes, line by line: fences stand alone on theirs.
        let named = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
        for name in named.filter(|name| FOLDERS.iter().any(|folder| name.starts_with(folder))) {
            let path = name.split([' ', '{', '*', '#', ':']).next().unwrap_or_default();
            // Modules are named without the beginning and end of their files.
            let places =
                [path.to_owned(), format!("src/{path}"), format!("src/{path}.rs"), format!("{path}.rs")];
            if !places.iter().any(|place| file(place).exists()) {
                missing.push(format!("{}: {name}", document.path.display()));
            }
            count += 1;
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(count > 30, "the names were not found");
}
