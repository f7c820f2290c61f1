//! One seed, crashed once at each of its port calls in turn.

use alertmill_sim::{Load, Setup, Weather, simulate};

const CALM: Weather = Weather { fault_percent: 0, latency_max_ms: 20, crash_at_call: None, crash_percent: 0 };
const SMALL: Load = Load { events: 6, ..Load::FULL };

fn crash_at(call: Option<u64>) -> Setup {
    Setup { weather: Weather { crash_at_call: call, ..CALM }, load: SMALL, plant: None }
}

#[test]
fn promises_hold_with_a_crash_at_every_port_call() {
    let calm = simulate(1, &crash_at(None)).expect("no fault, no failure");
    assert!(calm.calls > 400, "only {} port calls: the simulator does not do its work", calm.calls);
    for call in 1..=calm.calls {
        let outcome = simulate(1, &crash_at(Some(call))).unwrap_or_else(|why| panic!("crash at call {call}: {why}"));
        assert_eq!(outcome.crashes, 1, "crash at call {call} did not happen");
    }
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in 0..20 {
        let stormy = Setup { weather: Weather { fault_percent: 20, latency_max_ms: 50, crash_at_call: None, crash_percent: 2 }, load: Load::FULL, plant: None };
        let first = simulate(seed, &stormy).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert_eq!(Ok(first), simulate(seed, &stormy), "seed {seed}");
    }
}
