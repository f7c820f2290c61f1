//! One seed, crashed once at each of its port calls in turn; and proof that the checks can fail.

use alertmill_sim::{Plant, Weather, simulate};

const CALM: Weather = Weather { fault_percent: 0, latency_max_ms: 20, crash_at_call: None, crash_percent: 0 };

#[test]
fn promises_hold_with_a_crash_at_every_port_call() {
    let calm = simulate(1, CALM, None).expect("no fault, no failure");
    assert!(calm.calls > 200, "only {} port calls: the simulator does not do its work", calm.calls);
    for call in 1..=calm.calls {
        let outcome = simulate(1, Weather { crash_at_call: Some(call), ..CALM }, None).unwrap_or_else(|why| panic!("crash at call {call}: {why}"));
        assert_eq!(outcome.crashes, 1, "crash at call {call} did not happen");
        assert_eq!(outcome.acknowledged, calm.acknowledged);
    }
}

#[test]
fn one_seed_gives_one_trace() {
    let stormy = Weather { fault_percent: 20, latency_max_ms: 50, crash_at_call: None, crash_percent: 2 };
    for seed in 0..20 {
        let first = simulate(seed, stormy, None).unwrap();
        assert_eq!(first.trace, simulate(seed, stormy, None).unwrap().trace, "seed {seed}");
    }
}

#[test]
fn an_early_acknowledgement_is_found() {
    let found = (0..60).filter(|seed| simulate(*seed, Weather::of_seed(*seed), Some(Plant::EarlyAcknowledge)).is_err_and(|why| why.contains("I1"))).count();
    assert!(found > 0, "the planted bug was not found: the checks prove nothing");
}
