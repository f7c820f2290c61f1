//! The journal: written, then synced, then answered; what a crash leaves of it is the world's business.

use crate::disk::DiskRecord;
use crate::plant::Plant;
use crate::world::{Fault, World};
use alertmill_core::item::Item;
use alertmill_core::ports::{Appended, Journal, PortError};
use alertmill_core::record::{Journaled, Record, RecordBody};

/// The journal of this life.
pub struct FakeJournal<'w>(pub &'w World);

impl Journal for FakeJournal<'_> {
    async fn append(&self, body: RecordBody, parsed: Option<Vec<Item>>) -> Result<Appended, PortError> {
        let world = self.0;
        let fault = world.call(1).await;
        if fault == Fault::Before {
            return Err(world.refusal("nothing written"));
        }
        let appended = write(world, &body);
        // The planted bug: the answer goes out while the bytes are in the cache; somebody else's sync brings them down.
        if world.has(Plant::EarlyAcknowledge) {
            return Ok(appended);
        }
        world.call(2).await;
        sync(world, appended, body, parsed);
        match fault {
            Fault::None => Ok(appended),
            _ => Err(PortError::Unclear("simulated: answer lost".to_owned())),
        }
    }
}

fn write(world: &World, body: &RecordBody) -> Appended {
    let mut guard = world.state();
    let state = &mut *guard;
    let (last, wall_ms) = (state.disk.journal_unsynced.last().or(state.disk.journal.last()), state.wall_ms());
    let appended =
        Appended { ordinal: last.map_or(1, |record| record.ordinal + 1), received_at_ms: last.map_or(wall_ms, |record| wall_ms.max(record.received_at_ms)) };
    let mut payload = Vec::new();
    body.encode(&mut payload);
    state.disk.journal_unsynced.push(DiskRecord { ordinal: appended.ordinal, received_at_ms: appended.received_at_ms, payload });
    appended
}

/// One sync makes everything written before it durable, as group commit does.
fn sync(world: &World, appended: Appended, body: RecordBody, parsed: Option<Vec<Item>>) {
    let mut guard = world.state();
    let state = &mut *guard;
    let upto = state.disk.journal_unsynced.iter().take_while(|record| record.ordinal <= appended.ordinal).count();
    let synced: Vec<DiskRecord> = state.disk.journal_unsynced.drain(..upto).collect();
    let mut own = Some((body, parsed));
    for record in &synced {
        let live = match own.take_if(|_| record.ordinal == appended.ordinal) {
            Some((body, parsed)) => Journaled { record: Record { ordinal: record.ordinal, received_at_ms: record.received_at_ms, body }, parsed },
            None => record.replayed(),
        };
        state.queue.push_back(live);
    }
    state.disk.journal.extend(synced);
    state.progress = true;
}

/// Under the planted bug nobody waits for a sync; this one comes by later, as the kernel's own would.
pub async fn late_sync(world: &World) {
    loop {
        world.until(|state| (!state.disk.journal_unsynced.is_empty()).then_some(())).await;
        world.wait(40).await;
        let mut guard = world.state();
        let state = &mut *guard;
        let synced: Vec<DiskRecord> = state.disk.journal_unsynced.drain(..).collect();
        state.progress = true;
        state.queue.extend(synced.iter().map(DiskRecord::replayed));
        state.disk.journal.extend(synced);
    }
}
