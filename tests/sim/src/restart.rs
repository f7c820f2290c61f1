//! What a crash leaves: the process is killed, or the machine loses its power. Then somebody may set the clock.

use crate::check;
use crate::disk::Tail;
use crate::failure::Failure;
use crate::faults::FaultKind;
use crate::plant::Plant;
use crate::process::Life;
use crate::weather::Crashes;
use crate::world::{State, World};

/// The machine goes down and comes up. Fails when what it finds breaks a promise.
pub fn restart(world: &World) -> Result<(), Failure> {
    let mut guard = world.state();
    let state = &mut *guard;
    state.crashed = false;
    state.services.quiet_since_ms = None;
    state.crashes += 1;
    if !state.life.started {
        state.saw(FaultKind::CrashInStart);
    }
    let wanted = state.rng.chance(state.setup.weather.power_loss_percent);
    let lost_power = !state.life.exited && state.may(FaultKind::PowerLoss) && (wanted || !state.may(FaultKind::Kill));
    if !state.life.exited {
        state.happens(if lost_power { FaultKind::PowerLoss } else { FaultKind::Kill });
    }
    if !state.life.stopped_clean {
        lose(state, lost_power);
    }
    if state.draws(FaultKind::ClockJumpAtStart) {
        set_wall(state);
    }
    let down_ms = 1 + state.rng.below(5_000) as i64;
    state.clocks.now_ms += down_ms;
    state.life = Life::new(&state.setup, state.now_ms());
    state.trace.word(state.disk.tables.position);
    plant(state);
    check::after_restart(state)
}

/// What was not synced is lost in part when the power goes, and after a failed sync; a kill leaves it in the kernel's
/// cache, unless it hit the write itself.
fn lose(state: &mut State, lost_power: bool) {
    if lost_power {
        state.disk.journal.lose_never_synced();
    }
    let is_cut = lost_power || state.life.journal_stopped || state.rng.chance(30);
    if is_cut {
        let may_tear = state.may(FaultKind::TornWrite);
        if state.disk.journal.lose_tail(&mut state.rng, may_tear) == Tail::Torn {
            state.saw(FaultKind::TornWrite);
        }
    }
    if lost_power && state.may(FaultKind::LostCommits) && state.disk.lose_commits(&mut state.rng) > 0 {
        state.saw(FaultKind::LostCommits);
    }
}

/// The wall clock is never further from the truth: by more than it takes for everything to be forgotten.
const SKEW_MAX_MS: i64 = 60 * 3_600_000;

/// Somebody sets the wall clock, by something between a second and two hours, seldom by up to two days, to either side.
pub fn set_wall(state: &mut State) {
    let most_ms = if state.rng.chance(4) { 48 * 3_600_000 } else { 1_000 << state.rng.below(13) };
    let by_ms = 1_000 + state.rng.below(most_ms) as i64;
    let ahead = state.rng.chance(50);
    let skew_ms = state.clocks.skew_ms + if ahead { by_ms } else { -by_ms };
    state.clocks.skew_ms = skew_ms.clamp(-SKEW_MAX_MS, SKEW_MAX_MS);
}

/// What the planted bugs make of the tables.
fn plant(state: &mut State) {
    let tables = &mut state.disk.tables;
    match state.setup.plant {
        Some(Plant::DroppedUidMemory) => tables.uids.clear(),
        Some(Plant::DoubleCount) => (tables.position, tables.received_at_ms) = tables.before,
        Some(Plant::LedgerNotRestored) => tables.ledger.clear(),
        _ => {}
    }
}

/// When this life ends, as far as chance decides it.
pub fn draw_crash(state: &mut State) {
    let life = &mut state.life;
    life.crash_at_step = match state.setup.weather.crashes {
        Crashes::Every(0) | Crashes::AtCall(_) | Crashes::Pair(..) => u64::MAX,
        Crashes::Every(steps) => 1 + state.rng.below(2 * steps),
        Crashes::AtStep(n) => n.checked_sub(state.steps).filter(|left| *left > 0).unwrap_or(u64::MAX),
    };
    // It is counted when it happens.
    if state.rolls(FaultKind::CrashInStart) {
        state.life.crash_at_step = 1 + state.rng.below(12);
    }
}

/// Whether the process goes down behind this step. Asked to stop it lives on for a while, and may be killed meanwhile.
pub fn goes_down_here(state: &mut State) -> bool {
    if state.life.steps != state.life.crash_at_step {
        return false;
    }
    let is_planned = matches!(state.setup.weather.crashes, Crashes::AtStep(_));
    if !is_planned && state.life.started && state.life.stops_by_ms.is_none() && state.rng.chance(25) && state.may(FaultKind::Stop) {
        state.happens(FaultKind::Stop);
        let grace_ms = 100 + state.rng.below(20_000) as i64;
        state.life.stops_by_ms = Some(state.now_ms() + grace_ms);
        state.life.crash_at_step = if state.rng.chance(50) { state.life.steps + 1 + state.rng.below(200) } else { u64::MAX };
        return false;
    }
    is_planned || state.may(FaultKind::Kill) || state.may(FaultKind::PowerLoss)
}
