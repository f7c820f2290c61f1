//! Runs a rule's `cases/*.json` natively, through the same columns as in the host. `../README.md` says what a case looks like.
//!
//! A rule's test is one line: `cases::lookup::<OwnerFromTable>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));`

use alertmill_rule::glue::dedupe_rule::DedupeKey;
use alertmill_rule::glue::normalize_rule::{self, Normalized};
use alertmill_rule::glue::{Column, DedupeHook, EnrichHook, LookupHook, NormalizeHook, Output};
use alertmill_rule::patch::Change;
use alertmill_rule::row::Row;
use alertmill_rule::testing::{self, Fields, MemoryTable, Rows};
use alertmill_rule::{Dedupe, Enrich, Lookup, Normalize, Payload};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;

/// One entry of a file of cases.
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
    payloads: Vec<Sent>,
    #[serde(default)]
    expect: Vec<Value>,
    #[serde(default)]
    expect_init_error: Option<String>,
}

/// A payload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    source: String,
    #[serde(default)]
    content_type: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    received_at_ms: u64,
    body: Value,
}

/// Checks all cases of an enrich rule, over events or alerts.
pub fn enrich<R: Enrich>(folder: &str) {
    for_each(folder, |case| {
        let hook = EnrichHook::<R>::new(&config(case))?;
        let batch = testing::batch(<R::Row<'_> as Row>::FIELDS, &fields(case));
        Ok(changes(hook.run(batch), R::Change::FIELDS, case.rows.len()))
    });
}

/// Checks all cases of an enrich rule that looks up in a table.
pub fn lookup<R: Lookup>(folder: &str) {
    for_each(folder, |case| {
        testing::set_tables(case.tables.clone());
        let hook = LookupHook::<R, MemoryTable>::new(&config(case))?;
        let batch = testing::batch(<R::Row<'_> as Row>::FIELDS, &fields(case));
        Ok(changes(hook.run(batch), R::Change::FIELDS, case.rows.len()))
    });
}

/// Checks all cases of a dedupe rule.
pub fn dedupe<R: Dedupe>(folder: &str) {
    for_each(folder, |case| {
        let hook = DedupeHook::<R>::new(&config(case))?;
        let keys = hook.run(testing::batch(<R::Row<'_> as Row>::FIELDS, &fields(case)));
        let answer = |key| match key {
            DedupeKey::Default => json!("default"),
            DedupeKey::Unique => json!("unique"),
            DedupeKey::Key(key) => json!({ "key": key }),
            DedupeKey::Error(message) => json!({ "error": message }),
        };
        Ok(keys.into_iter().map(answer).collect())
    });
}

/// Checks all cases of a normalize rule. Its conditions are the host's to check.
pub fn normalize<R: Normalize>(folder: &str) {
    for_each(folder, |case| {
        let hook = NormalizeHook::<R>::new(&config(case))?;
        Ok(answers(hook.run(case.payloads.iter().map(payload).collect()), case.payloads.len()))
    });
}

fn for_each(folder: &str, run: impl Fn(&Case) -> Result<Vec<Value>, String>) {
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the folder of cases") {
        let path = entry.expect("an entry of the folder").path();
        let text = fs::read_to_string(&path).expect("a file of cases");
        let cases: Vec<Case> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for case in &cases {
            check(case, run(case));
            count += 1;
        }
    }
    assert!(count > 0, "no cases in {folder}");
}

fn check(case: &Case, answer: Result<Vec<Value>, String>) {
    let name = format!("{} ({}, {})", case.name, case.rule, case.hook);
    match (answer, &case.expect_init_error) {
        (Ok(answers), None) => {
            assert_eq!(case.rows.len() + case.payloads.len(), case.expect.len(), "{name}: one expectation for each row or payload");
            for (row, (answer, expected)) in answers.iter().zip(&case.expect).enumerate() {
                assert_eq!(answer, expected, "{name}: row {row}, left is the rule's answer");
            }
        }
        (Err(error), Some(part)) => assert!(error.contains(part.as_str()), "{name}: the error is: {error}"),
        (Ok(_), Some(part)) => panic!("{name}: init should fail with: {part}"),
        (Err(error), None) => panic!("{name}: init fails: {error}"),
    }
}

fn config(case: &Case) -> String {
    case.config.as_ref().map(Value::to_string).unwrap_or_default()
}

fn fields(case: &Case) -> Vec<Fields> {
    let value = |value: &Value| match value {
        Value::String(text) => testing::Value::Text(text.clone()),
        Value::Number(number) => testing::Value::Integer(number.as_i64().expect("whole numbers only")),
        other => panic!("{}: {other} is neither text nor a whole number", case.name),
    };
    case.rows.iter().map(|row| row.iter().map(|(field, v)| (field.clone(), value(v))).collect()).collect()
}

fn payload(sent: &Sent) -> Payload {
    let body = match &sent.body {
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    Payload {
        source: sent.source.clone(),
        content_type: sent.content_type.clone(),
        headers: sent.headers.clone().into_iter().collect(),
        received_at_ms: sent.received_at_ms,
        body: body.into_bytes(),
    }
}

/// One answer for each payload: its events, or the error.
fn answers(normalized: Normalized, payloads: usize) -> Vec<Value> {
    let mut answers = vec![json!({ "events": [] }); payloads];
    for event in normalized.events {
        let events = answers[event.row as usize]["events"].as_array_mut().expect("made above");
        events.push(fields_of(event));
    }
    for error in normalized.errors {
        answers[error.row as usize] = json!({ "error": error.message });
    }
    answers
}

/// What an event has, without what it lacks.
fn fields_of(event: normalize_rule::NewEvent) -> Value {
    let pairs = |all: Vec<(String, String)>| all.into_iter().map(|(key, value)| (key, json!(value))).collect::<Map<_, _>>();
    let fields = json!({
        "alert_name": event.alert_name,
        "description": (!event.description.is_empty()).then_some(event.description),
        "event_id": event.event_id,
        "plugin_id": event.plugin_id,
        "status": event.status,
        "time": event.time,
        "anomaly_time": event.anomaly_time,
        "severity": event.severity,
        "category": event.category,
        "target_type": event.target_type,
        "target": event.target,
        "bk_biz_id": event.bk_biz_id,
        "metric": event.metric,
        "dedupe_keys": event.dedupe_keys,
        "tags": pairs(event.tags.into_iter().map(|tag| (tag.key, tag.value)).collect()),
        "extra": event.extra.map(|extra| serde_json::from_str::<Value>(&extra).expect("extra is JSON")),
        "more": pairs(event.more),
    });
    let Value::Object(mut fields) = fields else { unreachable!("made above") };
    fields.retain(|_, value| match value {
        Value::Null => false,
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
        _ => true,
    });
    Value::Object(fields)
}

/// The output as one object for each row, in the form that cases expect.
fn changes(output: Output, writes: &[&str], rows: usize) -> Vec<Value> {
    let mut changes = vec![Map::new(); rows];
    let mut columns = output.patches.columns.iter();
    for field in writes.iter().filter(|field| !matches!(**field, "tags.*" | "drop")) {
        let column = columns.next().expect("a column for each written field");
        for (position, row) in output.patches.rows.iter().enumerate() {
            if let Some(value) = cell(column, position) {
                changes[*row as usize].insert(field.to_string(), value);
            }
        }
    }
    for (row, key, value) in output.patches.more_tags {
        let tags = changes[row as usize].entry("more_tags").or_insert_with(|| json!({}));
        tags[key] = json!(value);
    }
    for (row, key) in output.patches.removed_tags {
        let keys = changes[row as usize].entry("removed_tags").or_insert_with(|| json!([]));
        keys.as_array_mut().expect("made above").push(json!(key));
    }
    for (row, reason) in output.patches.drops {
        changes[row as usize].insert("drop".to_string(), json!(reason));
    }
    for error in output.errors {
        changes[error.row as usize].insert("error".to_string(), json!(error.message));
    }
    changes.into_iter().map(Value::Object).collect()
}

fn cell(column: &Column, position: usize) -> Option<Value> {
    let is_missing = |missing: &[u32]| missing.contains(&(position as u32));
    match column {
        Column::Text(column) if !is_missing(&column.missing) => {
            let start = if position == 0 { 0 } else { column.ends[position - 1] };
            let text = &column.heap[start as usize..column.ends[position] as usize];
            Some(json!(std::str::from_utf8(text).expect("text is UTF-8")))
        }
        Column::Integer(column) if !is_missing(&column.missing) => Some(json!(column.values[position])),
        _ => None,
    }
}
