//! What counts as the same. Both sides are brought into one form, then every leaf is compared.

use super::Fingerprint;
use super::vector::Step;
use serde_json::{Map, Value as Json};
use std::fmt;

/// One place where expected and got differ; `None` is absent.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Such as `steps[0].alerts[1].end_time`.
    pub path: String,
    /// What upstream has there.
    pub expected: Option<Json>,
    /// What we have.
    pub got: Option<Json>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let text = |value: &Option<Json>| value.as_ref().map_or("nothing".to_owned(), Json::to_string);
        write!(f, "{}: expected {}, got {}", self.path, text(&self.expected), text(&self.got))
    }
}

/// Parts of `expect` that are compared, in the order in which differences are told.
const COMPARED: [&str; 15] = [
    "events_dropped",
    "events_saved",
    "derived",
    "anomalies",
    "triggered",
    "check_results",
    "last_checkpoints",
    "event",
    "cleaned",
    "events",
    "events_made",
    "alerts",
    "logs",
    "actions",
    "redis",
];
/// Parts that are not: residue of partial updates, mechanics of upstream's workers, names of exceptions.
const NOT_COMPARED: [&str; 6] = ["alert_docs", "check_tasks", "retry_events", "signals", "batch_error", "error"];
/// Lists whose order carries no meaning.
const UNORDERED: [&str; 4] = ["anomalies", "triggered", "events", "actions"];
/// Fields of alerts that are ours, or left out of the vectors.
const ALERT_FIELDS_LEFT_OUT: [&str; 5] = ["_snapshot", "seq_id", "event_count", "revision", "rule_generation"];

/// Fields of alerts that say the same when they are absent, null or false: nobody has acknowledged it.
const ALERT_FIELDS_OF_ACK: [&str; 4] = ["is_ack", "is_ack_noticed", "ack_operator", "ack_duration"];

/// All differences of one step. A part of `expect` that is not known is an error, so that nothing goes unseen.
pub fn step(at: usize, step: &Step, got: Map<String, Json>, fingerprint: Fingerprint) -> Result<Vec<Difference>, String> {
    if let Some(part) = step.expect.keys().find(|part| !COMPARED.contains(&part.as_str()) && !NOT_COMPARED.contains(&part.as_str())) {
        return Err(format!("expect.{part} is not known to this runner"));
    }
    let (expected, got) = (common_form(step.expect.clone(), fingerprint), common_form(got, fingerprint));
    let mut differences = Vec::new();
    for part in COMPARED {
        differ(format!("steps[{at}].{part}"), present(&expected, part), present(&got, part), &mut differences);
    }
    Ok(differences)
}

/// A part that is empty says as much as one that is absent.
fn present<'a>(parts: &'a Map<String, Json>, part: &str) -> Option<&'a Json> {
    parts.get(part).filter(|value| match value {
        Json::Null => false,
        Json::Array(list) => !list.is_empty(),
        Json::Object(fields) => !fields.is_empty(),
        _ => true,
    })
}

fn common_form(mut parts: Map<String, Json>, fingerprint: Fingerprint) -> Map<String, Json> {
    parts.retain(|part, _| COMPARED.contains(&part.as_str()));
    for alert in elements(&mut parts, "alerts") {
        let says_nothing = |value: &Json| value.is_null() || *value == Json::Bool(false);
        alert.retain(|field, value| !(ALERT_FIELDS_LEFT_OUT.contains(&field.as_str()) || ALERT_FIELDS_OF_ACK.contains(&field.as_str()) && says_nothing(value)));
    }
    for event in elements(&mut parts, "events_saved") {
        // The alias that a document is written to is the store's affair; `derived` has it as a decision.
        event.retain(|field, value| field != "_index" || !value.as_str().is_some_and(|index| index.starts_with("write_")));
    }
    for event in elements(&mut parts, "events_dropped") {
        event.retain(|field, _| field == "event_id" || field == "reason");
    }
    for event in elements(&mut parts, "derived") {
        if let Some(name) = event.get_mut("fingerprint_error") {
            *name = Json::Bool(true);
        }
    }
    if let Some(Json::Object(redis)) = parts.get_mut("redis") {
        redis.retain(|part, value| part == "qos" && value.as_object().is_some_and(|counters| !counters.is_empty()));
    }
    for part in UNORDERED {
        if let Some(Json::Array(list)) = parts.get_mut(part) {
            list.sort_by_cached_key(Json::to_string);
        }
    }
    let mut parts = Json::Object(parts);
    deep_form(&mut parts, fingerprint == Fingerprint::Keyed);
    match parts {
        Json::Object(parts) => parts,
        _ => Map::new(),
    }
}

fn elements<'a>(parts: &'a mut Map<String, Json>, part: &str) -> impl Iterator<Item = &'a mut Map<String, Json>> {
    parts.get_mut(part).and_then(Json::as_array_mut).into_iter().flatten().filter_map(Json::as_object_mut)
}

/// Sorts topology nodes, and hides hashes when they are another algorithm's.
fn deep_form(value: &mut Json, hide_hashes: bool) {
    match value {
        Json::Object(fields) => {
            if let Some(Json::Array(nodes)) = fields.get_mut("bk_topo_node") {
                nodes.sort_by_cached_key(Json::to_string);
            }
            fields.values_mut().for_each(|field| deep_form(field, hide_hashes));
            if hide_hashes {
                *fields = std::mem::take(fields).into_iter().map(|(key, field)| (hidden(&key), field)).collect();
            }
        }
        Json::Array(list) => list.iter_mut().for_each(|element| deep_form(element, hide_hashes)),
        Json::String(text) if hide_hashes => *text = hidden(text),
        _ => {}
    }
}

/// The text with every run of 32 hex digits between dots replaced.
fn hidden(text: &str) -> String {
    let is_hash = |part: &&str| part.len() == 32 && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let parts: Vec<&str> = text.split('.').map(|part| if is_hash(&part) { "(hash)" } else { part }).collect();
    parts.join(".")
}

fn differ(path: String, expected: Option<&Json>, got: Option<&Json>, out: &mut Vec<Difference>) {
    match (expected, got) {
        (None, None) => {}
        (Some(Json::Object(expected)), Some(Json::Object(got))) => {
            for (key, value) in expected {
                differ(format!("{path}.{key}"), Some(value), got.get(key), out);
            }
            for (key, value) in got.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                differ(format!("{path}.{key}"), None, Some(value), out);
            }
        }
        (Some(Json::Array(expected)), Some(Json::Array(got))) => {
            for i in 0..expected.len().max(got.len()) {
                differ(format!("{path}[{i}]"), expected.get(i), got.get(i), out);
            }
        }
        (Some(expected), Some(got)) if same(expected, got) => {}
        _ => out.push(Difference { path, expected: expected.cloned(), got: got.cloned() }),
    }
}

/// Leaves are the same when they are equal, numbers when their values are: 90 is 90.0.
fn same(expected: &Json, got: &Json) -> bool {
    match (expected, got) {
        (Json::Number(a), Json::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a == b,
            _ => a == b || a.as_f64().is_some_and(|a| Some(a) == b.as_f64()),
        },
        _ => expected == got,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn all(expected: Json, got: Json) -> Vec<String> {
        let mut out = Vec::new();
        differ("x".to_owned(), Some(&expected), Some(&got), &mut out);
        out.iter().map(Difference::to_string).collect()
    }

    #[test]
    fn every_leaf_counts() {
        assert!(all(json!({"a": [1, {"b": 90}], "c": null}), json!({"a": [1, {"b": 90.0}], "c": null})).is_empty());
        for (expected, got, told) in [
            (json!(1), json!(2), "x: expected 1, got 2"),
            (json!(1), json!(true), "x: expected 1, got true"),
            (json!("1"), json!(1), r#"x: expected "1", got 1"#),
            (json!(9007199254740993i64), json!(9007199254740992i64), "x: expected 9007199254740993, got 9007199254740992"),
            (json!({"a": null}), json!({}), "x.a: expected null, got nothing"),
            (json!({}), json!({"a": 0}), "x.a: expected nothing, got 0"),
            (json!([1]), json!([1, 2]), "x[1]: expected nothing, got 2"),
            (json!([{"a": "b"}]), json!([]), r#"x[0]: expected {"a":"b"}, got nothing"#),
            (json!({}), json!([]), "x: expected {}, got []"),
        ] {
            assert_eq!(all(expected, got), [told]);
        }
    }

    #[test]
    fn hashes_are_hidden_only_whole() {
        let hash = "35b80455af852164187d87fdcced5fa2";
        assert_eq!(hidden(hash), "(hash)");
        assert_eq!(hidden(&format!("0.ABNORMAL.2.{hash}")), "0.ABNORMAL.2.(hash)");
        assert_eq!(hidden(&format!("x{hash}")), format!("x{hash}"));
    }
}
