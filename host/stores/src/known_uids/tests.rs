use super::worker::Manifest;
use super::*;
use crate::event_segments::EventSegments;
use crate::port_suite::uid_of;
use alertmill_core::ports::StoredEvent;

const NOW_S: i64 = 1_790_000_000;

struct Store {
    dir: tempfile::TempDir,
    events: EventSegments,
    index: UidIndex,
    report: UidReport,
    /// Of the events, since [`NOW_S`].
    day: i64,
}

impl Store {
    fn options() -> UidOptions {
        UidOptions { table_uids_max: 100, tables_waiting_max: 4 }
    }

    fn open(dir: tempfile::TempDir, committed: EventPlace) -> Store {
        let (events, _) = EventSegments::open(&dir.path().join("events"), committed, 64 << 10).unwrap();
        let reader = EventReader::new(&dir.path().join("events"));
        let (index, report) = UidIndex::open(&dir.path().join("uids"), Store::options(), &reader, committed, NOW_S).unwrap();
        Store { dir, events, index, report, day: 0 }
    }

    fn reopen(self) -> Store {
        let end = self.events.end();
        drop(self.index);
        Store::open(self.dir, end)
    }

    /// Stores events as commits do. `synced` = false: no checkpoint covers them.
    fn store(&mut self, numbers: std::ops::Range<u64>, known_until_s: i64, synced: bool) {
        let event = |n| StoredEvent { uid: uid_of(n), known_until_s, index_time_s: NOW_S, document: 0..2 };
        let events: Vec<StoredEvent> = numbers.map(event).collect();
        self.events.append(&events, b"{}", NOW_S + self.day * DAY_S).unwrap();
        events.iter().for_each(|event| self.index.insert(event.uid, event.known_until_s));
        let end = self.events.end();
        let synced_s = if synced { self.index.now_s } else { self.index.synced_s };
        self.index.committed(end, if synced { end } else { EventPlace::default() }, synced_s);
    }

    fn all_known(&mut self, numbers: std::ops::Range<u64>, expected: bool) -> bool {
        let uids: Vec<Uid> = numbers.map(uid_of).collect();
        self.index.known_until_s(&uids).unwrap().into_iter().all(|until_s| until_s.is_some() == expected)
    }
}

#[test]
fn uids_are_known_in_memory_in_files_and_after_a_restart() {
    let mut store = Store::open(tempfile::tempdir().unwrap(), EventPlace::default());
    for batch in 0..40 {
        store.store(batch * 50..batch * 50 + 50, NOW_S + 3_600 * (20 + batch as i64 / 10), true);
        assert!(store.all_known(0..batch * 50 + 50, true), "batch {batch}");
    }
    assert!(store.all_known(2_000..4_000, false));
    store.index.settle();
    let counts = store.index.counts();
    assert_eq!(counts.in_memory + counts.in_files, 2_000);
    assert!(counts.hours == 4 && counts.files <= 12, "{counts:?}");
    let mut store = store.reopen();
    assert_eq!(store.report.in_files + store.report.read_again, 2_000);
    assert!(store.all_known(0..2_000, true) && store.all_known(2_000..4_000, false));
}

#[test]
fn what_no_synced_state_covers_reaches_no_file() {
    let mut store = Store::open(tempfile::tempdir().unwrap(), EventPlace::default());
    store.store(0..150, NOW_S + 86_400, true);
    store.index.settle();
    let committed = store.events.end();
    store.store(150..400, NOW_S + 86_400, false);
    store.index.settle();
    assert!(store.all_known(0..400, true));
    // Power loss: the state falls back, and with it what is known. Else a replay would take its own events for retries.
    let Store { dir, index, events, .. } = store;
    drop((index, events));
    let mut store = Store::open(dir, committed);
    assert!(store.all_known(0..150, true) && store.all_known(150..400, false));
}

#[test]
fn hours_go_when_they_are_past() {
    let mut store = Store::open(tempfile::tempdir().unwrap(), EventPlace::default());
    store.store(0..100, NOW_S + 3_600, true);
    store.store(100..200, NOW_S + 86_400, true);
    store.index.settle();
    assert_eq!(store.index.counts().hours, 2);
    let end = store.events.end();
    let ended_s = end_of_hour(NOW_S + 3_600);
    store.index.advance(ended_s + 1);
    // After a loss of power the records of the last hour would be judged again.
    store.index.committed(end, end, ended_s);
    store.index.settle();
    assert_eq!((store.index.counts().hours, store.all_known(0..100, true)), (2, true), "the synced state has not passed it");
    store.index.committed(end, end, ended_s + 1);
    assert!(store.all_known(0..100, false), "a past hour is not known, dropped or not");
    store.index.settle();
    assert_eq!((store.index.counts().hours, store.index.counts().in_files), (1, 100));
    assert!(store.all_known(100..200, true));
}

#[test]
fn until_when_is_told_to_the_second_from_memory_and_from_files() {
    let mut store = Store::open(tempfile::tempdir().unwrap(), EventPlace::default());
    let until_s = |n: u64| end_of_hour(NOW_S + DAY_S) + HOUR_S * (n as i64 / 30);
    // Small files and merged ones, a table that is not full, and one uid that was stored twice.
    for n in 0..450 {
        store.store(n..n + 1, until_s(n), true);
        store.index.settle();
    }
    store.store(3..4, until_s(449) + HOUR_S, true);
    let expected = |n: u64| Some(if n == 3 { until_s(449) + HOUR_S } else { until_s(n) });
    for reopened in [false, true] {
        let counts = store.index.counts();
        assert!(counts.in_files >= 400 && counts.in_memory > 0, "{counts:?}");
        for n in 0..450 {
            assert_eq!(store.index.known_until_s(&[uid_of(n)]).unwrap(), [expected(n)], "{n}, reopened {reopened}");
        }
        store = store.reopen();
    }
}

#[test]
fn hours_that_a_state_still_needs_when_it_fell_back_are_read_again() {
    for fell_back_s in [0, 1, HOUR_S] {
        let mut store = Store::open(tempfile::tempdir().unwrap(), EventPlace::default());
        store.store(0..100, NOW_S + HOUR_S, true);
        store.store(100..200, NOW_S + DAY_S, true);
        store.index.settle();
        let (end, synced_s) = (store.events.end(), NOW_S + 3 * HOUR_S);
        store.index.advance(synced_s);
        store.index.committed(end, end, synced_s);
        store.index.settle();
        assert_eq!(store.index.counts().in_files, 100, "the first hour is over");
        let Store { dir, index, .. } = store;
        drop(index);
        // Made again from what is whole of it, the state has the same events and is of an earlier time.
        let reader = EventReader::new(&dir.path().join("events"));
        let now_s = synced_s - fell_back_s * 3;
        let (mut index, report) = UidIndex::open(&dir.path().join("uids"), Store::options(), &reader, end, now_s).unwrap();
        // An hour that is over at the sync and not over before it: the first one, an hour earlier.
        let expected = if fell_back_s == HOUR_S { (200, 100) } else { (0, 100) };
        assert_eq!((report.read_again, report.in_files), expected, "{fell_back_s}");
        let of_the_first_hour = index.known_until_s(&[uid_of(7)]).unwrap()[0].is_some();
        assert_eq!(of_the_first_hour, fell_back_s == HOUR_S);
        assert_eq!(index.known_until_s(&[uid_of(107)]).unwrap(), [Some(end_of_hour(NOW_S + DAY_S))]);
    }
}

#[test]
fn seconds_within_an_hour_make_one_group() {
    let mut ends: Vec<i64> = (0..=7_200).map(|n| end_of_hour(NOW_S + n)).collect();
    assert!((0..=7_200).all(|n| (NOW_S + n..NOW_S + n + HOUR_S).contains(&ends[n as usize])));
    ends.dedup();
    assert_eq!((ends.len(), end_of_hour(7_200), end_of_hour(7_201)), (3, 7_200, 10_800));
    assert!(end_of_hour(i64::MAX) > NOW_S && end_of_hour(i64::MIN) < NOW_S);
}

#[test]
fn a_damaged_file_or_manifest_is_built_again() {
    for spoil in ["manifest", ".uids"] {
        let mut store = Store::open(tempfile::tempdir().unwrap(), EventPlace::default());
        store.store(0..350, NOW_S + 86_400, true);
        store.index.settle();
        for entry in std::fs::read_dir(store.dir.path().join("uids")).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(spoil) {
                std::fs::write(path, b"spoilt").unwrap();
            }
        }
        let mut store = store.reopen();
        assert_eq!(store.report.read_again, 350);
        assert!(is_manifest_true(&store));
        assert!(store.all_known(0..350, true) && store.all_known(350..700, false));
    }
}

/// Writes nonsense into the file that holds these.
fn spoil_file_of(store: &Store, n: u64) {
    let key = u128::from_be_bytes(uid_of(n).0);
    let runs = store.index.files.hours.values().flatten();
    let holding: Vec<_> = runs.filter(|run| run.holds(key).unwrap()).collect();
    assert_eq!(holding.len(), 1);
    std::fs::write(&holding[0].path, b"spoilt").unwrap();
}

/// Whether each file that the manifest names is there.
fn is_manifest_true(store: &Store) -> bool {
    let uids = store.dir.path().join("uids");
    let manifest = Manifest::from_bytes(&std::fs::read(uids.join(MANIFEST)).unwrap()).expect("a whole manifest");
    manifest.files.iter().all(|(name, ..)| uids.join(name).exists())
}

/// Uids of two hours and two event files, of which retention removed the first.
fn two_hours() -> Store {
    let mut store = Store::open(tempfile::tempdir().unwrap(), EventPlace::default());
    store.store(0..100, NOW_S + DAY_S, true);
    store.index.settle();
    store.day += 1;
    store.store(100..350, NOW_S + 2 * DAY_S, true);
    store.index.settle();
    std::fs::remove_file(store.dir.path().join("events/0000000001.events")).unwrap();
    store
}

#[test]
fn a_damaged_file_costs_no_uids_of_the_others() {
    let store = two_hours();
    spoil_file_of(&store, 200);
    let mut store = store.reopen();
    assert_eq!(store.report.read_again, 250);
    assert!(store.all_known(0..350, true), "those whose event file is gone, too");
    assert!(store.all_known(350..700, false));
    assert!(is_manifest_true(&store), "a backup takes what it names");
    // What is not in files again yet is read again by the next start as well.
    let mut store = store.reopen();
    assert!(store.all_known(0..350, true));
    store.store(350..500, NOW_S + 2 * DAY_S, true);
    store.index.settle();
    assert_eq!((store.index.flushed(), store.index.counts().in_memory), (store.events.end(), 0));
    let mut store = store.reopen();
    assert_eq!(store.report, UidReport { read_again: 0, in_files: 500, damaged_event_files: 0, forgotten: false });
    assert!(store.all_known(0..500, true));
}

#[test]
fn files_that_a_lost_one_left_are_not_known_to_an_older_state() {
    let mut store = Store::open(tempfile::tempdir().unwrap(), EventPlace::default());
    store.store(0..150, NOW_S + DAY_S, true);
    store.index.settle();
    let older = store.events.end();
    store.store(150..180, NOW_S + 2 * DAY_S, true);
    let end = store.events.end();
    store.index.freeze(end);
    store.index.give(end);
    store.index.settle();
    spoil_file_of(&store, 3);
    // The first table of the rebuilt ones is written, the second is not full.
    let store = store.reopen();
    assert!(store.index.flushed() > EventPlace::default() && store.index.flushed() < older);
    let Store { dir, index, events, .. } = store;
    drop((index, events));
    let mut store = Store::open(dir, older);
    assert!(store.all_known(0..150, true) && store.all_known(150..180, false), "their records will be replayed");
}

#[test]
fn tables_that_no_disk_takes_refuse_commits() {
    let mut store = Store::open(tempfile::tempdir().unwrap(), EventPlace::default());
    for batch in 0..6 {
        store.store(batch * 100..batch * 100 + 100, NOW_S + 86_400, false);
    }
    assert!(store.index.overfull(EventPlace::default()).is_some_and(|why| why.contains("wait in memory")));
    assert!(store.all_known(0..600, true));
    // From here on no commit is taken that would look after the tables.
    let end = store.events.end();
    store.index.overfull(end);
    store.index.settle();
    assert_eq!(store.index.overfull(end), None);
    assert!(store.all_known(0..600, true));
}

/// A name that the next uid file would get, taken: that one job fails.
fn block(store: &Store, number: u32) -> std::path::PathBuf {
    let path = store.dir.path().join(format!("uids/{number:010}.uids"));
    std::fs::create_dir(&path).unwrap();
    path
}

#[test]
fn a_table_that_no_disk_took_is_not_passed_by_the_next_one() {
    let mut store = Store::open(tempfile::tempdir().unwrap(), EventPlace::default());
    let blocked = block(&store, 2);
    store.store(0..100, NOW_S + 86_400, false);
    store.store(100..200, NOW_S + 86_400, false);
    let end = store.events.end();
    store.index.committed(end, end, NOW_S);
    store.index.settle();
    assert_eq!(store.index.flushed(), EventPlace::default(), "the first of both failed");
    assert!(store.all_known(0..200, true));
    std::fs::remove_dir(blocked).unwrap();
    store.index.committed(end, end, NOW_S);
    store.index.settle();
    assert_eq!((store.index.flushed(), store.index.counts().in_files, store.index.counts().in_memory), (end, 200, 0));
    let mut store = store.reopen();
    assert_eq!((store.report.in_files, store.report.read_again), (200, 0));
    assert!(store.all_known(0..200, true));
}

#[test]
fn a_folder_that_refuses_files_costs_memory_only() {
    let mut store = Store::open(tempfile::tempdir().unwrap(), EventPlace::default());
    let (uids, aside) = (store.dir.path().join("uids"), store.dir.path().join("aside"));
    std::fs::rename(&uids, &aside).unwrap();
    std::fs::write(&uids, b"no folder").unwrap();
    for batch in 0..2 {
        store.store(batch * 100..batch * 100 + 100, NOW_S + 86_400, true);
        store.index.settle();
    }
    assert_eq!((store.index.counts().in_memory, store.index.flushed()), (200, EventPlace::default()));
    assert!(store.all_known(0..200, true));
    std::fs::remove_file(&uids).unwrap();
    std::fs::rename(&aside, &uids).unwrap();
    let end = store.events.end();
    store.index.committed(end, end, NOW_S);
    store.index.settle();
    assert_eq!((store.index.counts().in_files, store.index.flushed()), (200, end));
    assert!(store.all_known(0..200, true));
    assert!(store.reopen().all_known(0..200, true));
}

#[test]
fn a_table_counts_as_full_after_an_hour() {
    let mut store = Store::open(tempfile::tempdir().unwrap(), EventPlace::default());
    store.store(0..3, NOW_S + DAY_S, true);
    store.index.advance(NOW_S + HOUR_S - 1);
    store.store(3..4, NOW_S + HOUR_S + DAY_S, true);
    store.index.settle();
    assert_eq!(store.index.flushed(), EventPlace::default(), "not an hour yet");
    store.index.advance(NOW_S + HOUR_S);
    store.store(4..5, NOW_S + HOUR_S + DAY_S, true);
    store.index.settle();
    assert_eq!((store.index.counts().in_files, store.index.flushed()), (5, store.events.end()));
    // A process that is restarted again and again does not begin the hour anew.
    store.store(5..6, NOW_S + DAY_S - HOUR_S, true);
    let mut store = store.reopen();
    store.store(6..7, NOW_S + DAY_S, true);
    store.index.settle();
    assert_eq!((store.index.counts().in_files, store.index.flushed()), (7, store.events.end()));
    assert!(store.all_known(0..7, true));
}

#[test]
fn uids_that_no_event_file_gives_back_are_reported() {
    let event_file = |store: &Store, number: u32| store.dir.path().join(format!("events/{number:010}.events"));
    for (known_until_s, forgotten) in [(NOW_S + DAY_S, true), (NOW_S - HOUR_S, false)] {
        let mut store = Store::open(tempfile::tempdir().unwrap(), EventPlace::default());
        store.store(0..100, NOW_S + DAY_S, true);
        store.index.settle();
        assert!(!store.report.forgotten);
        // The next day's events are in another file, and retention takes the first.
        store.day += 1;
        store.store(100..200, known_until_s, true);
        store.index.settle();
        std::fs::remove_file(event_file(&store, 1)).unwrap();
        let store = store.reopen();
        assert!(!store.report.forgotten, "all are in uid files");
        std::fs::remove_file(store.dir.path().join("uids/manifest")).unwrap();
        let store = store.reopen();
        assert_eq!((store.report.forgotten, store.report.read_again), (forgotten, 100));
    }
}
