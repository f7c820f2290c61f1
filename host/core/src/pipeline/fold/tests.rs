//! What an event does to alerts, seen from the tables that commits make.

use super::bench::{Life, T};
use super::{Fold, FoldConfig};
use crate::event::Status;
use crate::pipeline::prepare::{Prepared, PreparedBody, PreparedRecord};
use crate::ports::{PortError, Restored};
use crate::record::{Door, Items, Record, RecordBody, RuleSet};

/// An event of the one host of these tests.
fn event(id: &str, severity: u8, status: &str, time: i64) -> String {
    format!(r#"{{"event_id":"{id}","alert_name":"disk full","severity":{severity},"status":"{status}","time":{time}}}"#)
}

#[test]
fn row_17_an_end_event_never_opens_an_alert() {
    let mut life = Life::new();
    for status in ["recovered", "closed"] {
        life.events(T, &[&event(status, 1, status, T)]);
    }
    assert_eq!((life.statuses().len(), life.count("stored_only.no-open-alert"), life.tables.events.len()), (0, 2, 2));
    // Nor does one that comes in the same batch as the worse event which closed the alert before it.
    life.events(T, &[&event("a", 2, "abnormal", T), &event("b", 1, "abnormal", T + 1), &event("c", 1, "recovered", T + 2), &event("d", 1, "closed", T + 3)]);
    assert_eq!(life.statuses(), ["CLOSED", "RECOVERED"]);
    life.check_counted_once();
}

#[test]
fn row_18_only_the_newest_event_time_moves_an_alert_forward() {
    let mut life = Life::new();
    life.events(T, &[&event("a", 2, "abnormal", T), &event("b", 2, "abnormal", T + 60), &event("late", 2, "recovered", T + 30)]);
    assert_eq!(life.statuses(), ["ABNORMAL"]);
    assert_eq!((life.alert(0).begin_time, life.alert(0).latest_time, life.alert(0).event_count), (T, T + 60, 3));
    life.events(T + 61, &[&event("now", 2, "recovered", T + 60)]);
    assert_eq!((life.alert(0).status, life.alert(0).end_time), (Status::Recovered, Some(T + 60)));
    life.check_counted_once();
}

#[test]
fn row_53_severity_never_gates_an_end_event() {
    for (status, stored) in [("recovered", "RECOVERED"), ("closed", "CLOSED")] {
        for severity in 1..=3 {
            let mut life = Life::new();
            life.events(T, &[&event("a", 2, "abnormal", T), &event("end", severity, status, T + 1)]);
            assert_eq!(life.statuses(), [stored], "severity {severity}");
            assert_eq!((life.alert(0).severity, life.alert(0).event_count), (2, 2));
        }
    }
}

#[test]
fn row_54_an_end_event_worse_than_the_alert_ends_it_and_opens_none() {
    let mut life = Life::new();
    life.events(T, &[&event("a", 3, "abnormal", T), &event("end", 1, "recovered", T + 1)]);
    assert_eq!((life.statuses(), life.logs()), (vec!["RECOVERED"], vec!["CREATE", "RECOVER"]));
    assert_eq!(life.alert(0).end_time, Some(T + 1));
}

#[test]
fn row_55_an_end_event_older_than_the_begin_changes_no_time() {
    let mut life = Life::new();
    life.events(
        T,
        &[&event("a", 2, "abnormal", T), &event("b", 2, "abnormal", T + 60), &event("end", 2, "recovered", T - 30), &event("mid", 2, "closed", T + 30)],
    );
    assert_eq!(life.statuses(), ["ABNORMAL"]);
    assert_eq!((life.alert(0).begin_time, life.alert(0).latest_time, life.alert(0).event_count), (T, T + 60, 4));
    // An older abnormal event moves the begin only.
    life.events(T + 1, &[&event("older", 2, "abnormal", T - 50)]);
    assert_eq!((life.alert(0).begin_time, life.alert(0).latest_time), (T - 50, T + 60));
}

#[test]
fn milder_events_are_stored_and_listed_but_not_counted_and_worse_ones_take_over() {
    let mut life = Life::new();
    life.events(T, &[&event("a", 2, "abnormal", T), &event("milder", 3, "abnormal", T + 1), &event("worse", 1, "abnormal", T + 2)]);
    assert_eq!((life.statuses(), life.logs()), (vec!["CLOSED", "ABNORMAL"], vec!["CREATE", "EVENT_DROP", "CLOSE", "CREATE"]));
    assert_eq!((life.alert(0).event_count, life.alert(1).severity, life.count("stored_only.lower-severity")), (1, 1, 1));
    life.check_counted_once();
}

#[test]
fn an_alert_without_events_closes_and_is_remembered_for_a_day() {
    let mut life = Life::new();
    life.events(T, &[&event("a", 2, "abnormal", T)]);
    assert_eq!(life.tables.next_due_ms, Some((T + 3600) * 1000));
    // It ends long before its first time-out is due, which must not make the fold forget it then.
    life.events(T + 10, &[&event("end", 2, "recovered", T + 1800)]);
    let ended = life.alert(0).end_time.unwrap();
    life.clock(T + 3600);
    life.events(T + 3700, &[&event("old", 2, "abnormal", ended - 61), &event("new", 2, "abnormal", ended - 60)]);
    assert_eq!((life.count("stored_only.expired"), life.statuses()), (1, vec!["RECOVERED", "ABNORMAL"]));
}

#[test]
fn nothing_is_due_for_an_alert_that_has_ended() {
    let mut life = Life::new();
    life.events(T, &[&event("a", 2, "abnormal", T), &event("end", 2, "recovered", T)]);
    assert_eq!((life.statuses(), life.tables.next_due_ms), (vec!["RECOVERED"], None));
    life.restart();
    life.clock(T + 3600);
    assert_eq!(life.tables.next_due_ms, None);
}

#[test]
fn a_retry_counts_once_in_the_same_batch_and_later() {
    let mut life = Life::new();
    let item = event("a", 2, "abnormal", T);
    life.events(T, &[&item, &item]);
    life.events(T + 1, &[&item]);
    assert_eq!((life.count("duplicates"), life.alert(0).event_count, life.tables.events.len()), (2, 1, 1));
}

#[test]
fn until_when_a_uid_is_known_rests_on_the_event_alone() {
    // Until the end of the hour in which it is 24 h old.
    let until = (T + 86_400) / 3_600 * 3_600 + 3_600;
    let item = event("a", 2, "abnormal", T);
    let mut lives = Vec::new();
    for (forgets, in_one_batch) in [(false, false), (true, false), (false, true)] {
        let mut life = Life::new();
        life.forgets = forgets;
        life.events(T, &[&item]);
        let retry = |ordinal, at_s: i64| Record { ordinal, received_at_ms: at_s * 1000, body: RecordBody::Items(Items::of_texts(Door::Events, &[&item])) };
        // A record before the second passes, one behind; then what was stored again is known for another day.
        let retries = vec![retry(2, until), retry(3, until + 1), retry(4, until + 86_400), retry(5, until + 2 * 86_400)];
        if in_one_batch {
            life.fold(retries);
        } else {
            retries.into_iter().for_each(|record| life.fold(vec![record]));
        }
        assert_eq!(life.tables.uids.values().collect::<Vec<_>>(), [&(until + 3 * 86_400)], "{forgets} {in_one_batch}");
        lives.push(life);
    }
    for life in &lives {
        assert_eq!((life.count("duplicates"), life.count("stored_only.expired"), life.count("folded")), (2, 2, 1));
        life.tables.check_same(&lives[0].tables, "known or forgotten, one batch or four");
    }
}

#[test]
fn a_time_ahead_that_was_moved_is_known_as_it_was_sent() {
    // An hour and a half ahead: taken for its receipt, and a day later it is as old as it says.
    let (sent, item) = (T + 5_400, event("a", 2, "abnormal", T + 5_400));
    let mut life = Life::new();
    for at_s in [T, T + 86_400, T + 89_201, sent + 86_400, sent + 90_001] {
        life.events(at_s, &[&item]);
    }
    assert_eq!((life.count("folded"), life.count("duplicates"), life.count("stored_only.expired")), (1, 3, 1));
}

#[test]
fn wild_times_are_known_for_two_days_at_most() {
    for time in [0, T - 9, T, T + 5_000, T + 86_400, T + 40 * 86_400, 253_402_300_799] {
        let mut life = Life::new();
        life.events(T, &[&event("a", 2, "abnormal", time)]);
        for until in life.tables.uids.values() {
            assert_eq!(until % 3_600, 0, "an hour's end");
            assert!((T + 86_400..=T + 49 * 3_600).contains(until), "{time}: {until}");
        }
    }
}

#[test]
fn a_restored_fold_goes_on_as_if_it_had_not_stopped() {
    let (mut one, mut other) = (Life::new(), Life::new());
    for at in 0..40i64 {
        for (life, restart) in [(&mut one, false), (&mut other, true)] {
            let status = ["abnormal", "abnormal", "recovered", "abnormal", "closed"][(at % 5) as usize];
            life.events(T + at * 700, &[&event(&at.to_string(), 1 + (at % 3) as u8, status, T + at * 700 - at % 4 * 100)]);
            if restart {
                life.restart();
            }
        }
    }
    one.tables.check_same(&other.tables, "restarted");
}

#[test]
fn a_batch_that_would_lose_events_is_refused() {
    let fold = Fold::restore(&Restored { position: 4, ..Restored::default() }, FoldConfig::default()).unwrap();
    let batch = |ordinals: &[u64], rows: usize| {
        let body = |rows| PreparedBody::Items { source: "test".into(), counts: Default::default(), journaled: 0, became: None, rows, dead_letters: Vec::new() };
        let record = |ordinal: &u64| PreparedRecord { ordinal: *ordinal, received_at_ms: 0, generation: 0, body: body(rows) };
        Prepared::new(ordinals.iter().map(record).collect(), Vec::new(), Vec::new())
    };
    assert_eq!(fold.check(&batch(&[5, 6], 0), &[]), Ok(()));
    for (ordinals, rows, known, says) in [
        (&[5, 7][..], 0, &[][..], "record 7 came after record 5"),
        (&[4], 0, &[], "record 4 came after"),
        (&[5], 1, &[], "1 events"),
        (&[5], 0, &[Some(9)], "1 answers"),
    ] {
        let refused = fold.check(&batch(ordinals, rows), known);
        assert!(matches!(&refused, Err(PortError::Fatal(why)) if why.contains(says)), "{refused:?}");
    }
}

#[test]
fn a_life_begins_with_what_the_journal_still_holds_and_goes_on_without_a_gap() {
    let records = |ordinals: &[u64]| {
        let record = |ordinal: &u64| PreparedRecord { ordinal: *ordinal, received_at_ms: 0, generation: 0, body: PreparedBody::Clock };
        Prepared::new(ordinals.iter().map(record).collect(), Vec::new(), Vec::new())
    };
    let mut fold = Fold::restore(&Restored { position: 4, ..Restored::default() }, FoldConfig::default()).unwrap();
    assert_eq!(fold.check(&records(&[9, 10]), &[]), Ok(()), "the journal has lost its front");
    assert!(fold.check(&records(&[9, 11]), &[]).is_err() && fold.check(&records(&[3]), &[]).is_err());
    let commit = fold.apply(records(&[9, 10]), Vec::new());
    assert_eq!((commit.from, commit.to), (4, 10));
    assert!(fold.check(&records(&[12]), &[]).is_err());
    assert_eq!(fold.check(&records(&[11]), &[]), Ok(()));
}

#[test]
fn every_generation_of_one_commit_is_kept() {
    let mut fold = Fold::restore(&Restored::default(), FoldConfig::default()).unwrap();
    let begins = |generation| PreparedBody::RuleSet(RuleSet { generation, ..RuleSet::default() });
    let record = |ordinal, generation, body| PreparedRecord { ordinal, received_at_ms: T * 1_000, generation, body };
    let records = vec![record(1, 0, begins(1)), record(2, 1, PreparedBody::Clock), record(3, 1, begins(2)), record(4, 2, begins(4))];
    let commit = fold.apply(Prepared::new(records, Vec::new(), Vec::new()), Vec::new());
    assert_eq!(commit.rule_sets.iter().map(|set| set.generation).collect::<Vec<_>>(), [1, 2, 4], "in the order in which they began");
    assert_eq!(fold.rule_set().generation, 4);
    assert!(fold.apply(Prepared::new(vec![record(5, 4, PreparedBody::Clock)], Vec::new(), Vec::new()), Vec::new()).rule_sets.is_empty());
}
