//! The room that the doors take before they append, by core's own bound, and a witness that sums it up anew each time (I9).

use crate::failure::{Failure, Promise};
use crate::faults::FaultKind;
use crate::world::{State, World};
use alertmill_core::pipeline::in_flight::Held;
use alertmill_core::ports::PortError;

/// One request as the witness sees it.
struct Seen {
    bytes: usize,
    /// Ordinal and parsed bytes of its records.
    records: Vec<(u64, usize)>,
    ended: bool,
}

impl Seen {
    /// What it holds when records up to `position` are folded.
    fn held(&self, position: u64) -> usize {
        let left: usize = self.records.iter().filter(|(ordinal, _)| *ordinal <= position).map(|(_, bytes)| bytes).sum();
        let over = self.ended && self.records.iter().map(|(ordinal, _)| ordinal).max().is_none_or(|last| *last <= position);
        if over { 0 } else { self.bytes - left }
    }
}

/// All requests that hold something.
#[derive(Default)]
pub struct InFlightWitness {
    seen: Vec<(u64, Seen)>,
    next: u64,
}

impl InFlightWitness {
    fn check(&mut self, position: u64, bytes_max: usize) -> Result<(), Failure> {
        self.seen.retain(|(_, seen)| seen.held(position) > 0);
        // One that is larger than the bound is let in on top of it; the rest of one before it counts like any other.
        let held = || self.seen.iter().map(|(_, seen)| (seen.held(position), seen.bytes > bytes_max));
        let on_top = held().filter(|(_, is_large)| *is_large).map(|(bytes, _)| bytes).max().unwrap_or(0);
        let bytes = held().map(|(bytes, _)| bytes).sum::<usize>() - on_top;
        if bytes > bytes_max {
            return Err(Failure::broken(Promise::I9, format!("{bytes} bytes are in flight beside one large request, the bound is {bytes_max}")));
        }
        Ok(())
    }

    fn of(&mut self, id: u64) -> Option<&mut Seen> {
        self.seen.iter_mut().find(|(other, _)| *other == id).map(|(_, seen)| seen)
    }
}

/// Room of one request; given back when it is dropped and what was appended under it is folded.
pub struct Room<'w> {
    world: &'w World,
    held: Held,
    id: u64,
}

impl<'w> Room<'w> {
    /// Room for a request, or why there is none.
    pub fn take(world: &'w World, bytes: usize) -> Result<Room<'w>, PortError> {
        let mut guard = world.state();
        let state = &mut *guard;
        let position = state.disk.tables.position;
        state.life.in_flight.settle(position);
        let held = match state.life.in_flight.take(bytes) {
            Ok(held) => held,
            Err(error) => {
                state.saw(FaultKind::IntakeFull);
                return Err(error);
            }
        };
        let witness = &mut state.life.witness;
        witness.next += 1;
        let id = witness.next;
        witness.seen.push((id, Seen { bytes, records: Vec::new(), ended: false }));
        check(state);
        Ok(Room { world, held, id })
    }

    /// A record of it is in the journal.
    pub fn appended(&mut self, ordinal: u64, parsed_bytes: usize) {
        let mut guard = self.world.state();
        let state = &mut *guard;
        state.life.in_flight.appended(&mut self.held, ordinal, parsed_bytes);
        state.life.witness.of(self.id).into_iter().for_each(|seen| seen.records.push((ordinal, parsed_bytes)));
    }
}

fn check(state: &mut State) {
    state.checked.count(Promise::I9);
    let (position, bytes_max) = (state.disk.tables.position, state.setup.bounds.in_flight_bytes);
    if let Err(failure) = state.life.witness.check(position, bytes_max) {
        state.broken.get_or_insert(failure);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut guard = self.world.state();
        let state = &mut *guard;
        state.life.in_flight.ended(&self.held);
        state.life.witness.of(self.id).into_iter().for_each(|seen| seen.ended = true);
    }
}
