//! One small load, crashed at each of its port calls, behind each of its awaits, and again during each recovery.

use alertmill_proof::{Tier, record};
use alertmill_sim::{Bounds, Crashes, FaultKind, Load, Outcome, Setup, Weather, simulate};

const SMALL: Load = Load { events: 6, ..Load::FULL };
const SMALLEST: Load = Load { senders: 0b001_0001, events: 3 };

fn calm(load: Load, crashes: Crashes, power_loss_percent: u64) -> Setup {
    let bounds = Bounds { in_flight_bytes: 1 << 20, live_bytes: 4_000, segment_records: 4, segments: 1_000 };
    Setup { weather: Weather { crashes, power_loss_percent, ..Weather::CALM }, load, bounds, ..Setup::of_seed(1, None) }
}

fn run(load: Load, crashes: Crashes, power_loss_percent: u64) -> Outcome {
    simulate(1, &calm(load, crashes, power_loss_percent)).unwrap_or_else(|why| panic!("{crashes:?}, power loss {power_loss_percent} %: {why}"))
}

#[test]
fn promises_hold_with_a_crash_at_every_port_call_and_behind_every_await() {
    let quiet = run(SMALL, Crashes::Every(0), 0);
    assert!(quiet.calls > 400 && quiet.steps > 800, "only {} port calls: the simulator does not do its work", quiet.calls);
    for power_loss_percent in [0, 100] {
        for call in 1..=quiet.calls {
            let outcome = run(SMALL, Crashes::AtCall(call), power_loss_percent);
            assert_eq!(outcome.crashes, 1, "crash at call {call} did not happen");
        }
        for step in 1..=quiet.steps {
            let outcome = run(SMALL, Crashes::AtStep(step), power_loss_percent);
            assert_eq!(outcome.crashes, 1, "crash behind step {step} did not happen");
        }
    }
    record(
        "sim-crash-everywhere",
        Tier::Ci,
        &[("port_calls", &quiet.calls), ("awaits", &quiet.steps), ("runs", &(2 * (quiet.calls + quiet.steps))), ("failed", &0)],
    );
}

#[test]
fn promises_hold_with_a_second_crash_at_every_port_call_of_the_recovery() {
    // The recovery and what follows it at once: start, replay, the first commits.
    const RECOVERY_CALLS: u64 = 24;
    let quiet = run(SMALLEST, Crashes::Every(0), 0);
    let (mut pairs, mut nested) = (0, 0);
    for first in 1..=quiet.calls {
        for second in 1..=RECOVERY_CALLS {
            let outcome = run(SMALLEST, Crashes::Pair(first, second), 100 * (second % 2));
            pairs += 1;
            nested += u64::from(outcome.crashes == 2);
        }
    }
    assert!(nested * 10 >= pairs * 9, "only {nested} of {pairs} had a second crash");
    record("sim-crash-pairs", Tier::Ci, &[("port_calls", &quiet.calls), ("recovery_calls", &RECOVERY_CALLS), ("runs", &pairs), ("failed", &0)]);
}

#[test]
fn promises_hold_with_one_fault_of_each_kind_at_every_moment() {
    let quiet = run(SMALL, Crashes::Every(0), 0);
    let (mut runs, mut kinds) = (0u64, 0u64);
    for kind in FaultKind::ALL {
        let chances = quiet.chances.of(kind);
        for n in 1..=chances {
            let mut setup = calm(SMALL, Crashes::Every(0), 0);
            setup.weather.once = Some((kind, n));
            let outcome = simulate(1, &setup).unwrap_or_else(|why| panic!("{} at its moment {n} of {chances}: {why}", kind.name()));
            // A fault in a start is seen only if the process goes down there.
            assert!(outcome.injected.of(kind) > 0 || kind == FaultKind::CrashInStart, "{} at its moment {n} did not happen", kind.name());
            runs += 1;
        }
        kinds += u64::from(chances > 0);
    }
    assert!(kinds >= 17 && runs > 1_000, "{kinds} kinds, {runs} runs");
    record("sim-fault-everywhere", Tier::Ci, &[("fault_kinds", &kinds), ("runs", &runs), ("failed", &0)]);
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in 0..20 {
        let setup = Setup::of_seed(seed, None);
        let first = simulate(seed, &setup).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert_eq!(Ok(first), simulate(seed, &setup), "seed {seed}");
    }
}
