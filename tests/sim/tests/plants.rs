//! Checks that cannot fail prove nothing: every planted bug is found, and by the promise that it breaks.

use alertmill_proof::{Tier, record};
use alertmill_sim::{Plant, Promise, Setup, simulate};
use std::collections::BTreeSet;

const SEEDS: std::ops::Range<u64> = 0..4_000;
/// Found in so many seeds it is no accident.
const ENOUGH: usize = 3;

#[test]
fn every_planted_bug_is_found_by_its_own_promise() {
    for plant in Plant::ALL {
        let breaks = |seed: &u64| simulate(*seed, &Setup::of_seed(*seed, Some(plant))).is_err_and(|failure| failure.promise == Some(plant.breaks()));
        // The same seed without the bug must pass, or something else was found.
        let found: Vec<u64> = SEEDS.filter(|seed| breaks(seed) && simulate(*seed, &Setup::of_seed(*seed, None)).is_ok()).take(ENOUGH).collect();
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
