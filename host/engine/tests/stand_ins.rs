//! What stands in for WASI gives every rule the same, whatever it asks and however often; what a rule prints is in its failures.
//! `fixtures/wasip2.wasm` has all of Rust's standard library, `fixtures/all-imports.wasm` imports every function.

mod support;

use alertmill_core::row::Row;
use alertmill_engine::{Grant, RuleOptions};
use serde_json::json;
use std::time::{Duration, Instant};
use support::{Bench, enrich, fixture, kinds, options, tag, tagged};

/// No input, no time passed, none since 1970, no environment, no arguments, and twice the same number.
const SURROUNDINGS: &str = "Ok(0) 0ns Ok(0ns) 0 0 e220a8397b1dcdaf e220a8397b1dcdaf";

/// Rows that want this of the rule, one after the other, through a new engine; `cuts` are the sizes of batches.
fn asked(wants: &[&str], cuts: usize, options: RuleOptions) -> Vec<Row> {
    let mut bench = Bench::new();
    let generation = bench.generation_of(&[(fixture("wasip2"), options)], &[]);
    let mut chain = alertmill_core::rules::RuleSets::open(&bench.engine, generation).unwrap_or_else(|e| panic!("{e}"));
    let mut rows: Vec<Row> = (0_u32..).zip(wants).map(|(index, what)| tagged(index, "what", what)).collect();
    rows.chunks_mut(cuts).for_each(|batch| {
        enrich(&mut *chain, batch);
    });
    rows
}

fn no_grants() -> RuleOptions {
    RuleOptions::default()
}

#[test]
fn stand_ins_are_constant() {
    for (wants, cuts) in [(vec!["see"; 5], 5), (vec!["see"; 5], 1), (vec!["print", "see", "panic", "see", "sleep", "see"], 1), (vec!["panic", "see"], 2)] {
        let rows = asked(&wants, cuts, no_grants());
        for (row, _) in rows.iter().zip(&wants).filter(|(_, what)| **what == "see") {
            assert_eq!(tag(row, "note").as_deref(), Some(SURROUNDINGS), "{wants:?} by {cuts}: {:?}", row.failures);
        }
    }
    // The seed of the first hash map of an instance.
    let hash = || tag(&asked(&["hash"], 1, no_grants())[0], "note").expect("a hash");
    assert_eq!(hash(), hash());
}

#[test]
fn whoever_waits_has_waited() {
    let started = Instant::now();
    let rows = asked(&["sleep"], 1, no_grants());
    assert!(rows[0].failures.is_empty() && started.elapsed() < Duration::from_secs(60), "an hour is over at once: {:?}", rows[0].failures);
}

#[test]
fn what_a_rule_prints_is_in_its_failure() {
    let message = |wants: &[&str]| {
        let rows = asked(wants, 1, no_grants());
        let row = rows.last().expect("a row");
        assert_eq!(row.failures.len(), 1, "{:?}", row.failures);
        (kinds(row).remove(0), row.failures[0].message.to_string())
    };
    let (kind, panicked) = message(&["print", "panic"]);
    assert!(kind == "trap" && panicked.contains("panicked at src/lib.rs:") && panicked.contains("boom at 42"), "{panicked}");
    assert!(!panicked.contains("to standard"), "what the call before printed is not this one's: {panicked}");
    let (kind, exited) = message(&["exit"]);
    assert!(kind == "trap" && exited.contains("called `exit`"), "{exited}");
    let (kind, looped) = message(&["print-and-loop"]);
    assert!(kind == "deadline" && looped.starts_with("before the loop; ") && looped.contains("time limit"), "{looped}");
    for text in [panicked, exited, looped] {
        assert!(text.len() < 2_048, "{}", text.len());
    }
}

#[test]
fn a_flood_of_print_is_answered_and_little_of_it_kept() {
    let options = options(json!({ "limits": { "time_ms": 20_000, "log_bytes_per_second": 1_024 } }));
    let rows = asked(&["flood", "see"], 1, options);
    assert!(rows.iter().all(|row| row.failures.is_empty()), "{:?}", rows[0].failures);
    assert_eq!(tag(&rows[1], "note").as_deref(), Some(SURROUNDINGS));
}

#[test]
fn stand_ins_are_shown_and_need_no_grant() {
    let info = Bench::new().engine.inspect(&fixture("wasip2")).expect("a good module");
    assert!(info.grants.is_empty());
    let names: Vec<&str> = info.stand_ins.iter().map(|name| name.split('@').next().expect("a name")).collect();
    for name in ["wasi:cli/environment", "wasi:cli/exit", "wasi:cli/stderr", "wasi:clocks/wall-clock", "wasi:io/streams", "wasi:random/insecure-seed"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert_eq!(info.stand_ins.len() + 1, info.imports.len(), "all but our own types: {:?}", info.imports);
    // It prints, so that `log` changes something for it; nothing of it reads tables.
    assert_eq!(info.unneeded_grants(&[Grant::Tables, Grant::Log, Grant::Tables]), ["tables"]);
    let says = Bench::new().engine.inspect(&support::module("says")).expect("a good module");
    assert_eq!((says.stand_ins.len(), says.unneeded_grants(&[Grant::Log, Grant::Tables])), (0, vec!["log", "tables"]));
    let owner = Bench::new().engine.inspect(&support::module("owner-from-table")).expect("a good module");
    assert_eq!(owner.unneeded_grants(&[Grant::Tables]), [""; 0]);
}

/// Its functions only trap, so that it gets no further than the first question; but all that it imports was there to be linked,
/// of the type that it wants.
#[test]
fn every_function_of_every_stand_in_is_there() {
    let refusal = Bench::new().engine.inspect(&fixture("all-imports")).expect_err("it can say nothing");
    assert_eq!(refusal.code(), "describe-failed", "{refusal}");
}
