//! Every kind of data stays within its bounds, by size and by age, and nothing goes that a start still needs: after each step
//! a copy of the folder, as a kill would leave it, opens with all that its state names.

use alertmill_core::event::{Fingerprint, Status, Uid};
use alertmill_core::ports::{AlertEvents, AlertWrite, Commit, DeadLetter, EventRole, Journal, KnownUids, StoredEvent};
use alertmill_core::record::{Arrival, ArrivalBy, RecordBody, RuleSet};
use alertmill_proof::Tier;
use alertmill_proof::processes::copy;
use alertmill_stores::embedded::EmbeddedOptions;
use alertmill_stores::folder::{DataFolder, FolderOptions};
use alertmill_stores::journal::{Clock, JournalOptions};
use alertmill_stores::known_uids::UidOptions;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

const T: i64 = 1_790_000_000;
const HOUR_S: i64 = 3_600;
/// One commit an hour.
const COMMITS: u64 = 400;
const STATE_BYTES: u64 = 1 << 20;
const EVENT_BYTES: u64 = 1 << 20;
const LETTERS: u64 = 50;
const KEEP_BYTES: u64 = 64 << 10;
const KEEP_S: i64 = 100 * HOUR_S;

fn options(clock: &Arc<AtomicI64>) -> FolderOptions {
    let clock = clock.clone();
    let journal = JournalOptions {
        segment_bytes: 4 << 10,
        keep_bytes: KEEP_BYTES,
        clock: Clock::Custom(Box::new(move || clock.load(SeqCst))),
        ..JournalOptions::default()
    };
    let embedded = EmbeddedOptions {
        event_segment_bytes: 64 << 10,
        outbox: false,
        dead_letters_per_source_max: LETTERS,
        uids: UidOptions { table_uids_max: 16, ..UidOptions::default() },
        ..EmbeddedOptions::default()
    };
    FolderOptions { journal, embedded }
}

fn uid(n: u64) -> Uid {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Uid(std::array::from_fn(|i| (n >> (8 * (i % 8))) as u8 ^ i as u8))
}

fn commit(n: u64) -> Commit {
    let now_s = T + n as i64 * HOUR_S;
    let document = vec![b'x'; 8_000];
    let event = StoredEvent { uid: uid(n), known_until_s: now_s + 86_400, index_time_s: now_s, document: 0..document.len() as u32 };
    let alert = |seq: u64, end_time: Option<i64>| AlertWrite {
        seq,
        id: format!("{T}{seq}").into(),
        tenant: "system".into(),
        status: if end_time.is_some() { Status::Closed } else { Status::Abnormal },
        severity: 1,
        alert_name: "a".into(),
        fingerprint: Fingerprint([1; 16]),
        create_time: T,
        begin_time: T,
        latest_time: now_s,
        end_time,
        event_count: 1,
        revision: n,
        rule_generation: n,
        document: vec![b'd'; 6_000],
        state: Vec::new(),
    };
    let letter = DeadLetter {
        ordinal: n,
        index: 0,
        received_at_ms: now_s * 1_000,
        tenant: "system".into(),
        source: "events".into(),
        code: "clean-error".into(),
        detail: "no time".into(),
        item: b"{}".to_vec(),
        arrival: Some(Arrival::by(ArrivalBy::Events)),
    };
    Commit {
        from: n - 1,
        to: n,
        received_at_ms: now_s * 1_000,
        events: vec![event],
        event_heap: document,
        // One that is open for ever, and one that ends.
        alerts: vec![alert(1, None), alert(1_000 + n, Some(now_s))],
        alert_events: vec![AlertEvents { seq: 1, events: vec![(0, EventRole::Updated)] }],
        dead_letters: vec![letter],
        rule_sets: vec![RuleSet { generation: n, ..RuleSet::default() }],
        ..Commit::default()
    }
}

fn bytes_of(dir: &Path) -> u64 {
    // A thread of the store may just remove one.
    std::fs::read_dir(dir).unwrap().filter_map(|entry| Some(entry.unwrap().metadata().ok()?.len())).sum()
}

#[test]
fn everything_stays_within_its_bounds_and_nothing_goes_that_a_start_needs() {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let (data, copied) = (dir.path().join("data"), dir.path().join("copied"));
    let clock = Arc::new(AtomicI64::new(T * 1_000));
    let mut folder = DataFolder::open(&data, options(&clock)).unwrap();
    let (mut alerts, mut event_files, mut letters, mut segments, mut starts) = (0, 0, 0, 0, 0);
    let (mut state_most, mut events_most, mut journal_most) = (0, 0, 0);
    for n in 1..=COMMITS {
        let now_s = T + n as i64 * HOUR_S;
        clock.store(now_s * 1_000, SeqCst);
        let mut appending = std::pin::pin!(folder.journal.append(RecordBody::Start { version: "x".repeat(1_000).as_str().into() }, None));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while appending.as_mut().poll(&mut context).is_pending() {
            std::thread::yield_now();
        }
        folder.records.next_blocking(1).unwrap();
        folder.store.commit_blocking(&commit(n)).unwrap();
        let synced = folder.store.checkpoint().unwrap();
        alerts += folder.store.shrink_state(STATE_BYTES, 50).unwrap();
        letters += folder.store.retire_dead_letters((now_s - 30 * HOUR_S) * 1_000, 50).unwrap();
        folder.store.retire_rule_sets(10, 10, i64::MAX, u64::MAX).unwrap();
        event_files += folder.store.retire_events(EVENT_BYTES, now_s - 300 * HOUR_S).unwrap().by_size;
        let released = folder.journal.release_older(synced, (now_s - KEEP_S) * 1_000);
        assert!(released.failed.is_none(), "{released:?}");
        segments += released.unneeded + released.too_old;
        let reader = folder.store.reader();
        state_most = state_most.max(reader.pages().unwrap().used_bytes());
        events_most = events_most.max(bytes_of(&data.join("events")));
        journal_most = journal_most.max(folder.journal.counts().segment_bytes);
        assert!(reader.dead_letter_sums().unwrap().0 <= 31 && reader.rule_sets(99).unwrap().len() <= 10);
        if n % 40 == 0 {
            copy(&data, &copied);
            std::fs::remove_file(copied.join("lock")).unwrap();
            let mut killed = DataFolder::open(&copied, options(&clock)).unwrap();
            assert_eq!((killed.restored.position, killed.fenced.len(), killed.journal_report.gaps.len()), (n, 0, 0));
            assert!(!killed.store_report.uids_forgotten && !killed.store_report.event_rows_missing, "{:?}", killed.store_report);
            let recent: Vec<Uid> = (n.saturating_sub(22).max(1)..=n).map(uid).collect();
            assert!(killed.store.known_until_s(&recent).unwrap().into_iter().all(|known| known.is_some()), "a day is known");
            assert!(killed.store.reader().alert(1).unwrap().is_some());
            drop(killed);
            std::fs::remove_dir_all(&copied).unwrap();
            starts += 1;
        }
    }
    // A step is taken after what went over the bound was written.
    assert!(state_most <= STATE_BYTES + (256 << 10), "{state_most}");
    assert!(events_most <= EVENT_BYTES + 2 * (64 << 10) + 16_000, "{events_most}");
    assert!(journal_most <= KEEP_BYTES + 3 * (4 << 10), "{journal_most}");
    assert!(alerts > 200 && event_files > 20 && letters > 300 && segments > 50, "{alerts} {event_files} {letters} {segments}");
    alertmill_proof::record(
        "retention",
        Tier::Ci,
        &[
            ("commits", &COMMITS),
            ("alerts_removed", &alerts),
            ("event_files_removed", &event_files),
            ("dead_letters_removed", &letters),
            ("segments_removed", &segments),
            ("starts_after_it", &starts),
            ("lost_that_a_start_needs", &0),
        ],
    );
}
