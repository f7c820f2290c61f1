//! The journal's reader: what was durable at the start of this life, then the live queue; in pieces of random size.

use crate::disk::DiskRecord;
use crate::plant::Plant;
use crate::world::{Fault, World};
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
        let position = state.disk.tables.position;
        let mut replay: VecDeque<Journaled> = state.disk.journal.iter().filter(|record| record.ordinal > position).map(DiskRecord::replayed).collect();
        if state.plant == Some(Plant::LostRecordOnReplay) && state.rng.chance(30) {
            // Core would see a gap in the ordinals and stop; what it cannot see is a record that was read as nothing.
            replay.iter_mut().take(1).for_each(|journaled| journaled.record.body = RecordBody::Clock);
        }
        drop(state);
        FakeRecords { world, replay }
    }
}

impl Records for FakeRecords<'_> {
    async fn next_records(&mut self, rows_max: usize) -> Result<Vec<Journaled>, PortError> {
        if self.world.call(3).await == Fault::Before {
            return Err(PortError::Unavailable("simulated: read error".to_owned()));
        }
        let world = self.world;
        if self.replay.is_empty() {
            self.replay = world.until(|state| (!state.queue.is_empty()).then(|| state.queue.drain(..).collect())).await;
        }
        let n = 1 + world.state().rng.below(rows_max.min(6) as u64) as usize;
        let n = n.min(self.replay.len());
        let mut next: Vec<Journaled> = self.replay.drain(..n).collect();
        if world.has(Plant::ReorderedBatches) {
            reorder(world, &mut next);
        }
        Ok(next)
    }
}

/// The planted bug: a later record for an earlier one, under their own ordinals, or core would see it and stop.
fn reorder(world: &World, next: &mut [Journaled]) {
    let reorders = world.state().rng.chance(20);
    if let ([first, .., last], true) = (next, reorders) {
        std::mem::swap(&mut first.record.body, &mut last.record.body);
        std::mem::swap(&mut first.parsed, &mut last.parsed);
    }
}
