use super::histogram::{MILLISECONDS, ROWS};
use super::log::parse_level;
use super::*;
use crate::serve::{FamilyUse, StorageReport};
use crate::tables::TableRow;
use alertmill_core::ports::LedgerValue;
use alertmill_core::value::Text;
use alertmill_engine::{RuleStatsSnapshot, Used};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

fn value(scope: &'static str, name: &str, counter: &str, value: u64) -> LedgerValue {
    LedgerValue { scope, name: name.into(), counter: counter.into(), value }
}

fn balanced() -> Vec<LedgerValue> {
    vec![
        value("source", "events", "received", 10),
        value("source", "events", "refused", 1),
        value("source", "events", "duplicates_in_request", 1),
        value("source", "events", "journaled", 8),
        value("source", "events", "duplicates", 2),
        value("source", "events", "dead_letters", 1),
        value("source", "events", "stored_only.expired", 1),
        value("source", "events", "folded", 4),
        value("rule", "owner", "rows", 6),
    ]
}

#[test]
fn the_ledger_is_shown_per_source_with_its_imbalance() {
    let text = Metrics::new(Sources { ledger: handle(balanced), ..Sources::default() }).text().expect("text");
    for line in [
        "alertmill_events_received_total{source=\"events\"} 10",
        "alertmill_events_refused_total{source=\"events\"} 1",
        "alertmill_events_journaled_total{source=\"events\"} 8",
        "alertmill_events_duplicates_total{source=\"events\"} 2",
        "alertmill_events_dead_letters_total{source=\"events\",code=\"any\"} 1",
        "alertmill_events_stored_only_total{source=\"events\",reason=\"expired\"} 1",
        "alertmill_events_folded_total{source=\"events\"} 4",
        "alertmill_rule_event_rows_total{rule=\"owner\"} 6",
        "alertmill_ledger_imbalance{half=\"door\"} 0.0",
        "alertmill_ledger_imbalance{half=\"fold\"} 0.0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    let mut lost = balanced();
    lost.pop();
    lost.pop();
    assert_eq!(imbalance(&lost), (0, 4));
}

#[test]
fn numbers_are_read_when_asked() {
    let fsyncs = Arc::new(AtomicU64::new(0));
    let seen = fsyncs.clone();
    let journal = handle(move || JournalSnapshot { fdatasyncs: seen.load(Relaxed), ..Default::default() });
    let metrics = Metrics::new(Sources { journal, ..Sources::default() });
    assert!(metrics.text().expect("text").contains("alertmill_journal_fdatasyncs_total 0\n"));
    fsyncs.store(7, Relaxed);
    assert!(metrics.text().expect("text").contains("alertmill_journal_fdatasyncs_total 7\n"));
}

#[test]
fn every_family_is_there_even_when_nothing_happened() {
    let text = Metrics::new(Sources::default()).text().expect("text");
    for name in [
        "events_in_flight",
        "items_total",
        "item_parses_total",
        "prepare_batch_rows_count",
        "fold_batch_rows_count",
        "lag_milliseconds_count",
        "engine_batch_rows_count",
        "engine_batch_rows_mean",
        "journal_groups_total",
        "journal_records_total",
        "journal_bytes_total",
        "journal_refused_total",
        "journal_failed_syncs_total",
        "journal_group_records_count",
        "journal_queue_bytes",
        "journal_segment_bytes",
        "journal_segment_bytes_max",
        "in_flight_bytes",
        "in_flight_bytes_max",
        "unanswered_bytes",
        "connections_accepted_total",
        "connections_refused_total",
        "connections_failed_total",
        "connections_open",
        "requests_refused_strictly_total",
        "journal_failed",
        "open_alerts",
        "known_uids",
        "state_losses",
        "rule_generation",
        "rule_compiles_total{outcome=\"compile-limit\"} 0",
        "rule_compile_seconds_total",
        "code_cache_total{outcome=\"distrusted\"} 0",
        "verdict_records_total{kind=\"deadline\"} 0",
        "pipeline_halted 0.0",
        "build_info",
    ] {
        assert!(text.contains(&format!("\nalertmill_{name}")), "{name} is not in\n{text}");
    }
    if cfg!(target_os = "linux") {
        assert!(text.contains("alertmill_process_resident_bytes") && text.contains("alertmill_process_open_files"));
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_halt_names_its_rules_as_long_as_it_lasts() {
    let halted = Arc::new(std::sync::Mutex::new(vec![Text::from("owner"), Text::from("owner"), Text::from("keys")]));
    let now = halted.clone();
    let pipeline = handle(move || PipelineSnapshot { halted_by: now.lock().unwrap().clone(), verdicts: [("trap".into(), 3)].into(), ..Default::default() });
    let metrics = Metrics::new(Sources { pipeline, ..Sources::default() });
    let text = metrics.text().expect("text");
    for line in [
        "alertmill_pipeline_halted 1.0",
        "alertmill_rule_halted{rule=\"owner\"} 1.0",
        "alertmill_rule_halted{rule=\"keys\"} 1.0",
        "alertmill_verdict_records_total{kind=\"trap\"} 3",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    halted.lock().unwrap().clear();
    let text = metrics.text().expect("text");
    assert!(text.contains("\nalertmill_pipeline_halted 0.0\n") && !text.contains("alertmill_rule_halted{"), "{text}");
}

#[test]
fn the_page_on_operating_names_numbers_that_are_there() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md")).expect("the page");
    let text = Metrics::new(Sources::default()).text().expect("text");
    let families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(|word| word.starts_with("alertmill_")).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        let family = name.split('{').next().unwrap_or_default().trim_end_matches("_total");
        assert!(families.contains(&family), "{name} is not among {families:?}");
    }
}

#[test]
fn labels_are_bounded_and_escaped() {
    let rules = || -> Vec<RuleStatsSnapshot> {
        let rule = |i| RuleStatsSnapshot { rule: format!("r{i}").into(), version: "1.0.0".into(), digest: "00".into(), calls: 1, ..Default::default() };
        let mut rules: Vec<_> = (0..300).map(rule).collect();
        rules[0].rule = "a\"b\\c\nd".into();
        rules
    };
    let engine = handle(move || EngineSnapshot { rules: rules(), ..Default::default() });
    let text = Metrics::new(Sources { engine, ..Sources::default() }).text().expect("text");
    let calls: Vec<&str> = text.lines().filter(|l| l.starts_with("alertmill_rule_calls_total")).collect();
    assert_eq!(calls.len(), 257);
    assert_eq!(calls[0], r#"alertmill_rule_calls_total{rule="a\"b\\c\nd",version="1.0.0@00"} 1"#);
    assert_eq!(calls[256], "alertmill_rule_calls_total{rule=\"other\",version=\"other\"} 44");
}

#[test]
fn metrics_tell_versions_apart() {
    let rule = |version: &str, digest: &str, calls: u64| RuleStatsSnapshot {
        rule: "owner".into(),
        version: version.into(),
        digest: format!("{digest}00112233").as_str().into(),
        calls,
        nanos: calls * 2_000_000_000,
        call_nanos: vec![0, 0, 0, 0, calls, 0, 0, 0, 0],
        failures: vec![("trap", calls), ("deadline", 1)],
        limit_hits: vec![("time_ms", 1)],
        instances_by_reason: vec![("start", 1), ("failed", calls)],
        most: Used { memory_bytes: 1 << 20, nanos: 3_000_000, output_bytes: 5, lookups: 6, handles: 7 },
        alarms: vec!["failure-ratio"],
        ..RuleStatsSnapshot::default()
    };
    let running = Arc::new(AtomicU64::new(3));
    let rules = running.clone();
    let engine = handle(move || {
        let mut all = vec![rule("1.2.0", "9f3c12ab", 3), rule("1.2.0", "aaaaaaaa", 4), rule("1.3.0", "bbbbbbbb", 5)];
        all.truncate(rules.load(Relaxed) as usize);
        EngineSnapshot { rules: all, ..Default::default() }
    });
    let metrics = Metrics::new(Sources { engine, ..Sources::default() });
    let text = metrics.text().expect("text");
    for line in [
        r#"alertmill_rule_calls_total{rule="owner",version="1.2.0@9f3c12ab"} 3"#,
        r#"alertmill_rule_calls_total{rule="owner",version="1.2.0@aaaaaaaa"} 4"#,
        r#"alertmill_rule_calls_total{rule="owner",version="1.3.0@bbbbbbbb"} 5"#,
        r#"alertmill_rule_failures_total{rule="owner",version="1.3.0@bbbbbbbb",kind="trap"} 5"#,
        r#"alertmill_rule_limit_hits_total{rule="owner",version="1.2.0@9f3c12ab",limit="time_ms"} 1"#,
        r#"alertmill_rule_instances_total{rule="owner",version="1.2.0@aaaaaaaa",reason="failed"} 4"#,
        r#"alertmill_rule_memory_bytes_highest{rule="owner",version="1.2.0@aaaaaaaa"} 1048576.0"#,
        r#"alertmill_rule_call_seconds_highest{rule="owner",version="1.2.0@aaaaaaaa"} 0.003"#,
        r#"alertmill_rule_alarm{rule="owner",version="1.2.0@9f3c12ab",alarm="failure-ratio"} 1.0"#,
        r#"alertmill_rule_call_seconds_sum{rule="owner",version="1.2.0@9f3c12ab"} 6.0"#,
        r#"alertmill_rule_call_seconds_bucket{le="0.00025",rule="owner",version="1.2.0@9f3c12ab"} 0"#,
        r#"alertmill_rule_call_seconds_bucket{le="0.001",rule="owner",version="1.2.0@9f3c12ab"} 3"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    running.store(2, Relaxed);
    assert!(!metrics.text().expect("text").contains("1.3.0@"), "a version that is gone has no rows");
}

#[test]
fn histograms_count_into_the_right_bucket() {
    let histogram = Histogram::new(ROWS);
    for rows in [0, 1, 2, 3, 256, 4_096, 5_000] {
        histogram.observe(rows);
    }
    let snapshot = histogram.snapshot();
    let at = |bound: f64| snapshot.buckets.iter().find(|(b, _)| *b == bound).map(|(_, n)| *n);
    assert_eq!((at(1.0), at(2.0), at(4.0), at(256.0), at(4_096.0), at(f64::INFINITY)), (Some(2), Some(1), Some(1), Some(1), Some(1), Some(1)));
    assert_eq!((snapshot.count(), snapshot.sum), (7, 9_358.0));
    assert_eq!(HistogramSnapshot::default().mean(), 0.0);
    let engine = handle(move || EngineSnapshot { batch_rows: histogram.snapshot(), ..Default::default() });
    let text = Metrics::new(Sources { engine, ..Sources::default() }).text().expect("text");
    assert!(text.contains("alertmill_engine_batch_rows_bucket{le=\"2.0\"} 3\n"), "{text}");
    assert!(text.contains("alertmill_engine_batch_rows_bucket{le=\"+Inf\"} 7\n"), "{text}");
    assert!(MILLISECONDS.is_sorted() && ROWS.is_sorted());
}

#[test]
fn levels() {
    for good in ["info", "warn", "info,alertmill_engine=debug", "off"] {
        assert!(parse_level(good).is_ok(), "{good}");
    }
    for bad in ["loud", "info,loud", "alertmill=loud"] {
        assert!(parse_level(bad).is_err(), "{bad}");
    }
}

/// Numbers of which every family has a row.
fn everything() -> Sources {
    let ledger = || {
        let of_source =
            ["received", "refused", "duplicates_in_request", "journaled", "redriven", "normalized_extra", "no_events", "duplicates", "refreshed", "folded"];
        let of_source = of_source.into_iter().chain(["dead_letters.clean-error", "stored_only.expired"]).map(|counter| value("source", "events", counter, 0));
        of_source.chain(["rows", "changed", "dropped", "failed", "dedupe_overflow"].map(|counter| value("rule", "owner", counter, 0))).collect()
    };
    let door = DoorSnapshot { source: "events".into(), requests: vec![(200, 1)], refused: vec![("name".into(), 1)], ..DoorSnapshot::default() };
    let rule = RuleStatsSnapshot {
        rule: "owner".into(),
        version: "1.0.0".into(),
        failures: vec![("trap", 1)],
        rows_by_policy: vec![("pass-through", 1)],
        limit_hits: vec![("time_ms", 1)],
        instances_by_reason: vec![("start", 1)],
        alarms: vec!["slow"],
        ..RuleStatsSnapshot::default()
    };
    let load = alertmill_engine::LoadStats { refusals: BTreeMap::from([("trap", 1)]), ..Default::default() };
    let table = TableRow {
        name: "hosts".into(),
        rows: Some(1),
        bytes: Some(1),
        age_s: Some(1),
        generation: Some(1),
        refreshes: BTreeMap::from([("changed", 1)]),
        ..TableRow::default()
    };
    let family =
        || FamilyUse { name: "journal", bytes: 0, count: 0, bounds: BTreeMap::from([("data.journal_max", 1)]), removed: BTreeMap::from([("size", 1)]) };
    Sources {
        ledger: handle(ledger),
        doors: handle(move || vec![door.clone()]),
        engine: handle(move || EngineSnapshot { rules: vec![rule.clone()], load: load.clone(), ..Default::default() }),
        pipeline: handle(|| PipelineSnapshot { halted_by: vec!["owner".into()], ..Default::default() }),
        tables: handle(move || vec![table.clone()]),
        storage: handle(move || StorageReport { families: vec![family()], damages: Vec::new() }),
        commands: handle(|| vec![CommandsSnapshot { action: "ack", outcome: "done", alerts: 1 }]),
        ..Sources::default()
    }
}

const REFERENCE_HEAD: &str = "\
# Metrics

`GET /metrics` answers in OpenMetrics text, which Prometheus reads. This page is made from the source by
`UPDATE=1 cargo test -p alertmill metrics_reference`.

- The counters `alertmill_events_*`, `alertmill_rule_event_*` and `alertmill_dedupe_overflow_total` are part of the state and go on over restarts. The rest
  begins at 0 with each process.
- `version` of a rule is its version text, `@` and the first 8 digits of its digest: two builds of one version text are two rows.
- Each family has at most 256 rows of sources, rules, codes or tables; what is beyond is one row `other`.
- A histogram `NAME` has `NAME_bucket`, `NAME_sum` and `NAME_count`.

[Operating](operating.md#numbers-worth-an-alarm) says which of them are worth an alarm.

| metric | kind | labels | what |
|---|---|---|---|
";

/// The page on metrics: one row for each family, with the labels that its rows have.
fn reference() -> String {
    let text = Metrics::new(everything()).text().expect("text");
    let mut rows: Vec<(&str, &str, &str, BTreeSet<&str>)> = Vec::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            rows.push((name, "", help.trim_end_matches('.'), BTreeSet::new()));
        } else if let Some((_, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            rows.last_mut().expect("its help stands before it").1 = kind;
        } else if let Some((_, labels)) = line.split_once('{') {
            let labels = labels.split('"').step_by(2).filter_map(|part| part.trim_start_matches(',').strip_suffix('=')).filter(|label| *label != "le");
            rows.last_mut().expect("a family stands before its rows").3.extend(labels);
        }
    }
    let rows = rows.into_iter().map(|(name, kind, help, labels)| {
        let suffix = [("counter", "_total"), ("info", "_info")].into_iter().find(|(of, _)| *of == kind).map_or("", |(_, suffix)| suffix);
        let labels: Vec<String> = labels.into_iter().map(|label| format!("`{label}`")).collect();
        format!("| `{name}{suffix}` | {kind} | {} | {help} |\n", labels.join(", "))
    });
    REFERENCE_HEAD.to_owned() + &rows.collect::<String>()
}

#[test]
fn metrics_reference() {
    let (path, page) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md"), reference());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).expect("written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "docs/metrics.md is out of step: UPDATE=1 cargo test -p alertmill metrics_reference");
    // A family without a row in `everything` would stand there without its labels.
    let text = Metrics::new(everything()).text().expect("text");
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|rest| rest.split(' ').next()) {
        assert!(text.lines().any(|line| line.starts_with(name)), "no row of {name}");
    }
    // What other pages say of metrics is of those that there are.
    for document in ["docs/metrics.md", "docs/operating.md", "docs/tables.md", "SECURITY.md", "README.md"] {
        let said = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(document)).expect(document);
        for word in said.split('`').filter(|word| word.starts_with("alertmill_") && !word.contains(char::is_whitespace)) {
            let name = word.split('{').next().unwrap_or(word);
            let row = name.strip_suffix('*').map_or_else(|| format!("\n| `{name}` |"), |prefix| format!("\n| `{prefix}"));
            assert!(page.contains(&row), "{document} names {name}, which is no metric");
        }
    }
}
