//! Makes a failing run smaller while it breaks in the same way: fewer senders, events, faults and crashes.

use crate::failure::Failure;
use crate::setup::{Load, Setup, Weather};
use crate::{senders, simulate};

/// Runs that shrinking may cost.
const TRIES_MAX: u32 = 200;
/// A smaller run draws other numbers, so that the moment which broke may not come up again: a few more seeds are tried.
const SEEDS_EACH: u64 = 6;
/// Between them; the weather of a seed repeats after 27.
const SEED_STEP: u64 = 27 * 37_037;

/// The smallest run found that breaks the same promise: its seed, its setup and what is seen there.
pub fn shrink(seed: u64, setup: Setup, failure: Failure) -> (u64, Setup, Failure) {
    let (mut best, mut tries) = ((seed, setup, failure), 0);
    loop {
        let mut candidates = smaller(&best.1).into_iter().flat_map(|setup| (0..SEEDS_EACH).map(move |n| (seed + n * SEED_STEP, setup)));
        let smaller = candidates.find_map(|(seed, setup)| {
            tries += 1;
            let failure = if tries <= TRIES_MAX { simulate(seed, &setup).err()? } else { return None };
            (failure.promise == best.2.promise).then_some((seed, setup, failure))
        });
        match smaller {
            Some(found) => best = found,
            None => return best,
        }
    }
}

fn smaller(setup: &Setup) -> Vec<Setup> {
    let Setup { weather, load, .. } = *setup;
    let without = (0..senders::SENDERS).filter(|n| load.has(*n)).map(|n| Load { senders: load.senders & !(1 << n), ..load });
    let fewer = Load { events: load.events / 2, ..load };
    let loads = without.chain([fewer]).filter(|smaller| smaller.senders > 0 && smaller.events > 0);
    let weathers = [
        Weather { fault_percent: 0, ..weather },
        Weather { crash_percent: 0, ..weather },
        Weather { fault_percent: weather.fault_percent / 2, ..weather },
        Weather { crash_percent: weather.crash_percent / 2, ..weather },
    ];
    let all = loads.map(|load| Setup { load, ..*setup }).chain(weathers.map(|weather| Setup { weather, ..*setup }));
    all.filter(|smaller| smaller != setup).collect()
}

/// How to run it again.
pub fn replay_line(seed: u64, setup: &Setup) -> String {
    let Setup { weather, load, plant } = setup;
    let senders: Vec<String> = (0..senders::SENDERS).filter(|n| load.has(*n)).map(|n| n.to_string()).collect();
    let plant = plant.map(|plant| format!(" --plant {}", plant.name())).unwrap_or_default();
    format!(
        "cargo xtask sim --seeds 1 --from {seed} --senders {} --events {} --faults {} --crashes {}{plant}",
        senders.join(","),
        load.events,
        weather.fault_percent,
        weather.crash_percent
    )
}
