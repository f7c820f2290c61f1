//! `rule-enrich` and `rule-dedupe`: what crossing into a component costs. The rules R1 (reads three fields, looks up a host
//! in a table of 10,000, sets four tags, maybe the severity) and R2 (a key of three fields) through the engine, against the
//! same lines (`rules/bench/logic`) in native code on the same rows; one thread, batches of 256.

use super::{GoalIs, Row, RowName};
use alertmill_core::event::{Event, Fingerprint, Tag};
use alertmill_core::fields::write_tag;
use alertmill_core::record::RuleSet;
use alertmill_core::row::{self, DedupeAnswer};
use alertmill_core::rules::{RuleChain, RuleSets};
use alertmill_core::value::{Text, Value};
use alertmill_engine::{Engine, Grant, RuleOptions};
use alertmill_stores::modules::ModuleFiles;
use anyhow::{Result, anyhow, ensure};
use bench_logic::samples::{self, Sample};
use bench_logic::{COLUMNS, TABLE, TAGS, r1_severity, r2_key};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const BATCH: usize = 256;
const EVENTS: usize = 16 * BATCH;
const TABLE_ROWS: u64 = 10_000;
const UNIT: &str = "ns per event";
const MODULES: [&[u8]; 2] = [include_bytes!("../../../../rules/dist/r1-enrich.wasm"), include_bytes!("../../../../rules/dist/r2-dedupe.wasm")];

/// Measures both rows.
pub fn measure(quick: bool) -> Result<Vec<Row>> {
    let rows: Vec<row::Row> = samples::events(EVENTS).into_iter().map(row).collect();
    let table = samples::table(TABLE_ROWS);
    let native_table: HashMap<String, [String; 5]> = table.iter().cloned().collect();
    let dir = tempfile::tempdir()?;
    let mut chain = chain(&table, ModuleFiles::open(dir.path())?)?;

    let native_enrich = |batch: &mut [row::Row]| batch.iter_mut().for_each(|row| r1(row, &native_table));
    let native_dedupe = |batch: &mut [row::Row]| batch.iter_mut().for_each(r2);
    same(&rows, &mut *chain, native_enrich, native_dedupe)?;

    let time = Duration::from_millis(if quick { 500 } else { 6_000 });
    let mut tally = Vec::new();
    let enrich = turns(time, &rows, native_enrich, |batch| chain.enrich_events(batch, &mut tally).expect(NEVER_HALTS));
    let dedupe = turns(time, &rows, native_dedupe, |batch| chain.dedupe(batch, &mut tally).expect(NEVER_HALTS));
    ensure!(tally.iter().all(|rule| rule.failed == 0), "a rule failed: {tally:?}");
    Ok(vec![
        Row::new(RowName::RuleEnrich, UNIT, enrich.0, enrich.1, 1.5, GoalIs::AtMost),
        Row::new(RowName::RuleDedupe, UNIT, dedupe.0, dedupe.1, 3.0, GoalIs::AtMost),
    ])
}

fn chain(table: &[(String, [String; 5])], files: ModuleFiles) -> Result<Box<dyn RuleChain>> {
    let mut csv = format!("ip,{}\n", COLUMNS.join(","));
    table.iter().for_each(|(key, values)| csv.push_str(&format!("{key},{}\n", values.join(","))));
    let table_digest = files.put(csv.as_bytes())?;
    for module in MODULES {
        files.put(module)?;
    }
    let engine = Engine::new(move |digest: &str| match files.get(digest) {
        Ok(bytes) => bytes.ok_or_else(|| format!("no file {digest}")),
        Err(error) => Err(error.to_string()),
    })?;
    let options = RuleOptions { grants: vec![Grant::Tables], ..RuleOptions::default() };
    let entry = |module: &&[u8]| Ok(options.to_entry(&engine.inspect(module).map_err(|refusal| anyhow!("{refusal}"))?));
    let rules = MODULES.iter().map(entry).collect::<Result<_>>()?;
    engine.register(RuleSet { generation: 1, rules, tables: vec![(Text::new_static(TABLE), Text::from(table_digest))], ..RuleSet::default() });
    Ok(engine.open(1)?)
}

fn row(sample: Sample) -> row::Row {
    let text = |text: &str| Value::from(text);
    row::Row {
        event: Event {
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
        },
        source: Text::new_static("bench"),
        received_at_ms: sample.time as i64 * 1_000,
        ordinal: 1,
        index: 0,
        seed: 0,
        dedupe: DedupeAnswer::Default,
        dedupe_rule: Text::default(),
        fingerprint: Fingerprint::default(),
        dropped: None,
        rejected: false,
        dead_letter: None,
        failures: Vec::new(),
        lasting: None,
        uid_if_reopened: None,
    }
}

fn r1(row: &mut row::Row, table: &HashMap<String, [String; 5]>) {
    let Some(host) = row.event.ip.as_text().and_then(|ip| table.get(ip)) else { return };
    let service = row.event.tag("service").and_then(Value::as_text);
    let severity = r1_severity(i64::from(row.event.severity_level()), service, &host[4]);
    for (key, value) in TAGS.iter().zip(host) {
        // All keys are good; `same` would show a refused one.
        let _ = write_tag(row, key, value);
    }
    if let Some(severity) = severity {
        row.event.severity = Value::Int(severity);
    }
}

fn r2(row: &mut row::Row) {
    let (host, service) = (row.event.tag("host"), row.event.tag("service"));
    let key = r2_key(row.event.alert_name.as_text().unwrap_or(""), host.and_then(Value::as_text), service.and_then(Value::as_text));
    row.dedupe = DedupeAnswer::Key(Text::from(key));
}

const NEVER_HALTS: &str = "the rules of the bench pass on what they cannot judge";

/// Both ways have to give the same rows, or the figures mean nothing.
fn same(rows: &[row::Row], chain: &mut dyn RuleChain, enrich: impl Fn(&mut [row::Row]), dedupe: impl Fn(&mut [row::Row])) -> Result<()> {
    let (mut ours, mut native) = (rows.to_vec(), rows.to_vec());
    chain.enrich_events(&mut ours, &mut Vec::new())?;
    chain.dedupe(&mut ours, &mut Vec::new())?;
    enrich(&mut native);
    dedupe(&mut native);
    for (a, b) in ours.iter().zip(&native) {
        let equal = (&a.event, &a.dedupe) == (&b.event, &b.dedupe);
        ensure!(a.failures.is_empty() && equal, "the engine gives {a:?}, native code {b:?}");
    }
    let changed = ours.iter().zip(rows).filter(|(a, b)| a.event != b.event).count();
    ensure!(changed * 2 > rows.len(), "R1 changed only {changed} of {} events", rows.len());
    Ok(())
}

/// Native and engine in turns over all batches until the time is up. Gives (engine, native) in ns per event, the sum of each
/// batch's fastest run, and the ratio of every pair of runs.
fn turns(time: Duration, rows: &[row::Row], mut native: impl FnMut(&mut [row::Row]), mut engine: impl FnMut(&mut [row::Row])) -> ((f64, f64), Vec<f64>) {
    let mut fastest = vec![(f64::MAX, f64::MAX); rows.len() / BATCH];
    let mut ratios = Vec::new();
    let end = Instant::now() + time;
    while Instant::now() < end {
        for (batch, (a, b)) in rows.chunks(BATCH).zip(&mut fastest) {
            let (native, engine) = (window(batch, &mut native), window(batch, &mut engine));
            (*a, *b) = (a.min(native), b.min(engine));
            ratios.push(engine / native);
        }
    }
    let per_event = |side: fn(&(f64, f64)) -> f64| fastest.iter().map(side).sum::<f64>() / rows.len() as f64;
    ((per_event(|w| w.1), per_event(|w| w.0)), ratios)
}

fn window(rows: &[row::Row], run: &mut impl FnMut(&mut [row::Row])) -> f64 {
    let mut rows = rows.to_vec();
    let started = Instant::now();
    run(&mut rows);
    started.elapsed().as_nanos() as f64
}
