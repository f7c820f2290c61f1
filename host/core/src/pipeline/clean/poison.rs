//! Events that are clean and yet break what comes after in upstream, with all others of their batch (docs/semantics.md,
//! Clean: poison).

use super::CleanError;
use crate::event::Event;
use crate::python::to_int;
use crate::value::Value;

/// Refuses what has no document: an event without a name.
pub fn check_document(event: &Event) -> Result<(), CleanError> {
    if event.alert_name.is_null() { Err(CleanError::Missing { field: "alert_name" }) } else { Ok(()) }
}

/// Refuses what passes cleaning and cannot be worked with; [`check_document`] is a part of it.
pub fn check_poison(event: &Event) -> Result<(), CleanError> {
    check_document(event)?;
    if !is_seconds(&event.time) {
        return Err(CleanError::NotNumber { field: "time" });
    }
    if !is_seconds(event.access_time()) {
        return Err(CleanError::NotNumber { field: "extra_info.origin_alarm.data.access_time" });
    }
    if event.strategy_id.is_truthy() && to_int(&event.strategy_id).is_none() {
        return Err(CleanError::NotInteger { field: "strategy_id" });
    }
    check_dedupe_keys(event)?;
    match event.target_type.as_str() {
        "HOST" if event.target.is_truthy() && event.target.as_text().is_none() => Err(CleanError::NotText { field: "target" }),
        "SERVICE" if to_int(&event.target).is_none() => Err(CleanError::NotInteger { field: "target" }),
        _ => Ok(()),
    }
}

/// Refuses keys that name nothing, unless the fingerprint is known without them.
pub fn check_dedupe_keys(event: &Event) -> Result<(), CleanError> {
    if event.dedupe_md5.is_some() {
        return Ok(());
    }
    match event.dedupe_keys.iter().position(|key| key.as_text().is_none()) {
        Some(index) => Err(CleanError::DedupeKeyNotText { index }),
        None => Ok(()),
    }
}

/// A number that fits `i64`.
fn is_seconds(value: &Value) -> bool {
    match value {
        Value::Int(_) => true,
        Value::Float(f) => f.abs() < i64::MAX as f64,
        _ => false,
    }
}
