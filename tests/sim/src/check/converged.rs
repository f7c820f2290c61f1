//! I5: services hold what the state holds, and nothing else of ours.

use crate::failure::{Failure, Promise};
use crate::services::CONVERGED_WITHIN_MS;
use crate::world::State;
use alertmill_core::pipeline::ship::{SnapshotKeys, log_id};
use alertmill_core::services::{DocumentPlace, Family, Service};
use alertmill_core::value::{Text, Value};
use std::collections::BTreeMap;

/// Whether nothing waits, and the cache is as it was left.
pub fn is_even(state: &State) -> bool {
    let (disk, services) = (&state.disk, &state.services);
    if !services.are_on {
        return true;
    }
    let cache = services.cache.marker.is_some() && services.cache.marker == disk.outbox.markers.settled;
    let trusted = state.setup.plant == Some(crate::plant::Plant::SnapshotTrusted);
    disk.outbox.drift(&disk.tables) == 0 && (cache || trusted) && services.late.is_empty()
}

/// Faults have stopped and nothing else is left to do: when all must be even, at the latest.
pub fn due_ms(state: &State) -> Option<i64> {
    let since_ms = state.services.quiet_since_ms?;
    if !state.services.late.is_empty() {
        return None;
    }
    Some(since_ms.max(state.services.troubled_until_ms).max(state.troubled_until_ms) + CONVERGED_WITHIN_MS)
}

/// It is not.
pub fn late(state: &State) -> Failure {
    let (disk, services) = (&state.disk, &state.services);
    let why = format!(
        "{} s after the last trouble {} documents wait; the cache holds {:?}, {:?} was left there",
        CONVERGED_WITHIN_MS / 1000,
        disk.outbox.drift(&disk.tables),
        services.cache.marker,
        disk.outbox.markers
    );
    Failure::broken(Promise::I5, why)
}

/// Services hold the state's documents byte for byte, each once and in its place.
pub fn converged(state: &mut State) -> Result<(), Failure> {
    let State { disk, services, checked, .. } = state;
    if !services.are_on {
        return Ok(());
    }
    let (tables, outbox) = (&disk.tables, &disk.outbox);
    let broken = |why: String| Err(Failure::broken(Promise::I5, why));
    let mut expected: BTreeMap<DocumentPlace, (&[u8], bool)> = BTreeMap::new();
    let mut put = |family: Family, second: i64, id: Text, document, was_refused| {
        let place = DocumentPlace { index: family.index(second), id };
        match expected.insert(place, (document, was_refused)) {
            None => Ok(()),
            Some(_) => Err(Failure::broken(Promise::I5, "two documents have one id")),
        }
    };
    let refused = |family: Family, id: &Text| outbox.refused.iter().any(|(_, refusal)| refusal.family == family && refusal.id == *id);
    for (seq, alert) in &tables.alerts {
        let newest = outbox.refused.iter().any(|(revision, _)| *revision == Some((*seq, alert.revision)));
        put(Family::Alert, alert.create_time, alert.id.clone(), &alert.document, newest)?;
    }
    for row in &tables.events {
        let id = row.uid.to_hex();
        let was_refused = refused(Family::Event, &id);
        put(Family::Event, row.index_time_s, id, row.document().as_bytes(), was_refused)?;
    }
    for log in &tables.logs {
        let id = log_id(&log.document);
        let was_refused = refused(Family::Log, &id);
        put(Family::Log, log.create_time, id, &log.document, was_refused)?;
    }
    for (place, (document, was_refused)) in &expected {
        checked.count(Promise::I5);
        match services.documents.get(place) {
            Some((_, held)) if held == document => {}
            _ if *was_refused => {}
            Some((version, held)) => {
                let (held, ours) = (String::from_utf8_lossy(held), String::from_utf8_lossy(document));
                return broken(format!("{} in {} is, at version {version}\n{held}\n  and should be\n{ours}", place.id, place.index));
            }
            None => return broken(format!("{} is not in {}", place.id, place.index)),
        }
    }
    if let Some(place) = services.documents.keys().find(|place| !expected.contains_key(place)) {
        return broken(format!("{} is in {}, and nothing in the state is", place.id, place.index));
    }
    cache_is_right(state)
}

/// The cache has the open alerts and nothing else; nothing waits for it.
fn cache_is_right(state: &mut State) -> Result<(), Failure> {
    let State { disk, services, checked, .. } = state;
    let tables = &disk.tables;
    let mut keys: BTreeMap<Text, &Vec<u8>> = BTreeMap::new();
    for seq in tables.open.values() {
        let document = &tables.alerts[seq].document;
        let SnapshotKeys { content, snapshot } = SnapshotKeys::of(&Value::from_json(document).unwrap_or_default());
        keys.extend([(content, document), (snapshot, document)]);
    }
    checked.count(Promise::I5);
    match services.cache.keys.iter().eq(keys.iter().map(|(key, document)| (key, *document))) {
        true => Ok(()),
        false => {
            let why = format!("the cache has {} keys of {} open alerts, and nothing waits for it", services.cache.keys.len(), tables.open.len());
            Err(Failure::broken(Promise::I5, why))
        }
    }
}

/// A batch was settled. When none waits, and the cache holds the marker that was left there, it holds all that was.
pub fn after_batch(state: &mut State) -> Result<(), Failure> {
    let outbox = &state.disk.outbox;
    let waits = outbox.queue.keys().any(|(service, _)| *service == Service::Snapshots);
    match waits || state.services.cache.marker != outbox.markers.settled {
        true => Ok(()),
        false => cache_is_right(state),
    }
}
