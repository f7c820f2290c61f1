//! A rule that never ends, or is slow, beside one that does its work: alone in this file, because it measures time.

mod support;

use alertmill_core::row::Row;
use alertmill_proof::Tier;
use serde_json::json;
use std::time::{Duration, Instant};
use support::neighbour::beside;
use support::{Bench, enrich, kinds, options, rows_with, tag, tagged};

/// How much longer a call of the healthy rule may take.
const RISE_MAX: Duration = Duration::from_millis(5);

#[test]
fn m01_an_endless_loop_costs_its_neighbour_nothing_and_is_put_out() {
    // On threads of their own: it loops for as long as it is looked at, since it may fail often.
    let mut bench = Bench::new();
    let mut spins = bench.chain(&[("spins", options(json!({ "strikes": 100 })))], &[]);
    let mut ordinal = 0;
    let mut tries = Vec::new();
    // A busy machine shows longer times on either side; what the loop costs shows in the best of a few tries.
    for _ in 0..3 {
        let mut noticed = beside(|| {
            ordinal += 1;
            let mut rows = [Row { ordinal, ..tagged(0, "poison", "x") }];
            enrich(&mut *spins, &mut rows);
            assert_eq!(kinds(&rows[0]), ["deadline"]);
        });
        let (alone, beside) = noticed.p99();
        println!("p99 of {} calls alone: {alone:?}, of {} beside a loop: {beside:?}", noticed.alone.len(), noticed.beside.len());
        tries.push((beside.saturating_sub(alone), alone, beside, noticed.beside.len()));
        if tries.last().is_some_and(|(rise, ..)| *rise <= RISE_MAX) {
            break;
        }
    }
    let (rise, alone, beside, calls) = *tries.iter().min().expect("a try");
    assert!(rise <= RISE_MAX, "calls took {rise:?} longer beside a loop: {tries:?}");

    // In one chain: it takes three times its limit, and then it is out; the rule behind it judges every row.
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("spins", options(json!({}))), ("says", options(json!({})))], &[]);
    let mut rows = rows_with(2_000, |_| true, "poison", "x");
    let started = Instant::now();
    let tally = enrich(&mut *chain, &mut rows);
    let out_after = started.elapsed();
    assert!(rows.iter().all(|row| tag(row, "version").as_deref() == Some("a") && row.failures.len() == 1));
    assert!((3..=4).contains(&tally[0].calls) && tally[0].failed == 2_000, "{tally:?}");
    let struck = bench.engine.struck();
    assert_eq!(struck.iter().map(|struck| (struck.rule.as_str(), struck.kind)).collect::<Vec<_>>(), [("spins", "deadline")]);
    let us = |time: Duration| time.as_micros();
    let figures: [(&str, &dyn std::fmt::Display); 6] = [
        ("calls", &calls),
        ("p99_alone_us", &us(alone)),
        ("p99_beside_us", &us(beside)),
        ("rise_us", &us(rise)),
        ("loop_calls_until_out", &tally[0].calls),
        ("loop_out_after_ms", &out_after.as_millis()),
    ];
    alertmill_proof::record("loop-beside", Tier::Ci, &figures);
}

/// The rules of a generation are a row that each event goes through, so that a slow one is waited for. What it takes is counted as its
/// own, an alarm names it, and the rule behind it is called as it would be alone.
#[test]
fn m33_a_slow_rule_within_its_limit_costs_its_own_time_and_is_named() {
    const CALLS: u64 = 6;
    // 100,000 log lines are work, and no fault.
    let slow = || options(json!({ "limits": { "time_ms": 20_000, "slow_ms": 1 } }));
    let mut tries = Vec::new();
    for _ in 0..5 {
        let mut alone = Bench::new().chain(&[("says", options(json!({})))], &[]);
        let mut bench = Bench::new();
        let mut chain = bench.chain(&[("floods", slow()), ("says", options(json!({})))], &[]);
        let rows = || rows_with(64, |i| i == 0, "flood", "lines");
        let (mut times, mut slow_times) = ([Vec::new(), Vec::new()], Vec::new());
        for _ in 0..CALLS {
            times[0].push(Duration::from_nanos(enrich(&mut *alone, &mut rows())[0].nanos));
            let mut rows = rows();
            let tally = enrich(&mut *chain, &mut rows);
            assert!(rows.iter().all(|row| tag(row, "version").as_deref() == Some("a") && row.failures.is_empty()));
            slow_times.push(Duration::from_nanos(tally[0].nanos));
            times[1].push(Duration::from_nanos(tally[1].nanos));
        }
        let stats = bench.engine.stats();
        let of = |name: &str| stats.iter().find(|stats| stats.rule == name).unwrap();
        let (floods, says) = (of("floods"), of("says"));
        assert_eq!((floods.calls, floods.slow_calls, floods.strikes, floods.struck_out), (CALLS, CALLS, 0, false));
        assert_eq!((&*floods.alarms, says.alarms.len()), (&["slow"][..], 0));
        assert_eq!(floods.nanos, slow_times.iter().map(|time| time.as_nanos() as u64).sum::<u64>(), "all of it is in its own counter");
        let [alone, behind] = times.map(|mut times| {
            times.sort();
            times[times.len() / 2]
        });
        println!(
            "the slow rule took {:?} at the least; half of the calls of the one behind it took {behind:?} at the most, alone {alone:?}",
            slow_times.iter().min().unwrap()
        );
        tries.push((behind.saturating_sub(alone), floods.nanos > 10 * says.nanos));
        if tries.last().is_some_and(|(rise, is_its_own)| *rise <= RISE_MAX && *is_its_own) {
            return;
        }
    }
    panic!("calls of the rule behind took longer: {tries:?}");
}
