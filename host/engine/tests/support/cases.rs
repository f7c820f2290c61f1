//! Cases in JSON (`rules/README.md` says what they look like), through the engine.

use super::{Bench, dedupe, empty_row, enrich, enrich_alerts, normalize, opened, options, set_fields};
use alertmill_core::alert_fields::AlertField;
use alertmill_core::event::Event;
use alertmill_core::fields::{RuleField, RuleRow};
use alertmill_core::payload::{NewEvent, Normalized, Payload};
use alertmill_core::row::{AlertRow, DedupeAnswer, Row, RuleFailure};
use alertmill_core::rules::RuleSets;
use alertmill_core::value::Text;
use alertmill_engine::Table;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A table: key, then column, then value.
type Rows = BTreeMap<String, BTreeMap<String, String>>;

/// One entry of a file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub rule: String,
    pub hook: String,
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    source: String,
    #[serde(default)]
    content_type: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    received_at_ms: i64,
    body: Value,
}

/// Checks that the module answers as the case says.
pub fn check(bench: &mut Bench, module: &[u8], case: &Case) {
    let at = format!("{} ({}, {})", case.name, case.rule, case.hook);
    let options = options(case.config.as_ref().map_or(json!({}), |config| json!({ "config": config })));
    // Every rule finds the tables of its manifest; a case without one gets an empty table, with the columns of the shipped rule.
    let tables = csv_tables(bench, module, case);
    if let Some(part) = &case.expect_init_error {
        let parsed: Vec<(Text, Arc<Table>)> =
            tables.iter().map(|(name, csv)| (Text::new(name), Arc::new(Table::parse(csv.as_bytes(), None).unwrap()))).collect();
        let error = bench.engine.load(module, None, &options, &parsed).err();
        let error = error.unwrap_or_else(|| panic!("{at}: init should fail with: {part}"));
        // What the schema sees, the host says before the rule can; the rule's own words are for what no schema can say.
        let is_said = error.code() == "config-invalid" || error.code() == "init-failed" && error.to_string().contains(part.as_str());
        return assert!(is_said, "{at}: the error is: {error} ({})", error.code());
    }
    let tables: Vec<(&str, &str)> = tables.iter().map(|(name, csv)| (name.as_str(), csv.as_str())).collect();
    let generation = bench.generation_of(&[(module.to_vec(), options)], &tables);
    assert_eq!(case.rows.len() + case.payloads.len(), case.expect.len(), "{at}: one expectation for each row or payload");
    match case.hook.as_str() {
        "normalize" => normalizes(&at, bench, generation, case),
        "enrich-event" => enriches(&at, bench, generation, case),
        "dedupe" => keys(&at, bench, generation, case),
        "enrich-alert" => enriches_alerts(&at, bench, generation, case),
        other => panic!("{at}: `{other}` is no hook"),
    }
}

fn normalizes(at: &str, bench: &Bench, generation: u64, case: &Case) {
    let payloads: Vec<Payload> = case.payloads.iter().map(payload).collect();
    let mut chain = bench.engine.open(generation).unwrap_or_else(|e| panic!("{at}: {e}"));
    let (answers, _) = normalize(&mut *chain, &payloads);
    for (i, (answer, expected)) in answers.into_iter().zip(&case.expect).enumerate() {
        let ours = match answer {
            Normalized::Unclaimed => json!("unclaimed"),
            Normalized::Failed(failure) => failed(&failure),
            Normalized::Events(events) => json!({ "events": events.into_iter().map(fields_of).collect::<Vec<_>>() }),
        };
        assert_eq!(&ours, expected, "{at}: payload {i}, left is the rule's answer");
    }
}

fn keys(at: &str, bench: &Bench, generation: u64, case: &Case) {
    let mut rows = rows(case);
    let mut chain = bench.engine.open(generation).unwrap_or_else(|e| panic!("{at}: {e}"));
    dedupe(&mut *chain, &mut rows);
    for (row, expected) in rows.iter().zip(&case.expect) {
        let answer = match (&row.dedupe, row.failures.first()) {
            (_, Some(failure)) => failed(failure),
            (DedupeAnswer::Default, None) => json!("default"),
            (DedupeAnswer::Unique, None) => json!("unique"),
            (DedupeAnswer::Key(key), None) => json!({ "key": key.as_str() }),
        };
        assert_eq!(&answer, expected, "{at}: row {}, left is the rule's answer", row.index);
    }
}

fn enriches(at: &str, bench: &Bench, generation: u64, case: &Case) {
    let (mut rows, wanted) = (rows(case), rows(case));
    let mut chain = bench.engine.open(generation).unwrap_or_else(|e| panic!("{at}: {e}"));
    enrich(&mut *chain, &mut rows);
    for ((mut ours, mut wanted), expected) in rows.into_iter().zip(wanted).zip(&case.expect) {
        let at = format!("{at}: row {}", ours.index);
        let expected = expected.as_object().expect("an object");
        assert_eq!(ours.dropped.as_ref().map(|dropped| dropped.reason.as_str()), expected.get("drop").and_then(Value::as_str), "{at}");
        same_failure(&at, &ours.failures, expected);
        change(&mut wanted, expected, |row, fields| set_fields(row, &fields));
        for row in [&mut ours, &mut wanted] {
            sort_tags(&mut row.event);
        }
        assert_eq!(ours.event, wanted.event, "{at}, left is the rule's answer");
    }
}

fn enriches_alerts(at: &str, bench: &Bench, generation: u64, case: &Case) {
    let alerts = || rows(case).into_iter().map(opened).collect::<Vec<AlertRow>>();
    let (mut rows, wanted) = (alerts(), alerts());
    let chain = bench.engine.open_alerts(generation).unwrap_or_else(|e| panic!("{at}: {e}"));
    enrich_alerts(&mut *chain.expect("a rule over alerts"), &mut rows);
    for (i, ((ours, mut wanted), expected)) in rows.into_iter().zip(wanted).zip(&case.expect).enumerate() {
        let at = format!("{at}: alert {i}");
        let expected = expected.as_object().expect("an object");
        same_failure(&at, &ours.failures, expected);
        change(&mut wanted, expected, |row, fields| {
            for (name, value) in fields {
                let field = AlertField::parse_write(&name).unwrap_or_else(|e| panic!("{at}: {e}"));
                let written = match value.as_i64() {
                    Some(n) => RuleField::write_integer(&field, row, n),
                    None => RuleField::write_text(&field, row, value.as_str().expect("text or a whole number")),
                };
                written.unwrap_or_else(|e| panic!("{at}: {e}"));
            }
        });
        // The order in which things were written does not show in an alert but for its dimensions.
        let sorted = |mut row: AlertRow| {
            row.alert.dimensions.sort_by(|a, b| a.key.cmp(&b.key));
            row.alert
        };
        assert_eq!(sorted(ours), sorted(wanted), "{at}, left is the rule's answer");
    }
}

/// Makes the expected changes to the row as it was.
fn change<R: RuleRow>(wanted: &mut R, expected: &Map<String, Value>, set: impl FnOnce(&mut R, Map<String, Value>)) {
    for key in expected.get("removed_tags").and_then(Value::as_array).into_iter().flatten() {
        wanted.remove_tag(key.as_str().unwrap());
    }
    let special = ["drop", "error", "failure", "removed_tags", "more_tags"];
    let fields = expected.iter().filter(|(key, _)| !special.contains(&key.as_str()));
    set(wanted, fields.map(|(key, value)| (key.clone(), value.clone())).collect());
    for (key, value) in expected.get("more_tags").and_then(Value::as_object).into_iter().flatten() {
        wanted.write_tag(key, value.as_str().unwrap()).unwrap();
    }
}

/// `error` is what the rule said, `failure` the kind of any other.
fn same_failure(at: &str, failures: &[RuleFailure], expected: &Map<String, Value>) {
    let wanted: Map<String, Value> =
        expected.iter().filter(|(key, _)| ["error", "failure"].contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
    let ours = failures.first().map_or(json!({}), failed);
    assert_eq!(ours, Value::Object(wanted), "{at}: {failures:?}");
}

fn failed(failure: &RuleFailure) -> Value {
    match failure.kind.as_str() {
        "row-error" => json!({ "error": failure.message.as_str() }),
        kind => json!({ "failure": kind }),
    }
}

fn rows(case: &Case) -> Vec<Row> {
    let row = |(index, fields): (u32, &Map<String, Value>)| {
        let mut row = empty_row(index);
        // An alert's fields are those of the event that opens it.
        let fields = fields.iter().map(|(name, value)| (name.strip_prefix("event.").unwrap_or(name).to_owned(), value.clone()));
        set_fields(&mut row, &fields.collect());
        row
    };
    (0..).zip(&case.rows).map(row).collect()
}

fn sort_tags(event: &mut Event) {
    event.tags.sort_by(|a, b| a.key.cmp(&b.key));
}

fn payload(sent: &Sent) -> Payload {
    let body = match &sent.body {
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    Payload {
        tenant: Text::new_static("system"),
        source: Text::new(&sent.source),
        content_type: Text::new(&sent.content_type),
        headers: sent.headers.iter().map(|(name, value)| (Text::new(name), Text::new(value))).collect(),
        received_at_ms: sent.received_at_ms,
        ordinal: 0,
        body: body.into_bytes().into(),
    }
}

/// What an event has, without what it lacks.
fn fields_of(event: NewEvent) -> Value {
    let text = |text: &Option<Text>| text.as_ref().map(|text| json!(text.as_str()));
    let texts = |texts: &[Text]| json!(texts.iter().map(Text::as_str).collect::<Vec<_>>());
    let pairs = |all: &[(Text, Text)]| all.iter().map(|(key, value)| (key.to_string(), json!(value.as_str()))).collect::<Map<_, _>>();
    let fields = json!({
        "alert_name": event.alert_name.as_str(),
        "description": (!event.description.is_empty()).then(|| event.description.as_str()),
        "event_id": text(&event.event_id),
        "plugin_id": text(&event.plugin_id),
        "status": text(&event.status),
        "time": event.time,
        "anomaly_time": event.anomaly_time,
        "severity": event.severity,
        "category": text(&event.category),
        "target_type": text(&event.target_type),
        "target": text(&event.target),
        "bk_biz_id": event.bk_biz_id,
        "metric": texts(&event.metric),
        "dedupe_keys": texts(&event.dedupe_keys),
        "tags": pairs(&event.tags),
        "extra": event.extra.as_ref().map(|extra| serde_json::from_str::<Value>(extra).expect("extra is JSON")),
        "more": pairs(&event.more),
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

fn csv_tables(bench: &Bench, module: &[u8], case: &Case) -> Vec<(String, String)> {
    let mut tables: BTreeMap<String, Rows> = case.tables.clone();
    for name in bench.engine.inspect(module).unwrap_or_else(|e| panic!("{}: {e}", case.rule)).tables {
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
