//! The cases of the shipped rules (`rules/README.md`), through the engine and the committed modules: the same answers as the
//! rules' own tests give natively.

mod support;

use alertmill_core::fields::{remove_tag, write_tag};
use alertmill_core::row::{DedupeAnswer, Row};
use alertmill_core::value::Text;
use alertmill_engine::{RuleInfo, Table};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::{Bench, COMMITTED, built, dedupe, empty_row, enrich, module, module_of, options, set_fields};

type Rows = BTreeMap<String, BTreeMap<String, String>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    rule: String,
    hook: String,
    #[serde(default)]
    config: Option<Value>,
    #[serde(default)]
    tables: BTreeMap<String, Rows>,
    #[serde(default)]
    rows: Vec<Map<String, Value>>,
    #[serde(default)]
    expect: Vec<Value>,
    #[serde(default)]
    expect_init_error: Option<String>,
}

#[test]
fn shipped_rules_answer_as_their_cases_say() {
    let mut count = 0;
    // One engine for all, so that each module is compiled once.
    let mut bench = Bench::new();
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let cases: Vec<Case> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for case in &cases {
            check(&mut bench, case);
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} cases found");
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

fn check(bench: &mut Bench, case: &Case) {
    let at = format!("{} ({}, {})", case.name, case.rule, case.hook);
    let mut keys = json!({});
    if let Some(config) = &case.config {
        keys["config"] = config.clone();
    }
    let options = options(keys);
    // Every rule finds the tables of its manifest; a case without one gets an empty table, with the columns of the rule.
    let tables = csv_tables(bench, case);
    if let Some(part) = &case.expect_init_error {
        let parsed: Vec<(Text, Arc<Table>)> =
            tables.iter().map(|(name, csv)| (Text::new(name), Arc::new(Table::parse(csv.as_bytes(), None).unwrap()))).collect();
        let error = bench.engine.load(&module(&case.rule), None, &options, &parsed).err();
        let error = error.unwrap_or_else(|| panic!("{at}: init should fail with: {part}"));
        // What the schema sees, the host says before the rule can; the rule's own words are for what no schema can say.
        let is_said = error.code() == "config-invalid" || error.code() == "init-failed" && error.to_string().contains(part.as_str());
        return assert!(is_said, "{at}: the error is: {error} ({})", error.code());
    }
    let tables: Vec<(&str, &str)> = tables.iter().map(|(name, csv)| (name.as_str(), csv.as_str())).collect();
    let mut chain = bench.chain(&[(case.rule.as_str(), options)], &tables);
    let mut rows: Vec<Row> = (0..).zip(&case.rows).map(|(i, fields)| row(i, fields)).collect();
    assert_eq!(rows.len(), case.expect.len(), "{at}: one expectation for each row");
    if case.hook == "dedupe" {
        dedupe(&mut *chain, &mut rows);
        for (row, expected) in rows.iter().zip(&case.expect) {
            let answer = match &row.dedupe {
                DedupeAnswer::Default => json!("default"),
                DedupeAnswer::Unique => json!("unique"),
                DedupeAnswer::Key(key) => json!({ "key": key.as_str() }),
            };
            assert_eq!(&answer, expected, "{at}: row {}", row.index);
        }
        return;
    }
    assert_eq!(case.hook, "enrich-event", "{at}");
    enrich(&mut *chain, &mut rows);
    for ((mut ours, fields), expected) in rows.into_iter().zip(&case.rows).zip(&case.expect) {
        let at = format!("{at}: row {}", ours.index);
        let mut wanted = row(ours.index, fields);
        expect(&at, expected.as_object().unwrap(), &mut wanted, &ours);
        for row in [&mut ours, &mut wanted] {
            row.event.tags.sort_by(|a, b| a.key.cmp(&b.key));
        }
        assert_eq!(ours.event, wanted.event, "{at}");
    }
}

/// Makes the expected changes to the row as it was; drops and errors are compared here.
fn expect(at: &str, expected: &Map<String, Value>, wanted: &mut Row, ours: &Row) {
    let text = |key: &str| expected.get(key).and_then(Value::as_str);
    assert_eq!(ours.dropped.as_ref().map(|dropped| dropped.reason.as_str()), text("drop"), "{at}");
    let message = ours.failures.first().map(|failure| failure.message.as_str());
    assert_eq!(message, text("error"), "{at}: {:?}", ours.failures);
    for key in expected.get("removed_tags").and_then(Value::as_array).into_iter().flatten() {
        remove_tag(wanted, key.as_str().unwrap());
    }
    for (key, value) in expected.get("more_tags").and_then(Value::as_object).into_iter().flatten() {
        write_tag(wanted, key, value.as_str().unwrap()).unwrap();
    }
    let special = ["drop", "error", "removed_tags", "more_tags"];
    let fields = expected.iter().filter(|(key, _)| !special.contains(&key.as_str()));
    set_fields(wanted, &fields.map(|(key, value)| (key.clone(), value.clone())).collect());
}

fn row(index: u32, fields: &Map<String, Value>) -> Row {
    let mut row = empty_row(index);
    set_fields(&mut row, fields);
    row
}

fn csv_tables(bench: &Bench, case: &Case) -> Vec<(String, String)> {
    let mut tables: BTreeMap<String, Rows> = case.tables.clone();
    let info = bench.engine.inspect(&module(&case.rule)).unwrap();
    for name in info.tables {
        tables.entry(name).or_default();
    }
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let csv = |rows: &Rows| {
        let mut columns: BTreeSet<&str> = ["owner", "team", "service", "tier"].into();
        columns.extend(rows.values().flat_map(|row| row.keys()).map(String::as_str));
        let mut csv = format!("key,{}\n", columns.iter().copied().collect::<Vec<_>>().join(","));
        for (key, row) in rows {
            let cells = columns.iter().map(|column| quoted(row.get(*column).map_or("", String::as_str)));
            csv.push_str(&format!("{},{}\n", quoted(key), cells.collect::<Vec<_>>().join(",")));
        }
        csv
    };
    tables.iter().map(|(name, rows)| (name.clone(), csv(rows))).collect()
}
