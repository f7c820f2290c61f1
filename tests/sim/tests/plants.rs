//! Checks that cannot fail prove nothing: every planted bug is found, and by the promise that it breaks.

use alertmill_proof::{Tier, record};
use alertmill_sim::{Crashes, Plant, Promise, Setup, Weather, simulate};
use std::collections::BTreeSet;

const SEEDS: std::ops::Range<u64> = 0..4_000;
/// Found in so many seeds it is no accident.
const ENOUGH: usize = 3;

/// What a seed runs with. A bug that shows only when a loss of power takes back what a day-old retry needs is met once in a
/// thousand seeds; there the power goes often, and takes much.
fn setup(seed: u64, plant: Option<Plant>, planted: Plant) -> Setup {
    let setup = Setup::of_seed(seed, plant);
    match planted {
        Plant::UidsForgottenEarly => {
            let weather = Weather { crashes: Crashes::Every(600), power_loss_percent: 100, checkpoint_after_ms: 30_000, ..setup.weather };
            Setup { weather, ..setup }
        }
        _ => setup,
    }
}

#[test]
fn every_planted_bug_is_found_by_its_own_promise() {
    for plant in Plant::ALL {
        let breaks = |seed: &u64| simulate(*seed, &setup(*seed, Some(plant), plant)).is_err_and(|failure| failure.promise == Some(plant.breaks()));
        // The same seed without the bug must pass, or something else was found.
        let found: Vec<u64> = SEEDS.filter(|seed| breaks(seed) && simulate(*seed, &setup(*seed, None, plant)).is_ok()).take(ENOUGH).collect();
        println!("{}: {:?} broke in seeds {found:?}", plant.name(), plant.breaks());
        assert_eq!(found.len(), ENOUGH, "{} broke {:?} in seeds {found:?} only", plant.name(), plant.breaks());
    }
    record("plants", Tier::Ci, &[("planted", &Plant::ALL.len()), ("found", &Plant::ALL.len()), ("seeds_each", &ENOUGH)]);
}

#[test]
fn every_promise_that_is_checked_has_a_planted_bug() {
    let broken: BTreeSet<Promise> = Plant::ALL.iter().map(|plant| plant.breaks()).collect();
    assert_eq!(broken, BTreeSet::from(Promise::ALL));
}
