//! Op `clean`: each raw event is only cleaned and made into a document.

use super::dropped;
use crate::conformance::vector::Step;
use crate::conformance::world::{Got, World};
use alertmill_core::event::{Event, hex};
use alertmill_core::identity::{Algorithm, fingerprint_of_keys};
use alertmill_core::item::{ItemLimits, parse_item};
use alertmill_core::pipeline::clean::{check_dedupe_keys, check_document, clean as clean_item};
use alertmill_core::pipeline::expiry::{is_expired, write_index};
use alertmill_core::pipeline::fingerprint::{dedupe_values, fingerprint_bk_monitor};
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

/// Does the op.
pub fn clean(world: &mut World, step: &Step) -> Result<Got, String> {
    let (mut saved, mut derived, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for raw in step.items()? {
        match clean_raw(raw, step.at, world.algorithm) {
            Ok(event) if check_document(&event).is_ok() => {
                let (document, facts) = document(event, step.at, world.algorithm)?;
                saved.push(document);
                derived.push(facts);
            }
            Ok(_) => refused.push(dropped(raw, "document-error")),
            Err(()) => refused.push(dropped(raw, "clean-error")),
        }
    }
    let parts = [("events_saved", saved), ("derived", derived), ("events_dropped", refused)];
    Ok(parts.into_iter().map(|(part, list)| (part.to_owned(), Json::Array(list))).collect())
}

/// Cleans one raw event, which may be no object at all.
pub(super) fn clean_raw(raw: &RawValue, at_s: i64, algorithm: Algorithm) -> Result<Event, ()> {
    let item = parse_item(raw.get().as_bytes(), ItemLimits::UPSTREAM).map_err(drop)?;
    clean_item(item, at_s, algorithm).map_err(drop)
}

/// The event's document, and what is derived from the event.
fn document(mut event: Event, at_s: i64, algorithm: Algorithm) -> Result<(Json, Json), String> {
    let mut facts = json!({ "event_id": event.event_id, "is_expired": is_expired(&event, at_s, None), "write_index": write_index(&event).as_str() });
    match check_dedupe_keys(&event) {
        Ok(()) => {
            facts["dedupe_values"] = json!(dedupe_values(&event));
            event.dedupe_md5 = Some(match algorithm {
                Algorithm::BkMonitor => hex(&fingerprint_bk_monitor(&event)),
                Algorithm::Keyed => fingerprint_of_keys(&event).to_hex(),
            });
        }
        Err(error) => facts["fingerprint_error"] = json!(error.code()),
    }
    let document = serde_json::to_value(event.embedded()).map_err(|e| e.to_string())?;
    Ok((document, facts))
}
