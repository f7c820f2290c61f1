//! Items that their sender repeats while a condition holds, as Prometheus does towards an Alertmanager.

use super::bench::{Life, Rules, T, firing, without_grace};
use crate::row::{DedupeAnswer, DedupeRule, Dropped};

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

#[test]
fn a_resend_refreshes_and_without_one_the_alert_recovers_at_its_end() {
    let mut life = Life::new();
    life.alertmanager(T, &[&firing("", T, Some(T + 240))]);
    life.alertmanager(T + 60, &[&firing("", T, Some(T + 300))]);
    assert_eq!((life.count("folded"), life.count("refreshed"), life.alert(0).event_count), (1, 1, 1));
    life.clock(T + 240);
    assert_eq!((life.statuses(), life.tables.next_due_ms), (vec!["ABNORMAL"], Some((T + 300) * 1000)));
    life.clock(T + 300);
    assert_eq!((life.statuses(), life.alert(0).end_time), (vec!["RECOVERED"], Some(T + 300)));
}

#[test]
fn nothing_runs_out_within_the_grace_after_a_start() {
    // `endsAt` passes while the process is down, and so does the close time-out.
    for ends in [Some(T + 240), None] {
        let mut life = Life::new();
        life.alertmanager(T, &[&firing("", T, ends)]);
        life.restart();
        life.start(T + 2 * HOUR);
        assert_eq!(life.statuses(), ["ABNORMAL"], "{ends:?}");
        assert_eq!(life.tables.next_due_ms, Some((T + 2 * HOUR + 300) * 1000));
        life.clock(T + 2 * HOUR + 299);
        assert_eq!(life.statuses(), ["ABNORMAL"]);
        life.clock(T + 2 * HOUR + 300);
        assert_ne!(life.statuses(), ["ABNORMAL"]);
        assert_eq!(life.alert(0).end_time, Some(ends.unwrap_or(T + HOUR)));
    }
}

#[test]
fn a_resend_within_the_grace_keeps_the_alert_open() {
    let mut life = Life::new();
    life.alertmanager(T, &[&firing("", T, Some(T + 240))]);
    life.start(T + 2 * HOUR);
    life.alertmanager(T + 2 * HOUR + 200, &[&firing("", T, Some(T + 2 * HOUR + 440))]);
    life.clock(T + 2 * HOUR + 439);
    assert_eq!((life.statuses(), life.count("refreshed")), (vec!["ABNORMAL"], 1));
    life.clock(T + 2 * HOUR + 440);
    assert_eq!(life.statuses(), ["RECOVERED"]);
}

#[test]
fn the_grace_holds_in_the_next_life_too() {
    let mut one = Life::new();
    let mut other = Life::new();
    for (life, crash) in [(&mut one, false), (&mut other, true)] {
        life.alertmanager(T, &[&firing("", T, Some(T + 240))]);
        life.start(T + HOUR / 2);
        if crash {
            life.restart();
        }
        life.clock(T + HOUR / 2 + 100);
        life.clock(T + HOUR / 2 + 300);
    }
    one.tables.check_same(&other.tables, "restarted");
    assert_eq!(one.statuses(), ["RECOVERED"]);
}

#[test]
fn the_latest_resend_decides_when_it_ends() {
    let mut life = Life::new();
    // No end at first, then one: it is due before the close time-out.
    life.alertmanager(T, &[&firing("", T, None)]);
    life.alertmanager(T + 10, &[&firing("", T, Some(T + 250))]);
    assert_eq!(life.tables.next_due_ms, Some((T + 250) * 1000));
    // An earlier one than before.
    life.alertmanager(T + 20, &[&firing("", T, Some(T + 200))]);
    assert_eq!(life.tables.next_due_ms, Some((T + 200) * 1000));
    // None again: only the close time-out is left.
    life.alertmanager(T + 30, &[&firing("", T, None)]);
    life.clock(T + 1000);
    assert_eq!(life.statuses(), ["ABNORMAL"]);
    life.clock(T + 30 + HOUR);
    assert_eq!((life.statuses(), life.alert(0).end_time), (vec!["CLOSED"], Some(T + 30 + HOUR)));
}

#[test]
fn an_alert_that_timed_out_opens_again_when_its_sender_comes_back() {
    let mut life = Life::with(without_grace());
    life.alertmanager(T, &[&firing("", T, Some(T + 240))]);
    life.clock(T + 300);
    life.alertmanager(T + 400, &[&firing("", T, Some(T + 640))]);
    assert_eq!((life.statuses(), life.count("folded"), life.alert(1).begin_time), (vec!["RECOVERED", "ABNORMAL"], 2, T + 400));
    life.alertmanager(T + 460, &[&firing("", T, Some(T + 700))]);
    assert_eq!((life.statuses().len(), life.count("refreshed")), (2, 1));
    life.check_counted_once();
}

#[test]
fn two_replicas_of_one_sender_hold_one_alert_together() {
    let mut life = Life::with(without_grace());
    let (a, b) = (T + 100, T + 107);
    for minute in 2..10 {
        let now = T + minute * MINUTE;
        life.alertmanager(now, &[&firing("", a, Some(now + 240))]);
        life.alertmanager(now + 7, &[&firing("", b, Some(now + 247))]);
    }
    assert_eq!((life.statuses(), life.count("folded"), life.count("refreshed"), life.count("duplicates")), (vec!["ABNORMAL"], 2, 14, 0));
    // B goes away; A alone holds the alert.
    for minute in 10..30 {
        let now = T + minute * MINUTE;
        life.alertmanager(now, &[&firing("", a, Some(now + 240))]);
    }
    assert_eq!((life.statuses(), life.count("duplicates")), (vec!["ABNORMAL"], 0));
    // Both away, then A comes back.
    life.clock(T + HOUR);
    life.alertmanager(T + HOUR + 1, &[&firing("", a, Some(T + HOUR + 241))]);
    assert_eq!((life.statuses(), life.count("duplicates")), (vec!["RECOVERED", "ABNORMAL"], 0));
    life.check_counted_once();
}

#[test]
fn an_item_resent_for_days_counts_once() {
    let mut life = Life::with(without_grace());
    let (a, b) = (T + 100, T + 107);
    for step in 0..200 {
        let now = T + 120 + step * 20 * MINUTE;
        life.alertmanager(now, &[&firing("", a, None), &firing("", b, None)]);
    }
    assert_eq!((life.statuses(), life.count("folded"), life.count("duplicates")), (vec!["ABNORMAL"], 2, 0));
    // It times out after its uid was forgotten, and the sender comes back.
    let now = T + 80 * HOUR;
    life.clock(now);
    life.alertmanager(now + 1, &[&firing("", a, None)]);
    life.alertmanager(now + 61, &[&firing("", a, None), &firing("", b, None)]);
    assert_eq!((life.statuses(), life.count("folded")), (vec!["CLOSED", "ABNORMAL"], 3));
    // And once more after the end was forgotten too.
    let now = T + 160 * HOUR;
    life.clock(T + 100 * HOUR);
    life.clock(now);
    life.alertmanager(now + 1, &[&firing("", a, None)]);
    assert_eq!((life.statuses(), life.count("folded")), (vec!["CLOSED", "CLOSED", "ABNORMAL"], 4));
    life.check_counted_once();
}

#[test]
fn the_same_start_of_other_labels_is_no_resend() {
    let mut life = Life::new();
    life.rules = Rules { dedupe: one_key, ..Rules::default() };
    let (one, other) = (r#","instance":"a""#, r#","instance":"b""#);
    life.alertmanager(T, &[&firing(one, T, Some(T + 240)), &firing(other, T, Some(T + 240))]);
    life.alertmanager(T + 60, &[&firing(one, T, Some(T + 300)), &firing(other, T, Some(T + 300))]);
    assert_eq!((life.count("folded"), life.count("refreshed"), life.alert(0).event_count), (2, 2, 2));
}

fn one_key(row: &mut crate::row::Row) {
    row.dedupe = DedupeAnswer::Key("one".into());
    row.dedupe_rule = Some(DedupeRule::new("all-in-one", "1.0.0", u32::MAX));
}

#[test]
fn a_changed_dedupe_rule_does_not_hide_what_still_fires() {
    let mut life = Life::new();
    life.alertmanager(T, &[&firing("", T, Some(T + 240))]);
    life.rules = Rules { dedupe: one_key, ..Rules::default() };
    life.alertmanager(T + 60, &[&firing("", T, Some(T + 300))]);
    life.alertmanager(T + 120, &[&firing("", T, Some(T + 360))]);
    assert_eq!((life.statuses(), life.count("folded"), life.count("refreshed"), life.count("duplicates")), (vec!["ABNORMAL", "ABNORMAL"], 2, 1, 0));
    life.clock(T + 240);
    assert_eq!(life.statuses(), ["RECOVERED", "ABNORMAL"]);
    life.check_counted_once();
}

#[test]
fn a_resend_that_a_rule_dropped_refreshes_nothing() {
    let mut life = Life::new();
    life.alertmanager(T, &[&firing("", T, Some(T + 240))]);
    life.rules = Rules { enrich: |row| row.dropped = Some(Dropped { rule: "mute".into(), reason: "quiet".into() }), ..Rules::default() };
    life.alertmanager(T + 60, &[&firing("", T, Some(T + 300))]);
    assert_eq!((life.count("refreshed"), life.count("stored_only.rule-dropped"), life.tables.events.len()), (0, 1, 1));
    life.clock(T + 240);
    assert_eq!(life.statuses(), ["RECOVERED"]);
    // Nor does it open one.
    life.alertmanager(T + 300, &[&firing("", T, Some(T + 540))]);
    life.alertmanager(T + 300, &[&firing(r#","new":"x""#, T, Some(T + 540))]);
    assert_eq!((life.statuses(), life.count("stored_only.rule-dropped"), life.tables.events.len()), (vec!["RECOVERED"], 3, 2));
    // When the rule lets it pass again, it counts.
    life.rules = Rules::default();
    life.alertmanager(T + 360, &[&firing("", T, Some(T + 600)), &firing(r#","new":"x""#, T, Some(T + 600))]);
    assert_eq!(life.statuses(), ["RECOVERED", "ABNORMAL", "ABNORMAL"]);
    life.check_counted_once();
}

#[test]
fn batch_boundaries_never_show() {
    let mut single = Life::new();
    let a = |now: i64, starts: i64| firing("", starts, Some(now + 240));
    single.start(T);
    for step in 0..60 {
        let now = T + 300 + step * 50;
        single.alertmanager(now, &[&a(now, T + 100), &a(now, T + 107), &a(now, T + 100)]);
        if step % 20 == 19 {
            single.events(now, &[r#"{"event_id":"e","alert_name":"x","time":1700000000}"#, r#"{"alert_name":"x"}"#]);
        }
        if step % 25 == 24 {
            single.start(now + 10);
            single.clock(now + 45);
        }
    }
    single.clock(T + 3500);
    single.alertmanager(T + 4000, &[&a(T + 4000, T + 100), &a(T + 4000, T + 107)]);
    single.clock(T + 9000);
    for at_once in [2, 3, 7, single.journal.len()] {
        let mut batched = Life::new();
        for records in single.journal.chunks(at_once) {
            batched.fold(records.to_vec());
        }
        batched.tables.check_same(&single.tables, &format!("{at_once} records at once"));
    }
}

#[test]
fn a_replica_that_still_fires_opens_again_what_the_other_has_ended() {
    let mut life = Life::with(without_grace());
    let (a, b) = (T, T + 7);
    life.alertmanager(T + 10, &[&firing("", a, Some(T + 250)), &firing("", b, Some(T + 257))]);
    let over = firing("", b, Some(T + 60));
    life.alertmanager(T + 60, &[&over]);
    assert_eq!(life.statuses(), ["RECOVERED"]);
    // What B itself said before, late: it is over.
    life.alertmanager(T + 61, &[&firing("", b, Some(T + 257))]);
    assert_eq!((life.statuses(), life.count("duplicates")), (vec!["RECOVERED"], 1));
    life.restart();
    life.alertmanager(T + 62, &[&firing("", b, Some(T + 257))]);
    assert_eq!((life.statuses(), life.count("duplicates")), (vec!["RECOVERED"], 2));
    life.alertmanager(T + 70, &[&firing("", a, Some(T + 310))]);
    assert_eq!(life.statuses(), ["RECOVERED", "ABNORMAL"]);
    life.check_counted_once();
}

/// Items of all severities in one alert, as a dedupe rule makes it.
fn together() -> Rules {
    Rules { dedupe: |row| row.dedupe = DedupeAnswer::Key("all".into()), ..Rules::default() }
}

const CRITICAL: &str = r#","severity":"critical""#;
const WARNING: &str = r#","severity":"warning""#;

#[test]
fn a_milder_item_holds_no_worse_alert_open() {
    let mut life = Life::with(without_grace());
    life.rules = together();
    life.alertmanager(T, &[&firing(CRITICAL, T, Some(T + 240))]);
    for minute in 1..4 {
        let now = T + minute * MINUTE;
        life.alertmanager(now, &[&firing(WARNING, T, Some(now + 240))]);
    }
    assert_eq!((life.alert(0).event_count, life.count("stored_only.lower-severity"), life.count("refreshed")), (1, 3, 0));
    assert_eq!(life.tables.events.len(), 2, "the milder one is stored once");
    // The critical one is no longer sent: it ends, and the warning, which still fires, has its own alert.
    life.clock(T + 240);
    life.alertmanager(T + 250, &[&firing(WARNING, T, Some(T + 490))]);
    assert_eq!((life.statuses(), life.alert(1).severity), (vec!["RECOVERED", "ABNORMAL"], 2));
    life.check_counted_once();
}

#[test]
fn a_warning_that_still_fires_opens_again_when_the_critical_one_is_over() {
    let mut life = Life::with(without_grace());
    life.rules = together();
    life.alertmanager(T, &[&firing(CRITICAL, T, Some(T + 240)), &firing(WARNING, T, Some(T + 240))]);
    life.alertmanager(T + 60, &[&firing(CRITICAL, T, Some(T + 60))]);
    assert_eq!(life.statuses(), ["RECOVERED"]);
    life.alertmanager(T + 61, &[&firing(WARNING, T, Some(T + 300))]);
    assert_eq!((life.statuses(), life.alert(1).severity), (vec!["RECOVERED", "ABNORMAL"], 2));
    life.check_counted_once();
}

#[test]
fn a_worse_item_that_began_long_ago_takes_the_milder_alerts_place() {
    let mut life = Life::with(without_grace());
    life.rules = together();
    life.alertmanager(T, &[&firing(WARNING, T, Some(T + 240))]);
    life.alertmanager(T + 60, &[&firing(CRITICAL, T - 25 * HOUR, Some(T + 300))]);
    assert_eq!((life.statuses(), life.alert(1).severity), (vec!["CLOSED", "ABNORMAL"], 1));
    life.alertmanager(T + 120, &[&firing(CRITICAL, T - 25 * HOUR, Some(T + 360))]);
    assert_eq!((life.statuses().len(), life.count("refreshed")), (2, 1));
    life.check_counted_once();
}
