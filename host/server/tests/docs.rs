//! The public documents name files. Every one of them has to exist, and both languages of the README name the same ones.

use std::collections::BTreeSet;
use std::path::Path;

const DOCUMENTS: &[&str] = &["README.md", "README.zh-CN.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md", "docs/guarantees.md", "docs/semantics.md"];
/// What a path of this repository begins with.
const FOLDERS: &[&str] = &["docs", "guest", "host", "rules", "samples", "tests", "wit", "xtask"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn read(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap_or_else(|e| panic!("{document}: {e}"))
}

/// Paths in `code` and in links, outside of code blocks.
fn paths(text: &str) -> BTreeSet<String> {
    let mut prose = String::new();
    for (i, block) in text.split("```").enumerate() {
        if i % 2 == 0 {
            prose.push_str(block);
        }
    }
    let code = prose.split('`').skip(1).step_by(2).filter(|word| is_path(word));
    let links = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|to| !to.starts_with('#') && !to.contains(':'));
    code.chain(links).map(|path| path.trim_end_matches('/').to_owned()).collect()
}

fn is_path(word: &str) -> bool {
    FOLDERS.iter().any(|folder| word.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))) && !word.contains(char::is_whitespace)
}

#[test]
fn every_path_that_is_named_exists() {
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        let paths = paths(&read(document));
        missing.extend(paths.into_iter().filter(|path| !root().join(path).exists()).map(|path| format!("{document}: {path}")));
    }
    assert!(missing.is_empty(), "named, but not in the tree:\n{}", missing.join("\n"));
}

#[test]
fn the_tables_are_read_at_all() {
    assert!(paths(&read("README.md")).len() > 20);
    assert!(paths(&read("ARCHITECTURE.md")).len() > 60);
    let found = paths("a `host/x.rs` [b](c/d.md) [e](#f) `no path` `rules.d/x`\n```\n`host/y.rs`\n```\n");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["c/d.md", "host/x.rs"]);
}

#[test]
fn both_readmes_name_the_same_files() {
    let other = |paths: BTreeSet<String>| paths.into_iter().filter(|path| !path.starts_with("README")).collect::<BTreeSet<_>>();
    assert_eq!(other(paths(&read("README.md"))), other(paths(&read("README.zh-CN.md"))));
}
