//! What the steps of a vector do, one file an op.

pub mod clean;
pub mod events;
pub mod tick;

use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

/// An entry of `events_dropped`: the sender's own id, whatever it is, and the reason.
fn dropped(raw: &RawValue, reason: &str) -> Json {
    let id = serde_json::from_str::<Json>(raw.get()).ok().and_then(|item| item.get("event_id").cloned());
    json!({ "event_id": id, "reason": reason })
}
