//! Documents against the recorded index bodies: every field that a document writes has its place in the mapping, or is one
//! of ours; and every value has the type that the mapping wants.

use alertmill_core::command::{Action, AlertRef, Command};
use alertmill_core::decode::decode_item;
use alertmill_core::identity::{Algorithm, UidKey, alert_seq};
use alertmill_core::pipeline::fold::{Fold, FoldConfig};
use alertmill_core::pipeline::prepare::prepare;
use alertmill_core::pipeline::understand::UnderstandConfig;
use alertmill_core::ports::{Commit, Restored};
use alertmill_core::record::{Door, DoorCounts, ItemSpan, Items, Journaled, Record, RecordBody};
use alertmill_core::rules::NoRules;
use serde_json::Value;

const MAPPING: &str = include_str!("../../../tests/conformance/mapping-reference.json");
/// Fields of alert documents that upstream does not have.
const OURS: [&str; 3] = ["event_count", "revision", "rule_generation"];

const ITEMS: [&str; 3] = [
    r#"{"event_id":"e1","alert_name":"Disk full","description":"90%","severity":2,"time":1700000000,"bk_biz_id":2,"target_type":"HOST","target":"10.0.0.1|0","category":"os","metric":"disk.used","tags":[{"key":"device","value":"sda","display_key":"Device"}],"dedupe_keys":["tags.device"],"ip":"10.0.0.1","extra_info":{"a":1}}"#,
    r#"{"event_id":"e2","alert_name":"Disk full","severity":1,"time":1700000010,"bk_biz_id":2,"target_type":"HOST","target":"10.0.0.1|0","tags":[{"key":"device","value":"sda"}],"dedupe_keys":["tags.device"]}"#,
    r#"{"event_id":"e3","alert_name":"Disk full","severity":1,"status":"RECOVERED","time":1700000020,"bk_biz_id":2,"target_type":"HOST","target":"10.0.0.1|0","tags":[{"key":"device","value":"sda"}],"dedupe_keys":["tags.device"]}"#,
];

fn record_of(ordinal: u64, texts: &[&str]) -> Record {
    let heap = texts.concat();
    let mut end = 0;
    let spans = texts.iter().enumerate().map(|(i, item)| {
        let start = end;
        end += item.len() as u32;
        ItemSpan { bytes: start..end, request_index: i as u32 }
    });
    let items = Items {
        tenant: "system".into(),
        source: "events".into(),
        door: Door::Events,
        idempotency_key: None,
        counts: DoorCounts { received: texts.len() as u64, refused: 0, duplicates: 0 },
        spans: spans.collect(),
        heap: heap.into_bytes().into(),
    };
    Record { ordinal, received_at_ms: 1_700_000_030_000, body: RecordBody::Items(items) }
}

/// The second event opens an alert of its own, which is acknowledged before the third one ends it.
fn folded() -> Commit {
    let command = Command {
        tenant: "system".into(),
        action: Action::Acknowledge,
        alerts: vec![AlertRef { create_time: 1_700_000_030, seq: alert_seq(1, 1) }],
        operator: "wang".into(),
        comment: "INC-881".into(),
        idempotency_key: None,
    };
    let acknowledged = Record { ordinal: 2, received_at_ms: 1_700_000_030_000, body: RecordBody::Command(command) };
    let records = [record_of(1, &ITEMS[..2]), acknowledged, record_of(3, &ITEMS[2..])];
    let config = UnderstandConfig { uid_key: UidKey([1; 16]), algorithm: Algorithm::Keyed };
    let prepared = prepare(&mut records.map(|record| Journaled { record, parsed: None }), 1, &mut NoRules, &config).expect("no rules");
    assert_eq!(prepared.rows.len(), ITEMS.len());
    let known = vec![None; prepared.rows.len()];
    Fold::restore(&Restored::default(), FoldConfig::default()).expect("an empty store").apply(prepared, known)
}

/// Every field of `document` that the mapping does not have, or whose value its type does not take.
fn strangers(document: &Value, properties: &Value, path: &str, found: &mut Vec<String>) {
    for (name, value) in document.as_object().into_iter().flatten() {
        let (place, mapping) = (format!("{path}{name}"), &properties[name]);
        if mapping.is_null() {
            found.push(format!("{place} has no mapping"));
        } else if mapping["enabled"] == false {
            continue;
        } else if !mapping["properties"].is_null() {
            for element in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
                strangers(element, &mapping["properties"], &format!("{place}."), found);
            }
        } else if !takes(mapping["type"].as_str().unwrap_or_default(), value) {
            found.push(format!("{place}: {value} is no {}", mapping["type"]));
        }
    }
}

fn takes(kind: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.iter().all(|element| takes(kind, element)),
        Value::Object(_) => false,
        _ => match kind {
            "date" | "integer" | "long" => value.is_i64(),
            "boolean" => value.is_boolean(),
            _ => value.is_string() || value.is_number(),
        },
    }
}

#[test]
fn documents_fit_the_recorded_mappings() {
    let mapping: Value = serde_json::from_str(MAPPING).expect("the recorded mapping");
    let commit = folded();
    assert_eq!((commit.alerts.len(), commit.events.len()), (2, 3));
    let mut found = Vec::new();
    for alert in &commit.alerts {
        let mut document: Value = serde_json::from_slice(&alert.document).expect("JSON");
        for name in OURS {
            assert!(document.as_object_mut().and_then(|fields| fields.remove(name)).is_some(), "{name} is missing");
        }
        strangers(&document, &mapping["bkfta_alert"]["mappings"]["properties"], "alert.", &mut found);
    }
    for event in &commit.events {
        let bytes = &commit.event_heap[event.document.start as usize..event.document.end as usize];
        let document: Value = serde_json::from_slice(bytes).expect("JSON");
        strangers(&document, &mapping["bkfta_event"]["mappings"]["properties"], "event.", &mut found);
    }
    // Display texts of tags travel in `_source`; upstream's mapping leaves them out too.
    found.retain(|place| !place.contains(".tags.display_"));
    assert!(found.is_empty(), "{found:#?}");
    let ended: Value = serde_json::from_slice(&commit.alerts[1].document).expect("JSON");
    assert_eq!((&ended["is_ack"], &ended["ack_operator"], &ended["status"]), (&true.into(), &"wang".into(), &"RECOVERED".into()));
}

#[test]
fn decode_of_journaled_bytes_needs_nothing_else() {
    for item in ITEMS {
        assert!(decode_item(Door::Events, item.as_bytes(), "system").is_ok());
    }
}
