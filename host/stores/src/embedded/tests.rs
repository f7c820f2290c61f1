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
fn verdicts_without_an_end_are_restored_with_their_generation() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let verdict = |kind: &str| Verdict {
        rule: "r".into(),
        version: "1@sha256:d".into(),
        hook: Hook::Dedupe,
        kind: kind.into(),
        message: "on\ntwo lines".into(),
        policy: Policy::PassThrough,
        from: Place { ordinal: 1, index: 0 },
        until: None,
    };
    let set = |generation| RuleSet { generation, tables: vec![("hosts".into(), "t".into())], ..RuleSet::default() };
    let steps = [
        (&[][..], Some(vec![verdict("nobody's")]), 0, Vec::new()),
        (&[1, 2], None, 2, Vec::new()),
        (&[], Some(vec![verdict("deadline")]), 2, vec![verdict("deadline")]),
        (&[], None, 2, vec![verdict("deadline")]),
        (&[], Some(vec![verdict("deadline"), verdict("init")]), 2, vec![verdict("deadline"), verdict("init")]),
        (&[3], Some(Vec::new()), 3, Vec::new()),
    ];
    for (n, (generations, open_verdicts, generation, expected)) in (1..).zip(steps) {
        let rule_sets = generations.iter().copied().map(set).collect();
        store.commit_blocking(&Commit { rule_sets, open_verdicts, ..commit(n - 1, n) }).unwrap();
        let shown = store.reader().rule_sets(1).unwrap();
        assert!(shown.iter().all(|row| serde_json::from_str::<RuleSet>(&row.content).is_ok()), "what is shown is the set: {shown:?}");
        drop(store);
        let (opened, restored) = EmbeddedStore::open(dir.path()).unwrap();
        assert_eq!((restored.rule_set.generation, restored.open_verdicts), (generation, expected), "commit {n}");
        store = opened;
    }
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
fn lists_are_newest_first_filtered_and_paged() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let mut all = commit(0, 1);
    all.alerts = (1..=60).map(|seq| alert(seq, 1, STATUSES[seq as usize % 3])).collect();
    store.commit_blocking(&all).unwrap();
    let reader = store.reader();
    let filters = [
        AlertFilter::default(),
        AlertFilter { status: vec![Status::Abnormal], ..AlertFilter::default() },
        AlertFilter { severity: vec![1, 2], tenant: Some("system".into()), ..AlertFilter::default() },
        AlertFilter { from_s: Some(T + 130), to_s: Some(T + 40), ..AlertFilter::default() },
    ];
    for filter in filters {
        let wanted = |alert: &&AlertWrite| {
            (filter.status.is_empty() || filter.status.contains(&alert.status))
                && (filter.severity.is_empty() || filter.severity.contains(&alert.severity))
                && filter.tenant.as_deref().is_none_or(|tenant| tenant == alert.tenant)
                && filter.from_s.is_none_or(|from| alert.end_time.is_none_or(|end| end >= from))
                && filter.to_s.is_none_or(|to| alert.begin_time <= to)
        };
        let expected: Vec<u64> = all.alerts.iter().filter(wanted).map(|alert| alert.seq).rev().collect();
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = reader.list_alerts(&filter, 7, cursor, false).unwrap();
            let Some(last) = page.last() else { break };
            cursor = Some(last.seq);
            seen.extend(page.iter().map(|row| row.seq));
        }
        assert_eq!(seen, expected, "{filter:?}");
        assert!(!seen.is_empty());
    }
    let row = reader.list_alerts(&AlertFilter::default(), 1, None, true).unwrap().remove(0);
    assert_eq!((row.seq, row.document), (60, Some(alert(60, 1, Status::Abnormal).document)));
    let counts = reader.alert_counts(None).unwrap();
    assert_eq!(counts.iter().map(|count| count.count).sum::<u64>(), 60);
}

#[test]
fn changes_of_an_alert_keep_its_index_right() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    for (revision, status) in [(1, Status::Abnormal), (2, Status::Abnormal), (3, Status::Recovered)] {
        let mut change = commit(revision - 1, revision);
        change.alerts = vec![alert(1, revision, status)];
        store.commit_blocking(&change).unwrap();
        let found = |status| store.reader().list_alerts(&AlertFilter { status: vec![status], ..AlertFilter::default() }, 9, None, false).unwrap();
        assert_eq!(found(status)[0].revision, revision);
        assert_eq!(found(Status::Abnormal).len(), usize::from(status == Status::Abnormal));
    }
    let whole: String = store.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
}

#[test]
fn events_and_logs_of_an_alert_are_paged_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let log = |op_type, create_time| LogWrite { seq: 1, op_type, create_time, document: format!("\"{op_type}\"").into_bytes() };
    for n in 1..=4u8 {
        let mut one = commit(n as u64 - 1, n as u64);
        let second = T + i64::from(n);
        let a = add_event(&mut one, n, &format!("{{\"id\":\"a{n}\",\"create_time\":{second},\"time\":5,\"description\":\"d\"}}"));
        let b = add_event(&mut one, n + 100, &format!("{{\"id\":\"b{n}\",\"create_time\":{second}}}"));
        let role = if n == 1 { EventRole::Opened } else { EventRole::Updated };
        one.alert_events = vec![AlertEvents { seq: 1, events: vec![(a, role), (b, EventRole::Late)] }];
        one.alerts = vec![alert(1, n.into(), Status::Abnormal)];
        match n {
            1 => one.logs = vec![log("CREATE", second)],
            4 => one.logs = vec![log("RECOVER", second)],
            _ => {}
        }
        store.commit_blocking(&one).unwrap();
    }
    let reader = store.reader();
    let (mut events, mut cursor) = (Vec::new(), None);
    loop {
        let page = reader.alert_events(1, cursor, 3).unwrap();
        let Some(last) = page.last() else { break };
        cursor = Some(last.cursor);
        events.extend(page.into_iter().map(|event| match event.row {
            EventRead::Found(row) => row.uid.0[0],
            EventRead::Gone | EventRead::Damaged => 0,
        }));
    }
    assert_eq!(events, [104, 4, 103, 3, 102, 2, 101, 1]);
    let (mut logs, mut cursor) = (Vec::new(), None);
    loop {
        let page = reader.alert_logs(1, cursor, 2).unwrap();
        let Some(last) = page.last() else { break };
        cursor = Some(last.cursor);
        logs.extend(page);
    }
    let ops: Vec<&str> = logs.iter().map(|log| log.op_type.as_str()).collect();
    let c = "CONVERGE";
    assert_eq!(ops, ["RECOVER", c, c, c, c, c, c, c, "CREATE"]);
    let expected = format!("{{\"alert_id\":\"{T}1\",\"op_type\":\"CONVERGE\",\"create_time\":{},\"time\":5,\"description\":\"d\",\"event_id\":\"a4\"}}", T + 4);
    assert_eq!(String::from_utf8(logs[2].document.clone()).unwrap(), expected);
}

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
fn numbers_that_no_row_can_have_find_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let mut one = commit(0, 1);
    one.alerts = vec![alert(1, 1, Status::Closed)];
    let event = add_event(&mut one, 1, "{}");
    one.alert_events = vec![AlertEvents { seq: 1, events: vec![(event, EventRole::Updated)] }];
    one.dead_letters = vec![dead_letter(1, "web")];
    store.commit_blocking(&one).unwrap();
    let reader = store.reader();
    for n in [i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        assert!(reader.alert(n).unwrap().is_none() && reader.dead_letter(n).unwrap().is_none());
        assert!(reader.alert_events(n, None, 9).unwrap().is_empty() && reader.alert_logs(n, None, 9).unwrap().is_empty());
        assert!(reader.dead_letters(None, None, n, 9).unwrap().is_empty());
        assert_eq!(reader.list_alerts(&AlertFilter::default(), 9, Some(n), false).unwrap().len(), 1);
        assert_eq!(reader.alert_events(1, Some((n, u32::MAX)), 9).unwrap().len(), 1);
        assert_eq!(reader.alert_logs(1, Some((n, u32::MAX)), 9).unwrap().len(), 1);
        assert_eq!(store.remove_dead_letters(&[n]).unwrap(), 0);
    }
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
fn one_damaged_event_does_not_cost_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let mut one = commit(0, 1);
    let events = (1..=3).map(|n| (add_event(&mut one, n, "{\"create_time\":7}"), EventRole::Updated)).collect();
    one.alert_events = vec![AlertEvents { seq: 1, events }];
    one.alerts = vec![alert(1, 1, Status::Abnormal)];
    store.commit_blocking(&one).unwrap();
    let path = dir.path().join("events/0000000001.events");
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.windows(16).position(|window| window == [2; 16]).unwrap();
    bytes[second] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let page = store.reader().alert_events(1, None, 9).unwrap();
    assert!(matches!(
        &page[..],
        [AlertEvent { row: EventRead::Found(_), .. }, AlertEvent { row: EventRead::Damaged, .. }, AlertEvent { row: EventRead::Found(_), .. }]
    ));
    assert_eq!(store.reader().alert_logs(1, None, 9).unwrap().len(), 2);
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
fn every_generation_of_one_commit_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let mut one = commit(0, 9);
    one.rule_sets = (1..=3)
        .map(|generation| RuleSet { generation, rules: Vec::new(), tables: vec![("hosts".into(), format!("t{generation}").into())], ..RuleSet::default() })
        .collect();
    store.commit_blocking(&one).unwrap();
    let rows = store.reader().rule_sets(99).unwrap();
    let seen: Vec<_> = rows.iter().map(|row| (row.generation, row.ordinal, row.content.contains(&format!("\"t{}\"", row.generation)))).collect();
    assert_eq!(seen, [(3, 9, true), (2, 9, true), (1, 9, true)]);
    drop(store);
    assert_eq!(EmbeddedStore::open(dir.path()).unwrap().1.rule_set, one.rule_sets[2], "the last one is in force");
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

fn upload(ordinal: u64, name: &str, digest: &str) -> VersionWrite {
    let change = VersionChange {
        name: name.into(),
        version: "1.0.0".into(),
        digest: digest.into(),
        signature: Some(VersionSignature { signer: "platform".into(), key_id: "k".into(), digest: format!("{digest}-sig").into() }),
        ..VersionChange::default()
    };
    VersionWrite { ordinal, received_at_ms: T * 1_000 + ordinal as i64, change }
}

fn removal(ordinal: u64, name: &str, digest: &str) -> VersionWrite {
    let mut write = upload(ordinal, name, digest);
    (write.change.action, write.change.operator) = (VersionAction::Removed, "retention".into());
    write
}

#[test]
fn versions_are_listed_newest_first_until_they_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let writes: Vec<VersionWrite> = (1..=4).map(|n| upload(n, if n == 3 { "other" } else { "owner" }, &format!("d{n}"))).collect();
    store.commit_blocking(&Commit { rule_versions: writes.clone(), ..commit(0, 4) }).unwrap();
    let (reader, owner) = (store.reader(), Some("owner"));
    let listed = |name, before, limit| reader.rule_versions(name, before, limit).unwrap().iter().map(|row| row.ordinal).collect::<Vec<_>>();
    assert_eq!((listed(owner, None, 2), listed(owner, Some(2), 2), listed(None, None, 9)), (vec![4, 2], vec![1], vec![4, 3, 2, 1]));
    assert_eq!(reader.rule_version("other", "d3").unwrap().as_ref(), Some(&writes[2]));
    assert_eq!(reader.rule_version("owner", "d3").unwrap(), None);
    // The same again is the newest, and one that is removed and comes again in one commit is there.
    let again = vec![upload(5, "owner", "d1"), removal(6, "owner", "d4"), removal(7, "owner", "d2"), upload(8, "owner", "d2"), removal(9, "owner", "never")];
    store.commit_blocking(&Commit { rule_versions: again, ..commit(4, 9) }).unwrap();
    assert_eq!(listed(owner, None, 9), [8, 5]);
    drop(store);
    let (store, _) = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(store.reader().rule_versions(owner, None, 9).unwrap().iter().map(|row| row.change.digest.clone()).collect::<Vec<_>>(), ["d2", "d1"]);
}

fn audit_entry(ordinal: u64, object: &str) -> AuditEntry {
    let at_ms = T * 1_000 + ordinal as i64;
    AuditEntry { ordinal, at_ms, action: "activate".into(), object: object.into(), operator: "wang".into(), generation: ordinal, ..AuditEntry::default() }
}

/// A store with entries of five commits, two each.
fn audited(dir: &std::path::Path) -> EmbeddedStore {
    let (mut store, _) = EmbeddedStore::open(dir).unwrap();
    for to in [2, 4, 6, 8, 10] {
        let audit = vec![audit_entry(to - 1, "owner"), audit_entry(to, "other")];
        store.commit_blocking(&Commit { audit, ..commit(to - 2, to) }).unwrap();
    }
    store
}

#[test]
fn the_audit_chain_shows_a_changed_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = audited(dir.path());
    let reader = store.reader();
    let whole = reader.check_audit().unwrap();
    assert_eq!((whole.entries, whole.first, whole.broken, whole.last.map(|last| last.0)), (10, Some(1), None, Some(10)));
    let listed = |object, before| reader.audit(object, before, 3).unwrap().iter().map(|row| row.entry.ordinal).collect::<Vec<_>>();
    assert_eq!((listed(None, None), listed(Some("owner"), Some(7)), listed(Some("nobody"), None)), (vec![10, 9, 8], vec![5, 3, 1], vec![]));
    drop(store);
    // What somebody does who knows the schema and its checksums.
    let sums = |connection: &Connection| {
        type Row = (u64, i64, String, String, Vec<u8>, Vec<u8>);
        let rows: Vec<Row> = connection
            .prepare("SELECT ordinal, at_ms, object, content, before, hash FROM audit")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for (ordinal, at_ms, object, content, before, hash) in rows {
            let sum = checksum::of_audit(ordinal, at_ms, &object, &content, &before, &hash);
            connection.execute("UPDATE audit SET sum = ?2 WHERE ordinal = ?1", params![ordinal, sum]).unwrap();
        }
    };
    let changes = [
        ("UPDATE audit SET content = replace(content, 'wang', 'li') WHERE ordinal = 5", 5),
        ("UPDATE audit SET content = replace(content, '\"at_ms\":1', '\"at_ms\":2') WHERE ordinal = 1", 1),
        ("DELETE FROM audit WHERE ordinal = 4", 5),
        ("UPDATE audit SET hash = zeroblob(32) WHERE ordinal = 7", 7),
        ("UPDATE audit SET before = zeroblob(32) WHERE ordinal = 7", 7),
        ("UPDATE audit SET ordinal = 99 WHERE ordinal = 3", 4),
    ];
    for (change, broken_at) in changes {
        let copy = tempfile::tempdir().unwrap();
        drop(audited(copy.path()));
        let connection = Connection::open(copy.path().join("state.sqlite")).unwrap();
        assert_eq!(connection.execute(change, []).unwrap(), 1, "{change}");
        sums(&connection);
        drop(connection);
        let (store, _) = EmbeddedStore::open(copy.path()).unwrap();
        let found = store.reader().check_audit().unwrap();
        assert_eq!(found.broken.as_ref().map(|broken| broken.0), Some(broken_at), "{change}: {found:?}");
    }
}

#[test]
fn old_entries_of_the_audit_go_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = audited(dir.path());
    assert_eq!(store.retire_audit(T * 1_000 + 7).unwrap(), 6);
    let check = store.reader().check_audit().unwrap();
    assert_eq!((check.entries, check.first, check.broken), (4, Some(7), None));
    assert_eq!(store.retire_audit(i64::MAX).unwrap(), 3, "the newest stays, or the chain would begin anew");
    store.commit_blocking(&Commit { audit: vec![audit_entry(11, "owner")], ..commit(10, 11) }).unwrap();
    let check = store.reader().check_audit().unwrap();
    assert_eq!((check.entries, check.first, check.broken), (2, Some(10), None));
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
