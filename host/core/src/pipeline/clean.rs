//! Clean: one item becomes one event, by upstream's coercions (docs/semantics.md, Clean). Total: any JSON gives an event
//! or a reason.
//!
//! Two steps, because upstream fails in two places: [`clean`] refuses what upstream ignores with a log line, and
//! [`check_poison`] what passes there and then takes a whole batch down.

mod poison;
mod tags;

pub use poison::{check_dedupe_keys, check_document, check_poison};

use crate::event::{Event, Status, Uid};
use crate::identity::Algorithm;
use crate::item::{Item, ItemField};
use crate::pipeline::fingerprint::{dedupe_keys, uid_bk_monitor};
use crate::python::{lower_is, text_of, to_int, upper_is};
use crate::value::{Text, Value};
use std::collections::HashSet;

/// Why an item makes no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CleanError {
    /// A field that must be there is absent or null.
    #[error("{field} is absent or null")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// Neither `time` nor `bk_ingest_time` is there.
    #[error("time is absent, and bk_ingest_time too")]
    NoTime,
    /// A field that must be text is something else.
    #[error("{field} is not a text")]
    NotText {
        /// Which.
        field: &'static str,
    },
    /// A field that must be a number is something else.
    #[error("{field} is not a number of seconds")]
    NotNumber {
        /// Which.
        field: &'static str,
    },
    /// A field that must be an integer, or the text of one, is something else.
    #[error("{field} is not an integer")]
    NotInteger {
        /// Which.
        field: &'static str,
    },
    /// `tags` is no list.
    #[error("tags is not a list")]
    TagsNotList,
    /// A tag is no object.
    #[error("tags[{index}] is not an object")]
    TagNotObject {
        /// Its place in the list.
        index: usize,
    },
    /// A tag lacks a field.
    #[error("tags[{index}].{field} is absent")]
    TagIncomplete {
        /// Its place in the list.
        index: usize,
        /// `key` or `value`.
        field: &'static str,
    },
    /// A dedupe key is no text, so that there is no fingerprint.
    #[error("dedupe_keys[{index}] is not a text")]
    DedupeKeyNotText {
        /// Its place in the list.
        index: usize,
    },
}

impl CleanError {
    /// A code that stays the same over versions.
    pub const fn code(&self) -> &'static str {
        match self {
            CleanError::Missing { .. } => "missing-field",
            CleanError::NoTime => "no-time",
            CleanError::NotText { .. } => "not-text",
            CleanError::NotNumber { .. } => "not-number",
            CleanError::NotInteger { .. } => "not-integer",
            CleanError::TagsNotList => "tags-not-list",
            CleanError::TagNotObject { .. } => "tag-not-object",
            CleanError::TagIncomplete { .. } => "tag-incomplete",
            CleanError::DedupeKeyNotText { .. } => "dedupe-key-not-text",
        }
    }
}

/// The labels that `category` may have; anything else becomes `other_rt`.
const CATEGORIES: [&str; 12] = [
    "os",
    "host_process",
    "host_device",
    "component",
    "service_process",
    "service_module",
    "application_check",
    "uptimecheck",
    "apm",
    "hardware_device",
    "other_rt",
    "kubernetes",
];

/// Makes an event of an item that was received at `now_s`.
///
/// Under `BkMonitor` the uid is set and a `dedupe_md5` of the sender is trusted; under `Keyed` the uid stays zero, for the
/// caller to set, and such a field counts for nothing.
pub fn clean(mut item: Item, now_s: i64, algorithm: Algorithm) -> Result<Event, CleanError> {
    use ItemField as F;
    let target_type = target_type(item.take(F::TargetType))?;
    let metric = metric(item.take(F::Metric));
    let data_type = data_type(item.take(F::DataType))?;
    let strategy_id = item.take(F::StrategyId);
    let dedupe_keys = dedupe_keys(strategy_id.is_truthy(), item.take(F::DedupeKeys));
    let status = status(item.take(F::Status))?;
    let severity = severity(item.get(F::Severity));
    let tags = tags::tags(item.take(F::Tags))?;
    let bk_ingest_time = item.take(F::BkIngestTime);
    let time = match item.take(F::Time) {
        Value::Null if bk_ingest_time.is_null() => return Err(CleanError::NoTime),
        Value::Null => bk_ingest_time.clone(),
        time => time,
    };
    let category = category(item.take(F::Category))?;
    let plugin_id = required(item.take(F::PluginId), "plugin_id")?;
    let event_id = required(item.take(F::EventId), "event_id")?;
    let tenant = match item.take(F::BkTenantId) {
        Value::Text(text) if !text.is_empty() => text,
        other if other.is_truthy() => Text::new(text_of(&other)),
        _ => Text::new_static("system"),
    };
    let unknown = named(std::mem::take(&mut item.unknown), &dedupe_keys);

    let mut event = Event {
        uid: Uid::default(),
        tenant,
        event_id,
        plugin_id,
        strategy_id,
        alert_name: item.take(F::AlertName),
        description: item.take(F::Description),
        severity,
        data_type,
        tags,
        target_type,
        target: item.take(F::Target),
        assignee: item.take(F::Assignee),
        status,
        metric,
        category,
        dedupe_keys,
        dedupe_md5: None,
        time,
        anomaly_time: item.take(F::AnomalyTime),
        bk_ingest_time,
        bk_clean_time: item.take(F::BkCleanTime),
        create_time: now_s,
        bk_biz_id: item.take(F::BkBizId),
        ip: item.take(F::Ip),
        ipv6: item.take(F::Ipv6),
        bk_cloud_id: item.take(F::BkCloudId),
        bk_host_id: item.take(F::BkHostId),
        bk_service_instance_id: item.take(F::BkServiceInstanceId),
        bk_topo_node: item.take(F::BkTopoNode),
        extra_info: item.take(F::ExtraInfo),
        unknown,
    };
    if algorithm == Algorithm::BkMonitor {
        event.uid = uid_bk_monitor(&event);
        event.dedupe_md5 = match item.take(F::DedupeMd5) {
            Value::Text(text) if !text.is_empty() => Some(text),
            other if other.is_truthy() => Some(Text::new(text_of(&other))),
            _ => None,
        };
    }
    if let Some(level) = dynamic_severity(&event.extra_info) {
        event.severity = level;
    }
    Ok(event)
}

/// Those of the fields without a meaning that a dedupe key names.
fn named(mut unknown: Vec<(Text, Value)>, dedupe_keys: &[Value]) -> Vec<(Text, Value)> {
    if !unknown.is_empty() {
        let names: HashSet<&str> = dedupe_keys.iter().filter_map(Value::as_text).collect();
        unknown.retain(|(name, _)| names.contains(name.as_str()));
    }
    unknown
}

fn required(value: Value, field: &'static str) -> Result<Value, CleanError> {
    if value.is_null() { Err(CleanError::Missing { field }) } else { Ok(value) }
}

fn target_type(value: Value) -> Result<Text, CleanError> {
    match value {
        Value::Text(text) => {
            let builtin = ["HOST", "SERVICE", "TOPO"].into_iter().find(|known| upper_is(&text, known));
            Ok(builtin.map_or(text, Text::new_static))
        }
        other if other.is_truthy() => Err(CleanError::NotText { field: "target_type" }),
        _ => Ok(Text::default()),
    }
}

fn metric(value: Value) -> Value {
    match value {
        text @ Value::Text(_) if text.is_truthy() => Value::List(vec![text]),
        other if other.is_truthy() => other,
        _ => Value::List(Vec::new()),
    }
}

/// The static text that `value` is, but for its case; `fallback` if it is absent or another text.
fn one_of(value: Value, known: &[&'static str], fallback: &'static str, field: &'static str) -> Result<Text, CleanError> {
    match value {
        Value::Null => Ok(Text::new_static(fallback)),
        Value::Text(text) => {
            let same_case = known.iter().find(|k| text == **k);
            let kept = same_case.or_else(|| known.iter().find(|k| lower_is(&text, k)));
            Ok(Text::new_static(kept.unwrap_or(&fallback)))
        }
        _ => Err(CleanError::NotText { field }),
    }
}

fn data_type(value: Value) -> Result<Text, CleanError> {
    one_of(value, &["time_series", "log"], "event", "data_type")
}

fn category(value: Value) -> Result<Text, CleanError> {
    one_of(value, &CATEGORIES, "other_rt", "category")
}

fn status(value: Value) -> Result<Status, CleanError> {
    match value {
        Value::Null => Ok(Status::Abnormal),
        Value::Text(text) => {
            let ends = [Status::Closed, Status::Recovered];
            Ok(ends.into_iter().find(|s| upper_is(&text, s.as_str())).unwrap_or(Status::Abnormal))
        }
        _ => Err(CleanError::NotText { field: "status" }),
    }
}

fn severity(value: &Value) -> Value {
    Value::Int(to_int(value).map_or(3, |n| n.clamp(1, 3)))
}

/// The level that the origin alarm carries, as JSON text inside of its values (docs/semantics.md, Clean).
fn dynamic_severity(extra_info: &Value) -> Option<Value> {
    let text = extra_info.path(&["origin_alarm", "data", "values", "extra_info"])?.as_text()?;
    let inner = Value::from_json(text.as_bytes()).ok()?;
    let level = inner.path(&["alert_level_msg", "alert_level"])?;
    (!level.is_null()).then(|| level.clone())
}

#[cfg(test)]
mod tests;
