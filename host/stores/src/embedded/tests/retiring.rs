//! What goes when there is too much of it, or when it is old.

use super::*;

#[test]
fn dead_letters_are_bounded_per_source() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { dead_letters_per_source_max: 3, ..EmbeddedOptions::default() };
    let (mut store, _) = EmbeddedStore::open_with(dir.path(), options).unwrap();
    for to in 1..=4 {
        let mut one = commit(to - 1, to);
        one.dead_letters = vec![dead_letter(to, "loud"), dead_letter(to, "loud")];
        one.dead_letters.extend((to == 1).then(|| dead_letter(to, "quiet")));
        store.commit_blocking(&one).unwrap();
    }
    let reader = store.reader();
    let loud = reader.dead_letters(Some("loud"), None, 0, 10).unwrap();
    assert_eq!(loud.iter().map(|letter| letter.ordinal).collect::<Vec<_>>(), [3, 4, 4]);
    assert_eq!(reader.dead_letter_counts().unwrap(), [("loud".into(), 3, 5), ("quiet".into(), 1, 0)]);
    assert_eq!(reader.dead_letters(None, None, loud[0].id, 10).unwrap().len(), 2);
    let one = reader.dead_letter(loud[1].id).unwrap().unwrap();
    assert_eq!((one.item.as_deref(), one.bytes), (Some(&b"{}"[..]), 2));
    assert_eq!(DeadLetterRow { item: None, ..one }, loud[1], "lists have all of it but the item");
    assert_eq!(store.remove_dead_letters(&[loud[1].id, 999]).unwrap(), 1);
    assert_eq!(reader.dead_letter_counts().unwrap()[0], ("loud".into(), 2, 5));
}

#[test]
fn dead_letters_are_bounded_in_bytes_too() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { dead_letter_bytes_per_source_max: 1_000, ..EmbeddedOptions::default() };
    let (mut store, _) = EmbeddedStore::open_with(dir.path(), options).unwrap();
    let mut kept = Vec::new();
    for (to, bytes) in [(1, 400), (2, 400), (3, 300), (4, 5_000), (5, 10)] {
        let letter = DeadLetter { item: vec![b' '; bytes], code: format!("c{}", to % 2).into(), ..dead_letter(to, "loud") };
        store.commit_blocking(&Commit { dead_letters: vec![letter], ..commit(to - 1, to) }).unwrap();
        kept.push(store.reader().dead_letters(None, None, 0, 10).unwrap().iter().map(|letter| letter.bytes).collect::<Vec<_>>());
    }
    assert_eq!(kept, [vec![400], vec![400, 400], vec![400, 300], vec![5_000], vec![10]]);
    assert_eq!(store.reader().dead_letter_counts().unwrap(), [("loud".into(), 1, 4)]);
    let sum: u64 = store.connection.query_row("SELECT bytes FROM dead_letter_counts", [], |row| row.get(0)).unwrap();
    assert_eq!(sum, 10);
    let of_code = |code| store.reader().dead_letters(None, Some(code), 0, 10).unwrap().len();
    assert_eq!((of_code("c1"), of_code("c0")), (1, 0));
}

#[test]
fn event_lists_of_open_alerts_go_with_the_files_they_name() {
    let dir = tempfile::tempdir().unwrap();
    // Every commit begins a new event file, and every event a new table of uids.
    let uids = UidOptions { table_uids_max: 1, ..UidOptions::default() };
    let options = EmbeddedOptions { event_segment_bytes: 1, uids, ..EmbeddedOptions::default() };
    let (mut store, _) = EmbeddedStore::open_with(dir.path(), options).unwrap();
    let commit_events = |store: &mut EmbeddedStore, to: u64| {
        let mut one = commit(to - 1, to);
        let event = add_event(&mut one, to as u8, "{\"n\":1}");
        one.alerts = [1, 2].map(|seq| alert(seq, to, Status::Abnormal)).to_vec();
        one.alert_events = [1, 2].map(|seq| AlertEvents { seq, events: vec![(event, EventRole::Updated)] }).to_vec();
        store.commit_blocking(&one).unwrap();
        store.checkpoint().unwrap();
    };
    (1..=6).for_each(|to| commit_events(&mut store, to));
    // The next commit sees that all of it is synced.
    commit_events(&mut store, 7);
    store.uids.lock().settle();
    let lists = |store: &EmbeddedStore| -> i64 { store.connection.query_row("SELECT count(*) FROM alert_events", [], |row| row.get(0)).unwrap() };
    assert_eq!(lists(&store), 14);
    let removed = store.retire_events(0, 0).unwrap().by_size as i64;
    assert!(removed >= 5, "{removed}");
    assert_eq!(lists(&store), 14 - 2 * removed);
    assert_eq!(store.reader().alert_events(1, None, 99).unwrap().len() as i64, 7 - removed);
    // The same in small steps, which later calls take.
    store.sweep.looks_max = 2;
    commit_events(&mut store, 8);
    commit_events(&mut store, 9);
    store.uids.lock().settle();
    let removed_later = store.retire_events(0, 0).unwrap().by_size as i64;
    assert!(removed_later > 0);
    for _ in 0..9 {
        assert_eq!(store.retire_events(u64::MAX, 0).unwrap().by_size, 0);
    }
    assert_eq!(lists(&store), 2 * (9 - removed - removed_later));
}

#[test]
fn old_alerts_go_with_all_that_is_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let mut one = commit(0, 1);
    one.alerts = vec![alert(1, 1, Status::Closed), alert(2, 1, Status::Abnormal), alert(3, 1, Status::Recovered)];
    let event = add_event(&mut one, 1, "{}");
    one.alert_events = vec![AlertEvents { seq: 1, events: vec![(event, EventRole::Opened)] }];
    store.commit_blocking(&one).unwrap();
    assert_eq!(store.retire_alerts(T + 1_000, 10).unwrap(), 0, "the fold goes on from their ends");
    store.commit_blocking(&Commit { received_at_ms: (T + 1_000 + REMEMBER_END_S) * 1_000, ..commit(1, 2) }).unwrap();
    assert_eq!(store.retire_alerts(T + 1_000, 10).unwrap(), 0, "the outbox still needs them");
    let settled = SettledAlerts { position: 1, done: vec![(1, 1), (3, 1)], refused: Vec::new() };
    block_on(store.outbox().unwrap().settle_alerts(&settled)).unwrap();
    assert_eq!(store.retire_alerts(T + 102, 10).unwrap(), 1);
    let reader = store.reader();
    assert_eq!(reader.alert(1).unwrap(), None);
    assert!(reader.alert_events(1, None, 9).unwrap().is_empty() && reader.alert(3).unwrap().is_some());
}

#[test]
fn a_state_over_its_bound_loses_what_ended_first() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open_with(dir.path(), EmbeddedOptions { outbox: false, ..EmbeddedOptions::default() }).unwrap();
    let mut one = commit(0, 1);
    one.alerts = (1..=400)
        .map(|seq| AlertWrite {
            document: format!("{{\"pad\":\"{}\"}}", " ".repeat(5_000)).into_bytes(),
            ..alert(seq, 1, if seq % 4 == 0 { Status::Abnormal } else { Status::Closed })
        })
        .collect();
    store.commit_blocking(&one).unwrap();
    let bound = 1 << 20;
    assert_eq!(store.shrink_state(bound, 50).unwrap(), 0, "the fold goes on from their ends");
    store.commit_blocking(&Commit { received_at_ms: (T + 900 + REMEMBER_END_S) * 1_000, ..commit(1, 2) }).unwrap();
    assert_eq!(store.shrink_state(u64::MAX, 50).unwrap(), 0);
    let mut removed = 0;
    while store.shrink_state(bound, 50).unwrap() > 0 {
        removed += 1;
        assert!(removed < 9);
    }
    let pages = store.reader().pages().unwrap();
    assert!(pages.used_bytes() <= bound && pages.free > 0, "{pages:?}");
    let kept: Vec<u64> = store.reader().list_alerts(&AlertFilter::default(), 999, None, false).unwrap().iter().map(|row| row.seq).collect();
    let oldest_ended = kept.iter().filter(|seq| *seq % 4 != 0).min().unwrap();
    assert!(kept.iter().filter(|seq| *seq % 4 == 0).count() == 100, "open alerts stay");
    assert!((1..*oldest_ended).all(|seq| seq % 4 == 0 || !kept.contains(&seq)) && (*oldest_ended..=400).all(|seq| kept.contains(&seq)));
    // What comes free is used again before the file grows.
    let before = pages.all;
    store.commit_blocking(&Commit { alerts: vec![AlertWrite { document: vec![b' '; 300_000], ..alert(900, 1, Status::Abnormal) }], ..commit(2, 3) }).unwrap();
    assert_eq!(store.reader().pages().unwrap().all, before);
}

#[test]
fn what_waits_for_a_service_stays_in_a_state_over_its_bound_and_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let long_after_ms = (T + 900 + REMEMBER_END_S) * 1_000;
    let alerts = (1..=30).map(|seq| alert(seq, 1, Status::Closed)).collect();
    store.commit_blocking(&Commit { received_at_ms: long_after_ms, alerts, ..commit(0, 1) }).unwrap();
    assert_eq!((store.shrink_state(u64::MAX, 50).unwrap(), store.is_held_back()), (0, false), "within its bound");
    assert_eq!((store.shrink_state(0, 50).unwrap(), store.is_held_back()), (0, true));
    let settled = SettledAlerts { position: 1, done: (1..=20).map(|seq| (seq, 1)).collect(), refused: Vec::new() };
    block_on(store.outbox().unwrap().settle_alerts(&settled)).unwrap();
    assert_eq!((store.shrink_state(0, 15).unwrap(), store.is_held_back()), (15, false), "there is more to remove");
    assert_eq!((store.shrink_state(0, 15).unwrap(), store.is_held_back()), (5, true));
    // The look at each alert is a jump in the outbox, however much waits there.
    let plan = format!("EXPLAIN QUERY PLAN {} AND NOT {}", retention::ENDED, retention::WAITS);
    let steps: Vec<String> = store.connection.prepare(&plan).unwrap().query_map([T], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
    assert!(steps.iter().any(|step| step.starts_with("SEARCH outbox") && step.ends_with("(service=? AND seq=?)")), "{steps:?}");
    assert!(!steps.iter().any(|step| step.starts_with("SCAN outbox")), "{steps:?}");
}

#[test]
fn dead_letters_and_rule_sets_go_by_age_and_number() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    for to in 1..=6 {
        let mut one = commit(to - 1, to);
        let received_at_ms = (T + to as i64) * 1_000;
        one.received_at_ms = received_at_ms;
        one.dead_letters = ["a", "b"].map(|source| DeadLetter { received_at_ms, ..dead_letter(to, source) }).to_vec();
        one.rule_sets = vec![RuleSet { generation: to, ..RuleSet::default() }];
        store.commit_blocking(&one).unwrap();
    }
    assert_eq!(store.retire_dead_letters((T + 1) * 1_000, 99).unwrap(), 0);
    assert_eq!(store.retire_dead_letters((T + 4) * 1_000, 4).unwrap(), 4, "a step at a time");
    assert_eq!(store.retire_dead_letters((T + 4) * 1_000, 99).unwrap(), 2);
    let reader = store.reader();
    assert_eq!(reader.dead_letters(None, None, 0, 99).unwrap().iter().map(|letter| letter.ordinal).collect::<Vec<_>>(), [4, 4, 5, 5, 6, 6]);
    assert_eq!(reader.dead_letter_sums().unwrap(), (6, 0, 12));
    let kept = || reader.rule_sets(99).unwrap().iter().map(|set| set.generation).collect::<Vec<_>>();
    let all = u64::MAX;
    // The newest stay, and so do those that are young, up to a number, those that the journal still holds, and the one before them.
    assert_eq!((store.retire_rule_sets(4, 4, i64::MAX, 3).unwrap(), kept()), (1, vec![6, 5, 4, 3, 2]));
    assert_eq!((store.retire_rule_sets(1, 9, (T + 4) * 1_000, all).unwrap(), kept()), (2, vec![6, 5, 4]));
    assert_eq!((store.retire_rule_sets(1, 2, (T + 4) * 1_000, all).unwrap(), kept()), (1, vec![6, 5]));
    assert_eq!((store.retire_rule_sets(1, 1, i64::MAX, all).unwrap(), kept()), (1, vec![6]));
}

#[test]
fn event_files_go_by_the_time_of_their_events() {
    let dir = tempfile::tempdir().unwrap();
    let uids = UidOptions { table_uids_max: 1, ..UidOptions::default() };
    let options = EmbeddedOptions { event_segment_bytes: 1, uids, ..EmbeddedOptions::default() };
    let (mut store, _) = EmbeddedStore::open_with(dir.path(), options.clone()).unwrap();
    let one = |store: &mut EmbeddedStore, to: u64| {
        let mut one = Commit { received_at_ms: (T + 100 * to as i64) * 1_000, ..commit(to - 1, to) };
        add_event(&mut one, to as u8, "{}");
        store.commit_blocking(&one).unwrap();
        store.checkpoint().unwrap();
    };
    (1..=5).for_each(|to| one(&mut store, to));
    // All files are as young as this test; a restart forgets none of it.
    drop(store);
    let (mut store, _) = EmbeddedStore::open_with(dir.path(), options).unwrap();
    (6..=8).for_each(|to| one(&mut store, to));
    store.uids.lock().settle();
    assert_eq!(store.retire_events(u64::MAX, T + 100).unwrap().by_age, 0);
    assert_eq!(store.retire_events(u64::MAX, T + 301).unwrap().by_age, 3);
    assert_eq!(store.retire_events(u64::MAX, T + 301).unwrap().by_age, 0);
    // The time of a commit without events is none of the file's.
    store.commit_blocking(&Commit { received_at_ms: (T + 5_000) * 1_000, ..commit(8, 9) }).unwrap();
    let noted = |store: &EmbeddedStore, number: u32| -> i64 {
        store.connection.query_row("SELECT received_at_s FROM event_files WHERE number = ?1", [number], |row| row.get(0)).unwrap()
    };
    one(&mut store, 10);
    assert_eq!(noted(&store, 8), T + 800);
    let left: u64 = store.connection.query_row("SELECT count(*) FROM event_files", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 5, "files 4 to 8; 9 is written");
}
