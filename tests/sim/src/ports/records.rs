//! The journal's reader: what was durable at the start of this life, then the live records; in pieces of random size.

use crate::disk::DiskRecord;
use crate::faults::FaultKind;
use crate::plant::Plant;
use crate::weather::Part;
use crate::world::{Call, World};
use alertmill_core::ports::{PortError, Records};
use alertmill_core::record::{Journaled, RecordBody};
use std::collections::VecDeque;

pub struct FakeRecords<'w> {
    world: &'w World,
    replay: VecDeque<Journaled>,
}

impl<'w> FakeRecords<'w> {
    pub fn new(world: &'w World) -> FakeRecords<'w> {
        let mut state = world.state();
        let position = state.disk.tables.position as usize;
        let mut replay: VecDeque<Journaled> = state.disk.journal.records.iter().skip(position).map(DiskRecord::replayed).collect();
        if state.setup.plant == Some(Plant::LostRecordOnReplay) && state.rng.chance(30) {
            // Core would see a gap in the ordinals and stop; what it cannot see is a record that was read as nothing.
            replay.iter_mut().take(1).for_each(|journaled| journaled.record.body = RecordBody::Clock);
        }
        if state.setup.plant == Some(Plant::KeyLostOnReplay) {
            let payloads =
                replay.iter_mut().filter_map(|journaled| if let RecordBody::Payload(payload) = &mut journaled.record.body { Some(payload) } else { None });
            payloads.for_each(|payload| payload.idempotency_key = None);
        }
        drop(state);
        FakeRecords { world, replay }
    }
}

impl Records for FakeRecords<'_> {
    async fn next_records(&mut self, rows_max: usize) -> Result<Vec<Journaled>, PortError> {
        let world = self.world;
        if world.call(Part::Reader, 5).await == Call::Refused || world.draws(FaultKind::ReadBefore) {
            return Err(PortError::Unavailable("simulated: read error".to_owned()));
        }
        if self.replay.is_empty() {
            world.until(|state| (!state.life.live.is_empty()).then_some(())).await;
        }
        let mut next = Vec::new();
        let mut guard = world.state();
        let state = &mut *guard;
        let n = 1 + state.rng.below(rows_max.min(6) as u64) as usize;
        while next.len() < n {
            match self.replay.pop_front().or_else(|| state.next_live()) {
                Some(record) => next.push(record),
                None => break,
            }
        }
        if !self.replay.is_empty() || !state.life.live.is_empty() {
            state.saw(FaultKind::ReadPart);
        }
        if state.setup.plant == Some(Plant::UnorderedShards) && state.rng.chance(20) {
            reorder(&mut next);
        }
        let places = next.first().map_or(0, |first| first.record.ordinal) << 8 | next.len() as u64;
        state.trace.word(places);
        Ok(next)
    }
}

/// The planted bug: a later record for an earlier one, under their own ordinals, or core would see it and stop.
fn reorder(next: &mut [Journaled]) {
    if let [first, .., last] = next {
        std::mem::swap(&mut first.record.body, &mut last.record.body);
        std::mem::swap(&mut first.parsed, &mut last.parsed);
    }
}
