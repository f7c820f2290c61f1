//! `docs/hostile-modules.md` says of each hostile module which tests show what the host does about it: those tests are there, and no test of a
//! number is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const ROWS: u32 = 48;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Names of functions that begin with `m` and two digits, in all sources below the folder.
fn tests_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let names = source.lines().filter_map(|line| line.trim_start().strip_prefix("fn ")?.split(['(', '<']).next());
            found.extend(names.filter(|name| number_of(name).is_some()).map(str::to_owned));
        }
    }
}

/// 9 of `m09_a_million_patches`.
fn number_of(name: &str) -> Option<u32> {
    let (number, _) = name.strip_prefix('m')?.split_once('_')?;
    (number.len() == 2).then(|| number.parse().ok())?
}

#[test]
fn the_page_names_the_tests_that_there_are() {
    let page = std::fs::read_to_string(root().join("docs/hostile-modules.md")).unwrap();
    let mut told: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| M")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, module, does, shown] = cells.as_slice() else { panic!("four cells: {line}") };
        let number: u32 = number[1..].parse().unwrap_or_else(|_| panic!("a number: {line}"));
        let why = shown.strip_prefix("none: ").unwrap_or("");
        let tests: BTreeSet<String> = if why.is_empty() { shown.split('`').skip(1).step_by(2).map(str::to_owned).collect() } else { BTreeSet::new() };
        assert!(!module.is_empty() && !does.is_empty() && tests.is_empty() != why.is_empty(), "tests, or why there is none: {line}");
        assert!(tests.iter().all(|test| number_of(test) == Some(number)), "tests of another row: {line}");
        assert!(told.insert(number, tests).is_none(), "told twice: {line}");
    }
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), (1..=ROWS).collect::<Vec<_>>(), "every row, in order");
    let mut there = BTreeSet::new();
    for folder in ["host", "tests"] {
        tests_below(&root().join(folder), &mut there);
    }
    let told: BTreeSet<String> = told.into_values().flatten().collect();
    assert_eq!(told.difference(&there).collect::<Vec<_>>(), [""; 0].iter().collect::<Vec<_>>(), "told of, and not there");
    assert_eq!(there.difference(&told).collect::<Vec<_>>(), [""; 0].iter().collect::<Vec<_>>(), "there, and not told of");
    println!("{} tests of {ROWS} rows", there.len());
}
