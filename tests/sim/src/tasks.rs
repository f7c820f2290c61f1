//! What goes on in the process beside the two halves: its start, its clock, its upkeep, and an operator who changes the
//! rules.

use crate::faults::FaultKind;
use crate::plant::Plant;
use crate::ports::FakeJournal;
use crate::weather::Part;
use crate::world::{Call, State, World};
use alertmill_core::pipeline::clock_records::{OnItsWay, PAUSE_MAX_MS, ask_in_ms, pause_ms};
use alertmill_core::ports::{Journal, PortError};
use alertmill_core::record::{RecordBody, RuleSet};

/// A record at least so often: as `host/server/src/serve/clock.rs`.
const QUIET_MAX_MS: i64 = 3_600_000;

/// Generations that the operator begins in a run.
const GENERATIONS: u64 = 8;

/// What a start does before anything is read or taken: the state is synced, and what the last process wrote to the journal
/// and may not have synced is written again.
pub async fn boot(world: &World) {
    while world.call(Part::Store, 10).await == Call::Refused {
        world.wait(1_000).await;
    }
    world.state().checkpoint_all();
    while world.call(Part::Journal, 11).await == Call::Refused {
        world.wait(1_000).await;
    }
    let mut guard = world.state();
    let state = &mut *guard;
    // Into a segment of this process, in which there is room for its start.
    state.disk.journal.begin_segment();
    state.life.in_reserve = state.disk.journal.segments() > state.setup.bounds.segments;
    match state.setup.plant {
        Some(Plant::TrustedTail) => state.disk.journal.trust_cache(),
        _ => state.disk.journal.sync(),
    }
    let floor_ms = state.disk.journal.last_ms().max(state.disk.tables.received_at_ms);
    state.clocks.start_journal(floor_ms);
}

impl State {
    fn checkpoint_all(&mut self) {
        let position = self.disk.tables.position;
        self.disk.checkpoint(position);
    }
}

/// Syncs the state some time after each commit.
pub async fn checkpoint(world: &World) {
    loop {
        let after_ms =
            world.until(|state| (state.disk.synced_position() < state.disk.tables.position).then_some(state.setup.weather.checkpoint_after_ms)).await;
        world.wait(after_ms).await;
        // What is committed while it runs is not covered.
        let position = world.state().disk.tables.position;
        if world.call(Part::Checkpoint, 12).await == Call::Goes && !world.draws(FaultKind::CheckpointBefore) {
            world.state().disk.checkpoint(position);
            world.moved();
        }
    }
}

/// Removes journal segments that the synced state does not need, as `host/server/src/serve/maintenance.rs` does.
pub async fn release(world: &World) {
    loop {
        let releasable = |state: &mut State| {
            // The planted bug: the position that a loss of power may take back.
            let early = state.setup.plant == Some(Plant::UnlinkBeforeSync);
            let position = if early { state.disk.tables.position } else { state.disk.synced_position() };
            Some(state.disk.journal.releasable(position)).filter(|n| *n > 0)
        };
        world.until(releasable).await;
        world.wait(1_000).await;
        if world.call(Part::Journal, 13).await == Call::Refused || world.draws(FaultKind::ReleaseBefore) {
            continue;
        }
        let mut guard = world.state();
        let state = &mut *guard;
        let Some(n) = releasable(state) else { continue };
        // One by one, the oldest first.
        let n = if n > 1 && state.draws(FaultKind::ReleaseHalf) { 1 + state.rng.below(n as u64 - 1) as usize } else { n };
        state.disk.journal.release(n);
        state.trace.word(n as u64);
        state.progress = true;
    }
}

/// Starts the process again when its journal has stopped.
pub async fn supervisor(world: &World) {
    world.until(|state| state.life.journal_stopped.then_some(())).await;
    let ms = 1_000 + world.state().rng.below(20_000);
    world.wait(ms).await;
    exit(world).await
}

/// Journals the start; the doors open behind it. A process whose journal does not take it ends, and is started again.
pub async fn start(world: &World, journal: &FakeJournal<'_>) {
    if journal.append(RecordBody::Start { version: "0.0.0-sim".into() }, None).await.is_err() {
        return exit(world).await;
    }
    world.state().life.started = true;
    world.moved();
}

/// The process ends by itself.
async fn exit(world: &World) {
    {
        let mut state = world.state();
        state.life.exited = true;
        state.crashed = true;
    }
    std::future::pending().await
}

/// Ends a process that was asked to stop, when all is folded and synced or its time is up.
pub async fn stop(world: &World) {
    let by_ms = world.until(|state| state.life.stops_by_ms).await;
    let folded = world
        .until(|state| {
            state.wake_at(by_ms);
            let idle = state.all_folded() && state.life.answers.is_empty();
            (idle || state.now_ms() >= by_ms).then_some(idle)
        })
        .await;
    // What is not folded is left in the journal, as after a kill.
    if folded && world.call(Part::Checkpoint, 14).await == Call::Goes {
        let mut state = world.state();
        if state.all_folded() {
            state.checkpoint_all();
            state.life.stopped_clean = true;
        }
    }
    exit(world).await
}

/// Writes a clock record when a time-out is due and nothing else came by.
pub async fn clock(world: &World, journal: &FakeJournal<'_>) {
    world.until(|state| state.life.started.then_some(())).await;
    let (mut last_record, mut on_its_way) = ((0, 0), OnItsWay::default());
    loop {
        let (position, quiet_ms) = {
            let state = world.state();
            if last_record.0 != state.disk.tables.received_at_ms {
                last_record = (state.disk.tables.received_at_ms, state.now_ms());
            }
            (state.disk.tables.position, state.now_ms() + QUIET_MAX_MS)
        };
        let asks = world
            .until(|state| {
                // A commit may have moved the next time-out.
                if state.disk.tables.position != position {
                    return Some(None);
                }
                let now_ms = state.now_ms();
                let due_ms = on_its_way.leaves(state.life.next_due_ms, position);
                let due_in_ms = due_ms.map(|due_ms| ask_in_ms(due_ms, state.clocks.wall_ms(), last_record.0, now_ms - last_record.1));
                let at_ms = due_in_ms.map_or(quiet_ms, |due_in_ms| quiet_ms.min(now_ms + due_in_ms));
                if now_ms >= at_ms {
                    return Some(Some(due_ms));
                }
                state.wake_at(at_ms);
                None
            })
            .await;
        let Some(due_ms) = asks else { continue };
        let pause_ms = match journal.append(RecordBody::Clock, None).await {
            Err(PortError::Fatal(_)) => return,
            Err(_) => PAUSE_MAX_MS,
            Ok(appended) => {
                on_its_way = OnItsWay::journaled(appended.ordinal, appended.received_at_ms);
                pause_ms(due_ms, appended.received_at_ms)
            }
        };
        world.wait(pause_ms as u64).await;
    }
}

/// Switches the rule set now and then, once what the last process journaled is read. It knows what was read and what it tried:
/// a number under which a record may have been written is spent, also when the answer was lost.
pub async fn operator(world: &World, journal: &FakeJournal<'_>) {
    let backlog_end = world.state().disk.journal.records.len() as u64;
    world.until(|state| (state.life.started && state.disk.tables.position >= backlog_end).then_some(())).await;
    let mut spent = 0;
    loop {
        let generation = world.state().life.generation.max(spent) + 1;
        let mut soon = false;
        if generation > GENERATIONS {
            return;
        }
        match journal.append(RecordBody::RuleSet(RuleSet { generation, ..RuleSet::default() }), None).await {
            Err(error) if error.changed_nothing() => {}
            // The next look comes soon.
            Err(_) if world.has(Plant::NumberTwice) => soon = true,
            Err(_) => (spent, soon) = (generation, true),
            Ok(_) => spent = generation,
        }
        let ms = if soon { world.state().rng.below(1_000) } else { 1_000 + world.state().rng.below(12_000) };
        world.wait(ms).await;
    }
}
