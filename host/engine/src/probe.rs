//! Whether a rule answers for a row the same whatever else it was asked: again, in another order, in two halves, one by one. Rules have to.
//! What rests on addresses, or on rows before, shows here most times; that nothing shows proves nothing.

use crate::chain::{Alerts, Chain, Placed};
use crate::engine::Engine;
use crate::options::RuleOptions;
use crate::refusal::Refusal;
use crate::rule::Rule;
use crate::tables::Table;
use alertmill_core::alert::{Alert, LifecycleConfig};
use alertmill_core::event::{Event, Tag};
use alertmill_core::fields::Field;
use alertmill_core::payload::{Normalized, Payload};
use alertmill_core::row::{AlertRow, Row, RuleFailure};
use alertmill_core::rules::{AlertChain, RuleChain};
use alertmill_core::value::{Text, Value};
use alertmill_core::verdict::Place;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Rows of a probe.
const ROWS: u32 = 64;
/// What texts are in them; the rest have none.
const TEXTS: [&str; 7] = ["web-1", "prod", "critical", "10.0.0.7", "3", "", "磁盘"];
/// Bodies for normalize rules.
const BODIES: [&str; 6] =
    [r#"{"alerts":[{"labels":{"alertname":"Probe","host":"web-1"}}]}"#, r#"[{"name":"a"},{"name":"b"}]"#, "{}", "[]", "a line\nanother", ""];

/// Two answers of one rule for one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Of this hook.
    pub hook: &'static str,
    /// Which of the probe's rows.
    pub row: usize,
    /// When it was asked otherwise: `again`, `in another order`, `in halves`, `alone`.
    pub how: &'static str,
    /// What differs: `tags.owner`, `dedupe`, `failures`, ...
    pub what: String,
    /// As it was first.
    pub first: Option<String>,
    /// And then.
    pub then: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |text: &Option<String>| text.as_deref().map_or("nothing".to_owned(), |text| crate::log::one_line(&text.chars().take(80).collect::<String>()));
        let Difference { hook, row, how, what, .. } = self;
        write!(out, "{hook}: row {row} asked {how}: `{what}` is {}, it was {}", shown(&self.then), shown(&self.first))
    }
}

/// What a rule made of a row, by name.
type Answer = BTreeMap<String, String>;

impl Engine {
    /// Asks a module about made-up rows in several ways; `tables` as for [`Engine::load`]. Costs the time of some two hundred calls.
    pub fn probe(&self, bytes: &[u8], options: &RuleOptions, tables: &[(Text, Arc<Table>)]) -> Result<Option<Difference>, Refusal> {
        let loaded = self.load(bytes, None, options, tables)?;
        let info = loaded.info().clone();
        let rule = loaded.into_rule();
        let of_hook = |hook: &(&'static str, Asked)| {
            let (name, asked) = *hook;
            let reads = info.hooks.iter().find(|known| known.hook == name).map(|known| known.reads.as_slice())?;
            asked(&rule, reads).map(|found| found.of(name))
        };
        Ok([("normalize", normalized as Asked), ("enrich-event", enriched), ("dedupe", keyed), ("enrich-alert", alerts_enriched)].iter().find_map(of_hook))
    }
}

/// One hook, in all ways.
type Asked = fn(&Arc<Rule>, &[String]) -> Option<Found>;

struct Found {
    how: &'static str,
    row: usize,
    first: Answer,
    then: Answer,
}

impl Found {
    fn of(self, hook: &'static str) -> Difference {
        let Found { how, row, first, then } = self;
        let what = first.keys().chain(then.keys()).find(|name| first.get(*name) != then.get(*name)).cloned().unwrap_or_default();
        Difference { hook, row, how, first: first.get(&what).cloned(), then: then.get(&what).cloned(), what }
    }
}

/// `ask` has one fresh instance for all the batches that it is given.
fn difference<T: Clone>(rows: &[T], ask: impl Fn(&[&[T]]) -> Vec<Answer>) -> Option<Found> {
    let first = ask(&[rows]);
    let (left, right) = rows.split_at(rows.len() / 2);
    let backwards: Vec<T> = rows.iter().rev().cloned().collect();
    let ways: [(&'static str, &dyn Fn() -> Vec<Answer>); 4] = [
        ("again", &|| ask(&[rows])),
        ("in another order", &|| ask(&[&backwards]).into_iter().rev().collect()),
        ("in halves", &|| ask(&[left, right])),
        ("alone", &|| rows.iter().flat_map(|row| ask(&[std::slice::from_ref(row)])).collect()),
    ];
    ways.into_iter().find_map(|(how, way)| {
        let (row, (first, then)) = first.iter().cloned().zip(way()).enumerate().find(|(_, (first, then))| first != then && !is_out(first) && !is_out(then))?;
        Some(Found { how, row, first, then })
    })
}

/// The rule failed on so many of these rows that it was put out: what it would have answered is not known.
fn is_out(answer: &Answer) -> bool {
    answer.get("failures").is_some_and(|kinds| kinds.contains("struck-out"))
}

fn normalized(rule: &Arc<Rule>, _: &[String]) -> Option<Found> {
    let payloads: Vec<Payload> = (0..).zip(BODIES).map(|(i, body)| payload(i, body)).collect();
    difference(&payloads, |batches| {
        let mut chain = Chain::new(&[Placed::alone(rule)]);
        let answers = batches.iter().flat_map(|batch| chain.normalize(batch, &mut Vec::new()).unwrap_or_default());
        let answer = |answer: Normalized| match answer {
            Normalized::Events(events) => ("events", format!("{events:?}")),
            Normalized::Failed(failure) => ("failures", failure.kind.to_string()),
            Normalized::Unclaimed => ("unclaimed", String::new()),
        };
        answers.map(answer).map(|(name, value)| Answer::from([(name.to_owned(), value)])).collect()
    })
}

fn enriched(rule: &Arc<Rule>, reads: &[String]) -> Option<Found> {
    difference(&rows(reads), |batches| {
        let mut chain = Chain::new(&[Placed::alone(rule)]);
        judged(batches, |rows| drop(chain.enrich_events(rows, &mut Vec::new())), of_row)
    })
}

fn keyed(rule: &Arc<Rule>, reads: &[String]) -> Option<Found> {
    difference(&rows(reads), |batches| {
        let mut chain = Chain::new(&[Placed::alone(rule)]);
        judged(batches, |rows| drop(chain.dedupe(rows, &mut Vec::new())), of_row)
    })
}

fn alerts_enriched(rule: &Arc<Rule>, reads: &[String]) -> Option<Found> {
    let alerts: Vec<AlertRow> = rows(reads).into_iter().map(opened).collect();
    difference(&alerts, |batches| {
        let Some(mut chain) = Alerts::of(&[Placed::alone(rule)]) else { return Vec::new() };
        judged(batches, |rows| drop(chain.enrich_alerts(rows, &mut Vec::new())), of_alert)
    })
}

fn judged<T: Clone>(batches: &[&[T]], mut judge: impl FnMut(&mut [T]), answer: impl Fn(&T) -> Answer) -> Vec<Answer> {
    let mut answers = Vec::new();
    for batch in batches {
        let mut rows = batch.to_vec();
        judge(&mut rows);
        answers.extend(rows.iter().map(&answer));
    }
    answers
}

fn of_row(row: &Row) -> Answer {
    let mut answer = fields(serde_json::to_value(row.event.document()).unwrap_or_default());
    answer.insert("dedupe".to_owned(), format!("{:?}", row.dedupe));
    answer.insert("drop".to_owned(), format!("{:?}", row.dropped));
    answer.insert("failures".to_owned(), kinds(&row.failures));
    answer
}

fn of_alert(row: &AlertRow) -> Answer {
    Answer::from([("alert".to_owned(), format!("{:?}", row.alert)), ("failures".to_owned(), kinds(&row.failures))])
}

/// What a failure says may have addresses in it; which one it is may not differ.
fn kinds(failures: &[RuleFailure]) -> String {
    failures.iter().map(|failure| failure.kind.as_str()).collect::<Vec<_>>().join(", ")
}

/// By name, tags each by its own.
fn fields(document: serde_json::Value) -> Answer {
    let mut answer = Answer::new();
    for (name, value) in document.as_object().into_iter().flatten() {
        match value.as_array().filter(|_| name == "tags") {
            None => drop(answer.insert(name.clone(), value.to_string())),
            Some(tags) => answer.extend(tags.iter().map(|tag| (format!("tags.{}", tag["key"].as_str().unwrap_or("")), tag["value"].to_string()))),
        }
    }
    answer
}

/// Rows with what a rule reads: every text in each field, in other company each time.
fn rows(reads: &[String]) -> Vec<Row> {
    (0..ROWS).map(|index| row(index, reads)).collect()
}

fn row(index: u32, reads: &[String]) -> Row {
    let received_at_ms = 1_700_000_000_000 + i64::from(index);
    let event = Event { time: Value::Int(1_700_000_000), create_time: 1_700_000_000, alert_name: Value::from("Probe"), ..Event::default() };
    let mut row = Row::new(event, Text::new_static("probe"), received_at_ms, Place { ordinal: 1, index }, i64::from(index) * 7_919);
    for (at, name) in reads.iter().enumerate() {
        let name = name.strip_prefix("event.").unwrap_or(name);
        let Some(text) = TEXTS.get((index as usize * 3 + at * 5) % (TEXTS.len() + 1)) else { continue };
        if name == "tags" {
            row.event.tags.extend([Tag::new("host", *text), Tag::new("service", "probe")]);
        } else if let Ok(field) = Field::parse_write(name) {
            // What a field does not take, it goes without.
            let _ = field.write_integer(&mut row, i64::from(index % 3) + 1).or_else(|_| field.write_text(&mut row, text));
        }
    }
    row
}

fn opened(row: Row) -> AlertRow {
    let (at, source, received_at_ms, seed, seq) = (row.place(), row.source.clone(), row.received_at_ms, row.seed, u64::from(row.index));
    AlertRow::new(Box::new(Alert::open(row, seq, received_at_ms / 1_000, 1, &LifecycleConfig::default())), at, source, received_at_ms, seed)
}

fn payload(ordinal: u64, body: &str) -> Payload {
    Payload {
        tenant: Text::new_static("system"),
        source: Text::new_static("probe"),
        content_type: Text::new_static("application/json"),
        headers: Vec::new(),
        received_at_ms: 1_700_000_000_000,
        body: body.as_bytes().into(),
        ordinal,
    }
}
