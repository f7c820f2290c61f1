//! The journal as its users see it: what is appended, groups, starts and ends. What goes wrong, and what goes, is in files of its own.

mod damage;
mod failures;
mod full;
mod reading;
mod retention;

use super::*;
use crate::disk::SegmentFile;
use crate::disk::faulty::{Failing, FaultyDisk, yield_until};
use crate::port_suite::{block_on as wait, payload_body, verdicts_body};
use alertmill_core::ports::Records;
use alertmill_core::record::{Door, DoorCounts, ItemSpan, Items, Journaled};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn body(n: u64) -> RecordBody {
    let heap = format!("{{\"n\":{n}}}").into_bytes();
    let spans = vec![ItemSpan { bytes: 0..heap.len() as u32, request_index: 0 }];
    RecordBody::Items(Items {
        tenant: "system".into(),
        source: "test".into(),
        door: Door::Events,
        idempotency_key: None,
        counts: DoorCounts { received: 1, ..DoorCounts::default() },
        heap: heap.into(),
        spans,
    })
}

fn small(position: u64) -> JournalOptions {
    JournalOptions { segment_bytes: 4096, position, ..JournalOptions::default() }
}

fn append(journal: &JournalHandle, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        assert_eq!(wait(journal.append(body(n), None)).unwrap().ordinal, n);
    }
}

/// All records that are durable now; checks order and content.
fn drain(reader: &mut JournalReader, last: u64) -> Vec<Journaled> {
    let mut all = Vec::new();
    while reader.next_ordinal() <= last {
        let records = reader.next_blocking(7).unwrap();
        assert!(!records.is_empty() && records.len() <= 7);
        all.extend(records);
    }
    for pair in all.windows(2) {
        assert_eq!(pair[0].record.ordinal + 1, pair[1].record.ordinal);
        assert!(pair[0].record.received_at_ms <= pair[1].record.received_at_ms);
    }
    all
}

fn check(records: &[Journaled]) {
    for record in records {
        assert_eq!(record.record.body, body(record.record.ordinal));
    }
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    durable::names_with_suffix(dir, Segment::SUFFIX).unwrap().iter().map(|name| dir.join(name)).collect()
}

fn bytes_of(files: &[PathBuf]) -> u64 {
    files.iter().map(|path| path.metadata().unwrap().len()).sum()
}

/// Waits until all segments but the last are sealed; nobody else has to.
fn sealed(journal: &JournalHandle, dir: &Path) {
    yield_until("the seals", || {
        let files = segment_files(dir);
        let cut = files[..files.len() - 1].iter().all(|path| path.metadata().unwrap().len() < 4096);
        cut && journal.counts().segment_bytes == bytes_of(&files)
    });
}

/// A copy of a journal folder as a kill would leave it.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    alertmill_proof::processes::copy(from, to.path());
    to
}

#[test]
fn ordinals_and_time_go_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(5_000));
    let clock = |now: &Arc<AtomicI64>| {
        let now = now.clone();
        Clock::Custom(Box::new(move || now.load(Ordering::SeqCst)))
    };
    let (journal, mut reader, report) = JournalDir::open(dir.path(), JournalOptions { clock: clock(&now), ..small(0) }).unwrap();
    assert_eq!(report, JournalReport::default());
    append(&journal, 1..=300);
    check(&drain(&mut reader, 300));
    let key = journal.uid_key();
    assert!(journal.counts().segment_bytes > 4096, "several segments");
    drop((journal, reader));
    now.store(10, Ordering::SeqCst);
    let (journal, mut reader, report) = JournalDir::open(dir.path(), JournalOptions { clock: clock(&now), ..small(0) }).unwrap();
    assert_eq!((report.last_ordinal, report.replay, report.written_again, report.gaps.len()), (300, 300, 0, 0));
    assert!(journal.uid_key() == key);
    append(&journal, [301]);
    let records = drain(&mut reader, 301);
    check(&records);
    assert_eq!((records.len(), records[300].record.received_at_ms), (301, 5_000), "the wall clock went back, the journal did not");
}

#[test]
fn a_second_opening_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = JournalDir::open(dir.path(), small(0)).unwrap();
    let refused = JournalDir::open(dir.path(), small(0)).err().unwrap();
    assert!(matches!(refused, StoreError::Locked { .. }) && refused.to_string().contains("another process"), "{refused}");
    drop(first);
    JournalDir::open(dir.path(), small(0)).unwrap();
}

#[test]
fn one_group_holds_what_waits_and_a_full_queue_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let hold = Arc::new(AtomicBool::new(true));
    let disk = Arc::new(FaultyDisk { hold: hold.clone(), ..FaultyDisk::default() });
    let options = JournalOptions { queue_bytes_max: 2_000, ..JournalOptions::default() };
    let (journal, mut reader, _) = open_on(dir.path(), options, disk).unwrap();
    let mut waiting = vec![Box::pin(journal.append(body(1), None))];
    // The writer takes the first and waits in its sync; what follows gathers.
    yield_until("the writer to take it", || journal.counts().append_queue_bytes == 0);
    let refused = loop {
        let n = waiting.len() as u64 + 1;
        let mut append = Box::pin(journal.append(body(n), None));
        match append.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => break answer,
            Poll::Pending => waiting.push(append),
        }
    };
    assert!(matches!(&refused, Err(PortError::Unavailable(why)) if why.contains("queue full")), "{refused:?}");
    hold.store(false, Ordering::SeqCst);
    let n = waiting.len() as u64;
    let ordinals: Vec<u64> = waiting.into_iter().map(|append| wait(append).unwrap().ordinal).collect();
    assert_eq!(ordinals, (1..=n).collect::<Vec<_>>());
    check(&drain(&mut reader, n));
    let counts = journal.counts();
    assert!(n > 10 && counts.groups == 2 && counts.records == n && counts.refused == 1, "{counts:?}");
}

#[test]
fn a_group_is_bounded_by_what_it_takes_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let hold = Arc::new(AtomicBool::new(true));
    let disk = Arc::new(FaultyDisk { hold: hold.clone(), ..FaultyDisk::default() });
    let (journal, _reader, _) = open_on(dir.path(), JournalOptions { group_bytes_max: 1_000, ..JournalOptions::default() }, disk).unwrap();
    let mut waiting = vec![Box::pin(journal.append(RecordBody::Clock, None))];
    yield_until("the writer to take it", || journal.counts().append_queue_bytes == 0);
    for _ in 0..99 {
        let mut append = Box::pin(journal.append(RecordBody::Clock, None));
        assert!(append.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        waiting.push(append);
    }
    hold.store(false, Ordering::SeqCst);
    waiting.into_iter().for_each(|append| _ = wait(append).unwrap());
    let counts = journal.counts();
    let least = 99 * segment::frame_bytes(2) / 1_000 + 1;
    assert!(counts.groups > least as u64, "{} groups for 100 records of 2 bytes and their heads", counts.groups);
}

#[test]
fn closing_writes_what_waits_and_ends_the_reader() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut reader, _) = JournalDir::open(dir.path(), small(0)).unwrap();
    let last = journal.append(body(1), None);
    journal.close();
    assert_eq!(wait(last).unwrap().ordinal, 1);
    assert!(matches!(wait(journal.append(body(2), None)), Err(PortError::Fatal(_))));
    check(&drain(&mut reader, 1));
    assert!(matches!(reader.next_blocking(1), Err(PortError::Fatal(why)) if why.contains("closed")));
    assert!(matches!(wait(reader.next_records(1)), Err(PortError::Fatal(_))));
}

#[test]
fn a_journal_at_rest_syncs_its_watermark_and_a_busy_one_once_in_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let (journal, _reader, _) = open_on(dir.path(), small(0), Arc::new(disk.clone())).unwrap();
    append(&journal, [1]);
    yield_until("the sync at rest", || disk.watermark_syncs.load(Ordering::SeqCst) == 1);
    let began = std::time::Instant::now();
    let mut n = 1;
    while disk.watermark_syncs.load(Ordering::SeqCst) == 1 {
        n += 1;
        append(&journal, [n]);
        assert!(began.elapsed() < Duration::from_secs(60), "{n} groups without a sync");
    }
}

#[test]
fn folders_and_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let journal_dir = dir.path().join("journal");
    let _open = JournalDir::open(&journal_dir, small(0)).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&journal_dir), 0o700);
    for entry in std::fs::read_dir(&journal_dir).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}
