//! The journal: appends wait in a queue, one writer takes them as groups, writes, syncs and answers them, as
//! `host/stores/src/journal/writer.rs` does it. What a crash leaves of it is the disk's business.

use crate::check;
use crate::disk::{DiskRecord, RecordKind};
use crate::faults::FaultKind;
use crate::plant::Plant;
use crate::process::Waiting;
use crate::restart::set_wall;
use crate::weather::Part;
use crate::world::{Call, State, World};
use alertmill_core::item::Item;
use alertmill_core::ports::{Appended, Journal, PortError};
use alertmill_core::record::{Journaled, Record, RecordBody};

/// Verdicts that are taken when the journal is full, at least.
const RESERVE_RECORDS: u64 = 32;
/// Records of one group at most.
const GROUP_RECORDS_MAX: usize = 8;

/// The journal of this life.
pub struct FakeJournal<'w>(pub &'w World);

impl Journal for FakeJournal<'_> {
    async fn append(&self, body: RecordBody, parsed: Option<Vec<Item>>) -> Result<Appended, PortError> {
        let world = self.0;
        let mut payload = Vec::new();
        body.encode(&mut payload);
        if matches!(body, RecordBody::Verdicts(_)) && world.has(Plant::VerdictAfterHandOver) {
            // The planted bug: it is on its way, and nobody waits for it.
            enqueue(&mut world.state(), body, parsed, payload);
            return Ok(Appended { ordinal: 0, received_at_ms: 0 });
        }
        let refused = world.call(Part::Journal, 1).await == Call::Refused || world.draws(FaultKind::AppendBefore);
        let answer = if refused { Err(world.refusal("nothing written")) } else { wait_for_writer(world, body, parsed, payload).await };
        let mut state = world.state();
        state.trace.answer(&answer);
        if let Ok(appended) = &answer {
            state.trace.word(appended.ordinal);
            state.trace.word(appended.received_at_ms as u64);
            if state.draws(FaultKind::AppendAfter) {
                return Err(PortError::Unclear("simulated: answer lost".to_owned()));
            }
            state.acknowledged_to = state.acknowledged_to.max(appended.ordinal);
        }
        answer
    }
}

async fn wait_for_writer(world: &World, body: RecordBody, parsed: Option<Vec<Item>>, payload: Vec<u8>) -> Result<Appended, PortError> {
    let id = {
        let mut guard = world.state();
        let state = &mut *guard;
        if state.life.journal_stopped || state.life.stops_by_ms.is_some() {
            return Err(stopped());
        }
        enqueue(state, body, parsed, payload)
    };
    world.until(|state| state.life.answers.remove(&id)).await
}

fn enqueue(state: &mut State, body: RecordBody, parsed: Option<Vec<Item>>, payload: Vec<u8>) -> u64 {
    state.trace.bytes(&payload);
    state.life.next_append += 1;
    let id = state.life.next_append;
    state.life.appends.push_back(Waiting { id, body, parsed, payload });
    state.progress = true;
    id
}

fn is_of_verdicts(waiting: &Waiting) -> bool {
    matches!(waiting.body, RecordBody::Verdicts(_))
}

fn is_start(waiting: &Waiting) -> bool {
    matches!(waiting.body, RecordBody::Start { .. })
}

/// The halves, and so whatever makes room, wait for it.
fn is_awaited(waiting: &Waiting) -> bool {
    is_of_verdicts(waiting) || is_start(waiting)
}

fn full(_: usize) -> Result<Appended, PortError> {
    Err(PortError::Full("simulated: all segments are in use".to_owned()))
}

fn stopped() -> PortError {
    PortError::Fatal("simulated: the journal has stopped".to_owned())
}

/// Writes until the journal stops.
pub async fn writer(world: &World) {
    loop {
        let mut group: Vec<Waiting> = world
            .until(|state| {
                let n = state.life.appends.len().min(GROUP_RECORDS_MAX);
                (n > 0).then(|| state.life.appends.drain(..n).collect())
            })
            .await;
        if world.call(Part::Journal, 2).await == Call::Refused {
            answer(world, &group, |_| Err(PortError::DiskRefused("simulated: away".to_owned())));
            continue;
        }
        if world.state().is_full(&group) {
            let (verdicts, others): (Vec<Waiting>, Vec<Waiting>) = group.into_iter().partition(is_awaited);
            answer(world, &others, full);
            if verdicts.is_empty() {
                continue;
            }
            // The halves wait for them, and only the halves make room: they have a reserve.
            if others.is_empty() || world.state().is_full(&verdicts) {
                world.state().life.verdict_waits |= verdicts.iter().any(is_of_verdicts);
                answer(world, &verdicts, full);
                continue;
            }
            group = verdicts;
        }
        let (first, received_at_ms, fits) = write(world, &group);
        let appended = move |at: usize| Ok(Appended { ordinal: first + at as u64, received_at_ms });
        // The planted bug: the answer goes out while the bytes are in the cache.
        let early = world.has(Plant::EarlyAcknowledge);
        if early {
            answer(world, &group, appended);
        }
        world.call(Part::Journal, 3).await;
        if world.draws(FaultKind::AppendHalf) {
            return stop(world, &group);
        }
        if !fits || world.draws(FaultKind::SyncFailed) {
            // It begins a new file, which appears with all of it or not at all.
            world.call(Part::Journal, 4).await;
            world.state().disk.journal.begin_segment();
        }
        sync(world, &mut group);
        if !early {
            answer(world, &group, appended);
        }
    }
}

impl State {
    /// Whether there is no room for another segment, and the group needs one. Verdicts and starts may have a few more of
    /// them, in which nothing else gets.
    fn is_full(&mut self, group: &[Waiting]) -> bool {
        let (journal, bounds) = (&self.disk.journal, self.setup.bounds);
        // The planted bug: a process can start, and its halves come no further.
        let reserved: fn(&Waiting) -> bool = if self.setup.plant == Some(Plant::ReserveMissing) { is_start } else { is_awaited };
        let has_reserve = group.iter().all(reserved);
        let reserve = if has_reserve { RESERVE_RECORDS.div_ceil(bounds.segment_records) as usize } else { 0 };
        self.life.in_reserve &= journal.segments() > bounds.segments;
        let needs_one = journal.active_records() + group.len() as u64 > bounds.segment_records || (self.life.in_reserve && !has_reserve);
        let full = needs_one && journal.segments() >= bounds.segments + reserve;
        self.life.in_reserve |= needs_one && !full && journal.segments() >= bounds.segments;
        self.life.verdict_waits &= full || !group.iter().any(is_of_verdicts);
        if full {
            self.saw(FaultKind::JournalFull);
            // Until a sync of the state goes well and segments are released behind it, which may take a few tries of half a
            // minute: no clock record is taken meanwhile.
            self.troubled_until_ms = self.now_ms().max(self.troubled_until_ms);
        }
        full
    }
}

/// Gives ordinals and a time and writes the group. Also whether it fits into the segment.
fn write(world: &World, group: &[Waiting]) -> (u64, i64, bool) {
    let mut guard = world.state();
    let state = &mut *guard;
    if state.draws(FaultKind::ClockJump) {
        set_wall(state);
    }
    let received_at_ms = state.clocks.read_journal();
    let journal = &mut state.disk.journal;
    let fits = journal.active_records() + group.len() as u64 <= state.setup.bounds.segment_records;
    let first = journal.next_ordinal();
    journal.cached.clear();
    for (waiting, ordinal) in group.iter().zip(first..) {
        let kind = match &waiting.body {
            RecordBody::Items(_) => RecordKind::Items,
            RecordBody::RuleSet(set) => RecordKind::RuleSet(set.generation),
            RecordBody::Clock => RecordKind::Clock,
            RecordBody::Start { .. } => RecordKind::Start,
            RecordBody::Command(_) => RecordKind::Command,
            RecordBody::Payload(_) => RecordKind::Payload,
            RecordBody::Verdicts(_) => RecordKind::Verdicts,
            RecordBody::RuleVersion(_) => RecordKind::RuleVersion,
            RecordBody::Redrive(_) => RecordKind::Redrive,
        };
        state.life.clocks_waiting += u64::from(kind == RecordKind::Clock);
        journal.cached.push(DiskRecord { ordinal, received_at_ms, kind, payload: waiting.payload.clone() });
    }
    check::clocks_waiting(state);
    (first, received_at_ms, fits)
}

/// The group is durable, and goes on to the reader.
fn sync(world: &World, group: &mut [Waiting]) {
    let mut guard = world.state();
    let state = &mut *guard;
    let places: Vec<(u64, i64)> = state.disk.journal.cached.iter().map(|record| (record.ordinal, record.received_at_ms)).collect();
    state.disk.journal.sync();
    for (waiting, (ordinal, received_at_ms)) in group.iter_mut().zip(places) {
        let body = std::mem::replace(&mut waiting.body, RecordBody::Clock);
        state.hand_over(Journaled { record: Record { ordinal, received_at_ms, body }, parsed: waiting.parsed.take() });
    }
}

/// Neither this file nor a new one could be synced: a front of the group is on disk, nobody knows which, and nothing is
/// taken any more.
fn stop(world: &World, group: &[Waiting]) {
    let waiting: Vec<Waiting> = {
        let mut state = world.state();
        state.life.journal_stopped = true;
        state.life.appends.drain(..).collect()
    };
    answer(world, group, |_| Err(stopped()));
    answer(world, &waiting, |_| Err(stopped()));
}

fn answer(world: &World, group: &[Waiting], of: impl Fn(usize) -> Result<Appended, PortError>) {
    let mut state = world.state();
    for (at, waiting) in group.iter().enumerate() {
        state.life.answers.insert(waiting.id, of(at));
    }
    state.progress = true;
}
