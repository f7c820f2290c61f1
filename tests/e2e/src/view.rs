//! What the API shows: all alerts as they are stored, their events, dead letters, rules, the ledger.

use crate::Server;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Rows of a page.
const PAGE: usize = 1_000;

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

/// Pages of a list until there are no more.
#[track_caller]
fn pages<T: for<'de> Deserialize<'de>>(server: &mut Server, path: &str) -> Vec<T> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = server.get(&format!("{path}{separator}limit={PAGE}{cursor}"));
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        let page: Page<T> = answer.json();
        items.extend(page.items);
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// The documents of all alerts, byte for byte, by id.
#[track_caller]
pub fn documents(server: &mut Server) -> BTreeMap<String, String> {
    let all: Vec<Box<RawValue>> = pages(server, "/api/v1/alerts?view=full");
    let count = all.len();
    let by_id: BTreeMap<String, String> = all.into_iter().map(|document| (text(&parsed(&document), "id"), document.get().to_owned())).collect();
    assert_eq!(by_id.len(), count, "an alert is listed twice");
    by_id
}

/// All alerts, parsed.
#[track_caller]
pub fn alerts(server: &mut Server) -> Vec<Value> {
    pages(server, "/api/v1/alerts?view=full")
}

/// The only alert of this name, if there is one.
#[track_caller]
pub fn alert_named(server: &mut Server, name: &str) -> Option<Value> {
    let mut found: Vec<Value> = alerts(server).into_iter().filter(|alert| alert["alert_name"] == name).collect();
    assert!(found.len() <= 1, "{} alerts are named {name}: {found:?}", found.len());
    found.pop()
}

/// The events of an alert: role and document.
#[track_caller]
pub fn events(server: &mut Server, alert_id: &str) -> Vec<(String, Value)> {
    let rows: Vec<Value> = pages(server, &format!("/api/v1/alerts/{alert_id}/events"));
    rows.into_iter().map(|mut row| (text(&row, "role"), row["event"].take())).collect()
}

/// An event that an alert counts.
#[derive(Clone, Debug)]
pub struct CountedEvent {
    /// As it was sent.
    pub id: String,
    /// Its tag `version`, or nothing.
    pub version: String,
}

/// The events that an alert counts: as [`events`], for lists too long to be kept whole.
#[track_caller]
pub fn counted_events(server: &mut Server, alert_id: &str) -> Vec<CountedEvent> {
    #[derive(Deserialize)]
    struct Row {
        role: String,
        event: Event,
    }
    #[derive(Deserialize)]
    struct Event {
        event_id: String,
        #[serde(default)]
        tags: Vec<Tag>,
    }
    #[derive(Deserialize)]
    struct Tag {
        key: String,
        value: Value,
    }
    let rows: Vec<Row> = pages(server, &format!("/api/v1/alerts/{alert_id}/events"));
    let version = |tags: Vec<Tag>| tags.into_iter().find(|tag| tag.key == "version").and_then(|tag| tag.value.as_str().map(str::to_owned));
    let counted = rows.into_iter().filter(|row| counts(&row.role));
    counted.map(|row| CountedEvent { id: row.event.event_id, version: version(row.event.tags).unwrap_or_default() }).collect()
}

/// Whether events of this role count (I2: opened, updated, converged into or ended the alert).
pub fn counts(role: &str) -> bool {
    matches!(role, "opened" | "updated" | "late" | "ended")
}

/// A text member; panics when it is none.
#[track_caller]
pub fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("`{name}` is no text in {value}")).to_owned()
}

fn parsed(document: &RawValue) -> Value {
    serde_json::from_str(document.get()).expect("a document is JSON")
}

/// All dead letters as they are listed, oldest first.
#[track_caller]
pub fn dead_letters(server: &mut Server) -> Vec<Value> {
    pages(server, "/api/v1/dead-letters")
}

/// The same, each with its item.
#[track_caller]
pub fn whole_dead_letters(server: &mut Server) -> Vec<Value> {
    let ids: Vec<String> = dead_letters(server).iter().map(|letter| text(letter, "id")).collect();
    ids.iter().map(|id| server.json(&format!("/api/v1/dead-letters/{id}"))).collect()
}

/// A rule as it is listed, if it is.
#[track_caller]
pub fn rule(server: &mut Server, name: &str) -> Option<Value> {
    let rules = server.json("/api/v1/rules");
    rules["items"].as_array().expect("items").iter().find(|row| row["name"] == name).cloned()
}

/// The counters of one source, after checking that they add up.
#[track_caller]
pub fn source_counters(server: &mut Server, source: &str) -> Value {
    let ledger = server.json("/api/v1/pipeline/ledger");
    assert_eq!(ledger["balanced"], true, "the ledger does not add up: {ledger}");
    let sources = ledger["sources"].as_array().expect("sources");
    sources.iter().find(|row| row["name"] == source).unwrap_or_else(|| panic!("{source} is not in {ledger}"))["counters"].clone()
}

/// The counters of all sources together, after checking that they add up.
#[track_caller]
pub fn ledger(server: &mut Server) -> BTreeMap<String, u64> {
    let ledger = server.json("/api/v1/pipeline/ledger");
    assert_eq!(ledger["balanced"], true, "the ledger does not add up: {ledger}");
    let mut sums = BTreeMap::new();
    for source in ledger["sources"].as_array().expect("sources") {
        for (counter, value) in source["counters"].as_object().expect("counters") {
            *sums.entry(counter.clone()).or_insert(0) += value.as_u64().expect("a count");
        }
    }
    sums
}
