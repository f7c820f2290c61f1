//! What the tests share: the committed modules, an engine over files in memory, rows by their fields.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod bytes;
pub mod cases;
pub mod neighbour;
pub mod process;

use alertmill_core::alert::{Alert, LifecycleConfig};
use alertmill_core::event::{Event, Status, Tag};
use alertmill_core::fields::Field;
use alertmill_core::payload::{Normalized, Payload};
use alertmill_core::row::{AlertRow, Row};
use alertmill_core::rule_set::{RuleEntry, RuleSet};
use alertmill_core::rules::{AlertChain, RuleChain, RuleSets, RuleTally};
use alertmill_core::value::{Text, Value};
use alertmill_core::verdict::Place;
use alertmill_engine::{Engine, Grant, RuleOptions};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Where the committed modules are.
pub const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rules/dist");

/// Modules that `cargo xtask rules --check` has just built from the sources, and wants to be tested instead.
pub fn built() -> Option<String> {
    std::env::var("ALERTMILL_RULES_DIST").ok()
}

/// A module: `says` of `dist/test`, or a shipped rule of `dist`.
pub fn module(name: &str) -> Vec<u8> {
    module_of(&built().unwrap_or(COMMITTED.to_owned()), name)
}

/// A module of that folder.
pub fn module_of(dist: &str, name: &str) -> Vec<u8> {
    let read = |path: String| std::fs::read(&path).map_err(|e| format!("{path}: {e}"));
    read(format!("{dist}/test/{name}.wasm")).or_else(|_| read(format!("{dist}/{name}.wasm"))).unwrap()
}

/// A module of `fixtures`, made by a toolchain that the build does not need.
pub fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// An engine and its content-addressed files.
pub struct Bench {
    pub engine: Engine,
    files: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    generation: u64,
}

impl Bench {
    pub fn new() -> Bench {
        let files: Arc<Mutex<HashMap<String, Vec<u8>>>> = Arc::default();
        let read = files.clone();
        let engine = Engine::new(move |digest: &str| read.lock().unwrap().get(digest).cloned().ok_or(format!("no file of {digest}")));
        Bench { engine: engine.unwrap(), files, generation: 0 }
    }

    pub fn keep(&self, bytes: &[u8]) -> String {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        self.files.lock().unwrap().insert(digest.clone(), bytes.to_vec());
        digest
    }

    pub fn forget(&self, digest: &str) {
        self.files.lock().unwrap().remove(digest);
    }

    /// Registers the next generation of these rules and tables (name, CSV); gives its number.
    pub fn generation(&mut self, rules: &[(&str, RuleOptions)], tables: &[(&str, &str)]) -> u64 {
        let rules: Vec<_> = rules.iter().map(|(name, options)| (module(name), options.clone())).collect();
        self.generation_of(&rules, tables)
    }

    /// The same with the modules' bytes.
    pub fn generation_of(&mut self, rules: &[(Vec<u8>, RuleOptions)], tables: &[(&str, &str)]) -> u64 {
        self.generation_of_entries(rules.iter().map(|(bytes, options)| self.entry(bytes, options)).collect(), tables)
    }

    /// What a generation says of a module with these options.
    pub fn entry(&self, bytes: &[u8], options: &RuleOptions) -> RuleEntry {
        self.keep(bytes);
        options.to_entry(&self.engine.inspect(bytes).unwrap_or_else(|e| panic!("{e}")))
    }

    /// Registers the next generation of these entries.
    pub fn generation_of_entries(&mut self, rules: Vec<RuleEntry>, tables: &[(&str, &str)]) -> u64 {
        self.generation += 1;
        let set = RuleSet {
            generation: self.generation,
            rules,
            tables: tables.iter().map(|(name, csv)| (Text::new(name), Text::from(self.keep(csv.as_bytes())))).collect(),
            ..RuleSet::default()
        };
        self.engine.register(set);
        self.generation
    }

    pub fn chain(&mut self, rules: &[(&str, RuleOptions)], tables: &[(&str, &str)]) -> Box<dyn RuleChain> {
        let generation = self.generation(rules, tables);
        self.engine.open(generation).unwrap_or_else(|e| panic!("{e}"))
    }
}

impl Bench {
    pub fn alerts(&mut self, rules: &[(&str, RuleOptions)]) -> Option<Box<dyn AlertChain>> {
        let generation = self.generation(rules, &[]);
        self.engine.open_alerts(generation).unwrap_or_else(|e| panic!("{e}"))
    }
}

/// Options with every grant, and these keys over the defaults.
pub fn options(keys: serde_json::Value) -> RuleOptions {
    let mut all = json!({ "grants": [Grant::Log, Grant::Tables] });
    all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    RuleOptions::from_value(all).unwrap()
}

/// A row with nothing but its place.
pub fn empty_row(index: u32) -> Row {
    let event = Event { tenant: Text::new_static("system"), time: Value::Int(1_790_000_000), create_time: 1_790_000_001, ..Event::default() };
    Row::new(event, Text::new_static("test"), 1_790_000_001_000, Place { ordinal: 1, index }, i64::from(index) * 7_919)
}

/// A row with one tag.
pub fn tagged(index: u32, key: &str, value: &str) -> Row {
    let mut row = empty_row(index);
    row.event.alert_name = Value::from("CPU");
    row.event.tags.push(Tag::new(key, value));
    row
}

/// `count` rows, of which those at `at` carry the tag.
pub fn rows_with(count: u32, at: impl Fn(u32) -> bool, key: &str, value: &str) -> Vec<Row> {
    (0..count).map(|i| if at(i) { tagged(i, key, value) } else { tagged(i, "quiet", "yes") }).collect()
}

/// Sets fields by name, as cases spell them; also those that no rule may write.
pub fn set_fields(row: &mut Row, fields: &Map<String, serde_json::Value>) {
    for (name, value) in fields {
        let value = match value {
            serde_json::Value::String(text) => Value::from(text.as_str()),
            serde_json::Value::Number(n) => Value::Int(n.as_i64().expect("whole numbers")),
            other => panic!("{name}: {other}"),
        };
        let text = || value.as_text().map(Text::new).unwrap_or_default();
        match name.as_str() {
            "source" => row.source = text(),
            "plugin_id" => row.event.plugin_id = value,
            "event_id" => row.event.event_id = value,
            "strategy_id" => row.event.strategy_id = value,
            "data_type" => row.event.data_type = text(),
            "status" => row.event.status = Status::parse(&text()).expect("a status"),
            "time" => row.event.time = value,
            "severity" => row.event.severity = value,
            "alert_name" => row.event.alert_name = value,
            _ => match (Field::parse_write(name).unwrap(), value) {
                (field, Value::Int(n)) => field.write_integer(row, n).unwrap(),
                (field, value) => field.write_text(row, value.as_text().unwrap()).unwrap(),
            },
        }
    }
}

pub fn enrich(chain: &mut dyn RuleChain, rows: &mut [Row]) -> Vec<RuleTally> {
    let mut tally = Vec::new();
    chain.enrich_events(rows, &mut tally).unwrap();
    tally
}

pub fn dedupe(chain: &mut dyn RuleChain, rows: &mut [Row]) -> Vec<RuleTally> {
    let mut tally = Vec::new();
    chain.dedupe(rows, &mut tally).unwrap();
    tally
}

/// The last tag of that key.
pub fn tag(row: &Row, key: &str) -> Option<String> {
    row.event.tag(key).and_then(Value::as_text).map(str::to_owned)
}

/// Kinds of the failures on a row.
pub fn kinds(row: &Row) -> Vec<String> {
    row.failures.iter().map(|failure| failure.kind.to_string()).collect()
}

/// Small, and the same everywhere: SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// The alert that this event opens.
pub fn opened(row: Row) -> AlertRow {
    let (at, source, received_at_ms, seed, seq) = (row.place(), row.source.clone(), row.received_at_ms, row.seed, u64::from(row.index));
    let alert = Alert::open(row, seq, received_at_ms / 1_000, 1, &LifecycleConfig::default());
    AlertRow::new(Box::new(alert), at, source, received_at_ms, seed)
}

/// A JSON body of the source `hook`.
pub fn payload(body: &str) -> Payload {
    Payload {
        ordinal: 1,
        tenant: Text::new_static("system"),
        source: Text::new_static("hook"),
        content_type: Text::new_static("application/json"),
        headers: Vec::new(),
        received_at_ms: 1_790_000_001_000,
        body: body.as_bytes().into(),
    }
}

pub fn normalize(chain: &mut dyn RuleChain, payloads: &[Payload]) -> (Vec<Normalized>, Vec<RuleTally>) {
    let mut tally = Vec::new();
    (chain.normalize(payloads, &mut tally).unwrap(), tally)
}

pub fn enrich_alerts(chain: &mut dyn AlertChain, rows: &mut [AlertRow]) -> Vec<RuleTally> {
    let mut tally = Vec::new();
    chain.enrich_alerts(rows, &mut tally).unwrap();
    tally
}
