//! Rules over alerts: when they are asked, and that it does not show.

use super::bench::{Life, Rules, T, firing, without_grace};
use super::command_tests::Walk;
use super::new_alerts::NEW_ALERTS_MAX;
use crate::alert_fields::AlertField;
use crate::command::{Action, AlertRef, Command, Verdict};
use crate::fields::RuleRow;
use crate::record::{Door, Items, Record, RecordBody, RuleSet};
use crate::row::{AlertRow, RuleFailure};
use crate::rules::Generation;
use crate::value::Value;
use crate::verdict::{Hook, Policy};

fn event(id: &str, host: &str, severity: u8, status: &str, time: i64) -> String {
    format!(
        r#"{{"event_id":"{id}","alert_name":"disk full","severity":{severity},"status":"{status}","time":{time},
            "dedupe_keys":["tags.host"],"tags":{{"host":"{host}"}}}}"#
    )
}

fn abnormal(id: &str, host: &str) -> String {
    event(id, host, 2, "abnormal", T)
}

fn items(ordinal: u64, at_s: i64, items: &[String]) -> Record {
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    record(ordinal, at_s, RecordBody::Items(Items::of_texts(Door::Events, &items)))
}

fn record(ordinal: u64, at_s: i64, body: RecordBody) -> Record {
    Record { ordinal, received_at_ms: at_s * 1_000, body }
}

fn begins(ordinal: u64, generation: Generation) -> Record {
    record(ordinal, T, RecordBody::RuleSet(RuleSet { generation, ..RuleSet::default() }))
}

fn write(row: &mut AlertRow, field: &str, text: &str) {
    AlertField::parse_write(field).unwrap().write_text(row, text).unwrap();
}

/// Says which generation was asked, how many events the alert had then, and what all later documents must keep.
fn stamp(generation: Generation, row: &mut AlertRow) {
    let says = format!("{generation} {}", row.alert.event_count);
    write(row, "extra_info.alert_rules", &says);
    write(row, "tags.team", "web");
}

fn stamped() -> Life {
    Life { rules: Rules { alert: Some(stamp), ..Rules::default() }, ..Life::new() }
}

fn field(life: &Life, n: usize, path: &[&str]) -> String {
    Value::from_json(&life.alert(n).document).unwrap().path(path).map_or("none".to_owned(), Value::to_json)
}

/// Every alert was with its rules once, before anything else met it.
fn check_stamps(life: &Life, generations: &[Generation]) {
    for (n, generation) in generations.iter().enumerate() {
        assert_eq!(field(life, n, &["extra_info", "alert_rules"]), format!("\"{generation} 1\""), "alert {n}");
        assert!(field(life, n, &["dimensions"]).contains(r#""key":"tags.team","value":"web""#), "alert {n}");
    }
    assert_eq!(life.tables.alerts.len(), generations.len());
    assert_eq!(life.asked.iter().map(|(_, n)| n).sum::<usize>(), generations.len(), "each was asked about once");
}

#[test]
fn an_alert_is_enriched_before_its_next_event() {
    let mut life = stamped();
    life.fold(vec![items(1, T, &[abnormal("a", "h1"), abnormal("b", "h2"), abnormal("c", "h1"), abnormal("d", "h3")])]);
    assert_eq!((life.asked.as_slice(), life.logs()), ([(1, 2), (1, 1)].as_slice(), vec!["CREATE", "CREATE", "CREATE"]));
    check_stamps(&life, &[1, 1, 1]);
    assert_eq!(life.alert(0).event_count, 2);
    life.check_counted_once();

    // One that ends it, or takes its place.
    for (next, logs) in
        [(event("b", "h1", 3, "recovered", T), vec!["CREATE", "RECOVER"]), (event("b", "h1", 1, "abnormal", T), vec!["CREATE", "CLOSE", "CREATE"])]
    {
        let mut life = stamped();
        life.fold(vec![items(1, T, &[abnormal("a", "h1")]), items(2, T, &[next])]);
        assert_eq!((life.asked.len(), life.logs()), (logs.len().div_ceil(2), logs));
        check_stamps(&life, &vec![1; life.tables.alerts.len()]);
    }
}

#[test]
fn an_alert_is_enriched_before_a_command_that_names_it() {
    let command = |ordinal, alerts: Vec<AlertRef>| {
        let command =
            Command { tenant: "system".into(), action: Action::Acknowledge, alerts, operator: "wang".into(), comment: "".into(), idempotency_key: None };
        record(ordinal, T + 1, RecordBody::Command(command))
    };
    let named = |ordinal: u64| AlertRef { create_time: T, seq: crate::identity::alert_seq(ordinal, 0) };
    let mut life = stamped();
    life.fold(vec![
        items(1, T, &[abnormal("a", "h1")]),
        items(2, T, &[abnormal("b", "h2")]),
        command(3, vec![named(2)]),
        items(4, T + 2, &[abnormal("c", "h3")]),
    ]);
    assert_eq!(life.asked, [(1, 2), (1, 1)]);
    assert_eq!((life.logs(), life.decided[0].decisions[0].verdict), (vec!["CREATE", "CREATE", "ACK", "CREATE"], Verdict::Done));
    // One that names others, or nothing, does not wait.
    life.fold(vec![
        items(5, T + 3, &[abnormal("d", "h4")]),
        command(6, vec![named(1), AlertRef { create_time: T, seq: 1 }]),
        items(7, T + 3, &[abnormal("e", "h5")]),
    ]);
    assert_eq!(life.asked[2..], [(1, 2)]);
    check_stamps(&life, &[1; 5]);
}

#[test]
fn an_alert_is_enriched_before_its_time_out() {
    let mut life = Life { rules: Rules { alert: Some(stamp), ..Rules::default() }, ..Life::with(without_grace()) };
    let am = |ordinal, at_s: i64, item: String| record(ordinal, at_s, RecordBody::Items(Items::of_texts(Door::Alertmanager, &[&item])));
    life.fold(vec![
        am(1, T, firing("", T, Some(T + 10))),
        record(2, T + 9, RecordBody::Clock),
        items(3, T + 9, &[abnormal("a", "h1")]),
        record(4, T + 11, RecordBody::Clock),
        items(5, T + 11, &[abnormal("b", "h2")]),
    ]);
    assert_eq!(life.asked, [(1, 2), (1, 1)], "the first clock was too early");
    assert_eq!((life.logs(), life.statuses()), (vec!["CREATE", "CREATE", "SYSTEM_RECOVER", "CREATE"], vec!["RECOVERED", "ABNORMAL", "ABNORMAL"]));
    check_stamps(&life, &[1; 3]);
}

#[test]
fn alerts_of_two_generations_are_not_asked_about_together() {
    let mut life = stamped();
    life.fold(vec![
        items(1, T, &[abnormal("a", "h1")]),
        begins(2, 2),
        items(3, T, &[abnormal("b", "h2"), abnormal("c", "h3")]),
        begins(4, 3),
        begins(5, 7),
        items(6, T, &[abnormal("d", "h4")]),
    ]);
    assert_eq!(life.asked, [(1, 1), (2, 2), (7, 1)]);
    check_stamps(&life, &[1, 2, 2, 7]);
}

#[test]
fn a_bounded_number_of_alerts_waits() {
    let mut life = stamped();
    let many: Vec<String> = (0..600).map(|n| abnormal(&format!("e{n}"), &format!("h{n}"))).collect();
    life.fold(vec![items(1, T, &many)]);
    assert_eq!(life.asked, [(1, NEW_ALERTS_MAX), (1, NEW_ALERTS_MAX), (1, 600 - 2 * NEW_ALERTS_MAX)]);
    check_stamps(&life, &[1; 600]);
    assert_eq!(life.tables.ledger.get(&("rule".into(), "alerts".into(), "rows".into())), Some(&600));
    assert_eq!(life.tables.next_due_ms, Some((T + 3_600) * 1_000), "they time out like others");
}

#[test]
fn what_has_ended_is_forgotten_when_the_next_alert_is_opened_and_not_when_its_rules_have_answered() {
    let close = |ordinal, seq: u64| {
        let alerts = vec![AlertRef { create_time: T, seq }];
        let command =
            Command { tenant: "system".into(), action: Action::Close, alerts, operator: "wang".into(), comment: "".into(), idempotency_key: Some("k".into()) };
        record(ordinal, T, RecordBody::Command(command))
    };
    let seq = crate::identity::alert_seq(1, 0);
    for in_one_batch in [true, false] {
        let mut life = stamped();
        let records = vec![items(1, T, &[abnormal("a", "h1")]), close(2, seq), close(3, seq), items(4, T, &[abnormal("b", "h1")]), close(5, seq)];
        if in_one_batch {
            life.fold(records);
        } else {
            records.into_iter().for_each(|record| life.fold(vec![record]));
        }
        let verdicts: Vec<Verdict> = life.decided.iter().map(|decided| decided.decisions[0].verdict).collect();
        assert_eq!(verdicts, [Verdict::Done, Verdict::Repeated, Verdict::NotOpen], "{in_one_batch}");
    }
}

/// Does all that alert rules may, by what it is asked about.
fn judge(generation: Generation, row: &mut AlertRow) {
    stamp(generation, row);
    let pick = row.seed as u64 % 7;
    match pick {
        0 | 1 => AlertField::parse_write("severity").unwrap().write_integer(row, 1 + (generation + pick) as i64 % 3).unwrap(),
        2 => write(row, "labels", r#"["x","y"]"#),
        3 => row.failures.push(failure("late", "row-error")),
        4 => write(row, "extra_info.long", &"x".repeat(100)),
        5 => row.remove_tag("host"),
        _ => {}
    }
}

fn failure(rule: &str, kind: &'static str) -> RuleFailure {
    RuleFailure {
        rule: rule.into(),
        version: "1.0.0@sha256:00".into(),
        kind: kind.into(),
        message: "says \"why\"".into(),
        hook: Hook::EnrichAlert,
        policy: Policy::PassThrough,
        judged_by: None,
    }
}

#[test]
fn cuts_of_rule_batches_do_not_show() {
    let (mut asked_together, mut asked_alone, mut by_rule, mut failed) = (0, 0, 0, 0);
    for seed in 0..6u64 {
        let (mut walk, mut at) = (Walk(seed), T);
        let mut one = Life { rules: Rules { alert: Some(judge), ..Rules::default() }, ..Life::new() };
        for n in 0..40 {
            match n % 13 {
                12 => one.record(at, RecordBody::RuleSet(RuleSet { generation: n, ..RuleSet::default() })),
                _ => walk.record(&mut one, at),
            }
            at += [0, 0, 1, 30, 200, 4_000][walk.below(6) as usize];
        }
        asked_alone += one.asked.len();
        let texts: Vec<String> = one.tables.alerts.values().map(|alert| String::from_utf8_lossy(&alert.document).into_owned()).collect();
        by_rule += texts.iter().filter(|text| text.contains(r#""severity_source":"by_rule""#)).count();
        failed += texts.iter().filter(|text| text.contains("rule_failures")).count();
        assert!(texts.iter().all(|text| text.contains(r#""alert_rules":""#)));
        let check = |cuts: &[usize], bytes_max: usize, restarts: bool| {
            let mut other = Life { rules: one.rules, bytes_max, ..Life::new() };
            let mut from = 0;
            for to in cuts.iter().copied().chain([one.journal.len()]).filter(|to| *to > 0) {
                if to > from {
                    other.fold(one.journal[from..to].to_vec());
                }
                if restarts {
                    other.restart();
                }
                from = to;
            }
            other.tables.check_same(&one.tables, &format!("seed {seed}, cuts {cuts:?}, commits of {bytes_max} bytes"));
            assert_eq!(other.decided, one.decided, "seed {seed}, cuts {cuts:?}");
            other
        };
        for first in 0..=40 {
            for second in first..=40 {
                asked_together += check(&[first, second], usize::MAX, second % 3 == 0).asked.iter().filter(|(_, n)| *n > 1).count();
            }
        }
        for bytes_max in [0, 100, 1_000, 5_000] {
            assert!(check(&[], bytes_max, false).commits > 1, "{bytes_max}");
        }
        assert_eq!(check(&[], usize::MAX, false).commits, 1);
    }
    println!("alone {asked_alone}, together {asked_together}, by rule {by_rule}, failed {failed}");
    assert!(asked_together > 100 && by_rule > 5 && failed > 5, "the walks hardly reach it: {asked_together} {by_rule} {failed}");
}

#[test]
fn severity_by_rule_holds() {
    // (of the opening event, of the rule)
    for (sent, ruled) in [(2, 3), (2, 1), (2, 2), (1, 3), (3, 1)] {
        let mut life = Life::new();
        life.rules.alert = Some(match ruled {
            1 => |_, row| AlertField::parse_write("severity").unwrap().write_integer(row, 1).unwrap(),
            2 => |_, row| AlertField::parse_write("severity").unwrap().write_integer(row, 2).unwrap(),
            _ => |_, row| AlertField::parse_write("severity").unwrap().write_integer(row, 3).unwrap(),
        });
        let check = |life: &Life, representative: &str, events: u64| {
            assert_eq!((life.statuses(), life.alert(0).severity, life.alert(0).event_count), (vec!["ABNORMAL"], ruled, events), "{sent} {ruled}");
            assert_eq!(field(life, 0, &["event", "event_id"]), format!("\"{representative}\""), "{sent} {ruled}");
            assert_eq!(field(life, 0, &["extra_info", "severity_source"]), "\"by_rule\"");
        };
        life.events(T, &[&event("a", "h1", sent, "abnormal", T)]);
        check(&life, "a", 1);
        let log = Value::from_json(&life.tables.logs[0].2).unwrap();
        assert_eq!((log.get("op_type").cloned(), log.get("severity").cloned()), (Some("CREATE".into()), Some(Value::Int(ruled.into()))));
        // The newest event represents the alert, whatever the rule said (row 56).
        life.events(T + 1, &[&event("b", "h1", sent, "abnormal", T + 1)]);
        check(&life, "b", 2);
        // The state says so too.
        life.restart();
        // One that is worse neither replaces the alert nor changes its severity (row 8), and represents it from then on.
        let (mut newest, mut events) = ("b", 2);
        if sent > 1 {
            life.events(T + 2, &[&event("worse", "h1", 1, "abnormal", T + 2)]);
            (newest, events) = ("worse", 3);
            check(&life, newest, events);
        }
        // One that is milder than the representative one is no event of this alert (row 9), as without a rule.
        life.events(T + 3, &[&event("milder", "h1", 3, "abnormal", T + 3)]);
        let is_milder = events == 3 || sent < 3;
        check(&life, if is_milder { newest } else { "milder" }, if is_milder { events } else { events + 1 });
        assert_eq!(life.count("stored_only.lower-severity"), u64::from(is_milder));
        // Severity gates no end.
        life.events(T + 4, &[&event("end", "h1", 3, "recovered", T + 4)]);
        assert_eq!((life.statuses(), life.alert(0).severity), (vec!["RECOVERED"], ruled));
        // The next alert is the event's again, until the rule was asked.
        life.rules.alert = None;
        life.events(T + 5, &[&event("next", "h1", sent, "abnormal", T + 5)]);
        assert_eq!((life.alert(1).severity, field(&life, 1, &["extra_info", "severity_source"])), (sent, "none".to_owned()));
        assert!(!String::from_utf8_lossy(&life.tables.logs.last().unwrap().2).contains("severity"), "a log says it only if it is a rule's");
        life.check_counted_once();
    }
}

#[test]
fn a_worse_resend_does_not_replace_an_alert_whose_severity_a_rule_set() {
    let labelled = |severity: &str| format!(r#","severity":"{severity}""#);
    let mut life = Life::with(without_grace());
    life.rules = Rules {
        dedupe: |row| row.dedupe = crate::row::DedupeAnswer::Key("all".into()),
        alert: Some(|_, row| AlertField::parse_write("severity").unwrap().write_integer(row, 3).unwrap()),
        ..Rules::default()
    };
    life.alertmanager(T, &[&firing(&labelled("warning"), T, Some(T + 600))]);
    life.alertmanager(T + 10, &[&firing(&labelled("critical"), T, Some(T + 600))]);
    life.alertmanager(T + 20, &[&firing(&labelled("critical"), T, Some(T + 700))]);
    assert_eq!((life.statuses(), life.alert(0).severity, life.count("refreshed")), (vec!["ABNORMAL"], 3, 1));
    life.clock(T + 699);
    assert_eq!(life.statuses(), ["ABNORMAL"]);
    life.clock(T + 700);
    assert_eq!(life.statuses(), ["RECOVERED"]);
}

#[test]
fn what_rules_could_not_judge_is_in_the_alert() {
    let mut life = Life::new();
    life.rules = Rules {
        enrich: |row| row.failures.push(failure("first", "trap")),
        alert: Some(|_, row| row.failures.extend([failure("second", "deadline"), failure("third", "output")])),
        ..Rules::default()
    };
    life.events(T, &[&abnormal("a", "h1")]);
    let of = |document: &Value| document.path(&["extra_info", "alertmill", "rule_failures"]).unwrap().clone();
    let (alert, event) = (Value::from_json(&life.alert(0).document).unwrap(), Value::from_json(&life.tables.events[0].1).unwrap());
    let says =
        |rule: &str, kind: &str| format!(r#"{{"rule":"{rule}","version":"1.0.0@sha256:00","kind":"{kind}","message":"says \"why\"","policy":"pass-through"}}"#);
    assert_eq!(of(&event).to_json(), format!("[{}]", says("first", "trap")));
    assert_eq!(of(&alert).to_json(), format!("[{},{},{}]", says("first", "trap"), says("second", "deadline"), says("third", "output")));
    assert_eq!(of(alert.get("event").unwrap()), of(&event), "the event has its own");
}

#[test]
fn what_alert_rules_wrote_counts_in_every_commit_that_writes_it() {
    const WRITTEN: usize = 8_004;
    let long = |_: Generation, row: &mut AlertRow| write(row, "extra_info.long", &"x".repeat(8_000));
    let mut life = Life { rules: Rules { alert: Some(long), ..Rules::default() }, bytes_max: 4 * WRITTEN, ..Life::new() };
    life.fold((1..=600).map(|n| items(n, T, &[abnormal(&format!("a{n}"), &format!("h{n}"))])).collect());
    assert_eq!(life.commits, 3, "as many as wait at most are written together");
    // Each update writes the alert whole again, in the next life too.
    for restarts in [false, true] {
        if restarts {
            life.restart();
        }
        let (before, from) = (life.commits, life.tables.position + 1);
        life.fold((0..10).map(|n| items(from + n, T + 1, &[abnormal(&format!("b{from}-{n}"), &format!("h{}", n + 1))])).collect());
        assert_eq!(life.commits - before, 3, "restarted: {restarts}");
        // Again and again the same one is one document.
        let (before, from) = (life.commits, life.tables.position + 1);
        life.fold((0..10).map(|n| items(from + n, T + 2, &[abnormal(&format!("c{from}-{n}"), "h1")])).collect());
        assert_eq!(life.commits - before, 1, "restarted: {restarts}");
    }
    // What events bring was counted before: it ends no commit here.
    let mut life = Life { bytes_max: 10, ..Life::new() };
    life.fold((1..=10).map(|n| items(n, T, &[abnormal(&format!("a{n}"), &format!("h{n}"))])).collect());
    assert_eq!(life.commits, 1);
}
