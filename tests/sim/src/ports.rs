//! Core's ports over the simulated world.

use crate::world::{DiskRecord, Fault, Plant, World};
use alertmill_core::event::Uid;
use alertmill_core::item::Item;
use alertmill_core::pipeline::conductor::{Committed, HandOver, Incoming, Patience};
use alertmill_core::pipeline::fold::Fold;
use alertmill_core::pipeline::prepare::Prepared;
use alertmill_core::ports::{Appended, Commit, Journal, KnownUids, LocalStore, PortError, Records};
use alertmill_core::record::{Journaled, Record, RecordBody};
use alertmill_core::row::{DedupeAnswer, Row};
use alertmill_core::rules::{Generation, RuleChain, RuleSetUnavailable, RuleSets, RuleTally};
use std::collections::VecDeque;
use std::sync::Mutex;

/// The journal of this life.
pub struct FakeJournal<'w>(pub &'w World);

impl Journal for FakeJournal<'_> {
    async fn append(&self, body: RecordBody, parsed: Option<Vec<Item>>) -> Result<Appended, PortError> {
        let world = self.0;
        let fault = world.call(1).await;
        if fault == Fault::Before {
            return Err(PortError::Unavailable("simulated: nothing written".to_owned()));
        }
        let (appended, early) = write(world, &body);
        if early {
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

fn write(world: &World, body: &RecordBody) -> (Appended, bool) {
    let mut guard = world.state();
    let state = &mut *guard;
    let last = state.disk.journal_unsynced.last().or(state.disk.journal.last());
    let appended = Appended {
        ordinal: last.map_or(1, |record| record.ordinal + 1),
        received_at_ms: last.map_or(state.now_ms, |record| state.now_ms.max(record.received_at_ms)),
    };
    let mut payload = Vec::new();
    body.encode(&mut payload);
    state.disk.journal_unsynced.push(DiskRecord { ordinal: appended.ordinal, received_at_ms: appended.received_at_ms, payload });
    // The planted bug: the answer goes out while the bytes are still in the cache; somebody else's sync brings them down.
    (appended, state.plant == Some(Plant::EarlyAcknowledge))
}

/// One sync makes everything written before it durable, as group commit does.
fn sync(world: &World, appended: Appended, body: RecordBody, parsed: Option<Vec<Item>>) {
    let mut guard = world.state();
    let state = &mut *guard;
    let upto = state.disk.journal_unsynced.iter().take_while(|record| record.ordinal <= appended.ordinal).count();
    let synced: Vec<DiskRecord> = state.disk.journal_unsynced.drain(..upto).collect();
    for record in &synced {
        let (body, parsed) = match record.ordinal == appended.ordinal {
            true => (body.clone(), parsed.clone()),
            false => (RecordBody::decode(&record.payload).expect("our own payload"), None),
        };
        state.queue.push_back(Journaled { record: Record { ordinal: record.ordinal, received_at_ms: record.received_at_ms, body }, parsed });
    }
    state.disk.journal.extend(synced);
    state.progress = true;
}

/// Under the planted bug nobody waits for a sync; this one comes by later, as the kernel's own would.
pub async fn late_sync(world: &World) {
    loop {
        world.wait(40).await;
        let mut guard = world.state();
        let state = &mut *guard;
        let synced: Vec<DiskRecord> = state.disk.journal_unsynced.drain(..).collect();
        state.progress |= !synced.is_empty();
        state.queue.extend(synced.iter().map(replayed));
        state.disk.journal.extend(synced);
    }
}

/// Replays what was durable at the start of this life, then takes the queue.
pub struct FakeRecords<'w> {
    world: &'w World,
    replay: VecDeque<Journaled>,
}

impl<'w> FakeRecords<'w> {
    pub fn new(world: &'w World) -> FakeRecords<'w> {
        let state = world.state();
        let position = state.disk.tables.position;
        let replay = state.disk.journal.iter().filter(|record| record.ordinal > position).map(replayed).collect();
        drop(state);
        FakeRecords { world, replay }
    }
}

pub fn replayed(record: &DiskRecord) -> Journaled {
    let body = RecordBody::decode(&record.payload).expect("our own payload");
    Journaled { record: Record { ordinal: record.ordinal, received_at_ms: record.received_at_ms, body }, parsed: None }
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
        Ok(self.replay.drain(..n).collect())
    }
}

/// The queue between the halves.
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
    async fn hand_over(&mut self, prepared: Prepared) -> bool {
        self.0.call(4).await;
        self.1.queue().push_back(prepared);
        self.0.moved();
        true
    }
}

impl Incoming for Receiver<'_> {
    async fn next_prepared(&mut self, _: usize) -> Option<Prepared> {
        self.0.call(5).await;
        let channel = self.1;
        Some(self.0.until(|_| channel.queue().pop_front()).await)
    }
}

/// The local store.
pub struct FakeStore<'w>(pub &'w World);

impl LocalStore for FakeStore<'_> {
    async fn commit(&mut self, commit: &Commit) -> Result<(), PortError> {
        let fault = self.0.call(6).await;
        if fault == Fault::Before {
            return Err(PortError::Unavailable("simulated: disk full".to_owned()));
        }
        let mut guard = self.0.state();
        let state = &mut *guard;
        if state.disk.tables.position == commit.from {
            state.disk.tables.apply(commit);
            if state.rng.chance(30) {
                state.disk.checkpoint = state.disk.tables.clone();
            }
        } else if state.disk.tables.position != commit.to {
            return Err(PortError::Fatal(format!("commit {}..{} on position {}", commit.from, commit.to, state.disk.tables.position)));
        }
        match fault {
            Fault::After => Err(PortError::Unclear("simulated: answer lost".to_owned())),
            _ => Ok(()),
        }
    }
}

impl KnownUids for FakeStore<'_> {
    fn known(&mut self, uids: &[Uid]) -> Result<Vec<bool>, PortError> {
        let state = self.0.state();
        Ok(uids.iter().map(|uid| state.disk.tables.uids.contains(uid)).collect())
    }
}

/// Waits a little and tries again.
pub struct FakePatience<'w>(pub &'w World);

impl Patience for FakePatience<'_> {
    async fn pause(&mut self, tries: u32, _: &PortError) {
        self.0.wait(10 * u64::from(tries.min(10))).await;
    }
}

/// Learns when the next time-out is due.
pub struct Watcher<'w>(pub &'w World);

impl Committed for Watcher<'_> {
    fn committed(&mut self, commit: &Commit, _: &Fold) {
        self.0.state().next_due_ms = commit.next_due_ms;
        self.0.moved();
    }
}

/// Rules whose answers show which generation ran, and which fold what other generations keep apart.
pub struct FakeRules;

impl RuleSets for FakeRules {
    fn open(&self, generation: Generation) -> Result<Box<dyn RuleChain>, RuleSetUnavailable> {
        Ok(Box::new(FakeChain(generation)))
    }
}

struct FakeChain(Generation);

impl RuleChain for FakeChain {
    fn enrich_events(&mut self, rows: &mut [Row], tally: &mut Vec<RuleTally>) {
        let n = rows.len() as u64;
        for row in rows {
            row.event.tags.push(alertmill_core::event::Tag::new("generation", self.0 as i64));
        }
        tally.push(RuleTally { rule: "stamp".into(), rows: n, changed: n, ..RuleTally::default() });
    }
    fn dedupe(&mut self, rows: &mut [Row], _: &mut Vec<RuleTally>) {
        for row in rows {
            if let Some(host) = row.event.tag("host").and_then(|v| v.as_text()).filter(|_| self.0 % 2 == 1) {
                row.dedupe = DedupeAnswer::Key(host.trim_end_matches(char::is_numeric).into());
                row.dedupe_rule = "by-host".into();
            }
        }
    }
}
