//! The cases of the shipped rules (`rules/README.md`), through the engine and the committed modules: the same answers as the
//! rules' own tests give natively.

mod support;

use alertmill_core::value::Text;
use alertmill_engine::RuleInfo;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use support::cases::{Case, check};
use support::{Bench, COMMITTED, built, module, module_of};

#[test]
fn shipped_rules_answer_as_their_cases_say() {
    let (mut count, mut hooks) = (0, BTreeSet::new());
    // One engine for all, so that each module is compiled once.
    let mut bench = Bench::new();
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let cases: Vec<Case> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for case in &cases {
            check(&mut bench, &module(&case.rule), case);
            hooks.insert(case.hook.clone());
            count += 1;
        }
    }
    assert!(count >= 20 && hooks.len() == 4, "only {count} cases, of {hooks:?}");
}

/// A committed module that is older than its sources shows here, where the sources were just built.
#[test]
fn committed_modules_say_of_themselves_what_their_sources_say() {
    let Some(built) = built() else { return };
    let engine = Bench::new().engine;
    let says = |dist: &str, name: &str| {
        let told = engine.inspect(&module_of(dist, name)).map_err(|refusal| refusal.code());
        // Other bytes are no difference, and neither is the order that the linker gave imports and exports.
        told.map(|mut info| {
            info.imports.sort();
            info.exports.sort();
            RuleInfo { digest: Text::default(), size_bytes: 0, ..info }
        })
    };
    let mut count = 0;
    for folder in ["", "/test"] {
        for entry in std::fs::read_dir(format!("{COMMITTED}{folder}")).unwrap() {
            let path = entry.unwrap().path();
            let Some(name) = path.file_stem().and_then(|name| name.to_str()).filter(|_| path.extension().is_some_and(|end| end == "wasm")) else { continue };
            assert_eq!(says(COMMITTED, name), says(&built, name), "{name}: left is rules/dist, right are the sources");
            count += 1;
        }
    }
    assert!(count >= 20, "only {count} modules found");
}

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folders = std::fs::read_dir(root.join("rules")).unwrap().map(|entry| entry.unwrap().path().join("cases"));
    // The template is no committed module.
    let folders = folders.chain(built().map(|_| root.join("guest/rust/template/cases")));
    let files = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    files
}
