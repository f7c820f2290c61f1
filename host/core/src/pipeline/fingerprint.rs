//! Upstream's identity of an event and of what it is about: dedupe keys, `dedupe_md5`, uid (docs/semantics.md, Identity
//! and Fingerprint). The keyed ones are in [`identity`](crate::identity).

use crate::event::{Event, Uid, unhex};
use crate::python::{Md5Of, count_md5, equal};
use crate::value::{Text, Value};
use std::collections::{HashMap, HashSet};

/// The default keys and then those of the sender, each once.
pub(crate) fn dedupe_keys(has_strategy: bool, sent: Value) -> Vec<Value> {
    let sent = match sent {
        Value::List(list) => list,
        _ => Vec::new(),
    };
    let mut keys = Vec::with_capacity(4 + sent.len());
    keys.push(Value::literal(if has_strategy { "strategy_id" } else { "alert_name" }));
    keys.extend(["target_type", "target", "bk_biz_id"].map(Value::literal));
    // A set from some size on, so that a hostile list costs no square of comparisons.
    let mut texts: Option<HashSet<Text>> = (sent.len() > 64).then(|| keys.iter().filter_map(text_key).collect());
    let mut other_kinds = 0;
    for key in sent {
        let new = match (&mut texts, &key) {
            (Some(set), Value::Text(text)) => set.insert(text.clone()),
            (None, Value::Text(text)) => !keys.iter().any(|known| known.as_text() == Some(text)),
            // These have no fingerprint anyway, so that the first few of them say it all.
            (_, other) => other_kinds < 64 && !keys.iter().filter(|known| known.as_text().is_none()).any(|known| equal(known, other)),
        };
        other_kinds += usize::from(new && key.as_text().is_none());
        if new {
            keys.push(key);
        }
    }
    keys
}

fn text_key(key: &Value) -> Option<Text> {
    match key {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// Target types whose target does not separate alerts.
const TARGET_IN_TAGS: [&str; 5] = ["K8S-POD", "K8S-NODE", "K8S-SERVICE", "K8S-WORKLOAD", "APM-SERVICE"];

/// Hands the value of every dedupe key to `each`, in the order of the keys. A key that is no text names nothing;
/// [`check_poison`](crate::pipeline::clean::check_poison) refuses it.
fn each_value(event: &Event, mut each: impl FnMut(&Value)) {
    let target_in_tags = TARGET_IN_TAGS.contains(&event.target_type.as_str());
    let by_name: Option<HashMap<&str, &Value>> =
        (event.tags.len() * event.dedupe_keys.len() > 4_096).then(|| event.tags.iter().map(|tag| (tag.key.as_str(), &tag.value)).collect());
    let tag = |name: &str| match &by_name {
        Some(map) => map.get(name).copied(),
        None => event.tag(name),
    };
    for key in &event.dedupe_keys {
        match key.as_text().unwrap_or_default() {
            "target" if target_in_tags => each(&Value::Null),
            "target_type" if target_in_tags => each(&Value::literal("")),
            "target_type" => each(&Value::Text(event.target_type.clone())),
            "target" => each(&event.target),
            "alert_name" => each(&event.alert_name),
            "strategy_id" => each(&event.strategy_id),
            "bk_biz_id" => each(&event.bk_biz_id),
            name => match name.strip_prefix("tags.") {
                // Upstream strips the prefix a second time.
                Some(name) => each(tag(name.strip_prefix("tags.").unwrap_or(name)).unwrap_or(&Value::Null)),
                None => each(&event.field(name)),
            },
        }
    }
}

/// The values of the event's dedupe keys, in their order; none when `dedupe_md5` is set, as by a trusted sender.
pub fn dedupe_values(event: &Event) -> Vec<Value> {
    let mut values = Vec::with_capacity(event.dedupe_keys.len());
    if event.dedupe_md5.is_none() {
        each_value(event, |value| values.push(value.clone()));
    }
    values
}

/// The fingerprint under `bk-monitor`: that of the event's `dedupe_md5` if it is set, else the md5 of the values of its
/// dedupe keys. A set one that is not 32 hex digits is hashed.
pub fn fingerprint_bk_monitor(event: &Event) -> [u8; 16] {
    match &event.dedupe_md5 {
        Some(set) => unhex(set).unwrap_or_else(|| count_md5(&Value::Text(set.clone()))),
        None => {
            let mut hash = Md5Of::default();
            each_value(event, |value| hash.value(value));
            hash.finish()
        }
    }
}

/// The uid under `bk-monitor`: md5 over plugin_id, event_id, status and time, in any order.
pub fn uid_bk_monitor(event: &Event) -> Uid {
    let mut hash = Md5Of::default();
    hash.value(&event.plugin_id);
    hash.value(&event.event_id);
    hash.text(event.status.as_str());
    hash.value(&event.time);
    Uid(hash.finish())
}

#[cfg(test)]
mod tests;
