//! What a crash leaves: the process is killed, or the machine loses its power. Then somebody may set the clock.

use crate::check;
use crate::disk::Tail;
use crate::failure::Failure;
use crate::faults::FaultKind;
use crate::plant::Plant;
use crate::weather::Crashes;
use crate::world::{Life, State, World};

/// The machine goes down and comes up. Fails when what it finds breaks a promise.
pub fn restart(world: &World) -> Result<(), Failure> {
    let mut guard = world.state();
    let state = &mut *guard;
    state.crashed = false;
    state.crashes += 1;
    if !state.life.started {
        state.saw(FaultKind::CrashInStart);
    }
    let lost_power = state.rng.chance(state.setup.weather.power_loss_percent) && state.may(FaultKind::PowerLoss);
    state.saw(if lost_power { FaultKind::PowerLoss } else { FaultKind::Kill });
    lose(state, lost_power);
    if state.draws(FaultKind::ClockJumpAtStart) {
        let by_ms = jump_ms(state);
        state.clocks.set_wall(by_ms);
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

/// Some way between a second and two hours, to either side.
pub fn jump_ms(state: &mut State) -> i64 {
    let most_ms = 1_000 << state.rng.below(13);
    let ms = 1_000 + state.rng.below(most_ms) as i64;
    if state.rng.chance(50) { ms } else { -ms }
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

/// Whether the process goes down behind this step.
pub fn crashes_here(state: &State) -> bool {
    let is_planned = matches!(state.setup.weather.crashes, Crashes::AtStep(_));
    state.life.steps == state.life.crash_at_step && (is_planned || state.may(FaultKind::Kill) || state.may(FaultKind::PowerLoss))
}
