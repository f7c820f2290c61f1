//! A new alert from an event (docs/semantics.md, Fold: open).

use super::{Alert, LifecycleConfig, LogEntry};
use crate::event::{Status, Tag};
use crate::row::Row;
use crate::value::{Text, Value};

const DEFAULT_KEYS: [&str; 5] = ["alert_name", "strategy_id", "target_type", "target", "bk_biz_id"];
const NO_DATA_KEY: &str = "tags.__NO_DATA_DIMENSION__";

impl Alert {
    /// Opens an alert. `seq` comes from the event's place in the journal. The row's event becomes the representative one.
    pub fn open(row: Row, seq: u64, now_s: i64, generation: u64, config: &LifecycleConfig) -> Alert {
        let Row { event, fingerprint, dedupe_rule, lasting, .. } = row;
        let mut extra_info = match &event.extra_info {
            Value::Object(_) => event.extra_info.clone(),
            _ => Value::Object(Vec::new()),
        };
        let key_names = || event.dedupe_keys.iter().filter_map(Value::as_text);
        let agg: Vec<Value> = key_names().filter_map(|key| key.strip_prefix("tags.")).map(Value::from).collect();
        extra_info.set("agg_dimensions", Value::List(agg));
        let labels = match extra_info.path(&["strategy", "labels"]) {
            Some(labels) if labels.is_truthy() => labels.clone(),
            _ => Value::List(Vec::new()),
        };
        let mut dimensions: Vec<Tag> = key_names().filter(|key| !DEFAULT_KEYS.contains(key) && *key != NO_DATA_KEY).map(|key| dimension(&event, key)).collect();
        if let Some(Value::List(more)) = extra_info.get("additional_dimensions") {
            dimensions.extend(more.iter().filter_map(dimension_from_value));
        }
        Alert {
            seq,
            fingerprint,
            keyed_by: dedupe_rule.map(|rule| rule.name.clone()).unwrap_or_default(),
            dedupe_md5: event.dedupe_md5.clone().unwrap_or_else(|| fingerprint.to_hex()),
            tenant: event.tenant.clone(),
            alert_name: event.alert_name.clone(),
            strategy_id: event.strategy_id.clone(),
            status: Status::Abnormal,
            severity: event.severity_level(),
            severity_by_rule: false,
            create_time: now_s,
            update_time: now_s,
            begin_time: event.time_s(),
            latest_time: event.time_s(),
            first_anomaly_time: event.anomaly_time_or_time(),
            end_time: None,
            labels,
            dimensions,
            extra_info,
            is_blocked: false,
            next_status: Some((Status::Closed, now_s + config.close_after_s)),
            lasting,
            ended_by_us: false,
            ended_by: None,
            ack: None,
            requests: Vec::new(),
            written_bytes: 0,
            event_count: 1,
            revision: 1,
            rule_generation: generation,
            event,
        }
    }
}

impl Alert {
    /// The first entry of its log, when it is about to be stored. It tells the severity if that is a rule's.
    pub fn created(&self) -> LogEntry {
        let mut log = LogEntry::of_event(self.id(), "CREATE", self.create_time, &self.event);
        log.severity = self.severity_by_rule.then(|| Value::Int(i64::from(self.severity)));
        log
    }
}

/// One dimension: the key as in dedupe_keys; key and value stand in for display texts that were not sent.
fn dimension(event: &crate::event::Event, key: &str) -> Tag {
    let tag = key.strip_prefix("tags.").and_then(|name| event.tags.iter().rev().find(|tag| tag.key == name));
    let value = match tag {
        Some(tag) => tag.value.clone(),
        None if key.starts_with("tags.") => Value::Null,
        None => event.field(key),
    };
    let display_key = tag.and_then(|t| t.display_key.clone()).unwrap_or_else(|| Value::from(key));
    let display_value = tag.and_then(|t| t.display_value.clone()).unwrap_or_else(|| value.clone());
    Tag { key: Text::new(key), value, display_key: Some(display_key), display_value: Some(display_value) }
}

/// A dimension that the sender wrote out, as alerts hold it.
pub(super) fn dimension_from_value(value: &Value) -> Option<Tag> {
    Some(Tag {
        key: Text::new(value.get("key")?.as_text()?),
        value: value.get("value").cloned().unwrap_or_default(),
        display_key: value.get("display_key").cloned(),
        display_value: value.get("display_value").cloned(),
    })
}
