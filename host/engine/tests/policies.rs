//! What becomes of the rows that a rule cannot judge: its policies, quarantine, and the verdicts by which a replay does not decide
//! again what time has decided.

mod support;

use alertmill_core::payload::Normalized;
use alertmill_core::row::{AlertRow, DedupeAnswer, Row};
use alertmill_core::rule_set::{Quarantine, RuleEntry};
use alertmill_core::rules::{RuleChain, RuleSets, RuleTally};
use alertmill_core::verdict::{Halted, Hook, Place, Policy, Verdict};
use alertmill_engine::RuleOptions;
use serde_json::json;
use support::bytes::renamed;
use support::{Bench, dedupe, empty_row, enrich, kinds, module, opened, options, payload, rows_with, tag, tagged};

const NEIGHBOUR: &str = "says";

/// The rule of these bytes with its neighbour behind it, changed by `change`.
fn chain_of(bench: &mut Bench, bytes: &[u8], keys: serde_json::Value, change: impl FnOnce(&mut RuleEntry)) -> Box<dyn RuleChain> {
    let generation = generation_of(bench, bytes, keys, change);
    bench.engine.open(generation).unwrap_or_else(|e| panic!("{e}"))
}

fn generation_of(bench: &mut Bench, bytes: &[u8], keys: serde_json::Value, change: impl FnOnce(&mut RuleEntry)) -> u64 {
    let mut entry = bench.entry(bytes, &options(keys));
    change(&mut entry);
    let neighbour = bench.entry(&module(NEIGHBOUR), &options(json!({})));
    bench.generation_of_entries(vec![entry, neighbour], &[])
}

/// `bytes` ran before, with these options.
fn before(bench: &Bench, bytes: &[u8], options: &RuleOptions) -> impl FnOnce(&mut RuleEntry) + use<> {
    let previous = bench.entry(bytes, options).running();
    move |entry| entry.previous = Some(previous)
}

fn quarantined(entry: &mut RuleEntry) {
    entry.quarantine = Some(Quarantine { kind: "deadline".into(), message: "still running".into(), times: 1, since_ms: 1, retry_at_ms: None });
}

fn halted(chain: &mut dyn RuleChain, rows: &mut [Row]) -> Halted {
    chain.enrich_events(rows, &mut Vec::new()).expect_err("a halt")
}

/// Calls of the rule (not of its neighbour) over all versions.
fn calls(tally: &[RuleTally]) -> u64 {
    tally[0].calls
}

/// A version that traps on poison rows, and one that judges them.
#[test]
fn previous_version_judges_what_the_new_one_cannot() {
    let good = renamed(&module("leaks"), "leaks", "traps");
    let mut bench = Bench::new();
    let was = before(&bench, &good, &options(json!({})));
    let mut chain = chain_of(&mut bench, &module("traps"), json!({ "on_failure": "previous-version" }), was);
    let mut rows = rows_with(64, |i| i % 9 == 4, "poison", "x");
    let tally = enrich(&mut *chain, &mut rows);
    for row in &rows {
        assert_eq!((tag(row, "note").as_deref(), tag(row, "version").as_deref()), (Some("seen"), Some("a")), "row {}", row.index);
        let Some(failure) = row.failures.first() else {
            assert_ne!(row.index % 9, 4);
            continue;
        };
        assert_eq!((row.index % 9, row.failures.len(), failure.kind.as_str(), failure.policy), (4, 1, "trap", Policy::PreviousVersion));
        assert_ne!(failure.judged_by.as_ref(), Some(&failure.version));
        assert!(failure.judged_by.as_ref().is_some_and(|version| version.starts_with("0.1.0@sha256:")), "{failure:?}");
    }
    assert_eq!((tally[0].rows, tally[0].failed, tally[0].changed), (64, 7, 64));
    let stats = bench.engine.stats();
    let version_before = stats.iter().find(|stats| stats.rule == "traps" && stats.failures.is_empty()).unwrap();
    assert_eq!((version_before.calls, version_before.rows), (1, 7), "the failing rows, in one call");
    let new = stats.iter().find(|stats| stats.rule == "traps" && !stats.failures.is_empty()).unwrap();
    assert_eq!(new.rows_by_policy, [("previous-version", 7)]);
}

#[test]
fn what_the_version_before_fails_on_too_goes_on_with_both_failures() {
    let spins = renamed(&module("spins"), "spins", "traps");
    let mut bench = Bench::new();
    let was = before(&bench, &spins, &options(json!({ "limits": { "time_ms": 50 } })));
    let mut chain = chain_of(&mut bench, &module("traps"), json!({ "on_failure": "previous-version" }), was);
    let mut rows = rows_with(8, |i| i == 3, "poison", "x");
    enrich(&mut *chain, &mut rows);
    assert_eq!(kinds(&rows[3]), ["trap", "deadline"]);
    let [new, old] = &rows[3].failures[..] else { panic!("two failures") };
    assert_eq!((new.policy, &new.judged_by, old.policy, &old.judged_by), (Policy::PreviousVersion, &None, Policy::PassThrough, &None));
    assert_ne!(new.version, old.version);
    assert_eq!((tag(&rows[3], "note"), tag(&rows[3], "version").as_deref()), (None, Some("a")), "as it came");
    let verdicts = chain.take_verdicts();
    assert_eq!(verdicts.iter().map(|verdict| (verdict.kind.as_str(), &verdict.version)).collect::<Vec<_>>(), [("deadline", &old.version)]);
}

#[test]
fn without_a_version_before_it_is_passed_through() {
    let mut bench = Bench::new();
    let mut none = chain_of(&mut bench, &module("traps"), json!({ "on_failure": "previous-version" }), |_| {});
    // Nor can a module stand in that is another rule.
    let another = renamed(&module("exceeds"), "exceeds", "xtraps0");
    let was = before(&bench, &another, &options(json!({})));
    let mut unusable = chain_of(&mut bench, &renamed(&module("all-hooks"), "all-hooks", "xtraps0-1"), json!({ "on_failure": "previous-version" }), was);
    for (chain, rule) in [(&mut none, "traps"), (&mut unusable, "xtraps0-1")] {
        let mut rows = rows_with(4, |i| i == 1, "poison", "x");
        enrich(&mut **chain, &mut rows);
        let failure = &rows[1].failures[0];
        assert_eq!((failure.rule.as_str(), failure.policy, &failure.judged_by), (rule, Policy::PassThrough, &None));
        assert_eq!(tag(&rows[1], "version").as_deref(), Some("a"));
    }
}

/// The version before has the grants and limits that it had.
#[test]
fn the_version_before_runs_with_its_own_options() {
    let logs = renamed(&module("floods"), "floods", "errors");
    for (grants, judged) in [(json!(["log"]), true), (json!([]), false)] {
        let mut bench = Bench::new();
        let had = RuleOptions::from_value(json!({ "grants": grants })).unwrap();
        let mut entry = bench.entry(&module("errors"), &RuleOptions::from_value(json!({ "grants": [], "on_failure": "previous-version" })).unwrap());
        before(&bench, &logs, &had)(&mut entry);
        let generation = bench.generation_of_entries(vec![entry], &[]);
        let mut chain = bench.engine.open(generation).unwrap();
        let mut rows = rows_with(4, |i| i == 1, "error", "no");
        enrich(&mut *chain, &mut rows);
        assert_eq!((tag(&rows[1], "note").is_some(), rows[1].failures[0].judged_by.is_some()), (judged, judged), "{:?}", rows[1].failures);
    }
}

#[test]
fn a_rejected_row_goes_no_further() {
    let mut bench = Bench::new();
    let mut chain = chain_of(&mut bench, &module("all-hooks"), json!({ "on_failure": "dead-letter" }), |_| {});
    let mut rows = vec![tagged(0, "host", "web-1"), tagged(1, "poison", "x"), tagged(2, "host", "unsure")];
    let enriched = enrich(&mut *chain, &mut rows);
    assert_eq!(rows.iter().map(|row| row.rejected).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(enriched.iter().map(|tally| (tally.rows, tally.failed)).collect::<Vec<_>>(), [(3, 1), (2, 0)], "the neighbour is not asked about it");
    let keyed = dedupe(&mut *chain, &mut rows);
    assert_eq!((keyed[0].rows, keyed[0].failed), (2, 1), "nor its own rule for a key");
    assert_eq!(rows.iter().map(|row| row.rejected).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(rows[0].dedupe, DedupeAnswer::Key("web-1".into()));
    for (row, hook) in [(1, Hook::EnrichEvent), (2, Hook::Dedupe)] {
        let failure = &rows[row].failures[0];
        assert_eq!((rows[row].failures.len(), failure.hook, failure.policy), (1, hook, Policy::DeadLetter));
    }
    // A payload that nobody can judge is one anyway, and an alert goes on: its event is counted.
    let Normalized::Failed(failure) = chain.normalize(&[payload("poison")], &mut Vec::new()).unwrap().remove(0) else { panic!("judged") };
    assert_eq!((failure.hook, failure.policy), (Hook::Normalize, Policy::DeadLetter));
    let generation = generation_of(&mut bench, &module("alerts"), json!({ "on_failure": "dead-letter" }), |_| {});
    let mut alerts = bench.engine.open_alerts(generation).unwrap().unwrap();
    assert!(!alerts.may_halt());
    let mut rows = vec![opened(tagged(0, "poison", "x"))];
    support::enrich_alerts(&mut *alerts, &mut rows);
    assert_eq!((rows[0].failures[0].hook, rows[0].failures[0].policy), (Hook::EnrichAlert, Policy::PassThrough));
}

#[test]
fn stop_names_the_poison_row() {
    for (name, kind, may_pass, limits) in [("traps", "trap", false, json!({})), ("spins", "deadline", true, json!({ "time_ms": 20 }))] {
        let mut bench = Bench::new();
        let mut chain = chain_of(&mut bench, &module(name), json!({ "on_failure": "stop", "limits": limits }), |_| {});
        for _ in 0..5 {
            let mut rows = rows_with(256, |i| i == 200 || i == 201, "poison", "x");
            let halted = halted(&mut *chain, &mut rows);
            assert_eq!((halted.rule.as_str(), halted.hook, halted.at, halted.kind.as_str()), (name, Hook::EnrichEvent, Place { ordinal: 1, index: 200 }, kind));
            assert_eq!(halted.may_pass, may_pass);
        }
        assert!(chain.take_verdicts().is_empty() && bench.engine.struck().is_empty(), "it waits for an operator, who decides");
        // The operator's decision about the one row; the other halts in its turn.
        let mut rows = rows_with(256, |i| i == 200 || i == 201, "poison", "x");
        let decided = |index: u32, policy: Policy| {
            let at = Place { ordinal: 1, index };
            let version =
                bench.engine.stats().iter().find(|stats| stats.rule == name).map(|stats| format!("{}@sha256:{}", stats.version, stats.digest)).unwrap();
            Verdict {
                rule: name.into(),
                version: version.as_str().into(),
                hook: Hook::EnrichEvent,
                kind: kind.into(),
                message: "so be it".into(),
                policy,
                from: at,
                until: Some(at),
            }
        };
        chain.know(&[decided(200, Policy::DeadLetter)]);
        assert_eq!(halted(&mut *chain, &mut rows.clone()).at.index, 201);
        chain.know(&[decided(201, Policy::PassThrough)]);
        enrich(&mut *chain, &mut rows);
        assert_eq!((rows[200].rejected, rows[201].rejected, rows[201].failures[0].message.as_str()), (true, false, "so be it"));
        assert!(rows.iter().filter(|row| !row.rejected).all(|row| tag(row, "version").is_some()));
    }
}

/// `rule resume --as previous-version`: that version judges the row at which the rule halted; without one the row passes, with the failure.
#[test]
fn a_halted_row_can_be_left_to_the_version_before() {
    let good = renamed(&module("leaks"), "leaks", "traps");
    for has_previous in [true, false] {
        let mut bench = Bench::new();
        let was = before(&bench, &good, &options(json!({})));
        let mut chain = chain_of(&mut bench, &module("traps"), json!({ "on_failure": "stop" }), |entry| {
            if has_previous {
                was(entry)
            }
        });
        let mut rows = rows_with(8, |i| i == 3, "poison", "x");
        let Halted { rule, version, hook, at, kind, message, .. } = halted(&mut *chain, &mut rows.clone());
        chain.know(&[Verdict { rule, version, hook, kind, message, policy: Policy::PreviousVersion, from: at, until: Some(at) }]);
        let tally = enrich(&mut *chain, &mut rows);
        let failure = &rows[3].failures[0];
        let (policy, note) = if has_previous { (Policy::PreviousVersion, Some("seen")) } else { (Policy::PassThrough, None) };
        assert_eq!((failure.policy, failure.judged_by.is_some(), tag(&rows[3], "note").as_deref()), (policy, has_previous, note), "{failure:?}");
        assert_eq!((tally[0].failed, rows[3].failures.len()), (1, 1));
        assert!(rows.iter().all(|row| tag(row, "version").is_some()));
    }
}

/// A version that stood in when the verdict was reached, and that this process cannot have: the row says what happened to it.
#[test]
fn a_verdict_for_a_version_before_that_is_gone_passes_its_row_through_with_the_failure() {
    let good = renamed(&module("leaks"), "leaks", "spins");
    let keys = || json!({ "on_failure": "previous-version", "strikes": 100, "limits": { "time_ms": 40 } });
    let rows = || rows_with(4, |i| i == 2, "poison", "x");
    let mut bench = Bench::new();
    let was = before(&bench, &good, &options(json!({})));
    let mut chain = chain_of(&mut bench, &module("spins"), keys(), was);
    enrich(&mut *chain, &mut rows());
    let verdicts = chain.take_verdicts();
    assert_eq!(verdicts.iter().map(|verdict| verdict.policy).collect::<Vec<_>>(), [Policy::PreviousVersion]);

    let mut without = chain_of(&mut Bench::new(), &module("spins"), keys(), |_| {});
    without.know(&verdicts);
    let mut replayed = rows();
    let tally = enrich(&mut *without, &mut replayed);
    let failures: Vec<_> = replayed[2].failures.iter().map(|failure| (failure.kind.as_str(), failure.policy, failure.judged_by.clone())).collect();
    assert_eq!((failures, tally[0].failed), (vec![("deadline", Policy::PassThrough, None)], 1));
}

/// Rows as another process reads them again, with the verdicts of the first.
#[test]
fn verdicts_are_used_and_not_asked_again() {
    let good = renamed(&module("leaks"), "leaks", "spins");
    for policy in [Policy::PassThrough, Policy::PreviousVersion, Policy::DeadLetter] {
        let all = rows_with(64, |i| [9, 10, 40].contains(&i), "poison", "x");
        let run = |known: &[Verdict]| {
            let mut bench = Bench::new();
            let keys = json!({ "on_failure": policy.as_str(), "strikes": 100, "limits": { "time_ms": 40, "batch_rows": 8 } });
            let was = before(&bench, &good, &options(json!({})));
            let mut chain = chain_of(&mut bench, &module("spins"), keys, was);
            chain.know(known);
            let mut rows = all.clone();
            let tally = enrich(&mut *chain, &mut rows);
            (rows, calls(&tally), chain.take_verdicts())
        };
        let (live, live_calls, verdicts) = run(&[]);
        let places: Vec<_> = verdicts.iter().map(|verdict| (verdict.from.index, verdict.until.unwrap().index, verdict.policy)).collect();
        assert_eq!(places, [(9, 10, policy), (40, 40, policy)], "neighbours are one verdict");
        let (replayed, replayed_calls, again) = run(&verdicts);
        for (a, b) in live.iter().zip(&replayed) {
            assert_eq!((&a.event, &a.failures, a.rejected), (&b.event, &b.failures, b.rejected), "row {}", a.index);
        }
        assert!(again.is_empty(), "nothing is decided twice");
        let asked = u64::from(policy == Policy::PreviousVersion);
        assert_eq!(replayed_calls, 8 + asked, "61 rows in 8 calls, none about the three; {live_calls} calls before");
    }
}

#[test]
fn a_struck_out_rule_is_not_called_to_the_end_of_its_generation() {
    let spins = json!({ "limits": { "time_ms": 20 }, "strikes": 2 });
    let mut bench = Bench::new();
    let mut chain = chain_of(&mut bench, &module("spins"), spins.clone(), |_| {});
    let mut rows = rows_with(600, |i| i >= 100, "poison", "x");
    enrich(&mut *chain, &mut rows);
    let out = rows.iter().position(|row| kinds(row) == ["struck-out"]).unwrap();
    assert!(rows[out..].iter().all(|row| kinds(row) == ["struck-out"]) && rows[..out].iter().all(|row| kinds(row).is_empty()));
    let verdicts = chain.take_verdicts();
    assert_eq!(
        verdicts.iter().map(|verdict| (verdict.from.index, verdict.until, verdict.kind.as_str())).collect::<Vec<_>>(),
        [(out as u32, None, "struck-out")]
    );
    let struck = bench.engine.struck();
    assert_eq!(struck.iter().map(|struck| (struck.rule.as_str(), struck.kind)).collect::<Vec<_>>(), [("spins", "deadline")]);
    let later = |index: u32| Row { ordinal: 2, ..tagged(index, "quiet", "yes") };
    let again = enrich(&mut *chain, &mut [later(0), later(1)]);
    assert_eq!((again[0].calls, again[0].failed), (0, 2));
    assert!(chain.take_verdicts().is_empty(), "one verdict for all of them");

    // Another process, which reads the rows again.
    let mut bench = Bench::new();
    let mut replay = chain_of(&mut bench, &module("spins"), spins, |_| {});
    replay.know(&verdicts);
    let mut replayed = rows_with(600, |i| i >= 100, "poison", "x");
    enrich(&mut *replay, &mut replayed);
    assert!(rows.iter().zip(&replayed).all(|(a, b)| (&a.event, &a.failures) == (&b.event, &b.failures)));
    assert_eq!(enrich(&mut *replay, &mut [later(0)])[0].calls, 0);
    assert!(replay.take_verdicts().is_empty());
    assert_eq!(bench.engine.struck().len(), 1, "the first process may have ended before it wrote a quarantine");

    // In quarantine, and out of it again.
    let keys = json!({ "limits": { "time_ms": 20 }, "strikes": 2 });
    let mut held = chain_of(&mut bench, &module("spins"), keys.clone(), quarantined);
    assert!(bench.engine.struck().is_empty(), "somebody knows");
    assert_eq!(enrich(&mut *held, &mut [later(0)])[0].calls, 0);
    let mut released = chain_of(&mut bench, &module("spins"), keys, |_| {});
    let mut judged = [later(0)];
    assert_eq!(enrich(&mut *released, &mut judged)[0].calls, 1);
    assert!(judged[0].failures.is_empty() && bench.engine.struck().is_empty());
}

/// Its options were changed while it was out: the halt ends by itself when the rule is tried again.
#[test]
fn a_halt_for_a_rule_that_is_out_decides_nothing() {
    let mut bench = Bench::new();
    let keys = |policy: &str| json!({ "limits": { "time_ms": 20 }, "strikes": 1, "on_failure": policy });
    let mut chain = chain_of(&mut bench, &module("spins"), keys("pass-through"), |_| {});
    enrich(&mut *chain, &mut [tagged(0, "poison", "x")]);
    assert_eq!(bench.engine.struck().len(), 1);
    let mut stops = chain_of(&mut bench, &module("spins"), keys("stop"), |_| {});
    for _ in 0..2 {
        let halted = halted(&mut *stops, &mut [tagged(1, "quiet", "yes")]);
        assert_eq!((halted.kind.as_str(), halted.may_pass), ("struck-out", true));
    }
    assert!(stops.take_verdicts().is_empty());
}

#[test]
fn quarantined_rows_get_the_policy_without_a_call() {
    for policy in [Policy::PassThrough, Policy::PreviousVersion, Policy::DeadLetter] {
        let mut bench = Bench::new();
        let good = renamed(&module("leaks"), "leaks", "traps");
        let was = before(&bench, &good, &options(json!({})));
        let mut chain = chain_of(&mut bench, &module("traps"), json!({ "on_failure": policy.as_str() }), |entry| {
            was(entry);
            quarantined(entry);
        });
        let mut rows = rows_with(600, |i| i == 3, "poison", "x");
        let tally = enrich(&mut *chain, &mut rows);
        assert_eq!((tally[0].rows, tally[0].failed), (600, 600));
        for row in &rows {
            assert_eq!((kinds(row), row.failures[0].policy), (vec!["quarantined".to_owned()], policy));
            assert!(row.failures[0].message.contains("in quarantine; the last time: deadline: still running"), "{:?}", row.failures);
            assert_eq!(row.rejected, policy == Policy::DeadLetter);
            assert_eq!(tag(row, "version").is_some(), policy != Policy::DeadLetter);
            assert_eq!(tag(row, "note").is_some(), policy == Policy::PreviousVersion);
        }
        let stats = bench.engine.stats();
        let of = |has_calls: bool| stats.iter().filter(|stats| stats.rule == "traps" && (stats.calls > 0) == has_calls).count();
        assert_eq!((of(true), of(false)), if policy == Policy::PreviousVersion { (1, 1) } else { (0, 1) });
        assert!(chain.take_verdicts().is_empty(), "the generation says it");
    }
    let mut bench = Bench::new();
    let mut chain = chain_of(&mut bench, &module("traps"), json!({ "on_failure": "stop" }), quarantined);
    let halted = halted(&mut *chain, &mut rows_with(8, |_| false, "", ""));
    assert_eq!((halted.at.index, halted.kind.as_str(), halted.may_pass), (0, "quarantined", false));
}

/// A bad rule in quarantine must not keep the generation from being opened: it is not tried before it is called.
#[test]
fn a_rule_in_quarantine_is_not_tried() {
    let mut bench = Bench::new();
    let bytes = module("spins-init");
    let entry = |bench: &Bench| bench.entry(&bytes, &options(json!({ "limits": { "init_ms": 100 } })));
    let bad = bench.generation_of_entries(vec![entry(&bench)], &[]);
    assert!(bench.engine.open(bad).is_err());
    let mut held = entry(&bench);
    quarantined(&mut held);
    let held = bench.generation_of_entries(vec![held], &[]);
    let mut chain = bench.engine.open(held).unwrap_or_else(|e| panic!("{e}"));
    let mut rows = vec![empty_row(0)];
    enrich(&mut *chain, &mut rows);
    assert_eq!(kinds(&rows[0]), ["quarantined"]);
}

/// Every n-th row traps: of every row is too much, of every second is not more than half.
#[test]
fn m16_who_fails_on_most_rows_is_struck_out() {
    for (n, is_out) in [(1, true), (2, false), (7, false), (1_000, false)] {
        let mut bench = Bench::new();
        let mut chain = chain_of(&mut bench, &module("traps"), json!({ "limits": { "time_ms": 10_000 } }), |_| {});
        let mut rows = rows_with(2_000, |i| i % n == n - 1, "poison", "x");
        let tally = enrich(&mut *chain, &mut rows);
        let failed = rows.iter().filter(|row| kinds(row) == ["trap"]).count() as u32;
        let out = rows.iter().filter(|row| kinds(row) == ["struck-out"]).count();
        // The 500th row that fails is in the second batch.
        assert_eq!((failed, out), if is_out { (512, 2_000 - 512) } else { (2_000 / n, 0) }, "every {n}th row");
        assert_eq!(tally[0].failed, u64::from(failed) + out as u64);
        assert_eq!(bench.engine.struck().len(), usize::from(is_out));
        assert_eq!(chain.take_verdicts().len(), usize::from(is_out));
    }
}

#[test]
fn alerts_and_payloads_have_the_policies_too() {
    let mut bench = Bench::new();
    let generation = generation_of(&mut bench, &module("all-hooks"), json!({ "on_failure": "stop" }), |_| {});
    let mut alerts = bench.engine.open_alerts(generation).unwrap().unwrap();
    let mut rows: Vec<AlertRow> = (0..8).map(|i| opened(tagged(i, if i == 5 { "poison" } else { "quiet" }, "x"))).collect();
    assert!(alerts.may_halt());
    let halted = alerts.enrich_alerts(&mut rows, &mut Vec::new()).expect_err("a halt");
    assert_eq!((halted.hook, halted.at), (Hook::EnrichAlert, Place { ordinal: 1, index: 5 }));
    let verdict = |hook, at| Verdict {
        rule: halted.rule.clone(),
        version: halted.version.clone(),
        hook,
        kind: halted.kind.clone(),
        message: "go on".into(),
        policy: Policy::PassThrough,
        from: at,
        until: Some(at),
    };
    alerts.know(&[verdict(Hook::EnrichAlert, halted.at)]);
    support::enrich_alerts(&mut *alerts, &mut rows);
    assert_eq!(rows[5].failures[0].message, "go on");

    let mut chain = bench.engine.open(generation).unwrap();
    let payloads = [payload("a"), alertmill_core::payload::Payload { ordinal: 7, ..payload("poison") }];
    let halted = chain.normalize(&payloads, &mut Vec::new()).expect_err("a halt");
    assert_eq!((halted.hook, halted.at), (Hook::Normalize, Place { ordinal: 7, index: 0 }));
    chain.know(&[verdict(Hook::Normalize, halted.at)]);
    let answers = chain.normalize(&payloads, &mut Vec::new()).unwrap();
    assert!(matches!(&answers[1], Normalized::Failed(failure) if failure.message == "go on"), "{answers:?}");

    // The version before makes the events of a payload, and keys.
    let mut bench = Bench::new();
    let trapping = support::bytes::maimed(&module("all-hooks"), "alertmill:rules/normalize-rule@0.1.0#normalize", &[0, 0x00, 0x0b]);
    let was = before(&bench, &module("all-hooks"), &options(json!({})));
    let mut chain = chain_of(&mut bench, &trapping, json!({ "on_failure": "previous-version" }), was);
    let answers = chain.normalize(&[payload("a\nb")], &mut Vec::new()).unwrap();
    assert!(matches!(&answers[0], Normalized::Events(events) if events.len() == 2), "{answers:?}");
}
