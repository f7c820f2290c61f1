//! Op `events`: one batch through clean, keying and the fold, in upstream's order of refusals.

use super::clean::clean_raw;
use super::dropped;
use crate::conformance::vector::Step;
use crate::conformance::world::{Got, World, parse};
use alertmill_core::event::{Event, Uid};
use alertmill_core::identity::{Algorithm, TimeAsSent, UidKey, seed, uid};
use alertmill_core::pipeline::clean::check_poison;
use alertmill_core::pipeline::dedupe::dedupe;
use alertmill_core::ports::Commit;
use alertmill_core::row::Row;
use alertmill_core::rules::NoRules;
use alertmill_core::value::Text;
use alertmill_core::verdict::Place;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};
use std::collections::HashSet;

/// Does the op. Each event is a record of its own, so that its outcome can be told apart; the fold promises that the cut
/// into batches never shows.
pub fn events(world: &mut World, step: &Step) -> Result<Got, String> {
    let mut saved = Vec::new();
    // What upstream refuses before it stores anything comes first, then repeats, then what is stored to no effect.
    let (mut refused, mut repeated, mut without_effect) = (Vec::new(), Vec::new(), Vec::new());
    let mut batch: Vec<(&RawValue, Event)> = Vec::new();
    for raw in step.items()? {
        match clean_raw(raw, step.at, world.algorithm) {
            Ok(event) => match check_poison(&event) {
                Ok(()) => batch.push((raw, event)),
                Err(_) => refused.push(dropped(raw, "document-error")),
            },
            Err(()) => refused.push(dropped(raw, "clean-error")),
        }
    }
    let mut in_batch: HashSet<Uid> = HashSet::new();
    for (raw, event) in batch {
        let row = row(world, event, step.at);
        let (uid, known_before) = (row.event.uid, world.is_known(&row.event.uid));
        let commit = world.apply(step.at, Some(row));
        saved.extend(commit.events.iter().map(|event| parse(&commit.event_heap[event.document.start as usize..event.document.end as usize])));
        match outcome(&commit) {
            Some("duplicates") if in_batch.contains(&uid) => repeated.push(dropped(raw, "duplicate-in-batch")),
            Some("duplicates") if known_before => repeated.push(dropped(raw, "duplicate-stored")),
            Some(reason) => without_effect.push(dropped(raw, reason)),
            None => {}
        }
        in_batch.insert(uid);
    }
    let refused: Vec<Json> = refused.into_iter().chain(repeated).chain(without_effect).collect();
    let parts = [("events_saved", saved), ("events_dropped", refused)];
    let got: Map<String, Json> = parts.into_iter().map(|(part, list)| (part.to_owned(), Json::Array(list))).collect();
    world.logs_by_alert();
    Ok(world.finish(got))
}

/// The event as the prepare half hands it over.
fn row(world: &World, mut event: Event, at_s: i64) -> Row {
    if world.algorithm == Algorithm::Keyed {
        event.uid = uid(UidKey([0; 16]), "conformance", &event, TimeAsSent::Sent(&event.time));
    }
    let ordinal = world.next_ordinal();
    let mut row = Row::new(event, Text::new_static("conformance"), at_s * 1000, Place { ordinal, index: 0 }, seed(ordinal, 0));
    dedupe(std::slice::from_mut(&mut row), &mut NoRules, world.algorithm, &mut Vec::new()).expect("no rule is there to halt");
    row
}

/// Where the record's one event went, if not into an alert: the ledger counted it.
fn outcome(commit: &Commit) -> Option<&str> {
    let counters = commit.ledger.iter().filter(|value| value.scope == "source").map(|value| value.counter.as_str());
    counters.filter_map(|counter| if counter == "duplicates" { Some(counter) } else { counter.strip_prefix("stored_only.") }).next()
}
