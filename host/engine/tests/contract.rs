//! Every version of the contract that was ever frozen: its modules in `tests/contract`, compiled once and never again, load and answer what they
//! answered then. A version without modules, a module without cases, and anything there that is not what it was, is a failure.

mod support;

use alertmill_engine::WIT_VERSION;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use support::Bench;
use support::cases::{Case, check};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).unwrap_or_else(|e| panic!("{}: {e}", of.display()));
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn name_of(path: &Path) -> String {
    path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8").to_owned()
}

fn files(of: &Path, end: &str) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(of) else { return BTreeSet::new() };
    let names = entries.map(|entry| name_of(&entry.unwrap().path()));
    names.filter_map(|name| name.strip_suffix(end).map(str::to_owned)).collect()
}

/// The contract without comments and without how it is laid out.
fn bare(wit: &str) -> String {
    let words = wit.lines().flat_map(|line| line.split("//").next().unwrap_or("").split_whitespace());
    words.collect::<Vec<_>>().join(" ")
}

/// What is wrong with what is kept of the versions in `wit`.
fn problems(wit: &Path, kept: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for version in folders(wit) {
        let name = name_of(&version);
        let folder = kept.join(&name);
        let Ok(sums) = std::fs::read_to_string(folder.join("SHA256SUMS")) else {
            problems.push(format!("{name}: no module of this version is kept; freeze it with `cargo xtask rules --freeze {name}`"));
            continue;
        };
        let sums: BTreeMap<&str, &str> = sums.lines().filter_map(|line| line.split_once("  ")).map(|(sum, file)| (file, sum)).collect();
        for (file, sum) in &sums {
            let bytes = std::fs::read(folder.join(file)).unwrap_or_default();
            let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            if found != *sum {
                problems.push(format!("{name}/{file}: a frozen fixture was changed; take it back from the history"));
            }
        }
        let modules = files(&folder, ".wasm");
        if modules.is_empty() {
            problems.push(format!("{name}: no module of this version is kept"));
        }
        let cases = files(&folder, ".json");
        problems.extend(
            modules.iter().filter(|module| !sums.contains_key(format!("{module}.wasm").as_str())).map(|module| format!("{name}/{module}.wasm: not frozen")),
        );
        problems.extend(modules.difference(&cases).map(|module| format!("{name}/{module}.wasm: a fixture without cases")));
        problems.extend(cases.difference(&modules).map(|case| format!("{name}/{case}.json: cases without a fixture")));
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        if bare(&read(version.join("alertmill.wit"))) != bare(&read(folder.join("alertmill.wit"))) {
            problems.push(format!("wit/{name}: a frozen contract was changed, beyond its comments; what is new is a new version"));
        }
    }
    problems
}

#[test]
fn frozen_versions_are_as_they_were() {
    assert_eq!(problems(&root().join("wit"), &root().join("tests/contract")), [""; 0]);
    let newest = folders(&root().join("wit")).pop().map(|folder| name_of(&folder));
    assert_eq!(newest, WIT_VERSION.rsplit_once('.').map(|(version, _)| format!("v{version}")), "the host's newest version");
}

#[test]
fn frozen_modules_answer_their_cases() {
    let (mut imports, mut hooks, mut count) = (BTreeSet::new(), BTreeSet::new(), 0);
    for folder in folders(&root().join("tests/contract")) {
        // One engine for all, so that each module is compiled once.
        let mut bench = Bench::new();
        for name in files(&folder, ".wasm") {
            let module = std::fs::read(folder.join(format!("{name}.wasm"))).unwrap();
            let info = bench.engine.inspect(&module).unwrap_or_else(|e| panic!("{name}: {e}"));
            imports.insert(info.imports.iter().map(|import| import.split(['/', '@']).nth(1).unwrap_or("").to_owned()).collect::<Vec<_>>());
            let cases = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
            let cases: Vec<Case> = serde_json::from_str(&cases).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(!cases.is_empty(), "{name} has no case");
            for case in &cases {
                assert_eq!(case.rule, name, "{}", case.name);
                check(&mut bench, &module, case);
                hooks.insert(case.hook.clone());
                count += 1;
            }
            let asked: BTreeSet<&str> = cases.iter().map(|case| case.hook.as_str()).collect();
            let has: BTreeSet<&str> = info.hooks.iter().map(|hook| hook.hook).collect();
            assert_eq!(asked, has, "{name}: a case for each hook");
        }
    }
    println!("{count} cases of {} hooks; imports: {imports:?}", hooks.len());
    assert_eq!(hooks.len(), 4, "{hooks:?}");
    for wanted in [&[][..], &["types"], &["types", "log"], &["types", "tables"]] {
        assert!(
            imports.iter().any(|all| all.iter().map(String::as_str).collect::<BTreeSet<_>>() == wanted.iter().copied().collect()),
            "{wanted:?}: {imports:?}"
        );
    }
}

/// A copy of what is kept, with one thing done to it.
#[track_caller]
fn spoiled(how: impl FnOnce(&Path, &Path), says: &[&str]) {
    let scratch = tempfile::tempdir().unwrap();
    let (wit, kept) = (scratch.path().join("wit"), scratch.path().join("contract"));
    for (from, to) in [("wit", &wit), ("tests/contract", &kept)] {
        for folder in folders(&root().join(from)) {
            let to = to.join(name_of(&folder));
            std::fs::create_dir_all(&to).unwrap();
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                std::fs::copy(&path, to.join(name_of(&path))).unwrap();
            }
        }
    }
    assert_eq!(problems(&wit, &kept), [""; 0]);
    how(&wit, &kept);
    let found = problems(&wit, &kept);
    assert_eq!(found.len(), says.len(), "{found:?}");
    found.iter().zip(says).for_each(|(found, says)| assert!(found.contains(says), "{found}"));
}

#[test]
fn a_frozen_fixture_that_is_built_again_is_found() {
    spoiled(
        |_, kept| {
            let path = kept.join("v0.1/dedupe.wasm");
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.push(0);
            std::fs::write(path, bytes).unwrap();
        },
        &["v0.1/dedupe.wasm: a frozen fixture was changed"],
    );
    spoiled(|_, kept| std::fs::remove_file(kept.join("v0.1/logs.wasm")).unwrap(), &["v0.1/logs.wasm: a frozen fixture was changed", "cases without a fixture"]);
}

#[test]
fn a_version_without_fixtures_and_a_fixture_without_cases_are_found() {
    spoiled(|wit, _| std::fs::create_dir(wit.join("v0.2")).unwrap(), &["v0.2: no module of this version is kept"]);
    spoiled(|_, kept| std::fs::remove_file(kept.join("v0.1/enrich.json")).unwrap(), &["v0.1/enrich.wasm: a fixture without cases"]);
    spoiled(
        |_, kept| assert!(std::fs::copy(kept.join("v0.1/enrich.wasm"), kept.join("v0.1/late.wasm")).is_ok()),
        &["v0.1/late.wasm: not frozen", "v0.1/late.wasm: a fixture without cases"],
    );
}

#[test]
fn of_a_frozen_contract_only_comments_may_change() {
    let edit = |wit: &Path, from: &str, to: &str| {
        let path = wit.join("v0.1/alertmill.wit");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    spoiled(|wit, _| edit(wit, "/// 1 fatal", "/// One more word: 1 fatal"), &[]);
    spoiled(|wit, _| edit(wit, "type severity = u8", "type severity = u16"), &["wit/v0.1: a frozen contract was changed"]);
    spoiled(|wit, _| edit(wit, "normalize: func", "normalise: func"), &["wit/v0.1: a frozen contract was changed"]);
}
