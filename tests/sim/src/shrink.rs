//! Makes a failing run smaller while it breaks in the same way: fewer senders and events, fewer kinds of faults, fewer faults.

use crate::failure::Failure;
use crate::faults::Kinds;
use crate::setup::{Load, Setup};
use crate::{senders, simulate};

/// Runs that shrinking may cost.
const TRIES_MAX: u32 = 600;

/// A smaller run draws other numbers, so that the moment which broke may not come up again: so many seeds are tried for each.
const SEEDS_EACH: u64 = 4;

/// The smallest run found that breaks the same promise: its seed, its setup and what is seen there.
pub fn shrink(seed: u64, setup: Setup, failure: Failure) -> (u64, Setup, Failure) {
    let (mut best, mut tries) = ((seed, setup, failure), 0);
    loop {
        let candidates = smaller(&best.1).into_iter().flat_map(|setup| (best.0..best.0 + SEEDS_EACH).map(move |seed| (seed, setup)));
        let smaller = candidates.into_iter().find_map(|(seed, setup)| {
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
    let Setup { load, kinds, .. } = *setup;
    let half_of_faults = Setup { faults_max: setup.faults_max.min(1 << 14) / 2, ..*setup };
    let no_faults = Setup { kinds: Kinds::NONE, ..*setup };
    let fewer_kinds = kinds.list().map(|kind| Setup { kinds: kinds.without(kind), ..*setup });
    let without = (0..senders::SENDERS).filter(|n| load.has(*n)).map(|n| Load { senders: load.senders & !(1 << n), ..load });
    let fewer = [load.events / 2, load.events * 3 / 4, load.events.saturating_sub(1)].map(|events| Load { events, ..load });
    let loads = without.chain(fewer).filter(|smaller| smaller.senders > 0 && smaller.events > 0).map(|load| Setup { load, ..*setup });
    let one_fault_less = Setup { faults_max: setup.faults_max.saturating_sub(1), ..*setup };
    let all = [no_faults, half_of_faults].into_iter().chain(loads).chain(fewer_kinds).chain([one_fault_less]);
    all.filter(|smaller| smaller != setup).collect()
}

/// How to run it again.
pub fn replay_line(seed: u64, setup: &Setup) -> String {
    let usual = Setup::of_seed(seed, setup.plant);
    let mut line = format!("cargo xtask sim --seeds 1 --from {seed}");
    if setup.weather_of != seed {
        line += &format!(" --weather-of {}", setup.weather_of);
    }
    if setup.load != usual.load {
        let senders: Vec<String> = (0..senders::SENDERS).filter(|n| setup.load.has(*n)).map(|n| n.to_string()).collect();
        line += &format!(" --senders {} --events {}", senders.join(","), setup.load.events);
    }
    if setup.kinds != usual.kinds {
        let kinds: Vec<&str> = setup.kinds.list().map(|kind| kind.name()).collect();
        line += &format!(" --only-faults {}", if kinds.is_empty() { "none".to_owned() } else { kinds.join(",") });
    }
    if setup.faults_max != usual.faults_max {
        line += &format!(" --faults-max {}", setup.faults_max);
    }
    if let Some(plant) = setup.plant {
        line += &format!(" --plant {}", plant.name());
    }
    line
}
