//! A simulator that does nothing finds nothing: what the first seeds reach, all together.

use alertmill_sim::{Outcome, Setup, simulate};

#[test]
fn the_load_reaches_everything() {
    let mut sum = Outcome::default();
    for seed in 0..100 {
        sum.add(&simulate(seed, &Setup::of_seed(seed, None)).unwrap_or_else(|why| panic!("seed {seed}: {why}")));
    }
    let reached = sum.figures();
    println!("{reached:?}");
    for (what, n) in reached {
        assert!(n >= 50, "{what}: {n}");
    }
}
