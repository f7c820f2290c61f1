//! The budget of alerts that a rule's keys may hold open.

use super::bench::{Life, Rules, T, firing, without_grace};
use super::command_tests::Walk;
use crate::command::Action;
use crate::record::{Door, Items, Record, RecordBody};
use crate::row::{DedupeAnswer, DedupeRule, Row};
use crate::value::Value;

const MAX: u32 = 3;

/// A key for every event.
fn each(row: &mut Row) {
    row.dedupe = DedupeAnswer::Unique;
    row.dedupe_rule = Some(DedupeRule::new("each", "1.0.0@sha256:00", MAX));
}

/// A key for every `event_id`.
fn by_id(row: &mut Row) {
    each(row);
    row.dedupe = DedupeAnswer::Key(row.event.event_id.to_json().into());
}

fn life(dedupe: fn(&mut Row)) -> Life {
    Life { rules: Rules { dedupe, ..Rules::default() }, ..Life::with(without_grace()) }
}

fn event(id: &str, name: &str, severity: u8, status: &str, time: i64) -> String {
    format!(r#"{{"event_id":"{id}","alert_name":"{name}","severity":{severity},"status":"{status}","time":{time}}}"#)
}

fn abnormal(id: usize) -> String {
    event(&format!("e{id}"), "disk full", 2, "abnormal", T)
}

fn overflows(life: &Life) -> u64 {
    life.tables.ledger.get(&("rule".into(), "each".into(), "dedupe_overflow".into())).copied().unwrap_or(0)
}

/// Events that say so.
fn marked(life: &Life) -> u64 {
    life.tables.events.iter().filter(|(_, document)| String::from_utf8_lossy(document).contains(r#""kind":"key-budget""#)).count() as u64
}

/// Open alerts of the rule's keys.
fn keyed(life: &Life) -> usize {
    let is_keyed = |state: &[u8]| Value::from_json(state).unwrap().get("keyed_by") == Some(&Value::literal("each"));
    life.tables.alerts.values().filter(|alert| alert.status.as_str() == "ABNORMAL" && is_keyed(&alert.state)).count()
}

fn counts(life: &Life) -> Vec<u64> {
    life.tables.alerts.values().map(|alert| alert.event_count).collect()
}

#[test]
fn m29_beyond_its_budget_a_rule_opens_no_alert_and_the_events_own_keys_decide() {
    let mut life = life(each);
    let items: Vec<String> = (0..10).map(abnormal).collect();
    life.events(T, &items.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((counts(&life), keyed(&life)), (vec![1, 1, 1, 7], 3));
    assert_eq!((overflows(&life), marked(&life), life.count("folded")), (7, 7, 10), "each is counted, and says so");
    let says = Value::from_json(&life.tables.events[3].1).unwrap().path(&["extra_info", "alertmill", "rule_failures"]).unwrap().to_json();
    let message = "its keys have 3 alerts open, as many as limits.open_keys allows; the event's own keys decide";
    assert_eq!(says, format!(r#"[{{"rule":"each","version":"1.0.0@sha256:00","kind":"key-budget","message":"{message}","policy":"pass-through"}}]"#));
    // As if no rule had answered: the event and its alert have the fingerprint of the event's own keys.
    let mut without = Life::new();
    without.events(T, &[&abnormal(3)]);
    assert_eq!(life.alert(3).fingerprint, without.alert(0).fingerprint);
    assert_eq!(life.field(3, "dedupe_md5"), without.field(0, "dedupe_md5"));
    // A retry is one.
    life.events(T + 1, &[&abnormal(5)]);
    assert_eq!((life.count("duplicates"), overflows(&life)), (1, 7));
    life.check_counted_once();
}

#[test]
fn m29_every_end_of_an_alert_frees_its_key() {
    // How an alert ends, how many ends that are, and when the next events come.
    let ends: [fn(&mut Life); 3] = [
        |life| life.events(T + 1, &[&event("e1", "disk full", 2, "recovered", T + 1)]),
        |life| assert_eq!(life.command(T + 1, Action::Close, &[life.named(1)], "").len(), 1),
        |life| life.clock(T + 3_600),
    ];
    for (end, (freed, at)) in ends.into_iter().zip([(1, T + 2), (1, T + 2), (3, T + 3_601)]) {
        for restarts in [false, true] {
            let mut life = life(by_id);
            (0..4).for_each(|n| life.events(T, &[&abnormal(n)]));
            assert_eq!((keyed(&life), overflows(&life)), (3, 1));
            end(&mut life);
            assert_eq!(keyed(&life), 3 - freed);
            if restarts {
                life.restart();
            }
            for n in 10..15 {
                life.events(at, &[&event(&format!("e{n}"), "disk full", 2, "abnormal", at)]);
            }
            assert_eq!((keyed(&life), overflows(&life)), (3, 1 + 5 - freed as u64), "freed {freed}, restarted {restarts}");
        }
    }
}

#[test]
fn m29_open_alerts_go_on_with_a_budget_that_is_used_up() {
    let mut life = life(by_id);
    (0..3).for_each(|n| life.events(T, &[&abnormal(n)]));
    life.restart();
    // An update, a worse event that takes the place, a milder one.
    for (at, severity) in [(1, 2), (2, 1), (3, 3)] {
        life.events(T + at, &[&event("e1", "disk full", severity, "abnormal", T + at)]);
    }
    assert_eq!((life.statuses(), keyed(&life), overflows(&life)), (vec!["ABNORMAL", "CLOSED", "ABNORMAL", "ABNORMAL"], 3, 0));
    // An end without an open alert, what is too old, and what a rule drops open nothing anyway.
    life.events(T + 4, &[&event("e7", "disk full", 2, "recovered", T + 4), &event("e8", "disk full", 2, "abnormal", T - 90_000)]);
    life.rules.enrich = |row| row.dropped = Some(crate::row::Dropped { rule: "noise".into(), reason: "noise".into() });
    life.events(T + 5, &[&event("e9", "disk full", 2, "abnormal", T + 5)]);
    assert_eq!((keyed(&life), overflows(&life), marked(&life)), (3, 0, 0));
    assert_eq!(["no-open-alert", "expired", "rule-dropped"].map(|why| life.count(&format!("stored_only.{why}"))), [1, 1, 1]);
    // What is older than the end of its key's last alert is that alert's, budget or not.
    life.events(T + 100, &[&event("e0", "disk full", 2, "recovered", T + 100), &event("e10", "disk full", 2, "abnormal", T + 100)]);
    life.rules.enrich = |_| {};
    life.events(T + 101, &[&event("e0", "disk full", 2, "recovered", T + 101), &event("e10", "disk full", 2, "abnormal", T + 101)]);
    life.events(T + 102, &[&event("e0", "disk full", 2, "abnormal", T + 20)]);
    assert_eq!((keyed(&life), overflows(&life), life.count("stored_only.expired")), (3, 0, 2));
    life.check_counted_once();
}

#[test]
fn m29_what_falls_back_may_meet_an_alert_that_is_with_its_rules() {
    let mut life = life(each);
    life.rules.alert = Some(|_, row| row.alert.labels = Value::from(row.alert.event_count.to_string().as_str()));
    let items: Vec<String> = (0..8).map(abnormal).collect();
    let record = |ordinal, items: &[String]| {
        let items: Vec<&str> = items.iter().map(String::as_str).collect();
        Record { ordinal, received_at_ms: T * 1_000, body: RecordBody::Items(Items::of_texts(Door::Events, &items)) }
    };
    life.fold(vec![record(1, &items[..2]), record(2, &items[2..])]);
    assert_eq!((counts(&life), overflows(&life), life.asked.as_slice()), (vec![1, 1, 1, 5], 5, [(1, 4)].as_slice()), "one open alert of each fingerprint");
    assert_eq!(life.field(3, "labels"), "\"1\"", "its rules have answered before the next event");
}

#[test]
fn m29_what_is_resent_is_held_by_the_alert_that_it_fell_back_to_until_a_key_is_free() {
    let mut life = life(by_id);
    (0..3).for_each(|n| life.events(T, &[&abnormal(n)]));
    for minute in 0..3 {
        life.alertmanager(T + minute * 60, &[&firing("", T, None)]);
    }
    assert_eq!((counts(&life), overflows(&life)), (vec![1, 1, 1, 1], 1), "re-sends count as little as ever");
    assert_eq!((life.count("refreshed"), life.count("folded"), marked(&life)), (2, 4, 1));
    life.events(T + 200, &[&event("e0", "disk full", 2, "recovered", T + 200)]);
    life.alertmanager(T + 240, &[&firing("", T, None)]);
    life.alertmanager(T + 300, &[&firing("", T, None)]);
    // It fires under its own key now, and the other alert times out.
    assert_eq!((counts(&life), keyed(&life), overflows(&life)), (vec![2, 1, 1, 1, 1], 3, 1));
    life.check_counted_once();
    // Its end finds its own.
    life.alertmanager(T + 400, &[&firing("", T, Some(T + 399))]);
    assert_eq!(life.statuses(), ["RECOVERED", "ABNORMAL", "ABNORMAL", "ABNORMAL", "RECOVERED"]);
}

#[test]
fn m29_alerts_from_before_are_nobodys() {
    let mut life = life(by_id);
    (0..3).for_each(|n| life.events(T, &[&abnormal(n)]));
    for alert in life.tables.alerts.values_mut() {
        let mut state = Value::from_json(&alert.state).unwrap();
        assert!(state.remove("keyed_by").is_some());
        alert.state = state.to_json().into_bytes();
    }
    life.restart();
    (0..7).for_each(|n| life.events(T + 1, &[&abnormal(n + 10)]));
    assert_eq!((keyed(&life), overflows(&life)), (3, 4));
    // Nor does their end free anything.
    life.events(T + 2, &[&event("e0", "disk full", 2, "recovered", T + 2), &event("e20", "disk full", 2, "abnormal", T + 2)]);
    assert_eq!((keyed(&life), overflows(&life)), (3, 5));
}

#[test]
fn m29_a_budget_shows_neither_cuts_of_batches_nor_restarts() {
    let (mut fell_back, mut asked_together) = (0, 0);
    for seed in 0..80u64 {
        let (mut walk, mut at) = (Walk(seed), T);
        let mut one = life([by_id as fn(&mut Row), each][seed as usize % 2]);
        one.rules.alert = (seed % 4 < 2).then_some(|_, row| row.alert.labels = Value::from(row.alert.event_count.to_string().as_str()));
        for _ in 0..150 {
            walk.record(&mut one, at);
            assert!(keyed(&one) <= MAX as usize, "seed {seed}");
            at += [0, 0, 1, 30, 200, 4_000][walk.below(6) as usize];
        }
        assert_eq!(overflows(&one), marked(&one), "seed {seed}");
        fell_back += overflows(&one);
        one.check_counted_once();
        for restarts in [false, true] {
            let mut other = Life { rules: one.rules, ..Life::with(one.config) };
            let mut left: Vec<Record> = one.journal.clone();
            while !left.is_empty() {
                let rest = left.split_off((1 + walk.below(25) as usize).min(left.len()));
                other.fold(std::mem::replace(&mut left, rest));
                if restarts && walk.below(3) == 0 {
                    other.restart();
                }
            }
            other.tables.check_same(&one.tables, &format!("seed {seed}, restarts {restarts}"));
            assert_eq!(other.decided, one.decided, "seed {seed}, restarts {restarts}");
            asked_together += other.asked.iter().filter(|(_, n)| *n > 1).count();
        }
    }
    println!("fell back {fell_back}, asked together {asked_together}");
    assert!(fell_back > 300 && asked_together > 100, "the walks hardly reach it: {fell_back} {asked_together}");
}
