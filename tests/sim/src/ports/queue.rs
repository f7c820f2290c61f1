//! The queue between the halves, and the pauses between tries.

use crate::plant::Plant;
use crate::weather::Part;
use crate::world::World;
use alertmill_core::pipeline::conductor::{HandOver, Incoming, Patience};
use alertmill_core::pipeline::prepare::{Prepared, PreparedBody};
use alertmill_core::ports::PortError;
use std::collections::VecDeque;
use std::sync::Mutex;

/// Batches that wait for the fold; beyond, prepare waits.
const BATCHES_MAX: usize = 4;

#[derive(Default)]
pub struct Channel(Mutex<VecDeque<Prepared>>);

impl Channel {
    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Prepared>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

pub struct Sender<'w>(pub &'w World, pub &'w Channel);
pub struct Receiver<'w>(pub &'w World, pub &'w Channel);

impl HandOver for Sender<'_> {
    async fn hand_over(&mut self, mut prepared: Prepared) -> bool {
        plant(self.0, &mut prepared);
        self.0.call(Part::Pipe, 8).await;
        let channel = self.1;
        self.0.until(|_| (channel.queue().len() < BATCHES_MAX).then_some(())).await;
        channel.queue().push_back(prepared);
        self.0.moved();
        true
    }
}

/// The planted bugs: rows that a rule has rejected never reach the fold, or their uids are noted for the store.
fn plant(world: &World, prepared: &mut Prepared) {
    if world.has(Plant::RejectedRemembered) {
        let rejected = prepared.rows.iter().filter_map(|row| Some((row.dead_letter.as_ref()?, row.event.uid)));
        world.state().life.rejected.extend(rejected.map(|(letter, uid)| ((letter.ordinal, letter.index), uid)));
    }
    if !world.has(Plant::RejectedNotCounted) {
        return;
    }
    let rejected: Vec<u64> = prepared.rows.iter().filter(|row| row.rejected).map(|row| row.ordinal).collect();
    for record in &mut prepared.records {
        if let PreparedBody::Items { rows, .. } = &mut record.body {
            *rows -= rejected.iter().filter(|ordinal| **ordinal == record.ordinal).count();
        }
    }
    prepared.rows.retain(|row| !row.rejected);
}

impl Incoming for Receiver<'_> {
    /// Takes along what is there, as far as chance wants it: where commits are cut must not matter.
    async fn next_prepared(&mut self, changes_max: usize) -> Option<Prepared> {
        self.0.call(Part::Pipe, 9).await;
        let channel = self.1;
        self.0.until(|_| (!channel.queue().is_empty()).then_some(())).await;
        // Now and then the fold is slow, so that there is something to take along.
        let lingers = self.0.state().rng.chance(20);
        if lingers {
            let ms = self.0.state().rng.below(2_000);
            self.0.wait(ms).await;
        }
        self.take(changes_max)
    }

    fn ready_prepared(&mut self, changes_max: usize) -> Option<Prepared> {
        let ready = self.take(changes_max);
        self.0.state().folded_ahead += u64::from(ready.is_some());
        ready
    }
}

impl Receiver<'_> {
    fn take(&self, changes_max: usize) -> Option<Prepared> {
        let (mut state, mut queue) = (self.0.state(), self.1.queue());
        let mut first = queue.pop_front()?;
        while queue.front().is_some_and(|next| first.has_room_for(next, changes_max)) && state.rng.chance(60) {
            state.merged += 1;
            first.append(queue.pop_front()?);
        }
        state.progress = true;
        let batch = first.records.last().map_or(0, |last| last.ordinal) << 16 | first.rows.len() as u64;
        state.trace.word(batch);
        Some(first)
    }
}

/// Waits a little and tries again.
pub struct FakePatience<'w>(pub &'w World);

impl Patience for FakePatience<'_> {
    async fn pause(&mut self, tries: u32, _: &PortError) {
        // As long as `Backoff` in `host/server/src/serve/halves.rs`.
        self.0.wait(10 << tries.min(7)).await;
    }
}
