//! The public documents name files, headings, routes, codes and options. Every one of them has to exist, and both languages of the
//! README name the same files.

use alertmill::http::ProblemCode;
use alertmill_engine::RuleOptions;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const DOCUMENTS: &[&str] = &[
    "README.md",
    "README.zh-CN.md",
    "ARCHITECTURE.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "guest/README.md",
    "rules/README.md",
    "samples/README.md",
    "tests/conformance/README.md",
    "wit/README.md",
];
/// What a path of this repository begins with.
const FOLDERS: &[&str] = &["benches", "docs", "guest", "host", "rules", "samples", "tests", "wit", "xtask"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn read(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap_or_else(|e| panic!("{document}: {e}"))
}

/// All that is public: the list, and every page of `docs`.
fn documents() -> Vec<String> {
    let pages = std::fs::read_dir(root().join("docs")).expect("docs").map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let pages = pages.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}"));
    DOCUMENTS.iter().map(|name| (*name).to_owned()).chain(pages).collect()
}

/// What stands outside of code blocks.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// Paths in `code`.
fn paths(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let code = prose.split('`').skip(1).step_by(2).filter(|word| is_path(word));
    code.map(|path| path.trim_end_matches('/').to_owned()).collect()
}

/// Where links lead, but for those to other sites.
fn links(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|to| !to.contains(':')).map(str::to_owned).collect()
}

/// A heading as links name it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

fn is_path(word: &str) -> bool {
    FOLDERS.iter().any(|folder| word.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))) && !word.contains(char::is_whitespace)
}

#[test]
fn every_path_that_is_named_exists() {
    let mut missing = Vec::new();
    for document in documents() {
        let paths = paths(&read(&document));
        missing.extend(paths.into_iter().filter(|path| !root().join(path).exists()).map(|path| format!("{document}: {path}")));
    }
    assert!(missing.is_empty(), "named, but not in the tree:\n{}", missing.join("\n"));
}

#[test]
fn every_link_leads_somewhere() {
    let mut missing = Vec::new();
    for document in documents() {
        for link in links(&read(&document)) {
            let (file, wanted) = link.split_once('#').unwrap_or((&link, ""));
            let beside = Path::new(&document).parent().map_or(PathBuf::new(), Path::to_path_buf);
            let file = if file.is_empty() { PathBuf::from(&document) } else { beside.join(file) };
            let is_there = if wanted.is_empty() {
                root().join(&file).exists()
            } else {
                std::fs::read_to_string(root().join(&file)).is_ok_and(|text| prose(&text).lines().any(|line| line.starts_with('#') && anchor(line) == wanted))
            };
            if !is_there {
                missing.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(missing.is_empty(), "links that lead nowhere:\n{}", missing.join("\n"));
}

#[test]
fn the_tables_are_read_at_all() {
    assert!(named("README.md").len() > 20);
    assert!(paths(&read("ARCHITECTURE.md")).len() > 60);
    let text = "a `host/x.rs` [b](c/d.md) [e](#f) `no path` `rules.d/x` [g](https://h)\n```\n`host/y.rs`\n```\n";
    assert_eq!(paths(text).into_iter().collect::<Vec<_>>(), ["host/x.rs"]);
    assert_eq!(links(text).into_iter().collect::<Vec<_>>(), ["#f", "c/d.md"]);
    assert_eq!((anchor("## Over HTTP").as_str(), anchor("## 有什么，还没有什么").as_str()), ("over-http", "有什么还没有什么"));
}

/// Files that one of the READMEs names, but for the other one.
fn named(document: &str) -> BTreeSet<String> {
    let text = read(document);
    paths(&text).into_iter().chain(links(&text)).filter(|path| !path.starts_with("README") && !path.starts_with('#')).collect()
}

#[test]
fn both_readmes_name_the_same_files() {
    assert_eq!(named("README.md"), named("README.zh-CN.md"));
}

/// Every file below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn the_page_on_the_api_has_every_route_and_every_code() {
    let page = read("docs/api.md");
    let mut sources = Vec::new();
    files(&root().join("host/server/src"), &mut sources);
    let mut routes = BTreeSet::new();
    for source in sources.iter().filter(|path| !path.to_string_lossy().contains("tests")) {
        let text = std::fs::read_to_string(source).expect("a source");
        routes.extend(text.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
    }
    assert!(routes.len() > 25, "{routes:?}");
    let named: BTreeSet<&str> = page.split('`').skip(1).step_by(2).map(|word| word.rsplit(' ').next().unwrap_or(word)).collect();
    let missing: Vec<&String> = routes.iter().filter(|route| !named.contains(route.as_str())).collect();
    assert!(missing.is_empty(), "not in docs/api.md: {missing:?}");
    let rows: BTreeSet<String> =
        page.lines().filter(|line| line.starts_with("| `")).map(|line| line.split(" | ").take(2).collect::<Vec<_>>().join(" | ")).collect();
    for code in ProblemCode::OWN {
        let row = format!("| `{}` | {}", code.as_str(), code.status().as_u16());
        assert!(rows.contains(&row), "not in docs/api.md: {row}");
    }
}

/// `limits.time_ms` of `{"limits": {"time_ms": ..}}`, and so on for all keys.
fn keys(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    for (key, value) in value.as_object().expect("an object") {
        match value {
            Value::Object(_) => keys(value, &format!("{path}{key}."), found),
            value => found.push((format!("{path}{key}"), value.clone())),
        }
    }
}

#[test]
fn the_page_on_options_of_rules_says_what_is_so() {
    let page = read("docs/rule-options.md");
    let rows: Vec<Vec<&str>> = page.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').map(str::trim).collect()).collect();
    let mut options = Vec::new();
    keys(&serde_json::to_value(RuleOptions::default()).expect("JSON"), "", &mut options);
    let named: BTreeSet<String> = rows.iter().map(|row| row[1].replace('`', "")).collect();
    assert_eq!(named, options.iter().map(|(key, _)| key.clone()).collect());
    for (key, default) in options {
        let row = rows.iter().find(|row| row[1].replace('`', "") == key).expect("it is named");
        let shown = if default.is_null() { "none".to_owned() } else { format!("`{default}`") };
        assert_eq!(row[2], shown, "{key}");
        let Some((min, max)) = row[3].split_once(" to ") else {
            assert!(!default.is_number(), "{key} has no range");
            continue;
        };
        let (min, max): (i64, i64) = (min.parse().expect("a number"), max.parse().expect("a number"));
        for (given, is_good) in [(min - 1, false), (min, true), (max, true), (max + 1, false)] {
            let given = match key.strip_prefix("limits.") {
                Some(limit) => json!({ "limits": { limit: given } }),
                None => json!({ key.as_str(): given }),
            };
            assert_eq!(RuleOptions::from_value(given.clone()).is_ok(), is_good, "{given}");
        }
    }
    for grants in rows.iter().filter(|row| row[1] == "`grants`") {
        let all: Vec<&str> = grants[3].split('`').skip(1).step_by(2).collect();
        assert_eq!(serde_json::to_value(RuleOptions::from_value(json!({ "grants": all })).expect("good").grants).expect("JSON"), json!(all));
    }
}
