//! A simulator that does nothing finds nothing: what the first seeds reach, all together.

use alertmill_sim::{Outcome, Setup, simulate};

#[test]
fn the_load_reaches_everything() {
    let mut sum = Outcome::default();
    for seed in 0..27 {
        sum.add(&simulate(seed, &Setup::of_seed(seed, None)).unwrap_or_else(|why| panic!("seed {seed}: {why}")));
    }
    let reached = [
        ("crashes", sum.crashes),
        ("faults", sum.faults),
        ("merged batches", sum.merged),
        ("starts", sum.starts),
        ("clock records", sum.clocks),
        ("generations", sum.generations),
        ("time-outs", sum.timed_out),
        ("refreshed", sum.refreshed),
        ("duplicates", sum.duplicates),
        ("dead letters", sum.dead_letters),
        ("refused", sum.refused),
        ("expired", sum.expired),
        ("dropped by a rule", sum.rule_dropped),
        ("failed in a rule", sum.rule_failed),
    ];
    println!("{reached:?}");
    for (what, n) in reached {
        assert!(n >= 20, "{what}: {n}");
    }
}
