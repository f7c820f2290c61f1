//! A rule can only hurt itself (I10): whatever a module does, its rows get the stated failure, every other row and every
//! other rule goes on as if nothing were wrong.

mod support;

use alertmill_core::row::Row;
use alertmill_engine::{RuleOptions, RuleStatsSnapshot};
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use support::{Bench, enrich, kinds, module, options, rows_with, tag, tagged};

/// The neighbour after every misbehaving rule; what it writes never depends on that rule.
const NEIGHBOUR: &str = "says";

struct Outcome {
    rows: Vec<Row>,
    bench: Bench,
    tally: Vec<alertmill_core::rules::RuleTally>,
}

/// Runs the module and its neighbour; asserts that the neighbour did its work on every row that was not dropped.
fn run(name: &str, options_of_it: RuleOptions, mut rows: Vec<Row>) -> Outcome {
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[(name, options_of_it), (NEIGHBOUR, options(json!({})))], &[]);
    let before = rows.len() as u64;
    let tally = enrich(&mut *chain, &mut rows);
    for row in rows.iter().filter(|row| row.dropped.is_none()) {
        assert_eq!(tag(row, "version").as_deref(), Some("a"), "the neighbour's answer");
        assert!(row.failures.iter().all(|failure| failure.rule == name));
    }
    assert_eq!(tally[0].rows, before);
    assert_eq!(tally[1].failed, 0);
    Outcome { rows, bench, tally }
}

impl Outcome {
    fn stats(&self) -> RuleStatsSnapshot {
        self.bench.engine.stats().into_iter().find(|stats| stats.rule != NEIGHBOUR).unwrap()
    }

    /// The rows at `at` have exactly this failure and nothing of the rule's change; all others have its change and no failure.
    #[track_caller]
    fn only(&self, at: impl Fn(u32) -> bool, kind: &str) -> &Row {
        for row in &self.rows {
            let failed = at(row.index);
            assert_eq!(kinds(row), if failed { vec![kind] } else { vec![] }, "row {}: {:?}", row.index, row.failures);
            assert_eq!(tag(row, "note").is_some(), !failed, "row {}", row.index);
        }
        self.rows.iter().find(|row| at(row.index)).expect("a failed row")
    }
}

#[test]
fn m17_a_trap_takes_its_own_row_only_wherever_it_is() {
    for poison in [0, 1, 31, 62, 63] {
        let outcome = run("traps", options(json!({})), rows_with(64, |i| i == poison, "poison", "x"));
        let row = outcome.only(|i| i == poison, "trap");
        let failure = &row.failures[0];
        assert!(failure.version.starts_with("0.1.0@sha256:") && failure.version.len() == 13 + 64, "{}", failure.version);
        assert!(failure.message.contains("unreachable") && failure.message.contains("enrich"), "{}", failure.message);
        // 64 rows, then two halves at each of six levels. A row that fails on an instance which has answered before gets a fresh one.
        let again = u64::from(poison % 2 == 1);
        assert_eq!(outcome.tally[0].calls, 13 + again, "calls until the row is alone");
        assert_eq!((outcome.tally[0].failed, outcome.tally[0].changed), (1, 63));
        assert_eq!(outcome.stats().failures, [("trap", 1)]);
    }
}

#[test]
fn a_row_that_the_rule_refuses_fails_alone_without_another_call() {
    let outcome = run("errors", options(json!({})), rows_with(256, |i| i % 5 == 0, "error", "line\none"));
    let row = outcome.only(|i| i % 5 == 0, "row-error");
    assert_eq!(row.failures[0].message, "line\\none");
    assert_eq!(outcome.tally[0].calls, 1);
}

#[test]
fn m01_a_loop_ends_at_the_limit_and_its_row_is_found() {
    let outcome = run("spins", options(json!({ "limits": { "time_ms": 300 } })), rows_with(2, |i| i == 1, "poison", "x"));
    assert!(outcome.only(|i| i == 1, "deadline").failures[0].message.contains("time limit"));
    assert_eq!((outcome.stats().strikes, outcome.stats().struck_out), (2, false));
}

#[test]
fn m01_a_looping_rule_costs_three_limits_and_no_more() {
    let mut bench = Bench::new();
    let spins = options(json!({ "limits": { "time_ms": 50 } }));
    let mut chain = bench.chain(&[("spins", spins), (NEIGHBOUR, options(json!({})))], &[]);
    let mut rows = rows_with(4_000, |i| i % 2 == 1, "poison", "x");
    let started = Instant::now();
    let tally = enrich(&mut *chain, &mut rows);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "took {took:?}; 2,000 rows at 50 ms each would be 100 s");
    // One may be asked twice, if the machine had no time for it.
    assert!((3..=4).contains(&tally[0].calls), "{tally:?}");
    assert_eq!(tally[0].failed, 4_000);
    for row in &rows {
        assert_eq!(kinds(row), ["struck-out"]);
        assert_eq!(tag(row, "version").as_deref(), Some("a"));
    }
    let again = enrich(&mut *chain, &mut rows_with(10, |_| false, "", ""));
    assert_eq!((again[0].calls, again[0].failed), (0, 10), "not called while it is out");
    let stats = bench.engine.stats();
    let spins = stats.iter().find(|stats| stats.rule == "spins").unwrap();
    assert_eq!((spins.strikes, spins.struck_out), (3, true));
    assert_eq!(spins.failures, [("struck-out", 4_010)]);
}

/// Each refresh of a table is a generation of its own, and often the one before is gone by then.
#[test]
fn a_refreshed_table_forgets_no_strike() {
    let mut bench = Bench::new();
    let exceeds = || options(json!({ "limits": { "time_ms": 20 } }));
    for refresh in 1..=5 {
        let hosts = format!("host,owner\nbig,{refresh}\n");
        let generation = bench.generation(&[("exceeds", exceeds()), (NEIGHBOUR, options(json!({})))], &[("hosts", &hosts)]);
        if refresh % 2 == 0 {
            bench.engine.retire_before(generation);
        }
        let mut chain = alertmill_core::rules::RuleSets::open(&bench.engine, generation).unwrap();
        bench.engine.retire_before(generation);
        let mut rows = vec![tagged(0, "exceeds", "time")];
        let tally = enrich(&mut *chain, &mut rows);
        let wanted = if refresh <= 3 { "deadline" } else { "struck-out" };
        assert_eq!((tally[0].calls > 0, kinds(&rows[0])), (refresh <= 3, vec![wanted.to_owned()]), "refresh {refresh}: {:?}", rows[0].failures);
        assert_eq!(tag(&rows[0], "version").as_deref(), Some("a"));
        let stats = bench.engine.stats();
        assert_eq!(stats.len(), 2, "{stats:?}");
        assert_eq!((stats[0].strikes, stats[0].struck_out), (refresh.min(3), refresh >= 3), "refresh {refresh}");
        assert_eq!(stats[1].calls, refresh);
    }
    assert_eq!(bench.engine.stats()[0].failures, [("deadline", 3), ("struck-out", 2)]);
}

#[test]
fn going_back_to_a_version_is_no_way_out_of_its_strikes() {
    let mut bench = Bench::new();
    let spins = |bench: &mut Bench| {
        let mut chain = bench.chain(&[("spins", options(json!({ "limits": { "time_ms": 20 } })))], &[]);
        let mut rows = vec![tagged(0, "poison", "x")];
        enrich(&mut *chain, &mut rows);
        kinds(&rows[0])
    };
    for round in 0..4 {
        assert_eq!(spins(&mut bench), [if round < 3 { "deadline" } else { "struck-out" }]);
        let other = bench.generation(&[(NEIGHBOUR, options(json!({})))], &[]);
        bench.engine.retire_before(other);
        assert!(bench.engine.stats().is_empty(), "nothing of it is loaded");
    }
}

/// One stall of the machine, here one crowd of rows, must not leave a rule with small batches for good.
#[test]
fn a_batch_that_was_too_large_once_grows_again() {
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("crowds", options(json!({ "limits": { "time_ms": 1_000 } })))], &[]);
    let mut calls = |rows: u32, crowd: bool| {
        let mut rows = rows_with(rows, |i| crowd && i == 0, "crowd", "yes");
        let tally = enrich(&mut *chain, &mut rows);
        assert!(rows.iter().all(|row| row.failures.is_empty()), "{:?}", rows[0].failures);
        tally[0].calls
    };
    assert_eq!(calls(256, false), 1);
    assert!((3..=4).contains(&calls(256, true)), "the deadline, once more if the machine had no time for it, then each half");
    assert_eq!(calls(256, false), 2, "halved");
    for _ in 0..60 {
        assert_eq!(calls(128, false), 1);
    }
    assert_eq!(calls(256, false), 1, "as many as before");
}

#[test]
fn m04_a_memory_bomb_stays_below_its_limit() {
    let grows = options(json!({ "limits": { "memory_bytes": 16 << 20, "time_ms": 5_000 } }));
    let outcome = run("grows", grows, rows_with(64, |i| i == 40, "poison", "x"));
    let failure = &outcome.only(|i| i == 40, "memory").failures[0];
    assert!(failure.message.starts_with("memory limit reached"), "{}", failure.message);
}

/// Lies with a number in the list of hostile modules are told in `hostile.rs`.
#[test]
fn a_bad_answer_is_refused_whole_and_bisected() {
    for lie in ["column", "short"] {
        let outcome = run("lies", options(json!({})), rows_with(64, |i| i == 17, "lie", lie));
        outcome.only(|i| i == 17, "output");
        assert_eq!(outcome.tally[0].calls, 14, "{lie}");
    }
}

#[test]
fn m14_the_same_row_twice_is_refused() {
    // Alone in its batch the row that lies names row 0 once, which is right: so nothing fails in the end.
    let outcome = run("lies", options(json!({})), rows_with(64, |i| i == 17, "lie", "order"));
    assert!(outcome.tally[0].calls > 1);
    assert_eq!(outcome.tally[0].failed, 0);
    assert!(outcome.rows.iter().all(|row| tag(row, "note").as_deref() == Some("seen")));
}

#[test]
fn an_answer_larger_than_its_limit_is_refused() {
    let tight = options(json!({ "limits": { "output_bytes": 2_048 } }));
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[(NEIGHBOUR, tight)], &[]);
    let mut rows = rows_with(256, |_| false, "", "");
    let tally = enrich(&mut *chain, &mut rows);
    assert!(tally[0].calls > 1, "256 rows do not fit, so the batch was halved");
    assert!(rows.iter().all(|row| row.failures.is_empty() && tag(row, "version").is_some()));
}

#[test]
fn m35_look_ups_are_counted_in_each_call() {
    let csv = "host,owner,team,service,tier\nweb-1,alice,web,shop,1\n";
    for (lookups, kind) in [(10_000, None), (3, None), (0, Some("lookup-budget"))] {
        let mut bench = Bench::new();
        let mut chain = bench.chain(&[("owner-from-table", options(json!({ "limits": { "lookups": lookups } })))], &[("hosts", csv)]);
        let mut rows = rows_with(32, |_| true, "host", "web-1");
        let tally = enrich(&mut *chain, &mut rows);
        assert_eq!(tally[0].calls == 1, lookups == 10_000);
        for row in &rows {
            assert_eq!(kinds(row), kind.into_iter().collect::<Vec<_>>());
            assert_eq!(tag(row, "owner").is_some(), kind.is_none());
        }
    }
}

const BIG: usize = 1_000;

/// `hosts` with one row whose cell is large, and the rule that goes beyond what `what` names, in the middle of 16 rows.
#[track_caller]
fn exceeds(what: &str, keys: serde_json::Value, kind: Option<&str>) -> Vec<Row> {
    let hosts = format!("host,owner\nbig,{}\n", "x".repeat(BIG));
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("exceeds", options(keys)), (NEIGHBOUR, options(json!({})))], &[("hosts", &hosts)]);
    let mut rows = rows_with(16, |i| i == 5, "exceeds", what);
    enrich(&mut *chain, &mut rows);
    for row in &rows {
        let wanted: Vec<&str> = kind.into_iter().filter(|_| row.index == 5).collect();
        assert_eq!(kinds(row), wanted, "{what}, row {}: {:?}", row.index, row.failures);
        assert_eq!(tag(row, "note").is_some(), wanted.is_empty(), "{what}, row {}", row.index);
        assert_eq!(tag(row, "version").as_deref(), Some("a"), "{what}: the neighbour's answer");
    }
    rows
}

/// The texts by which wasmtime's errors are told apart are wasmtime's own: these hold them to the kinds.
#[test]
fn each_limit_of_the_host_has_its_kind_and_its_words() {
    for (what, kind, says) in [
        ("stack", "stack", "stack"),
        ("handles", "handles", "limits.table_handles"),
        ("key", "lookup-budget", "2000 bytes"),
        ("output", "output", "its answer is too large"),
        ("lift", "lift", "utf-8"),
        ("lower", "lower", "realloc"),
    ] {
        let rows = exceeds(what, json!({ "limits": { "output_bytes": 65_536, "time_ms": 5_000 } }), Some(kind));
        let message = &rows[5].failures[0].message;
        assert!(message.to_lowercase().contains(says), "{what}: {message}");
    }
}

#[test]
fn m35_a_tables_answer_is_bounded_while_it_is_built() {
    for what in ["columns", "rows"] {
        let rows = exceeds(what, json!({ "limits": { "time_ms": 5_000 } }), Some("lookup-budget"));
        let message = &rows[5].failures[0].message;
        assert!(message.contains("8388608 bytes"), "10,000 cells of {BIG} bytes are more than the host lends: {message}");
    }
    let rows = exceeds("twice", json!({}), None);
    assert_eq!(tag(&rows[5], "note").as_deref(), Some("column `owner` is asked for twice"));
}

#[test]
fn calls_that_fail_for_long_are_bounded_too() {
    let grows = options(json!({ "limits": { "memory_bytes": 64 << 20, "time_ms": 100 } }));
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("grows", grows), (NEIGHBOUR, options(json!({})))], &[]);
    let mut rows = rows_with(2_000, |_| true, "poison", "x");
    let started = Instant::now();
    enrich(&mut *chain, &mut rows);
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
    for row in &rows {
        assert!(["memory", "deadline", "struck-out"].contains(&kinds(row)[0].as_str()), "{:?}", row.failures);
        assert_eq!(tag(row, "version").as_deref(), Some("a"));
    }
    assert_eq!(kinds(&rows[1_999]), ["struck-out"]);
}

#[test]
fn two_workers_share_a_rule_and_nothing_else() {
    let mut bench = Bench::new();
    let generation = bench.generation(&[("traps", options(json!({}))), (NEIGHBOUR, options(json!({})))], &[]);
    let engine = &bench.engine;
    std::thread::scope(|scope| {
        for worker in 0..2u32 {
            scope.spawn(move || {
                let mut chain = alertmill_core::rules::RuleSets::open(engine, generation).unwrap();
                for _ in 0..20 {
                    let mut rows = rows_with(100, |i| worker == 1 && i == 50, "poison", "x");
                    enrich(&mut *chain, &mut rows);
                    assert_eq!(rows.iter().filter(|row| !row.failures.is_empty()).count(), worker as usize);
                }
            });
        }
    });
    let stats = bench.engine.stats();
    assert_eq!(stats.iter().map(|stats| stats.failures.as_slice()).collect::<Vec<_>>(), [&[][..], &[("trap", 20)]]);
}

#[test]
fn instances_are_made_anew_only_after_a_crash() {
    let outcome = run("traps", options(json!({})), rows_with(64, |i| i == 9, "poison", "x"));
    // 14 calls, of which 8 trapped; each next call got a new instance.
    assert_eq!(outcome.stats().instances, 9);
    let healthy = run("errors", options(json!({})), rows_with(5_000, |_| false, "", ""));
    assert_eq!(healthy.stats().instances, 1);
    assert_eq!(healthy.stats().calls, 20);
}

#[test]
fn m27_instances_are_made_anew_after_so_many_calls_or_so_much_growth() {
    let made = |limits: serde_json::Value, name: &str, rows: &[Row]| {
        let mut bench = Bench::new();
        let mut chain = bench.chain(&[(name, options(json!({ "limits": limits })))], &[]);
        for row in rows {
            let mut row = [row.clone()];
            enrich(&mut *chain, &mut row);
            assert!(row[0].failures.is_empty() && tag(&row[0], "note").is_some());
        }
        bench.engine.stats().remove(0).instances_by_reason
    };
    let quiet = rows_with(1_000, |_| false, "", "");
    assert_eq!(made(json!({}), "errors", &quiet), [("start", 1)]);
    assert_eq!(made(json!({ "recycle_calls": 100 }), "errors", &quiet), [("start", 1), ("calls", 9)], "the last one is full, and the next comes with a call");
    assert_eq!(made(json!({ "recycle_calls": 0, "recycle_growth_bytes": 0 }), "errors", &quiet), [("start", 1)], "never");
    // 64 KiB a row: 50 of them are more than 3 MiB.
    let hoard = rows_with(100, |_| true, "poison", "x");
    let grown = made(json!({ "recycle_growth_bytes": 3 << 20 }), "leaks", &hoard);
    assert!(grown[0] == ("start", 1) && grown[1].0 == "growth" && (1..=2).contains(&grown[1].1), "{grown:?}");
    assert_eq!(made(json!({ "recycle_growth_bytes": 0 }), "leaks", &hoard), [("start", 1)]);
}

/// What each call used is seen in the counters of its version, and each limit that it ran into.
#[test]
fn what_a_rule_used_and_what_it_ran_into_is_counted() {
    let hosts = format!("host,owner,team,service,tier\nweb-1,alice,web,shop,1\nbig,{},,,\n", "x".repeat(BIG));
    let mut bench = Bench::new();
    let rules = [("owner-from-table", options(json!({}))), ("exceeds", options(json!({ "limits": { "time_ms": 20, "slow_ms": 5, "output_bytes": 65_536 } })))];
    let mut chain = bench.chain(&rules, &[("hosts", &hosts)]);
    enrich(&mut *chain, &mut rows_with(32, |_| true, "host", "web-1"));
    for (index, what) in (100..).zip(["stack", "handles", "key", "output", "time"]) {
        enrich(&mut *chain, &mut [tagged(index, "exceeds", what)]);
    }
    let stats = bench.engine.stats();
    let of = |name: &str| stats.iter().find(|stats| stats.rule == name).unwrap();
    let owner = of("owner-from-table");
    assert_eq!((owner.most.lookups, owner.most.handles, owner.slow_calls), (32, 1, 0), "{:?}", owner.most);
    assert!(owner.most.memory_bytes >= 1 << 20 && owner.most.output_bytes > 32 * 5 && owner.most.nanos > 0, "{:?}", owner.most);
    assert!(owner.limit_hits.is_empty() && owner.version_label() == format!("{}@{}", owner.version, &owner.digest[..8]));
    let exceeds = of("exceeds");
    let hits: std::collections::BTreeMap<_, _> = exceeds.limit_hits.iter().copied().collect();
    assert_eq!(hits.keys().copied().collect::<Vec<_>>(), ["lookups", "output_bytes", "stack", "table_handles", "time_ms"], "{exceeds:?}");
    assert!(exceeds.most.handles >= 256 && exceeds.slow_calls >= 1 && exceeds.most.nanos > 20_000_000, "{exceeds:?}");
}

/// Stops the machine for the rule's own thread, once or always, where the rule writes a log line. The sleep is what is tested, a thread
/// that has no processor while time goes by; nothing waits for it. What follows of any share of a processor is tested without a
/// clock beside `Strikes`.
struct Stalls {
    left: AtomicU32,
    beyond: Duration,
}

impl tracing::Subscriber for Stalls {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "alertmill::rule"
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            std::thread::sleep(self.beyond);
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// A rule is struck for time that it used, not for time that passed while the machine stood still.
#[test]
fn a_stalled_machine_strikes_nobody() {
    let run = |stalls: u32| {
        let stalls = Stalls { left: AtomicU32::new(stalls), beyond: Duration::from_millis(300) };
        tracing::subscriber::with_default(stalls, || {
            let mut bench = Bench::new();
            let mut chain = bench.chain(&[("floods", options(json!({ "limits": { "time_ms": 100 } })))], &[]);
            let mut rows = vec![tagged(0, "flood", "0")];
            enrich(&mut *chain, &mut rows);
            let stats = bench.engine.stats().remove(0);
            (kinds(&rows[0]), stats.strikes, stats.calls)
        })
    };
    assert_eq!(run(0), (vec![], 0, 1));
    assert_eq!(run(1), (vec![], 0, 2), "asked once more, and judged");
    // A machine that never gives it time: its row goes on without it after twice its limit, and still it did nothing wrong.
    assert_eq!(run(u32::MAX), (vec!["deadline".to_owned()], 0, 2));
}

#[test]
fn bad_modules_leave_the_engine_as_it_was() {
    let bench = Bench::new();
    let before = bench.engine.inspect(&module(NEIGHBOUR)).unwrap();
    for name in ["core-module", "wrong-version", "no-lifecycle"] {
        bench.engine.inspect(&module(name)).unwrap_err();
    }
    assert_eq!(bench.engine.inspect(&module(NEIGHBOUR)).unwrap(), before);
}
