//! The state of one scenario: the real fold, what it has stored, and the alerts as they stand.

use super::Fingerprint;
use super::ops;
use super::vector::Step;
use alertmill_core::alert::LifecycleConfig;
use alertmill_core::event::Uid;
use alertmill_core::identity::Algorithm;
use alertmill_core::pipeline::fold::{Fold, FoldConfig};
use alertmill_core::pipeline::prepare::{Prepared, PreparedBody, PreparedRecord};
use alertmill_core::ports::{Commit, Restored};
use alertmill_core::record::DoorCounts;
use alertmill_core::row::Row;
use alertmill_core::value::Text;
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, HashSet};

/// The source that all events of a scenario come from.
const SOURCE: &str = "conformance";

/// What a step did, by the names of `expect`.
pub type Got = Map<String, Json>;

/// One scenario in progress.
pub struct World {
    /// The hash in use.
    pub algorithm: Algorithm,
    fold: Fold,
    known: HashSet<Uid>,
    ordinal: u64,
    /// Documents by `seq_id`, which is the order of creation.
    alerts: BTreeMap<u64, Json>,
    /// Log documents of the step in hand.
    logs: Vec<Json>,
}

impl World {
    /// A scenario's start. An error names configuration that nothing here would heed.
    pub fn new(config: &Map<String, Json>, fingerprint: Fingerprint) -> Result<World, String> {
        let mut lifecycle = LifecycleConfig::default();
        for (key, value) in config {
            match key.as_str() {
                "recover_window" => lifecycle.recover_window_s = value.as_i64().ok_or("config.recover_window is not a number")?,
                _ => return Err(format!("config not built: {key}")),
            }
        }
        let algorithm = match fingerprint {
            Fingerprint::BkMonitor => Algorithm::BkMonitor,
            Fingerprint::Keyed => Algorithm::Keyed,
        };
        let fold = Fold::restore(&Restored::default(), FoldConfig { lifecycle, converge_each: true, algorithm }).map_err(|e| e.to_string())?;
        Ok(World { algorithm, fold, known: HashSet::new(), ordinal: 0, alerts: BTreeMap::new(), logs: Vec::new() })
    }

    /// Does one step.
    pub fn step(&mut self, step: &Step) -> Result<Got, String> {
        self.logs.clear();
        match step.op.as_str() {
            "clean" => ops::clean::clean(self, step),
            "events" => ops::events::events(self, step),
            "tick" => ops::tick::tick(self, step),
            other => Err(format!("op not built: {other}")),
        }
    }

    /// True if an event of that uid was stored.
    pub fn is_known(&self, uid: &Uid) -> bool {
        self.known.contains(uid)
    }

    /// The place that the next record gets.
    pub fn next_ordinal(&self) -> u64 {
        self.ordinal + 1
    }

    /// Folds one record with at most one row in it.
    pub fn apply(&mut self, at_s: i64, row: Option<Row>) -> Commit {
        self.ordinal += 1;
        let rows: Vec<Row> = row.into_iter().collect();
        // Steps are told apart by what they know, not by how long they know it.
        let known = rows.iter().map(|row| self.known.contains(&row.event.uid).then_some(i64::MAX)).collect();
        let body = match rows.len() {
            0 => PreparedBody::Clock,
            n => PreparedBody::Items {
                source: Text::new_static(SOURCE),
                counts: DoorCounts::default(),
                journaled: n as u64,
                became: None,
                rows: n,
                dead_letters: Vec::new(),
            },
        };
        let record = PreparedRecord { ordinal: self.ordinal, received_at_ms: at_s * 1000, generation: 0, body };
        let commit = self.fold.apply(Prepared::new(vec![record], rows, Vec::new()), known);
        self.known.extend(commit.events.iter().map(|event| event.uid));
        for alert in &commit.alerts {
            self.alerts.insert(alert.seq, parse(&alert.document));
        }
        self.logs.extend(commit.logs.iter().map(|log| parse(&log.document)));
        commit
    }

    /// Puts the logs of one alert together, in the order in which the batch first touched each: upstream writes the logs of
    /// a batch alert by alert, and as documents they have no order between alerts.
    pub fn logs_by_alert(&mut self) {
        let mut order: Vec<Json> = Vec::new();
        for log in &self.logs {
            if !order.contains(&log["alert_id"]) {
                order.push(log["alert_id"].clone());
            }
        }
        self.logs.sort_by_key(|log| order.iter().position(|id| *id == log["alert_id"]));
    }

    /// Adds alerts and logs to what a step did, and writes alert ids as `A1`, `A2`.
    pub fn finish(&mut self, mut got: Got) -> Got {
        got.insert("alerts".to_owned(), self.alerts.values().cloned().collect());
        got.insert("logs".to_owned(), Json::Array(std::mem::take(&mut self.logs)));
        let mut ids: Vec<(String, String)> =
            self.alerts.values().enumerate().filter_map(|(i, alert)| Some((alert.get("id")?.as_str()?.to_owned(), format!("A{}", i + 1)))).collect();
        // One id can begin another, so the longer ones come first.
        ids.sort_by_key(|(id, _)| std::cmp::Reverse(id.len()));
        got.values_mut().for_each(|value| rename(value, &ids));
        got
    }
}

/// A document that the core wrote; one that is no JSON shows up as a difference.
pub fn parse(document: &[u8]) -> Json {
    serde_json::from_slice(document).unwrap_or_else(|_| json!(String::from_utf8_lossy(document)))
}

fn rename(value: &mut Json, ids: &[(String, String)]) {
    match value {
        Json::String(text) => {
            for (id, name) in ids {
                if text.contains(id.as_str()) {
                    *text = text.replace(id.as_str(), name);
                }
            }
        }
        Json::Array(list) => list.iter_mut().for_each(|element| rename(element, ids)),
        Json::Object(fields) => fields.values_mut().for_each(|field| rename(field, ids)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_core::identity::{alert_id, alert_seq};

    #[test]
    fn ids_are_named_by_order_of_creation_even_when_one_begins_another() {
        let mut world = World::new(&Map::new(), Fingerprint::BkMonitor).unwrap();
        let id = |ordinal| alert_id(1_700_000_000, alert_seq(ordinal, 0));
        for ordinal in [1, 10] {
            world.alerts.insert(alert_seq(ordinal, 0), json!({ "id": id(ordinal).as_str() }));
        }
        let (first, second) = (id(1), id(10));
        assert!(second.starts_with(first.as_str()));
        world.logs.push(json!({ "alert_id": second.as_str(), "text": format!("{second} follows {first}") }));
        let got = world.finish(Got::new());
        let expected = json!({ "alerts": [{ "id": "A1" }, { "id": "A2" }], "logs": [{ "alert_id": "A2", "text": "A2 follows A1" }] });
        assert_eq!(Json::Object(got), expected);
    }

    #[test]
    fn configuration_that_nothing_heeds_is_an_error() {
        let config = json!({ "recover_window": 300, "hosts": [] });
        let error = World::new(config.as_object().unwrap(), Fingerprint::BkMonitor).err();
        assert_eq!(error.as_deref(), Some("config not built: hosts"));
    }
}
