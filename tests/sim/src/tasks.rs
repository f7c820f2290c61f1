//! What goes on in the process beside the two halves: its start, its clock, and an operator who changes the rules.

use crate::ports::FakeJournal;
use crate::world::World;
use alertmill_core::ports::Journal;
use alertmill_core::record::{RecordBody, RuleSet};

/// A record at least so often, pause between two clock records at least and at most: as `host/server/src/serve/clock.rs`.
const QUIET_MAX_MS: i64 = 3_600_000;
const PAUSE_MS: i64 = 50;
const PAUSE_MAX_MS: i64 = 1_000;

/// Generations that the operator begins in a run.
const GENERATIONS: u64 = 8;

/// Journals the start; the doors open behind it.
pub async fn start(world: &World, journal: &FakeJournal<'_>) {
    while journal.append(RecordBody::Start { version: "0.0.0-sim".into() }, None).await.is_err_and(|error| error.may_pass()) {
        world.wait(20).await;
    }
    world.state().started = true;
    world.moved();
}

/// Writes a clock record when a time-out is due and nothing else came by.
pub async fn clock(world: &World, journal: &FakeJournal<'_>) {
    world.until(|state| state.started.then_some(())).await;
    loop {
        let (position, quiet_ms) = {
            let state = world.state();
            (state.disk.tables.position, state.wall_ms() + QUIET_MAX_MS)
        };
        let due_ms = world
            .until(|state| {
                let at_ms = state.next_due_ms.unwrap_or(i64::MAX).min(quiet_ms);
                // A commit may have moved the next time-out.
                if state.disk.tables.position != position || state.wall_ms() >= at_ms {
                    return Some(state.next_due_ms);
                }
                state.wake_at_wall(at_ms);
                None
            })
            .await;
        let (wall_ms, committed_ms) = {
            let state = world.state();
            (state.wall_ms(), state.disk.tables.received_at_ms)
        };
        if wall_ms < due_ms.unwrap_or(i64::MAX).min(quiet_ms) {
            continue;
        }
        if due_ms.is_some_and(|due| committed_ms >= due) {
            world.wait(PAUSE_MS as u64).await;
            continue;
        }
        let pause_ms = match journal.append(RecordBody::Clock, None).await {
            Err(_) => PAUSE_MAX_MS,
            Ok(appended) => due_ms.map_or(0, |due| due - appended.received_at_ms).clamp(PAUSE_MS, PAUSE_MAX_MS),
        };
        world.wait(pause_ms as u64).await;
    }
}

/// Switches the rule set now and then. A generation's number is used once, also when the answer was lost.
pub async fn operator(world: &World, journal: &FakeJournal<'_>) {
    world.until(|state| state.started.then_some(())).await;
    loop {
        let generation = world.state().disk.newest_generation() + 1;
        if generation > GENERATIONS {
            return;
        }
        let _ = journal.append(RecordBody::RuleSet(RuleSet { generation, ..RuleSet::default() }), None).await;
        let ms = 1_000 + world.state().rng.below(12_000);
        world.wait(ms).await;
    }
}
