//! What is measured of rules: the rows that R1 and R2 run on, both rules through the engine, and the same lines
//! (`rules/bench/logic`) in native code. `benches/peers` compiles this file too, so that all are held against the same.

use alertmill_core::event::{Event, Tag};
use alertmill_core::fields::write_tag;
use alertmill_core::record::RuleSet;
use alertmill_core::row::{DedupeAnswer, Row};
use alertmill_core::rules::{RuleChain, RuleSets};
use alertmill_core::value::{Text, Value};
use alertmill_core::verdict::Place;
use alertmill_engine::{Engine, Grant, RuleOptions, Table};
use anyhow::{Result, anyhow};
use bench_logic::samples::{self, Sample};
use bench_logic::{COLUMNS, TABLE, TAGS, r1_severity, r2_key};
use std::collections::HashMap;
use std::sync::Arc;

/// Hosts in R1's table.
const TABLE_ROWS: u64 = 10_000;
const MODULES: [&[u8]; 2] = [include_bytes!("../../../../rules/dist/r1-enrich.wasm"), include_bytes!("../../../../rules/dist/r2-dedupe.wasm")];

/// R1's table, by key.
pub type Hosts = HashMap<String, [String; 5]>;

/// R1's table as native code has it.
pub fn hosts() -> Hosts {
    samples::table(TABLE_ROWS).into_iter().collect()
}

/// R1 and R2, ready to be called.
pub fn chain() -> Result<Box<dyn RuleChain>> {
    let mut csv = format!("ip,{}\n", COLUMNS.join(","));
    samples::table(TABLE_ROWS).iter().for_each(|(key, values)| csv.push_str(&format!("{key},{}\n", values.join(","))));
    let table = Arc::new(Table::parse(csv.as_bytes(), None)?);
    // It is handed all that it needs, so there is nothing to ask for by a digest.
    let table_digest = Text::new_static("hosts-of-the-bench");
    let engine = Engine::new(|digest: &str| Err(format!("no file {digest}")))?;
    engine.share_table(&table_digest, &table);
    let options = RuleOptions { grants: vec![Grant::Tables], ..RuleOptions::default() };
    let entry = |module: &&[u8]| Ok(options.to_entry(&engine.inspect(module).map_err(|refusal| anyhow!("{refusal}"))?));
    let rules = MODULES.iter().map(entry).collect::<Result<_>>()?;
    engine.register(RuleSet { generation: 1, rules, tables: vec![(Text::new_static(TABLE), table_digest)], ..RuleSet::default() });
    Ok(engine.open(1)?)
}

/// A sample as the pipeline has it before its rules.
pub fn row(sample: &Sample) -> Row {
    let text = |text: &str| Value::from(text);
    let event = Event {
        event_id: text(&sample.event_id),
        plugin_id: text(sample.plugin_id),
        alert_name: text(&sample.alert_name),
        description: text(&sample.description),
        time: Value::Int(sample.time as i64),
        severity: Value::Int(sample.severity),
        target: text(&sample.target),
        metric: Value::List(sample.metric.iter().map(|metric| text(metric)).collect()),
        category: Text::new(sample.category),
        ip: text(&sample.ip),
        bk_biz_id: Value::Int(sample.bk_biz_id),
        tags: sample.tags.iter().map(|(key, value)| Tag::new(key.as_str(), value.as_str())).collect(),
        ..Event::default()
    };
    Row::new(event, Text::new_static("bench"), sample.time as i64 * 1_000, Place { ordinal: 1, index: 0 }, 0)
}

/// R1 natively.
pub fn r1(row: &mut Row, hosts: &Hosts) {
    let Some(host) = row.event.ip.as_text().and_then(|ip| hosts.get(ip)) else { return };
    let service = row.event.tag("service").and_then(Value::as_text);
    let severity = r1_severity(i64::from(row.event.severity_level()), service, &host[4]);
    for (key, value) in TAGS.iter().zip(host) {
        // All keys are good; whoever compares both ways would see a refused one.
        let _ = write_tag(row, key, value);
    }
    if let Some(severity) = severity {
        row.event.severity = Value::Int(severity);
    }
}

/// R2 natively.
pub fn r2(row: &mut Row) {
    let (host, service) = (row.event.tag("host"), row.event.tag("service"));
    let key = r2_key(row.event.alert_name.as_text().unwrap_or(""), host.and_then(Value::as_text), service.and_then(Value::as_text));
    row.dedupe = DedupeAnswer::Key(Text::from(key));
}
