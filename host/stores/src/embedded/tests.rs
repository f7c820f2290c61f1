//! Commits: all of one or nothing, and what a start finds. Reads, retention and what is kept of rules are in files of their own.

mod reads;
mod retiring;
mod rules;

use super::*;
use crate::event_segments::EventRead;
use crate::port_suite::block_on;
use alertmill_core::audit::AuditEntry;
use alertmill_core::event::Fingerprint;
use alertmill_core::ports::{AlertEvents, AlertWrite, Commit, DeadLetter, EventRole, LedgerValue, LocalStore, LogWrite, StoredEvent, VersionWrite};
use alertmill_core::record::{Arrival, ArrivalBy, RuleEntry, RuleSet};
use alertmill_core::services::{AlertOutbox, SettledAlerts};
use alertmill_core::verdict::{Hook, Place, Policy, Verdict};
use alertmill_core::version_change::{VersionAction, VersionChange, VersionSignature};

pub(super) const T: i64 = 1_790_000_000;

/// Until when its events are known: the end of an hour.
const UNTIL_S: i64 = (T + 86_400) / 3_600 * 3_600 + 3_600;

pub(super) fn alert(seq: u64, revision: u64, status: Status) -> AlertWrite {
    AlertWrite {
        seq,
        id: format!("{T}{seq}").into(),
        tenant: if seq.is_multiple_of(5) { "other".into() } else { "system".into() },
        status,
        severity: (seq % 3 + 1) as u8,
        alert_name: "disk full".into(),
        fingerprint: Fingerprint([seq as u8; 16]),
        create_time: T + seq as i64,
        begin_time: T + seq as i64,
        latest_time: T + seq as i64,
        end_time: (status != Status::Abnormal).then_some(T + seq as i64 + 100),
        event_count: revision,
        revision,
        rule_generation: 1,
        document: format!("{{\"id\":\"{T}{seq}\",\"revision\":{revision}}}").into_bytes(),
        state: vec![1, 2, 3],
    }
}

pub(super) fn commit(from: u64, to: u64) -> Commit {
    Commit { from, to, received_at_ms: T * 1_000, ..Commit::default() }
}

pub(super) fn add_event(commit: &mut Commit, n: u8, document: &str) -> u32 {
    let start = commit.event_heap.len() as u32;
    commit.event_heap.extend_from_slice(document.as_bytes());
    let document = start..commit.event_heap.len() as u32;
    commit.events.push(StoredEvent { uid: Uid([n; 16]), known_until_s: UNTIL_S, index_time_s: T, document });
    commit.events.len() as u32 - 1
}

pub(super) fn dead_letter(ordinal: u64, source: &str) -> DeadLetter {
    DeadLetter {
        ordinal,
        index: 0,
        received_at_ms: T * 1_000,
        tenant: "system".into(),
        source: source.into(),
        code: "clean-error".into(),
        detail: "no time".into(),
        item: b"{}".to_vec(),
        arrival: Some(Arrival::by(ArrivalBy::Events)),
    }
}

#[test]
fn a_commit_is_restored_and_applies_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, restored) = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!((restored.position, restored.alerts.len()), (0, 0));
    let mut first = commit(0, 3);
    let event = add_event(&mut first, 1, "{\"id\":\"e1\"}");
    first.alerts = vec![alert(1, 1, Status::Abnormal), alert(2, 1, Status::Closed)];
    first.alert_events = vec![AlertEvents { seq: 1, events: vec![(event, EventRole::Opened)] }];
    first.ledger = vec![LedgerValue { scope: "source", name: "web".into(), counter: "received".into(), value: 7 }];
    let rule = RuleEntry { name: "r".into(), version: "1".into(), digest: "d".into(), config: "{}".into(), options: "{}".into(), ..RuleEntry::default() };
    first.rule_sets = vec![RuleSet { generation: 2, rules: vec![rule], tables: vec![("hosts".into(), "t".into())], ..RuleSet::default() }];
    first.next_due_ms = Some(9);
    first.started_at_ms = 7;
    store.commit_blocking(&first).unwrap();
    store.commit_blocking(&first).unwrap();
    let wrong = store.commit_blocking(&commit(1, 9)).unwrap_err();
    assert!(matches!(&wrong, PortError::Fatal(why) if why.contains("replay")), "{wrong:?}");
    let reader = store.reader();
    assert_eq!(reader.alert_events(1, None, 10).unwrap().len(), 1);
    assert_eq!(reader.position().unwrap(), Position { ordinal: 3, received_at_ms: T * 1_000, next_due_ms: Some(9) });
    assert_eq!(store.known_until_s(&[Uid([1; 16]), Uid([2; 16])]).unwrap(), [Some(UNTIL_S), None]);
    drop((store, reader));
    let (mut store, restored) = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!((restored.position, restored.received_at_ms, restored.started_at_ms, restored.alerts.len()), (3, T * 1_000, 7, 2));
    assert_eq!((&restored.alerts[0].state[..], restored.alerts[0].revision), (&[1, 2, 3][..], 1));
    assert_eq!(restored.ledger, [("source".into(), "web".into(), "received".into(), 7)]);
    assert_eq!([restored.rule_set], first.rule_sets[..]);
    assert_eq!(store.known_until_s(&[Uid([1; 16]), Uid([2; 16])]).unwrap(), [Some(UNTIL_S), None]);
    store.commit_blocking(&commit(3, 4)).unwrap();
}

#[test]
fn only_open_alerts_and_ends_that_the_fold_remembers_are_restored() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let mut first = commit(0, 1);
    first.alerts = vec![alert(1, 1, Status::Closed), alert(2, 1, Status::Abnormal)];
    let ended = first.alerts[0].end_time.unwrap();
    store.commit_blocking(&first).unwrap();
    for (to, now_s, expected) in [(2, ended + REMEMBER_END_S, &[1, 2][..]), (3, ended + REMEMBER_END_S + 1, &[2])] {
        store.commit_blocking(&Commit { received_at_ms: now_s * 1_000, ..commit(to - 1, to) }).unwrap();
        drop(store);
        let (opened, restored) = EmbeddedStore::open(dir.path()).unwrap();
        assert_eq!(restored.alerts.iter().map(|alert| alert.seq).collect::<Vec<_>>(), expected);
        store = opened;
    }
}

#[test]
fn a_commit_that_fails_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let with_event = |from, to, n: u8, named| {
        let mut one = commit(from, to);
        add_event(&mut one, n, &format!("{{\"n\":{n}}}"));
        one.alerts = vec![alert(1, to, Status::Abnormal)];
        one.alert_events = vec![AlertEvents { seq: 1, events: vec![(named, EventRole::Updated)] }];
        one
    };
    store.commit_blocking(&with_event(0, 1, 1, 0)).unwrap();
    let end = store.events.end();
    // It names an event that it does not have: the transaction fails after the event file was written.
    let refused = store.commit_blocking(&with_event(1, 2, 2, 9)).unwrap_err();
    assert!(matches!(&refused, PortError::Unavailable(why) if why.contains("nothing was changed")), "{refused:?}");
    assert_eq!((store.position(), store.events.end()), (1, end));
    assert_eq!(store.known_until_s(&[Uid([1; 16]), Uid([2; 16])]).unwrap(), [Some(UNTIL_S), None]);
    store.commit_blocking(&with_event(1, 2, 3, 0)).unwrap();
    drop(store);
    let (mut store, restored) = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!((restored.position, restored.alerts[0].revision), (2, 2));
    assert_eq!(store.known_until_s(&[1, 2, 3].map(|n| Uid([n; 16]))).unwrap(), [Some(UNTIL_S), None, Some(UNTIL_S)]);
    let events = store.reader().alert_events(1, None, 9).unwrap();
    let uids: Vec<u8> = events.into_iter().map(|event| if let EventRead::Found(row) = event.row { row.uid.0[0] } else { 0 }).collect();
    assert_eq!(uids, [3, 1]);
}

#[test]
fn tables_of_uids_that_wait_do_not_refuse_commits_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let uids = UidOptions { table_uids_max: 1, tables_waiting_max: 1 };
    let (mut store, _) = EmbeddedStore::open_with(dir.path(), EmbeddedOptions { uids, ..EmbeddedOptions::default() }).unwrap();
    let (uids, aside) = (dir.path().join("uids"), dir.path().join("aside"));
    std::fs::rename(&uids, &aside).unwrap();
    std::fs::write(&uids, b"no folder").unwrap();
    let one = |to: u64| {
        let mut one = commit(to - 1, to);
        add_event(&mut one, to as u8, "{}");
        one
    };
    let refused = (1..=9).find_map(|to| store.commit_blocking(&one(to)).err().map(|error| (to, error)));
    let Some((next, PortError::Unavailable(_))) = refused else { panic!("{refused:?}") };
    std::fs::remove_file(&uids).unwrap();
    std::fs::rename(&aside, &uids).unwrap();
    store.checkpoint().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while store.commit_blocking(&one(next)).is_err() {
        assert!(std::time::Instant::now() < deadline, "refused for ever");
        std::thread::yield_now();
    }
    assert!(store.known_until_s(&(1..=next).map(|n| Uid([n as u8; 16])).collect::<Vec<_>>()).unwrap().into_iter().all(|known| known == Some(UNTIL_S)));
}

#[test]
fn a_database_that_another_program_reads_is_not_taken_for_settled() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    store.commit_blocking(&commit(0, 1)).unwrap();
    drop(store);
    let other = Connection::open(dir.path().join("state.sqlite")).unwrap();
    other.execute_batch("BEGIN; SELECT * FROM position").unwrap();
    let refused = EmbeddedStore::open(dir.path()).err().unwrap();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(EmbeddedStore::open(dir.path()).unwrap().1.position, 1);
}

#[test]
fn a_checkpoint_says_how_far_the_state_is_safe() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    store.commit_blocking(&commit(0, 8)).unwrap();
    assert_eq!(store.checkpoint().unwrap().ordinal(), 8);
    assert_eq!(store.checkpointer().synced_position(), SyncedPosition::vouched(8));
}

#[test]
fn the_log_stays_short_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { wal_bytes: 1 << 20, ..EmbeddedOptions::default() };
    let (mut store, _) = EmbeddedStore::open_with(dir.path(), options).unwrap();
    for to in 1..=2_000 {
        let mut one = commit(to - 1, to);
        one.alerts = vec![AlertWrite { document: vec![b' '; 50_000], ..alert(to % 20, to, Status::Abnormal) }];
        store.commit_blocking(&one).unwrap();
        // What the thread does with each sync; a fast disk would outrun its 50 ms here.
        store.checkpointer.count_log(&store.connection);
    }
    let wal = dir.path().join("state.sqlite-wal").metadata().unwrap().len();
    assert!(wal < 6 << 20, "{wal} bytes of log after 100 MB of writes");
}

#[test]
fn a_damaged_or_newer_database_is_named_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state.sqlite"), vec![7; 8192]).unwrap();
    let error = EmbeddedStore::open(dir.path()).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("state.sqlite") && error.to_string().contains("quarantine"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = EmbeddedStore::open(dir.path()).unwrap();
    store.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let error = EmbeddedStore::open(dir.path()).err().unwrap();
    assert!(matches!(&error, StoreError::Damaged { what, .. } if what.contains("head says version 99")), "its rows are this version's: {error}");
    let connection = Connection::open(dir.path().join("state.sqlite")).unwrap();
    connection.execute_batch("UPDATE position SET sum = 1; UPDATE position_copy SET sum = 1").unwrap();
    for (version, is_newer) in [(99, true), (1, false)] {
        connection.pragma_update(None, "user_version", version).unwrap();
        let error = EmbeddedStore::open(dir.path()).err().unwrap();
        assert!(matches!(error, StoreError::Newer { found: 99, .. }) == is_newer && matches!(error, StoreError::Older { found: 1, .. }) != is_newer);
    }
}

#[test]
fn a_copy_of_the_files_after_a_kill_is_the_last_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    for to in 1..=5 {
        let mut one = commit(to - 1, to);
        let event = add_event(&mut one, to as u8, "{\"n\":1}");
        one.alerts = vec![alert(1, to, Status::Abnormal)];
        one.alert_events = vec![AlertEvents { seq: 1, events: vec![(event, EventRole::Updated)] }];
        store.commit_blocking(&one).unwrap();
    }
    let killed = tempfile::tempdir().unwrap();
    std::fs::create_dir(killed.path().join("events")).unwrap();
    for name in ["state.sqlite", "state.sqlite-wal", "events/0000000001.events"] {
        std::fs::copy(dir.path().join(name), killed.path().join(name)).unwrap();
    }
    let (mut store, restored) = EmbeddedStore::open(killed.path()).unwrap();
    assert_eq!((restored.position, restored.alerts[0].revision, store.report().uids_read_again), (5, 5, 5));
    assert_eq!(store.known_until_s(&[Uid([5; 16]), Uid([6; 16])]).unwrap(), [Some(UNTIL_S), None]);
    assert_eq!(store.reader().alert_events(1, None, 10).unwrap().len(), 5);
}

#[test]
fn what_is_begun_is_nothing_before_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let with_event = |from: u64, to: u64, n: u8| {
        let mut commit = commit(from, to);
        let index = add_event(&mut commit, n, &format!("{{\"n\":{n}}}"));
        commit.alerts = vec![alert(1, to, Status::Abnormal)];
        commit.alert_events = vec![AlertEvents { seq: 1, events: vec![(index, EventRole::Updated)] }];
        commit
    };
    let known = |store: &mut EmbeddedStore, n: u8| store.known_until_s(&[Uid([n; 16])]).unwrap()[0].is_some();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let first = with_event(0, 1, 1);
    assert!(!store.begin(&first), "on a quick disk it is not worth it");
    store.commit_blocking(&first).unwrap();
    let slow = |store: &mut EmbeddedStore| store.events.sync_took = std::time::Duration::from_secs(1);
    slow(&mut store);
    assert!(!store.begin(&with_event(5, 6, 9)) && !store.begin(&commit(1, 2)), "not what does not follow, nor what has no events");
    let second = with_event(1, 2, 2);
    assert!(store.begin(&second));
    assert!(store.position() == 1 && !known(&mut store, 2));
    store.commit_blocking(&second).unwrap();
    assert!(store.position() == 2 && known(&mut store, 2));
    // Another one than was begun: the places of the first are free again.
    slow(&mut store);
    assert!(store.begin(&with_event(2, 3, 3)));
    store.commit_blocking(&with_event(2, 4, 4)).unwrap();
    slow(&mut store);
    assert!(store.begin(&with_event(4, 5, 5)) && store.begin(&with_event(4, 6, 6)));
    store.commit_blocking(&with_event(4, 6, 6)).unwrap();
    // One that the database refuses, and then takes.
    slow(&mut store);
    let mut bad = with_event(6, 7, 7);
    bad.alert_events[0].events[0].0 = 99;
    assert!(store.begin(&bad));
    assert!(matches!(store.commit_blocking(&bad), Err(PortError::Unavailable(_))));
    store.commit_blocking(&with_event(6, 7, 7)).unwrap();
    slow(&mut store);
    assert!(store.begin(&with_event(7, 8, 8)));
    drop(store);
    let (mut store, restored) = EmbeddedStore::open(dir.path()).unwrap();
    assert!(restored.position == 7 && !store.report().event_rows_missing && store.report().damaged_event_files == 0);
    let stored: Vec<u8> = (1..=9).filter(|n| known(&mut store, *n)).collect();
    assert_eq!(stored, [1, 2, 4, 6, 7]);
    let mut rows = Vec::new();
    store.reader().event_reader().scan(EventPlace::default(), store.events.end(), |uid, _, _| rows.push(uid.0[0])).unwrap();
    assert_eq!(rows, [1, 2, 4, 6, 7], "nothing of the others is left");
    store.commit_blocking(&with_event(7, 8, 8)).unwrap();
}

#[test]
fn letters_that_are_done_go_with_their_commit_and_those_that_die_again_get_new_ids() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let not_ours = DeadLetter { arrival: None, ..dead_letter(1, "web") };
    let letters = vec![dead_letter(1, "web"), dead_letter(2, "web"), dead_letter(3, "web"), not_ours];
    store.commit_blocking(&Commit { dead_letters: letters, ..commit(0, 3) }).unwrap();
    let again = DeadLetter { arrival: Some(Arrival { redriven: 1, ..Arrival::by(ArrivalBy::Events) }), ..dead_letter(2, "web") };
    let done = Commit { letters_done: vec![(1, 0), (2, 0), (9, 9), (1, 0)], dead_letters: vec![again.clone()], ..commit(3, 4) };
    store.commit_blocking(&done).unwrap();
    let reader = store.reader();
    let rows = reader.dead_letters(None, None, 0, 9).unwrap();
    let seen: Vec<_> = rows.iter().map(|row| (row.id, row.ordinal, row.arrival.as_ref().map(|arrival| arrival.redriven))).collect();
    assert_eq!(seen, [(3, 3, Some(0)), (4, 1, None), (5, 2, Some(1))], "what did not come by a door has no place");
    assert_eq!(reader.dead_letters_of(&[(2, 0), (1, 0), (3, 0)]).unwrap(), [Some(5), None, Some(3)]);
    assert_eq!(reader.dead_letter_counts().unwrap(), [("web".into(), 3, 0)]);
    assert_eq!(reader.dead_letter_sums().unwrap(), (3, 0, 6), "bytes are counted right");
    assert_eq!(reader.dead_letter(5).unwrap().unwrap().arrival, again.arrival);
}
