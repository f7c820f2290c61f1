//! What crossing into a component costs: the bench rules R1 (enrich) and R2 (dedupe) through the engine and natively, in
//! turns in one process, batches of 256, one thread.
//!
//! `cargo run --release -p alertmill-engine --example shape_cost [SECONDS] [FOLDER OF MODULES]`

use alertmill_core::event::{Event, Tag};
use alertmill_core::fields::write_tag;
use alertmill_core::record::RuleSet;
use alertmill_core::row::{DedupeAnswer, Row};
use alertmill_core::rules::{RuleChain, RuleSets};
use alertmill_core::value::{Text, Value};
use alertmill_engine::{Engine, Grant, RuleOptions};
use bench_logic::samples::{self, Sample};
use bench_logic::{COLUMNS, TABLE, TAGS, r1_severity, r2_key};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const BATCH: usize = 256;
const EVENTS: usize = 16 * BATCH;

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(8);
    let rows: Vec<Row> = samples::events(EVENTS).into_iter().map(row).collect();
    let table = samples::table(10_000);
    let native_table: HashMap<String, [String; 5]> = table.iter().cloned().collect();
    let mut chain = chain(&table);

    let native_enrich = |batch: &mut [Row]| batch.iter_mut().for_each(|row| r1(row, &native_table));
    let native_dedupe = |batch: &mut [Row]| batch.iter_mut().for_each(r2);
    same(&rows, &mut *chain, native_enrich, native_dedupe);

    let half = Duration::from_secs(seconds) / 2;
    let mut tally = Vec::new();
    let enrich = Turns::run(half, &rows, native_enrich, |batch| chain.enrich_events(batch, &mut tally));
    let dedupe = Turns::run(half, &rows, native_dedupe, |batch| chain.dedupe(batch, &mut tally));
    println!("ns per event at batch {BATCH}: fastest run of each window, and the median of the windows' ratios");
    enrich.print("rule-enrich", 1.5);
    dedupe.print("rule-dedupe", 3.0);
    for rule in &tally {
        println!("{}: on average {} ns per event between lowering and lifting", rule.rule, rule.nanos / rule.rows);
    }
}

fn chain(table: &[(String, [String; 5])]) -> Box<dyn RuleChain> {
    let mut csv = format!("ip,{}\n", COLUMNS.join(","));
    table.iter().for_each(|(key, values)| csv.push_str(&format!("{key},{}\n", values.join(","))));
    let mut files: HashMap<String, Vec<u8>> = HashMap::new();
    let mut keep = |bytes: Vec<u8>| {
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        files.insert(digest.clone(), bytes);
        digest
    };
    let dist = std::env::args().nth(2).unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../rules/dist").to_owned());
    let modules: Vec<Vec<u8>> =
        ["r1-enrich", "r2-dedupe"].iter().map(|name| std::fs::read(format!("{dist}/{name}.wasm")).expect("rules/dist is built")).collect();
    modules.iter().for_each(|bytes| drop(keep(bytes.clone())));
    let table_digest = keep(csv.into_bytes());
    let engine = Engine::new(move |digest: &str| files.get(digest).cloned().ok_or_else(|| format!("no file {digest}"))).expect("an engine");
    let options = RuleOptions { grants: vec![Grant::Tables], ..RuleOptions::default() };
    let started = Instant::now();
    let rules = modules.iter().map(|bytes| options.to_entry(&engine.inspect(bytes).expect("a rule"))).collect();
    println!("two modules checked and compiled in {:.0?}", started.elapsed());
    engine.register(RuleSet { generation: 1, rules, tables: vec![(Text::new(TABLE), Text::from(table_digest))] });
    engine.prepare(1).expect("the rules load");
    let started = Instant::now();
    let mut chain = engine.open(1).expect("the rules are loaded");
    let mut first = [row(samples::events(1).remove(0))];
    chain.enrich_events(&mut first, &mut Vec::new());
    chain.dedupe(&mut first, &mut Vec::new());
    println!("a chain opened, with its two instances, in {:.0?}", started.elapsed());
    chain
}

fn row(sample: Sample) -> Row {
    let text = |text: &str| Value::from(text);
    Row {
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
        fingerprint: Default::default(),
        dropped: None,
        severity_by_rule: false,
        failures: Vec::new(),
        lasting: None,
        uid_if_reopened: None,
    }
}

fn r1(row: &mut Row, table: &HashMap<String, [String; 5]>) {
    let Some(host) = row.event.ip.as_text().and_then(|ip| table.get(ip)) else { return };
    let service = row.event.tag("service").and_then(Value::as_text);
    let severity = r1_severity(i64::from(row.event.severity_level()), service, &host[4]);
    for (key, value) in TAGS.iter().zip(host) {
        write_tag(row, key, value).expect("a good tag");
    }
    if let Some(severity) = severity {
        row.event.severity = Value::Int(severity);
        row.severity_by_rule = true;
    }
}

fn r2(row: &mut Row) {
    let (host, service) = (row.event.tag("host"), row.event.tag("service"));
    let key = r2_key(row.event.alert_name.as_text().unwrap_or(""), host.and_then(Value::as_text), service.and_then(Value::as_text));
    row.dedupe = DedupeAnswer::Key(Text::from(key));
}

/// Both ways have to give the same rows, or the figures mean nothing.
fn same(rows: &[Row], chain: &mut dyn RuleChain, enrich: impl Fn(&mut [Row]), dedupe: impl Fn(&mut [Row])) {
    let (mut ours, mut native) = (rows.to_vec(), rows.to_vec());
    chain.enrich_events(&mut ours, &mut Vec::new());
    chain.dedupe(&mut ours, &mut Vec::new());
    enrich(&mut native);
    dedupe(&mut native);
    let changed = ours.iter().zip(rows).filter(|(a, b)| a.event != b.event).count();
    for (a, b) in ours.iter().zip(&native) {
        assert!(a.failures.is_empty(), "{:?}", a.failures);
        assert_eq!((&a.event, &a.dedupe, a.severity_by_rule), (&b.event, &b.dedupe, b.severity_by_rule));
    }
    println!("{} events, {changed} changed by R1, all the same both ways", rows.len());
}

/// Native and engine in turns, so that a slow moment of the machine hits both.
struct Turns {
    native: f64,
    engine: f64,
    ratios: Vec<f64>,
}

impl Turns {
    /// Each batch of events is a window; the sum of each window's fastest run, as wasm-interface.md measured.
    fn run(time: Duration, rows: &[Row], mut native: impl FnMut(&mut [Row]), mut engine: impl FnMut(&mut [Row])) -> Turns {
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
        ratios.sort_by(f64::total_cmp);
        let sum = |side: fn(&(f64, f64)) -> f64| fastest.iter().map(side).sum::<f64>() / rows.len() as f64;
        Turns { native: sum(|w| w.0), engine: sum(|w| w.1), ratios }
    }

    fn print(&self, name: &str, goal: f64) {
        let ratio = self.engine / self.native;
        let median = self.ratios[self.ratios.len() / 2];
        let met = if ratio <= goal { "met" } else { "NOT met" };
        println!(
            "{name}: native {:.0}, engine {:.0}, ratio {ratio:.2} (median {median:.2}, {} windows), goal {goal}: {met}",
            self.native,
            self.engine,
            self.ratios.len()
        );
    }
}

fn window(rows: &[Row], run: &mut impl FnMut(&mut [Row])) -> f64 {
    let mut rows = rows.to_vec();
    let started = Instant::now();
    run(&mut rows);
    started.elapsed().as_nanos() as f64
}
