//! Batch boundaries never show: a whole batch, any split of it and row by row give the same rows. And what a worker sees
//! when generations follow each other.

mod support;

use alertmill_core::event::Tag;
use alertmill_core::row::{DedupeAnswer, Row};
use alertmill_core::rules::{RuleChain, RuleSets};
use alertmill_core::value::Value;
use alertmill_engine::RuleOptions;
use serde_json::json;
use support::{Bench, Random, dedupe, empty_row, enrich, options, rows_with, tag};

const HOSTS: &str = "host,owner,team,service,tier\nweb-1,alice,web,shop,1\nweb-2,bob,infra,,\n\"db,1\",carol,\"d\"\"b\",store,0\n";

fn rules(batch_rows: u32) -> Vec<(&'static str, RuleOptions)> {
    let options = || options(json!({ "limits": { "batch_rows": batch_rows } }));
    ["owner-from-table", "severity-by-labels", "traps", "errors", "drops", "lies", "says", "all-hooks", "dedupe-by-tags"].map(|name| (name, options())).to_vec()
}

fn rows(random: &mut Random, count: u32) -> Vec<Row> {
    let pick = |random: &mut Random, texts: &[&str]| texts[random.below(texts.len())].to_owned();
    let row = |index: u32| {
        let mut row = empty_row(index);
        row.event.alert_name = Value::from(pick(random, &["CPU", "磁盘 满了", "", "Job 3f2a9c1b77 failed"]).as_str());
        row.event.severity = Value::Int(1 + random.below(3) as i64);
        for _ in 0..random.below(12) {
            let key = pick(random, &["host", "host", "service", "level", "severity", "priority", "owner", "pod", "instance", "x"]);
            let value = pick(random, &["web-1", "web-2", "db,1", "critical", "warning", "P1", "", "é€𝄞", "web-1:9100"]);
            let value = if random.below(8) == 0 { Value::Int(7) } else { Value::from(value.as_str()) };
            row.event.tags.push(Tag::new(key.as_str(), value));
        }
        let odd = [("poison", "x"), ("error", "cannot"), ("drop", "planned"), ("lie", "field"), ("lie", "severity"), ("lie", "utf8")];
        if random.below(25) == 0 {
            let (key, value) = odd[random.below(odd.len())];
            row.event.tags.push(Tag::new(key, value));
        }
        row
    };
    (0..count).map(row).collect()
}

fn run(chain: &mut dyn RuleChain, rows: &mut [Row]) {
    enrich(chain, rows);
    dedupe(chain, rows);
}

#[track_caller]
fn same(ours: &[Row], wanted: &[Row], how: &str) {
    for (a, b) in ours.iter().zip(wanted) {
        assert_eq!(a.event, b.event, "{how}: row {}", a.index);
        let decided = |row: &Row| (row.dedupe.clone(), row.dedupe_rule.clone(), row.dropped.clone());
        assert_eq!(decided(a), decided(b), "{how}: row {}", a.index);
        assert_eq!(a.failures, b.failures, "{how}: row {}", a.index);
    }
}

#[test]
fn any_split_gives_the_rows_of_row_by_row_calls() {
    let mut random = Random(2026);
    let mut bench = Bench::new();
    let all = rows(&mut random, 600);
    let mut wanted = all.clone();
    let mut chain = bench.chain(&rules(256), &[("hosts", HOSTS)]);
    wanted.iter_mut().for_each(|row| run(&mut *chain, std::slice::from_mut(row)));
    let failed = wanted.iter().filter(|row| !row.failures.is_empty()).count();
    let keyed = wanted.iter().filter(|row| row.dedupe != DedupeAnswer::Default).count();
    let dropped = wanted.iter().filter(|row| row.dropped.is_some()).count();
    assert!(failed > 5 && keyed > 100 && dropped > 1, "the sample has of everything: {failed} {keyed} {dropped}");

    for batch_rows in [1, 7, 64, 256] {
        let mut ours = all.clone();
        let mut chain = bench.chain(&rules(batch_rows), &[("hosts", HOSTS)]);
        run(&mut *chain, &mut ours);
        same(&ours, &wanted, &format!("batches of {batch_rows}"));
    }
    for split in 0..4 {
        let mut ours = all.clone();
        let mut left = ours.as_mut_slice();
        while !left.is_empty() {
            let n = left.len().min(1 + random.below(300));
            let (head, tail) = left.split_at_mut(n);
            run(&mut *chain, head);
            left = tail;
        }
        same(&ours, &wanted, &format!("random split {split}"));
    }
}

/// What an instance has kept of earlier calls may stop a call, and no row is at fault for it.
#[test]
fn a_rule_that_leaks_answers_the_same_however_its_rows_are_cut() {
    // Where an instance ends shows as little as where a batch does: by failing alone, after each call, after any growth, after some.
    let recycling = [(0, 0), (1, 0), (0, 1), (0, 1 << 20)];
    for (rows_of_a_call, (calls, growth)) in [1, 7, 30, 150].into_iter().flat_map(|rows| recycling.map(|recycling| (rows, recycling))) {
        let limits = json!({ "memory_bytes": 4 << 20, "time_ms": 5_000, "recycle_calls": calls, "recycle_growth_bytes": growth });
        let mut bench = Bench::new();
        let mut chain = bench.chain(&[("leaks", options(json!({ "limits": limits })))], &[]);
        let mut rows = rows_with(300, |i| i % 3 != 0, "poison", "x");
        for part in rows.chunks_mut(rows_of_a_call) {
            enrich(&mut *chain, part);
        }
        for row in &rows {
            assert_eq!(tag(row, "note").as_deref(), Some("seen"), "{rows_of_a_call} rows a call, row {}: {:?}", row.index, row.failures);
            assert!(row.failures.is_empty());
        }
        let stats = &bench.engine.stats()[0];
        assert!(stats.instances > 1, "an end was reached");
        let ended_by = |reason: &str| stats.instances_by_reason.iter().any(|(known, _)| *known == reason);
        let wanted = match (calls, growth) {
            // One call alone takes more than the limit.
            _ if rows_of_a_call == 150 => ["start", "failed"],
            (0, 0) => ["start", "failed"],
            (0, _) => ["start", "growth"],
            _ => ["start", "calls"],
        };
        assert!(wanted.iter().all(|reason| ended_by(reason)), "{rows_of_a_call} rows a call, {wanted:?}: {stats:?}");
        assert_eq!(ended_by("failed"), wanted[1] == "failed", "{stats:?}");
    }
}

#[test]
fn tables_answer_as_they_are_written() {
    let mut chain = Bench::new().chain(&[("owner-from-table", options(json!({})))], &[("hosts", HOSTS)]);
    let mut rows = rows_with(4, |_| true, "host", "db,1");
    rows[1] = support::tagged(1, "host", "web-2");
    rows[2] = support::tagged(2, "host", "nobody");
    rows[3] = support::tagged(3, "quiet", "");
    assert_eq!(enrich(&mut *chain, &mut rows)[0].changed, 2);
    assert_eq!((tag(&rows[0], "owner"), tag(&rows[0], "team")), (Some("carol".into()), Some("d\"b".into())));
    assert_eq!((tag(&rows[1], "owner"), tag(&rows[1], "service")), (Some("bob".into()), None));
    assert_eq!((tag(&rows[2], "owner"), tag(&rows[3], "owner")), (None, None));
}

#[test]
fn m48_a_worker_has_one_generation_and_unchanged_rules_stay_as_they_are() {
    let mut bench = Bench::new();
    let errors = ("errors", options(json!({})));
    let mut first = bench.chain(&[("says", options(json!({}))), errors.clone()], &[]);
    let second = bench.generation(&[("says-b", options(json!({}))), errors], &[]);
    bench.engine.prepare(second).unwrap();
    let mut after = bench.engine.open(second).unwrap();
    let ask = |chain: &mut dyn RuleChain| {
        let mut rows = rows_with(3, |_| false, "", "");
        enrich(chain, &mut rows);
        rows.iter().map(|row| tag(row, "version").unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ask(&mut *first), ["a", "a", "a"], "an open chain goes on with its generation");
    assert_eq!(ask(&mut *after), ["b", "b", "b"]);
    assert_eq!(ask(&mut *first), ["a", "a", "a"]);
    let stats = bench.engine.stats();
    let calls = |name: &str| {
        stats.iter().filter(|stats| stats.rule == name).map(|stats| (stats.version.to_string(), stats.calls)).collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(calls("errors"), [("0.1.0".to_owned(), 3)].into(), "one rule for both generations: loaded once, counted together");
    assert_eq!(calls("says"), [("1.0.0".to_owned(), 2), ("1.1.0".to_owned(), 1)].into(), "two versions, counted apart");

    bench.engine.retire_before(second);
    assert_eq!(ask(&mut *first), ["a", "a", "a"], "a retired generation ends with its last chain");
    assert!(bench.engine.open(1).is_err());
    drop(first);
    bench.engine.retire_before(second);
    assert_eq!(bench.engine.stats().len(), 2);
}

#[test]
fn a_table_that_changes_is_a_new_generation() {
    let mut bench = Bench::new();
    let rule = [("owner-from-table", options(json!({})))];
    let mut chains = [HOSTS, "host,owner,team,service,tier\nweb-1,dora,web,shop,1\n"].map(|csv| bench.chain(&rule, &[("hosts", csv)]));
    for (chain, owner) in [(0, "alice"), (1, "dora"), (0, "alice")] {
        let mut rows = rows_with(1, |_| true, "host", "web-1");
        enrich(&mut *chains[chain], &mut rows);
        assert_eq!(tag(&rows[0], "owner").as_deref(), Some(owner));
    }
    // Counted by the table's name, over both contents; a check of a module counts nothing.
    let mut rows = rows_with(500, |i| i % 5 == 0, "host", "web-1");
    enrich(&mut *chains[1], &mut rows);
    assert_eq!(bench.engine.look_ups(), [("hosts".into(), 3 + 100, 0)], "rows without a host look nothing up");
    let mut rows = rows_with(300, |_| true, "host", "web-9");
    enrich(&mut *chains[0], &mut rows);
    assert_eq!(bench.engine.look_ups(), [("hosts".into(), 103, 300)]);
}

#[test]
fn disabled_rules_are_not_run() {
    let mut chain = Bench::new().chain(&[("says", options(json!({ "enabled": false })))], &[]);
    let mut rows = rows_with(2, |_| false, "", "");
    assert!(enrich(&mut *chain, &mut rows).is_empty());
}

#[test]
fn huge_rows_are_cut_into_calls_that_fit() {
    let mut chain = Bench::new().chain(&[("errors", options(json!({}))), ("says", options(json!({})))], &[]);
    let mut rows = rows_with(100, |i| i % 2 == 0, "error", &"m".repeat(200_000));
    let tally = enrich(&mut *chain, &mut rows);
    assert!(tally[0].calls > 1 && tally[0].failed == 50, "{tally:?}");
    assert!(rows.iter().all(|row| row.failures.iter().all(|failure| failure.kind == "row-error" && failure.message.len() <= 512)));
}
