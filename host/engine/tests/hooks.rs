//! The hooks over payloads and over new alerts, and several hooks in one module.

mod support;

use alertmill_core::payload::{Normalized, Payload};
use alertmill_core::row::{AlertRow, DedupeAnswer, RuleFailure};
use alertmill_core::rules::RuleSets;
use alertmill_core::value::Value;
use serde_json::json;
use support::{Bench, Random, dedupe, empty_row, enrich, enrich_alerts, kinds, normalize, opened, options, payload, tag, tagged};

fn names(answer: &Normalized) -> Vec<String> {
    match answer {
        Normalized::Events(events) => events.iter().map(|event| event.alert_name.to_string()).collect(),
        Normalized::Failed(failure) => vec![format!("failed: {}", failure.kind)],
        Normalized::Unclaimed => vec!["unclaimed".to_owned()],
    }
}

#[test]
fn a_payload_gives_no_event_one_or_many() {
    let mut chain = Bench::new().chain(&[("normalizes", options(json!({})))], &[]);
    let mut one = payload("disk full");
    one.headers = vec![("x-team".into(), "web".into())];
    let (answers, tally) = normalize(&mut *chain, &[payload("three of"), payload("none"), one, payload("bad"), payload("error 7")]);
    assert_eq!(names(&answers[0]), ["three of 1", "three of 2", "three of 3"]);
    assert_eq!(answers[1], Normalized::Events(Vec::new()), "none is an answer");
    let Normalized::Events(events) = &answers[2] else { panic!("{:?}", answers[2]) };
    assert_eq!(
        (events[0].alert_name.as_str(), events[0].time, events[0].anomaly_time, events[0].severity),
        ("disk full", Some(1_790_000_001), Some(1), Some(2))
    );
    let tags: Vec<(&str, &str)> = events[0].tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(tags, [("source", "hook"), ("type", "application/json"), ("team", "web")]);
    assert_eq!(events[0].more, [("assignee".into(), "alice".into())]);
    assert_eq!(names(&answers[3]), ["good", "", "severe"], "what an event may hold is not the engine's to judge");
    let Normalized::Failed(RuleFailure { rule, kind, message, version, .. }) = &answers[4] else { panic!("{:?}", answers[4]) };
    assert_eq!((rule.as_str(), kind.as_str(), message.as_str()), ("normalizes", "row-error", "cannot read: error 7"));
    assert!(version.starts_with("0.1.0@sha256:"));
    assert_eq!((tally.len(), tally[0].rows, tally[0].changed, tally[0].failed, tally[0].calls), (1, 5, 4, 1, 1));
}

#[test]
fn the_first_rule_that_is_for_a_payload_has_it_alone() {
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("says", options(json!({}))), ("normalizes", options(json!({}))), ("all-hooks", options(json!({})))], &[]);
    let with = |content_type: &str, header: &str, body: &str| Payload {
        content_type: content_type.into(),
        headers: vec![("x-skip".into(), header.into())],
        ..payload(body)
    };
    let payloads = [with("", "no", "three"), with("text/plain", "no", "three"), with("application/json", "yes", "three"), with("", "no", "trap")];
    let (answers, tally) = normalize(&mut *chain, &payloads);
    assert_eq!(names(&answers[0]).len(), 3);
    assert_eq!(names(&answers[1]), ["three"], "the rule behind it, whose conditions hold");
    assert_eq!(names(&answers[2]), ["three"]);
    assert_eq!(names(&answers[3]), ["failed: trap"], "a rule that fails has had it: the next might make something else of it");
    assert_eq!(tally.iter().map(|tally| (tally.rule.as_str(), tally.rows)).collect::<Vec<_>>(), [("normalizes", 2), ("all-hooks", 2)]);

    let mut none = bench.chain(&[("says", options(json!({})))], &[]);
    assert_eq!(normalize(&mut *none, &payloads).0, vec![Normalized::Unclaimed; 4]);
}

#[test]
fn a_poison_payload_is_alone_in_its_failure() {
    for at in [0, 20, 63] {
        let mut bench = Bench::new();
        let mut chain = bench.chain(&[("normalizes", options(json!({})))], &[]);
        let payloads: Vec<Payload> = (0..64).map(|i| payload(&if i == at { "trap".to_owned() } else { format!("event {i}") })).collect();
        let (answers, tally) = normalize(&mut *chain, &payloads);
        for (i, answer) in answers.iter().enumerate() {
            assert_eq!(names(answer), [if i == at { "failed: trap".to_owned() } else { format!("event {i}") }]);
        }
        assert!(tally[0].calls <= 14 && tally[0].failed == 1, "{tally:?}");
    }
}

/// What the pipeline makes of so many is its own; what may come back at once is bounded by `limits.output_bytes`.
#[test]
fn what_payloads_give_is_bounded_by_the_output_limit() {
    let payloads = [payload("many"), payload("one"), payload("loop")];
    let mut wide = Bench::new().chain(&[("normalizes", options(json!({ "limits": { "output_bytes": 64 << 20, "time_ms": 1_000 } })))], &[]);
    let (answers, _) = normalize(&mut *wide, &payloads[..2]);
    let many = names(&answers[0]);
    assert_eq!((many.len(), many[0].as_str(), many[19_999].as_str(), names(&answers[1])), (20_000, "0", "19999", vec!["one".to_owned()]));
    let mut narrow = Bench::new().chain(&[("normalizes", options(json!({ "limits": { "output_bytes": 1 << 20, "time_ms": 500 } })))], &[]);
    let (answers, tally) = normalize(&mut *narrow, &payloads);
    assert_eq!(answers.iter().flat_map(names).collect::<Vec<_>>(), ["failed: output", "one", "failed: deadline"], "{tally:?}");
}

#[test]
fn a_call_has_so_many_payloads_and_bytes_and_no_more() {
    for (bytes, count, calls) in [(10, 256, 4), (1 << 20, 8, 2), (6 << 20, 2, 2)] {
        let mut chain = Bench::new().chain(&[("normalizes", options(json!({ "limits": { "time_ms": 5_000 } })))], &[]);
        let payloads: Vec<Payload> = (0..count).map(|_| payload(&format!("none {}", "x".repeat(bytes)))).collect();
        let (answers, tally) = normalize(&mut *chain, &payloads);
        assert!(answers.iter().all(|answer| *answer == Normalized::Events(Vec::new())));
        assert!(tally[0].calls >= calls, "{bytes} bytes, {count} payloads: {} calls", tally[0].calls);
        assert!(tally[0].calls <= calls * 2, "{bytes} bytes, {count} payloads: {} calls", tally[0].calls);
    }
}

fn alert(index: u32, key: &str, value: &str) -> AlertRow {
    let mut row = tagged(index, key, value);
    row.event.description = Value::from("no space left");
    opened(row)
}

#[test]
fn a_rule_over_alerts_changes_the_alert_and_not_its_event() {
    let mut bench = Bench::new();
    assert!(bench.alerts(&[("says", options(json!({})))]).is_none(), "no rule has this hook");
    let mut chain = bench.alerts(&[("says", options(json!({}))), ("alerts", options(json!({})))]).unwrap();
    let mut rows = vec![alert(0, "grade", "1"), alert(1, "skip", "yes"), alert(2, "quiet", "yes")];
    let before = rows.clone();
    let tally = enrich_alerts(&mut *chain, &mut rows);
    assert_eq!((rows[0].alert.severity, rows[0].alert.severity_by_rule), (1, true));
    assert_eq!(rows[1], before[1], "its condition does not hold");
    assert_eq!((rows[2].alert.severity, rows[2].alert.severity_by_rule), (before[2].alert.severity, false));
    assert_eq!(rows[2].alert.labels, Value::List(vec![Value::from("by-rule")]));
    assert_eq!(rows[2].alert.extra_info.get("runbook"), Some(&Value::from("CPU after 1: no space left")));
    let dimensions: Vec<&str> = rows[2].alert.dimensions.iter().map(|dimension| dimension.key.as_str()).collect();
    assert_eq!(dimensions, ["tags.note", "tags.free"]);
    assert_eq!(rows[2].alert.event, before[2].alert.event);
    assert_eq!((tally[0].rule.as_str(), tally[0].rows, tally[0].changed, tally[0].failed), ("alerts", 2, 2, 0));
}

#[test]
fn an_alert_that_a_rule_cannot_judge_stays_as_it_was() {
    let mut chain = Bench::new().alerts(&[("alerts", options(json!({}))), ("all-hooks", options(json!({})))]).unwrap();
    for (key, value, kind) in [("poison", "x", "trap"), ("error", "no", "row-error"), ("grade", "9", "patch-invalid")] {
        let mut rows: Vec<AlertRow> = (0..16).map(|i| if i == 5 { alert(i, key, value) } else { alert(i, "quiet", "yes") }).collect();
        let before = rows[5].clone();
        enrich_alerts(&mut *chain, &mut rows);
        for (i, row) in rows.iter().enumerate() {
            let failed = row.failures.iter().find(|failure| failure.rule == "alerts").map(|failure| failure.kind.as_str());
            assert_eq!(failed, (i == 5).then_some(kind), "{key}: {:?}", row.failures);
            assert!(!row.alert.severity_by_rule);
            assert_eq!(row.alert.extra_info.get("runbook").is_some(), i != 5, "{key}");
        }
        assert_eq!((&rows[5].alert.labels, rows[5].alert.severity), (&before.alert.labels, before.alert.severity));
    }
}

#[test]
fn hooks_of_one_module_share_an_instance_on_one_thread() {
    let mut bench = Bench::new();
    let generation = bench.generation(&[("all-hooks", options(json!({})))], &[]);
    let mut chain = bench.engine.open(generation).unwrap();
    let mut alerts = bench.engine.open_alerts(generation).unwrap().unwrap();
    for _ in 0..10 {
        let (answers, _) = normalize(&mut *chain, &[payload("a\nb")]);
        assert_eq!(names(&answers[0]), ["a", "b"]);
        let mut rows = vec![tagged(0, "host", "web-1"), tagged(1, "host", "alone"), tagged(2, "host", "unsure"), empty_row(3)];
        enrich(&mut *chain, &mut rows);
        let tally = dedupe(&mut *chain, &mut rows);
        assert_eq!(tag(&rows[0], "note").as_deref(), Some("host web-1"));
        let keys: Vec<DedupeAnswer> = rows.iter().map(|row| row.dedupe.clone()).collect();
        assert_eq!(keys, [DedupeAnswer::Key("web-1".into()), DedupeAnswer::Unique, DedupeAnswer::Default, DedupeAnswer::Default]);
        assert_eq!((kinds(&rows[2]), rows[2].failures[0].message.as_str()), (vec!["row-error".to_owned()], "which host?"));
        assert_eq!((tally[0].rows, tally[0].changed, tally[0].failed, tally[0].calls), (4, 2, 1, 1), "an error is no reason to call again");
        let mut new = vec![alert(0, "host", "web-1")];
        enrich_alerts(&mut *alerts, &mut new);
        assert_eq!(new[0].alert.dimensions[0].key, "tags.note");
    }
    let stats = bench.engine.stats();
    assert_eq!((stats.len(), stats[0].instances, stats[0].calls), (1, 2, 40), "one for the worker and one for the fold");
}

#[test]
fn a_crash_in_one_hook_leaves_the_other_hooks_a_fresh_instance() {
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("all-hooks", options(json!({})))], &[]);
    for _ in 0..3 {
        assert_eq!(names(&normalize(&mut *chain, &[payload("poison")]).0[0]), ["failed: trap"]);
        let mut rows = vec![tagged(0, "host", "web-1"), tagged(1, "poison", "x")];
        enrich(&mut *chain, &mut rows);
        dedupe(&mut *chain, &mut rows);
        assert_eq!((tag(&rows[0], "note").as_deref(), &rows[0].dedupe), (Some("host web-1"), &DedupeAnswer::Key("web-1".into())));
        assert!(rows[0].failures.is_empty());
        assert_eq!(kinds(&rows[1]), ["trap", "trap"]);
    }
    assert_eq!(bench.engine.stats()[0].failures, [("trap", 9)]);
}

/// Batch boundaries never show, whatever the hook: all at once, in any split, one by one.
#[test]
fn any_split_of_payloads_and_alerts_gives_the_same_answers() {
    let mut random = Random(7);
    let words = ["one event", "three", "none", "bad", "error", "trap", "\u{7a7a}", ""];
    let payloads: Vec<Payload> = (0..300).map(|_| payload(words[random.below(words.len()).min(random.below(16))])).collect();
    let keys = [("grade", "1"), ("grade", "9"), ("skip", "x"), ("error", "no"), ("poison", "x"), ("host", "web"), ("quiet", "")];
    let alerts: Vec<AlertRow> = (0..300)
        .map(|i| {
            let (key, value) = keys[random.below(keys.len()).max(random.below(12) % keys.len())];
            alert(i, key, value)
        })
        .collect();
    let rules = |batch_rows: u32| ["normalizes", "alerts", "all-hooks"].map(|name| (name, options(json!({ "limits": { "batch_rows": batch_rows } }))));
    let mut bench = Bench::new();
    let mut wanted = None;
    for batch_rows in [1, 7, 64, 256] {
        let generation = bench.generation(&rules(batch_rows), &[]);
        let mut chain = bench.engine.open(generation).unwrap();
        let mut over_alerts = bench.engine.open_alerts(generation).unwrap().unwrap();
        for split in 0..3 {
            let (mut answers, mut rows) = (Vec::new(), alerts.clone());
            let mut at = 0;
            while at < payloads.len() {
                let end = if split == 0 { payloads.len() } else { payloads.len().min(at + 1 + random.below(90)) };
                answers.extend(normalize(&mut *chain, &payloads[at..end]).0);
                enrich_alerts(&mut *over_alerts, &mut rows[at..end]);
                at = end;
            }
            let ours = (answers, rows);
            let wanted = wanted.get_or_insert_with(|| ours.clone());
            assert_eq!(ours.0, wanted.0, "batches of {batch_rows}, split {split}");
            assert!(ours.1 == wanted.1, "batches of {batch_rows}, split {split}");
        }
    }
    let (answers, rows) = wanted.unwrap();
    let failed = answers.iter().filter(|answer| matches!(answer, Normalized::Failed(_))).count();
    let judged = rows.iter().filter(|row| row.alert.severity_by_rule).count();
    assert!(failed > 5 && judged > 5 && rows.iter().any(|row| !row.failures.is_empty()), "the sample has of everything: {failed} {judged}");
}
