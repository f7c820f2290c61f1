//! What a rule can make the host hold. Figures are of the whole process, so that one test runs at a time and nothing else is in this file.

mod support;

use alertmill_core::record::RuleSet;
use alertmill_core::row::Row;
use alertmill_core::rules::{RuleChain, RuleSets};
use alertmill_engine::{LoadedRule, RuleOptions};
use serde_json::json;
use support::process::{Rise, alone, status};
use support::{Bench, enrich, kinds, module, options, rows_with, tag, tagged};

const MIB: u64 = 1 << 20;

/// Asks the rule about one innocent row, then about `rows`; gives how far memory rose with those.
fn rise(bench: &mut Bench, name: &str, limits: serde_json::Value, rows: &mut [Row]) -> u64 {
    let alone = alone();
    let mut chain = bench.chain(&[(name, options(json!({ "limits": limits }))), ("says", options(json!({})))], &[]);
    enrich(&mut *chain, &mut rows_with(1, |_| false, "", ""));
    let rise = Rise::from_now(&alone);
    enrich(&mut *chain, rows);
    let bytes = rise.bytes();
    println!("{name}: {} KiB above before", bytes >> 10);
    bytes
}

/// The rule's own 60 MiB are in it; a copy of the host's would be as much again. With the default of what a rule may pass at once it
/// would end at 8 MiB.
#[test]
fn m34_a_long_log_line_is_cut_before_it_is_copied() {
    let mut rows = vec![tagged(0, "flood", "60")];
    let mut bench = Bench::new();
    let bytes = rise(&mut bench, "floods", json!({ "memory_bytes": 128 << 20, "output_bytes": 64 << 20, "time_ms": 20_000 }), &mut rows);
    assert!(rows[0].failures.is_empty() && tag(&rows[0], "note").is_some(), "{:?}", rows[0].failures);
    assert!(bytes >= 59 * MIB, "{bytes}: the line was written");
    assert!(bytes < 80 * MIB, "{bytes} bytes: the host had a copy of the line");
}

/// A million of anything for 64 rows. What the host makes of the answer stays below 16 MiB, beside what the rule has itself.
#[test]
fn m09_a_million_patches_are_refused_before_they_are_held() {
    for (lie, kind, own) in [("many", "row-index", 8 * MIB), ("many-tags", "output", 40 * MIB)] {
        let mut rows = rows_with(64, |i| i == 17, "lie", lie);
        let mut bench = Bench::new();
        let bytes = rise(&mut bench, "lies", json!({ "memory_bytes": 128 << 20, "time_ms": 20_000 }), &mut rows);
        only_row(&rows, 17, kind);
        assert!(bytes < own + 16 * MIB, "{lie}: {bytes} bytes");
    }
}

#[test]
fn m11_one_text_a_thousand_times_counts_a_thousand_times() {
    let mut rows = rows_with(64, |i| i == 17, "lie", "alias");
    let mut bench = Bench::new();
    let bytes = rise(&mut bench, "lies", json!({ "time_ms": 20_000 }), &mut rows);
    only_row(&rows, 17, "output");
    assert!(bytes < 24 * MIB, "{bytes} bytes for a text of 1 MiB that is named a thousand times");
}

/// That row has that failure, all others were judged by this rule and the next.
#[track_caller]
fn only_row(rows: &[Row], at: u32, kind: &str) {
    for row in rows {
        assert_eq!(kinds(row), if row.index == at { vec![kind] } else { vec![] }, "row {}: {:?}", row.index, row.failures);
        assert_eq!(tag(row, "note").is_some(), row.index != at);
        assert_eq!(tag(row, "version").as_deref(), Some("a"), "the neighbour's answer");
    }
}

/// A thousand generations, each with another module of twenty and another table, as an operator makes them who never stops.
#[test]
fn m08_a_thousand_generations_leave_nothing_behind() {
    const GENERATIONS: u64 = 1_000;
    const MODULES: u64 = 20;
    let _alone = alone();
    let bench = Bench::new();
    let owner = bench.engine.inspect(&module("owner-from-table")).unwrap();
    bench.keep(&module("owner-from-table"));
    // The same code; a section that nobody reads makes another file of it.
    let modules: Vec<Vec<u8>> = (0..MODULES).map(|n| [module("says"), vec![0, 6, 4, b'm', b'a', b'd', b'e', n as u8]].concat()).collect();
    let infos: Vec<_> = modules.iter().map(|bytes| bench.engine.inspect(bytes).unwrap()).collect();
    modules.iter().for_each(|bytes| drop(bench.keep(bytes)));
    // These stay compiled, so that one generation in ten compiles a module: compiling all would take minutes.
    let kept = |n: &u64| !n.is_multiple_of(MODULES / 2);
    let held: Vec<LoadedRule> =
        (0..MODULES).filter(kept).map(|n| bench.engine.load(&modules[n as usize], None, &RuleOptions::default(), &[]).unwrap()).collect();
    let mut open: Option<Box<dyn RuleChain>> = None;
    let mut resident = Vec::new();
    for generation in 1..=GENERATIONS {
        let csv = format!("host,owner,team,service,tier,filler\nweb-1,{generation},web,shop,1,{}\n", "x".repeat(64 << 10));
        let table = bench.keep(csv.as_bytes());
        let rules = vec![options(json!({})).to_entry(&infos[(generation % MODULES) as usize]), options(json!({})).to_entry(&owner)];
        bench.engine.register(RuleSet { generation, rules, tables: vec![("hosts".into(), table.as_str().into())], ..RuleSet::default() });
        let mut chain = bench.engine.open(generation).unwrap_or_else(|e| panic!("{e}"));
        bench.engine.retire_before(generation);
        bench.forget(&table);
        let mut rows = rows_with(8, |_| true, "host", "web-1");
        enrich(&mut *chain, &mut rows);
        assert_eq!(tag(&rows[7], "owner").unwrap(), generation.to_string());
        // The one before ends only now, as at a worker.
        open = Some(chain);
        resident.push(status("VmRSS"));
        assert_eq!(bench.engine.stats().iter().filter(|stats| stats.rule == "says").count(), 1, "generation {generation}");
    }
    drop((open, held));
    let mean = |part: &[u64]| part.iter().sum::<u64>() as i64 / part.len() as i64;
    let (first, last) = (mean(&resident[100..200]), mean(&resident[900..]));
    let slope = (last - first) / 800;
    println!("resident: {} KiB around generation 150, {} KiB around 950: {slope} bytes each", first >> 10, last >> 10);
    assert!(slope < 10 << 10, "{slope} bytes stay behind of each generation: {first} to {last}");
}
