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
fn damage_in_the_middle_is_fenced_with_the_exact_gap() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, reader, _) = JournalDir::open(dir.path(), small(0)).unwrap();
    append(&journal, 1..=150);
    drop((journal, reader));
    let file = segment_files(dir.path())[0].clone();
    let mut bytes = std::fs::read(&file).unwrap();
    let id = Segment::parse_name(file.file_name().unwrap().to_str().unwrap()).unwrap().1;
    let frame = segment::scan(&bytes, id, 1, None, 0).frames[9].clone();
    bytes[frame.payload.start + 1] ^= 0x40;
    std::fs::write(&file, &bytes).unwrap();
    let gap = Gap { first: 10, last: 10 };
    // The second opening finds the repaired files, and still says what is missing.
    for fenced in [1, 0] {
        let (_journal, mut reader, report) = JournalDir::open(dir.path(), small(0)).unwrap();
        assert_eq!((report.fenced.len(), &report.gaps[..], report.last_ordinal), (fenced, &[gap][..], 150));
        let records = drain(&mut reader, 150);
        assert_eq!(records[9].record.body, RecordBody::Clock, "a lost record keeps its place");
        check(&records[..9]);
        check(&records[10..]);
    }
    assert!(dir.path().join("quarantine").join(file.file_name().unwrap()).exists() && !file.exists());
}

#[test]
fn a_file_is_set_aside_without_hard_links_and_never_in_the_place_of_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let segment = Segment { first: 1, id: 7, bytes: 0 };
    let original = dir.path().join(segment.name());
    let without_links = |_: &Path, to: &Path| Err(if to.exists() { std::io::ErrorKind::AlreadyExists } else { std::io::ErrorKind::PermissionDenied }.into());
    let set_aside = |content: &str, has_links: bool| {
        std::fs::write(&original, content).unwrap();
        let link = |from: &Path, to: &Path| if has_links { std::fs::hard_link(from, to) } else { without_links(from, to) };
        let aside = recovery::set_aside_with(dir.path(), &segment, link).unwrap();
        assert_eq!(std::fs::read_to_string(&aside).unwrap(), content);
        std::fs::remove_file(&original).unwrap();
        aside
    };
    let first = set_aside("damaged", false);
    assert_eq!(set_aside("damaged", false), first, "after a kill it is the same one");
    assert_eq!(set_aside("damaged", true), first);
    let (second, third) = (set_aside("damaged too", false), set_aside("damaged as well", true));
    assert_eq!(set_aside("damaged too", true), second);
    assert!(first != second && second != third && first != third, "{first:?} {second:?} {third:?}");
    assert_eq!([first, second, third].map(|aside| std::fs::read_to_string(aside).unwrap()), ["damaged", "damaged too", "damaged as well"]);
    assert_eq!(std::fs::read_dir(dir.path().join("quarantine")).unwrap().count(), 3);
}

#[test]
fn a_crash_in_the_middle_of_fencing_is_finished_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, reader, _) = JournalDir::open(dir.path(), small(0)).unwrap();
    append(&journal, 1..=20);
    drop((journal, reader));
    let file = segment_files(dir.path())[0].clone();
    let mut bytes = std::fs::read(&file).unwrap();
    let id = Segment::parse_name(file.file_name().unwrap().to_str().unwrap()).unwrap().1;
    let frame = segment::scan(&bytes, id, 1, None, 0).frames[9].clone();
    bytes[frame.payload.start] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    drop(JournalDir::open(dir.path(), small(0)).unwrap());
    // As if the damaged file's name had not gone yet, with all of its parts there, or only the second.
    std::fs::write(&file, &bytes).unwrap();
    for part in [None, Some(11)] {
        let crashed = copy(dir.path());
        for path in segment_files(crashed.path()) {
            let (first, found) = Segment::parse_name(path.file_name().unwrap().to_str().unwrap()).unwrap();
            if found != id && part.is_some_and(|part| part != first) {
                std::fs::remove_file(path).unwrap();
            }
        }
        let (_journal, mut reader, report) = JournalDir::open(crashed.path(), small(0)).unwrap();
        assert_eq!((&report.gaps[..], report.last_ordinal), (&[Gap { first: 10, last: 10 }][..], 20), "{part:?}");
        let records = drain(&mut reader, 20);
        check(&records[..9]);
        check(&records[10..]);
    }
}

#[test]
fn a_lost_header_and_a_lost_file_are_survived() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, reader, _) = JournalDir::open(dir.path(), small(0)).unwrap();
    append(&journal, 1..=150);
    drop((journal, reader));
    let files = segment_files(dir.path());
    let mut bytes = std::fs::read(&files[0]).unwrap();
    bytes[..segment::HEADER_BYTES].fill(7);
    std::fs::write(&files[0], bytes).unwrap();
    std::fs::remove_file(&files[1]).unwrap();
    let first_of = |path: &Path| Segment::parse_name(path.file_name().unwrap().to_str().unwrap()).unwrap().0;
    let gap = Gap { first: first_of(&files[1]), last: first_of(&files[2]) - 1 };
    let (_journal, mut reader, report) = JournalDir::open(dir.path(), small(0)).unwrap();
    assert_eq!((&report.gaps[..], report.fenced.len(), report.last_ordinal), (&[gap][..], 1, 150));
    assert_eq!(drain(&mut reader, 150).len(), 150);
}

#[test]
fn a_file_that_the_disk_cannot_read_is_a_gap_to_a_copy_too() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, reader, _) = JournalDir::open(dir.path(), small(0)).unwrap();
    append(&journal, 1..=150);
    drop((journal, reader));
    let files = segment_files(dir.path());
    let second = Segment::parse_name(files[1].file_name().unwrap().to_str().unwrap()).unwrap().0;
    // A file that is there and whose first byte cannot be read, as of a bad sector.
    std::fs::remove_file(&files[0]).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", &files[0]).unwrap();
    assert_eq!(std::fs::read(&files[0]).unwrap_err().raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    assert_eq!(super::copy::oldest(dir.path()).unwrap().map(|(ordinal, _)| ordinal), Some(second));
    let read = |position| {
        let mut found = Vec::new();
        let missing = super::copy::read(dir.path(), position, None, |head, _| {
            found.push(head.ordinal);
            Ok(())
        });
        (missing.unwrap(), found)
    };
    assert_eq!(read(0), (Some(Gap { first: 1, last: second - 1 }), Vec::new()));
    assert_eq!(read(second - 1), (None, (second..=150).collect()));
}

#[test]
fn a_segment_is_begun_for_those_who_ask_and_never_without_room() {
    let dir = tempfile::tempdir().unwrap();
    let options = |position| JournalOptions { disk_bytes_max: 10_240, ..small(position) };
    let (journal, mut reader, _) = JournalDir::open(dir.path(), options(0)).unwrap();
    // One that holds no record is not left for another.
    journal.begin_segment();
    append(&journal, 1..=2);
    assert_eq!((segment_files(dir.path()).len(), journal.oldest_ordinal()), (1, 1));
    journal.begin_segment();
    append(&journal, 3..=4);
    sealed(&journal, dir.path());
    assert_eq!(segment_files(dir.path()).len(), 2, "once");
    check(&drain(&mut reader, 4));
    assert_eq!((journal.release(SyncedPosition::vouched(3)).unwrap(), journal.oldest_ordinal()), (1, 3));
    // A journal that has no room for another segment goes on in the one that it has.
    let mut last = 4;
    while segment_files(dir.path()).len() < 2 {
        last = wait(journal.append(body(last + 1), None)).unwrap().ordinal;
    }
    journal.begin_segment();
    last = wait(journal.append(body(last + 1), None)).unwrap().ordinal;
    assert_eq!(segment_files(dir.path()).len(), 2);
    check(&drain(&mut reader, last));
    drop((journal, reader));
    let (_, mut reader, report) = JournalDir::open(dir.path(), options(2)).unwrap();
    assert_eq!((report.last_ordinal, report.gaps.len(), drain(&mut reader, last).len() as u64), (last, 0, last - 2));
}

#[test]
fn segments_go_only_behind_a_synced_position() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut reader, _) = JournalDir::open(dir.path(), JournalOptions { keep_bytes: 8192, ..small(0) }).unwrap();
    append(&journal, 1..=400);
    drain(&mut reader, 400);
    sealed(&journal, dir.path());
    let before = segment_files(dir.path()).len();
    assert_eq!(journal.release(SyncedPosition::vouched(10)).unwrap(), 0);
    let gone = journal.release(SyncedPosition::vouched(400)).unwrap();
    assert!(gone > 0 && segment_files(dir.path()).len() == before - gone);
    let left = bytes_of(&segment_files(dir.path()));
    assert!(left > 8192 && left <= 8192 + 4096, "{left}");
    assert_eq!(journal.counts().segment_bytes, left);
    drop((journal, reader));
    let (journal, mut reader, report) = JournalDir::open(dir.path(), small(395)).unwrap();
    assert_eq!((report.replay, report.gaps.len()), (5, 0));
    append(&journal, [401]);
    check(&drain(&mut reader, 401));
}

#[test]
fn a_segment_that_cannot_be_removed_still_counts_and_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _reader, _) = JournalDir::open(dir.path(), small(0)).unwrap();
    append(&journal, 1..=300);
    sealed(&journal, dir.path());
    let files = segment_files(dir.path());
    assert!(files.len() > 3);
    // A folder in the place of the second segment: even root cannot remove it as a file.
    let aside = dir.path().join("aside");
    std::fs::rename(&files[1], &aside).unwrap();
    std::fs::create_dir(&files[1]).unwrap();
    let first = files[0].metadata().unwrap().len();
    let before = journal.counts().segment_bytes;
    for _ in 0..2 {
        assert!(journal.release(SyncedPosition::vouched(300)).is_err());
        assert_eq!(journal.counts().segment_bytes, before - first, "one is gone, and only one");
    }
    let released = journal.release_older(SyncedPosition::vouched(300), i64::MAX);
    assert!((released.unneeded, released.too_old, released.failed.is_some()) == (0, 0, true), "{released:?}");
    std::fs::remove_dir(&files[1]).unwrap();
    std::fs::rename(&aside, &files[1]).unwrap();
    assert_eq!(journal.release(SyncedPosition::vouched(300)).unwrap(), files.len() - 2);
    assert_eq!(journal.counts().segment_bytes, files.last().unwrap().metadata().unwrap().len());
}

#[test]
fn what_went_is_counted_by_its_reason_also_when_the_rest_cannot_go() {
    let dir = tempfile::tempdir().unwrap();
    // The oldest are not needed, of those kept all are too old; one of these cannot be removed.
    let kept = JournalOptions { keep_bytes: 5 * 4096, ..small(0) };
    let (journal, _reader, _) = JournalDir::open(dir.path(), kept).unwrap();
    append(&journal, 1..=600);
    let files = segment_files(dir.path());
    assert!(files.len() > 9);
    let stuck = &files[files.len() - 3];
    std::fs::remove_file(stuck).unwrap();
    std::fs::create_dir(stuck).unwrap();
    let released = journal.release_older(SyncedPosition::vouched(600), i64::MAX);
    assert_eq!(released.unneeded + released.too_old, files.len() - 3, "{released:?}");
    assert!(released.unneeded > 2 && released.too_old > 1 && released.failed.is_some(), "{released:?}");
}

#[test]
fn a_segment_that_a_kill_left_unsealed_goes_when_it_is_too_old() {
    let now = Arc::new(AtomicI64::new(5_000));
    let options = || {
        let now = now.clone();
        JournalOptions { keep_bytes: 1 << 30, clock: Clock::Custom(Box::new(move || now.load(Ordering::SeqCst))), ..small(0) }
    };
    let dir = tempfile::tempdir().unwrap();
    let (journal, _reader, _) = JournalDir::open(dir.path(), options()).unwrap();
    append(&journal, 1..=150);
    let killed = copy(dir.path());
    drop(journal);
    let left = segment_files(killed.path());
    let unsealed = left.last().unwrap();
    assert!(left.len() > 1 && copy::last_record_ms(unsealed).is_none());
    let (journal, _reader, _) = JournalDir::open(killed.path(), options()).unwrap();
    now.store(9_000, Ordering::SeqCst);
    append(&journal, 151..=300);
    let all = SyncedPosition::vouched(300);
    assert_eq!(journal.release_older(all, 5_000).too_old, 0, "none is older");
    let released = journal.release_older(all, 5_001);
    assert!((released.unneeded, released.failed.is_none()) == (0, true), "{released:?}");
    assert!(released.too_old >= left.len() && !unsealed.exists(), "{released:?} of {}", left.len());
    // Those of later records stay.
    assert!(segment_files(killed.path()).len() > 1);
    assert_eq!(journal.release_older(all, 5_001).too_old, 0);
}

#[test]
fn nobody_waits_for_the_files_that_retention_looks_at() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _reader, _) = JournalDir::open(dir.path(), JournalOptions { keep_bytes: 1 << 30, ..small(0) }).unwrap();
    append(&journal, 1..=300);
    sealed(&journal, dir.path());
    // Who opens one of these for reading waits until somebody opens it for writing.
    let slow: Vec<PathBuf> = segment_files(dir.path()).into_iter().take(2).collect();
    for path in &slow {
        std::fs::remove_file(path).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }
    let let_go = |path: &Path| {
        let writing = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
        yield_until("retention to open it", || rustix::fs::open(path, writing, rustix::fs::Mode::empty()).is_ok());
    };
    std::thread::scope(|scope| {
        let retention = scope.spawn(|| journal.release_older(SyncedPosition::vouched(300), 0));
        // It has looked at the first and waits for the second, or will.
        let_go(&slow[0]);
        let is_held = journal.inner.shared.segments.try_lock().is_err();
        let_go(&slow[1]);
        let released = retention.join().unwrap();
        assert_eq!((released.unneeded, released.too_old), (0, 0));
        assert!(!is_held, "who begins a segment or reads one would wait for the disk");
    });
}

#[test]
fn a_state_ahead_of_the_journal_moves_the_ordinals_on() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut reader, report) = JournalDir::open(dir.path(), JournalOptions { position_ms: 77, ..small(500) }).unwrap();
    assert!(report.behind_state && report.last_ordinal == 500);
    assert!(report.identity_replaced, "the key went with the journal");
    append(&journal, [501]);
    assert_eq!(drain(&mut reader, 501).len(), 1);
}

#[test]
fn an_older_journal_that_a_kill_left_goes_on_behind_the_state_without_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _reader, _) = JournalDir::open(dir.path(), small(0)).unwrap();
    append(&journal, 1..=6);
    let killed = copy(dir.path());
    let (journal, mut reader, report) = JournalDir::open(killed.path(), small(20)).unwrap();
    assert!(report.behind_state && report.written_again == 0 && report.last_ordinal == 20, "{report:?}");
    append(&journal, [21]);
    check(&drain(&mut reader, 21));
    drop((journal, reader));
    let (journal, mut reader, report) = JournalDir::open(killed.path(), small(20)).unwrap();
    let found = (report.last_ordinal, report.replay, report.fenced.len(), report.gaps.len(), report.behind_state);
    assert_eq!(found, (21, 1, 0, 0, false), "{report:?}");
    append(&journal, [22]);
    check(&drain(&mut reader, 22));
}

#[test]
fn a_reader_that_falls_behind_takes_the_rest_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut reader, _) = JournalDir::open(dir.path(), JournalOptions { live_bytes_max: 2_000, ..small(0) }).unwrap();
    append(&journal, 1..=200);
    assert!(journal.counts().live_queue_bytes <= 2_000);
    check(&drain(&mut reader, 200));
    // Caught up: what comes now goes through memory, parsed.
    wait(journal.append(body(201), Some(Vec::new()))).unwrap();
    let records = wait(reader.next_records(10)).unwrap();
    assert_eq!((records.len(), records[0].parsed.is_some()), (1, true));
}

#[test]
fn records_are_handed_over_in_batches_of_bounded_bytes() {
    let large = || {
        let mut large = body(1);
        if let RecordBody::Items(items) = &mut large {
            items.heap = vec![b' '; live::BATCH_BYTES_MAX / 4].into();
            items.spans[0].bytes = 0..items.heap.len() as u32;
        }
        large
    };
    for live_bytes_max in [1, 1 << 30] {
        let dir = tempfile::tempdir().unwrap();
        let options = JournalOptions { live_bytes_max, ..JournalOptions::default() };
        let (journal, mut reader, _) = JournalDir::open(dir.path(), options).unwrap();
        for _ in 0..10 {
            wait(journal.append(large(), None)).unwrap();
        }
        let mut batches = Vec::new();
        while reader.next_ordinal() <= 10 {
            batches.push(reader.next_blocking(1_000).unwrap().len());
        }
        assert_eq!(batches, [3, 3, 3, 1], "four are a little more, at {live_bytes_max} bytes in memory");
    }
}

#[test]
fn raw_payloads_come_in_batches_that_leave_room_for_what_rules_make_of_them() {
    for live_bytes_max in [1, 1 << 30] {
        let dir = tempfile::tempdir().unwrap();
        let options = JournalOptions { live_bytes_max, ..JournalOptions::default() };
        let (journal, mut reader, _) = JournalDir::open(dir.path(), options).unwrap();
        for n in 1..=100 {
            wait(journal.append(payload_body(n), None)).unwrap();
        }
        let mut batches = Vec::new();
        while reader.next_ordinal() <= 100 {
            let records = reader.next_blocking(1_024).unwrap();
            assert!(records.iter().all(|journaled| journaled.record.body == payload_body(journaled.record.ordinal)));
            batches.push(records.len());
        }
        // What was acknowledged last may be there a moment later.
        assert_eq!((&batches[..3], batches.iter().sum::<usize>()), (&[32, 32, 32][..], 100), "at {live_bytes_max} bytes in memory");
    }
}

#[test]
fn a_record_of_a_newer_version_stops_the_reader_and_nothing_is_set_aside() {
    for (newer, said) in [(&[1, 99, 5][..], "record kind 99 is not known"), (&[9, 1], "record format 9 is not known")] {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = segment::encode_header(7, 1).to_vec();
        let mut known = Vec::new();
        body(1).encode(&mut known);
        for (payload, ordinal) in [(&known[..], 1), (newer, 2)] {
            segment::encode_frame(&mut bytes, 7, segment::FrameHead { ordinal, received_at_ms: 1_000, group_first: ordinal }, payload);
        }
        bytes.resize(4_096, 0);
        std::fs::write(dir.path().join(Segment { first: 1, id: 7, bytes: bytes.len() as u64 }.name()), &bytes).unwrap();
        for start in 1..=2 {
            let (_journal, mut reader, report) = JournalDir::open(dir.path(), small(0)).unwrap();
            assert_eq!((report.last_ordinal, report.gaps.len()), (2, 0), "start {start}");
            check(&reader.next_blocking(1).unwrap());
            let error = reader.next_blocking(1).unwrap_err().to_string();
            assert!(error.contains(said) && error.ends_with("a newer one wrote it; run that version, or a later one"), "{error}");
        }
    }
}

#[test]
fn a_lingering_reader_takes_along_what_comes_and_no_more_than_fits() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut reader, _) = JournalDir::open(dir.path(), small(0)).unwrap();
    let long = Duration::from_secs(600);
    append(&journal, [1]);
    let mut records = reader.next_blocking(10).unwrap();
    reader.linger(&mut records, 10, 1, long);
    assert_eq!(records.len(), 1, "enough are there");
    reader.linger(&mut records, 10, 2, Duration::ZERO);
    assert_eq!(records.len(), 1, "no time to wait");
    std::thread::scope(|scope| {
        scope.spawn(|| append(&journal, 2..=4));
        reader.linger(&mut records, 10, 4, long);
    });
    assert_eq!(records.len(), 4);
    append(&journal, 5..=8);
    reader.linger(&mut records, 6, 8, long);
    assert_eq!(records.len(), 6, "the rest is the next batch's");
    let mut rest = drain(&mut reader, 8);
    journal.close();
    reader.linger(&mut rest, 10, 10, long);
    records.extend(rest);
    check(&records);
    assert_eq!(records.len(), 8, "a journal that ends is not waited for");
    assert!(matches!(reader.next_blocking(1), Err(PortError::Fatal(_))));
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
fn a_record_that_does_not_fit_a_batch_any_more_begins_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, reader, _) = JournalDir::open(dir.path(), small(0)).unwrap();
    let of_three = |n: u64| match body(n) {
        RecordBody::Items(items) => RecordBody::Items(Items { spans: vec![items.spans[0].clone(); 3], ..items }),
        other => other,
    };
    for n in 1..=200 {
        wait(journal.append(of_three(n), None)).unwrap();
    }
    drop((journal, reader));
    let (_journal, mut reader, _) = JournalDir::open(dir.path(), small(0)).unwrap();
    assert_eq!(drain(&mut reader, 200).len(), 200);
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
fn a_failed_sync_ends_the_file_and_loses_nothing() {
    for failing in 1..=12 {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk { syncs: Failing::at(&[failing]), ..FaultyDisk::default() };
        let (journal, mut reader, _) = open_on(dir.path(), small(0), Arc::new(disk.clone())).unwrap();
        append(&journal, 1..=12);
        assert_eq!((journal.counts().failed_syncs, journal.failure()), (1, None));
        assert_eq!(segment_files(dir.path()).len(), 2);
        check(&drain(&mut reader, 12));
        let killed = copy(dir.path());
        drop((journal, reader));
        assert!(!disk.used_after_failure.load(Ordering::SeqCst), "the failed file was used again");
        for folder in [dir.path(), killed.path()] {
            let (_journal, mut reader, report) = JournalDir::open(folder, small(0)).unwrap();
            assert_eq!((report.last_ordinal, report.gaps.len(), report.fenced.len()), (12, 0, 0));
            check(&drain(&mut reader, 12));
        }
    }
}

#[test]
fn after_a_second_failure_in_a_row_the_group_is_unclear_and_the_journal_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk { syncs: Failing::at(&[3]), creates: Failing::at(&[2, 3]), ..FaultyDisk::default() };
    let (journal, mut reader, _) = open_on(dir.path(), small(0), Arc::new(disk.clone())).unwrap();
    append(&journal, 1..=2);
    let unclear = wait(journal.append(body(33), None));
    assert!(matches!(&unclear, Err(PortError::Unclear(why)) if why.contains("input/output error")), "{unclear:?}");
    assert!(!format!("{unclear:?}").contains(&dir.path().display().to_string()), "senders learn no paths: {unclear:?}");
    let killed = copy(dir.path());
    let refused = wait(journal.append(body(34), None));
    assert!(matches!(&refused, Err(PortError::DiskRefused(why)) if why.contains("nothing was taken")), "{refused:?}");
    append(&journal, 3..=9);
    check(&drain(&mut reader, 9));
    let later = copy(dir.path());
    drop((journal, reader));
    assert!(!disk.used_after_failure.load(Ordering::SeqCst), "the failed file was used again");
    for folder in [dir.path(), later.path()] {
        let (_journal, mut reader, report) = JournalDir::open(folder, small(0)).unwrap();
        assert_eq!((report.last_ordinal, report.gaps.len(), report.fenced.len()), (9, 0, 0));
        check(&drain(&mut reader, 9));
    }
    // A kill before the next group: what is unclear may be there or not; what was acknowledged is.
    let (_journal, mut reader, report) = JournalDir::open(killed.path(), small(0)).unwrap();
    assert!((2..=3).contains(&report.last_ordinal) && report.gaps.is_empty());
    check(&drain(&mut reader, report.last_ordinal)[..2]);
}

#[test]
fn a_writer_that_panics_is_said_and_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let told = Arc::new(AtomicI64::new(0));
    let clock = Clock::Custom(Box::new(move || {
        let now = told.fetch_add(1, Ordering::SeqCst);
        assert!(now < 2, "this panic is the test's");
        now
    }));
    let (journal, mut reader, _) = JournalDir::open(dir.path(), JournalOptions { clock, ..small(0) }).unwrap();
    append(&journal, 1..=2);
    for _ in 0..2 {
        assert!(matches!(wait(journal.append(body(3), None)), Err(PortError::Fatal(why)) if why.contains("restart")));
    }
    yield_until("health to know it", || journal.failure().is_some_and(|why| why.contains("bug")));
    check(&drain(&mut reader, 2));
    assert!(matches!(reader.next_blocking(1), Err(PortError::Fatal(_))));
}

/// Keeps a copy of the folder as a kill behind each file that is made would leave it.
struct Killing(Arc<std::sync::Mutex<Vec<tempfile::TempDir>>>);

impl Killing {
    fn behind<T>(&self, path: &Path, made: std::io::Result<T>) -> std::io::Result<T> {
        self.0.lock().unwrap().push(copy(path.parent().unwrap()));
        made
    }
}

impl Disk for Killing {
    fn create(&self, path: &Path, bytes: u64, content: &[u8]) -> std::io::Result<Box<dyn SegmentFile>> {
        self.behind(path, RealDisk.create(path, bytes, content))
    }
    fn replace(&self, path: &Path, bytes: u64, content: &[u8]) -> std::io::Result<Box<dyn SegmentFile>> {
        self.behind(path, RealDisk.replace(path, bytes, content))
    }
    fn prepare(&self, unfinished: &Path, bytes: u64) -> std::io::Result<Box<dyn SegmentFile>> {
        RealDisk.prepare(unfinished, bytes)
    }
    fn finish(&self, prepared: &dyn SegmentFile, unfinished: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
        self.behind(path, RealDisk.finish(prepared, unfinished, path, content))
    }
}

#[test]
fn a_kill_in_the_middle_of_a_first_start_is_nothing_to_report() {
    let dir = tempfile::tempdir().unwrap();
    let killed = Arc::new(std::sync::Mutex::new(Vec::new()));
    drop(open_on(dir.path(), small(0), Arc::new(Killing(killed.clone()))).unwrap());
    let killed = std::mem::take(&mut *killed.lock().unwrap());
    assert!(killed.len() >= 2, "a segment and a watermark");
    for (i, folder) in killed.iter().enumerate() {
        let (journal, _reader, report) = JournalDir::open(folder.path(), small(0)).unwrap();
        assert_eq!(report, JournalReport::default(), "killed behind file {i}");
        append(&journal, [1]);
    }
}

#[test]
fn a_watermark_that_fails_refuses_nobody_and_is_made_anew_with_the_next_segment() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let (journal, mut reader, _) = open_on(dir.path(), small(0), Arc::new(disk.clone())).unwrap();
    let says = || watermark::read(dir.path()).unwrap();
    append(&journal, 1..=3);
    assert_eq!(says(), Some(3));
    disk.watermark_fails.store(true, Ordering::SeqCst);
    append(&journal, 4..=100);
    assert_eq!(says(), Some(3), "behind, and never ahead");
    disk.watermark_fails.store(false, Ordering::SeqCst);
    let segments = journal.counts().segment_bytes;
    let mut last = 100;
    while journal.counts().segment_bytes == segments || says() != Some(last) {
        last += 1;
        append(&journal, [last]);
        assert!(last < 300, "no new one");
    }
    check(&drain(&mut reader, last));
    assert_eq!(journal.failure(), None);
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
fn the_next_segment_is_made_ahead_and_when_that_fails_it_is_made_when_it_is_wanted() {
    for failing in 1..=4 {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk { prepares: Failing::at(&[failing]), ..FaultyDisk::default() };
        let (journal, mut reader, _) = open_on(dir.path(), small(0), Arc::new(disk)).unwrap();
        append(&journal, 1..=300);
        check(&drain(&mut reader, 300));
        let killed = copy(dir.path());
        drop((journal, reader));
        assert!(durable::names_with_suffix(dir.path(), crate::disk::UNFINISHED).unwrap().is_empty(), "a spare is left");
        for folder in [dir.path(), killed.path()] {
            let (_journal, mut reader, report) = JournalDir::open(folder, small(0)).unwrap();
            assert_eq!((report.last_ordinal, report.gaps.len(), report.fenced.len()), (300, 0, 0));
            check(&drain(&mut reader, 300));
        }
    }
}

#[test]
fn what_is_made_ahead_is_within_the_journals_limit() {
    let dir = tempfile::tempdir().unwrap();
    let disk_bytes_max = 20_000;
    let (journal, _reader, _) = JournalDir::open(dir.path(), JournalOptions { disk_bytes_max, ..small(0) }).unwrap();
    let all = || {
        let spares = durable::names_with_suffix(dir.path(), crate::disk::UNFINISHED).unwrap();
        bytes_of(&[segment_files(dir.path()), spares.iter().map(|name| dir.path().join(name)).collect()].concat())
    };
    let mut last = 0;
    // Here the writer and what it left to others rest, so that no file has two names and none is gone while it is measured.
    while let Ok(appended) = wait(journal.append(body(last + 1), None)) {
        last = appended.ordinal;
        sealed(&journal, dir.path());
        assert!(all() <= disk_bytes_max, "{} after record {last}", all());
    }
    assert!(last > 100 && journal.release(SyncedPosition::vouched(last)).unwrap() > 0);
    append(&journal, [last + 1]);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk { creates: Failing::at(&[2]), ..FaultyDisk::default() };
    let (journal, mut reader, _) = open_on(dir.path(), small(0), Arc::new(disk)).unwrap();
    let mut next = 1;
    let refused = loop {
        match wait(journal.append(body(next), None)) {
            Ok(appended) => next = appended.ordinal + 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, PortError::DiskRefused(why) if why.contains("nothing was taken")), "{refused:?}");
    assert!(!refused.to_string().contains(&dir.path().display().to_string()), "senders learn no paths: {refused}");
    append(&journal, next..=next + 100);
    check(&drain(&mut reader, next + 100));
    assert_eq!(journal.failure(), None);
}

#[test]
fn a_journal_over_its_limit_refuses_until_segments_are_released() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _reader, _) = JournalDir::open(dir.path(), JournalOptions { disk_bytes_max: 12_288, ..small(0) }).unwrap();
    let mut last = 0;
    let refused = loop {
        match wait(journal.append(body(last + 1), None)) {
            Ok(appended) => last = appended.ordinal,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, PortError::Full(why) if why.contains("is full")), "{refused:?}");
    assert!(journal.release(SyncedPosition::vouched(last)).unwrap() > 0);
    append(&journal, [last + 1]);
}

#[test]
fn a_full_journal_takes_verdicts() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, reader, _) = JournalDir::open(dir.path(), JournalOptions { disk_bytes_max: 12_288, ..small(0) }).unwrap();
    let is_full = |answer: &Result<Appended, PortError>| matches!(answer, Err(PortError::Full(why)) if why.contains("is full"));
    let mut last = 0;
    while let Ok(appended) = wait(journal.append(body(last + 1), None)) {
        last = appended.ordinal;
    }
    let before = last;
    // As many as one segment holds, and nothing else gets into it.
    let refused = loop {
        match wait(journal.append(verdicts_body(last), None)) {
            Ok(appended) => last = appended.ordinal,
            refused => break refused,
        }
        assert!(is_full(&wait(journal.append(body(0), None))));
    };
    assert!(is_full(&refused) && last >= before + 5, "{refused:?} after {} of them", last - before);
    assert_eq!(segment_files(dir.path()).len(), 4, "three, and one in the reserve");
    // The segment of the next process is in the reserve too, whoever finds room in it.
    drop((journal, reader));
    let options = JournalOptions { disk_bytes_max: 12_288, ..small(0) };
    let (journal, mut reader, _) = JournalDir::open(dir.path(), options).unwrap();
    assert!(is_full(&wait(journal.append(body(0), None))));
    for body in [RecordBody::Start { version: "1".into() }, verdicts_body(last)] {
        last = wait(journal.append(body, None)).unwrap().ordinal;
    }
    // When the first can go, there is room for everyone again.
    let records = drain(&mut reader, last);
    check(&records[..before as usize]);
    assert!(journal.release(SyncedPosition::vouched(last)).unwrap() > 0);
    append(&journal, last + 1..=last + 40);
}

#[test]
fn verdicts_go_on_alone_from_a_group_that_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let hold = Arc::new(AtomicBool::new(false));
    let disk = Arc::new(FaultyDisk { hold: hold.clone(), ..FaultyDisk::default() });
    let options = JournalOptions { disk_bytes_max: 12_288, queue_bytes_max: 500, ..small(0) };
    let (journal, _reader, _) = open_on(dir.path(), options, disk).unwrap();
    // Room for two more of them in the last segment.
    let mut last = 0;
    while journal.counts().segment_bytes <= 8_192 || last % 2 == 0 {
        last = wait(journal.append(body(last + 1), None)).unwrap().ordinal;
    }
    hold.store(true, Ordering::SeqCst);
    let mut first = Box::pin(journal.append(body(last + 1), None));
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    yield_until("the writer to take it", || journal.counts().append_queue_bytes == 0);
    let large = body_of_bytes(4_000);
    let mut waiting = Vec::new();
    for body in [large.clone(), verdicts_body(1), large, verdicts_body(2)] {
        let mut append = Box::pin(journal.append(body, None));
        // A queue that is full for everyone else takes verdicts.
        let answer = append.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        waiting.push((append, answer));
    }
    hold.store(false, Ordering::SeqCst);
    assert_eq!(wait(first).unwrap().ordinal, last + 1);
    let answers: Vec<Result<u64, bool>> = waiting
        .into_iter()
        .map(|(append, answer)| {
            let answer = match answer {
                Poll::Ready(answer) => answer,
                Poll::Pending => wait(append),
            };
            answer.map(|appended| appended.ordinal).map_err(|error| matches!(error, PortError::Full(_)))
        })
        .collect();
    assert_eq!(answers, [Err(true), Ok(last + 2), Err(false), Ok(last + 3)]);
}

/// An item of so many bytes.
fn body_of_bytes(bytes: usize) -> RecordBody {
    let RecordBody::Items(items) = body(0) else { unreachable!() };
    RecordBody::Items(Items { heap: vec![b' '; bytes].into(), spans: vec![ItemSpan { bytes: 0..bytes as u32, request_index: 0 }], ..items })
}

#[test]
fn verdicts_behind_the_position_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, reader, _) = JournalDir::open(dir.path(), small(0)).unwrap();
    // Every tenth record, over several segments.
    for n in 1..=200 {
        wait(journal.append(if n % 10 == 0 { verdicts_body(n) } else { body(n) }, None)).unwrap();
    }
    assert!(segment_files(dir.path()).len() > 4);
    drop((journal, reader));
    let found = |dir: &Path, position| {
        let (_journal, _reader, report) = JournalDir::open(dir, small(position)).unwrap();
        report.verdicts.iter().map(|verdicts| verdicts.generation).collect::<Vec<_>>()
    };
    let tens = |from: u64| (from..=20).map(|n| n * 10).collect::<Vec<_>>();
    for (position, from) in [(0, 1), (9, 1), (10, 2), (105, 11), (199, 20), (200, 21), (300, 21)] {
        assert_eq!(found(copy(dir.path()).path(), position), tens(from), "behind {position}");
    }
    // A torn tail: what is whole before it counts.
    let torn = copy(dir.path());
    let last = segment_files(torn.path()).pop().unwrap();
    let bytes = std::fs::read(&last).unwrap();
    let (first, id) = Segment::parse_name(last.file_name().unwrap().to_str().unwrap()).unwrap();
    let frames = segment::scan(&bytes, id, first, None, 0).frames;
    std::fs::write(&last, &bytes[..frames.last().unwrap().payload.start + 5]).unwrap();
    assert_eq!(found(torn.path(), 0), tens(1)[..19]);
    // A fenced middle: the one that cannot be read is missing, in this start and the next.
    let fenced = copy(dir.path());
    let file = segment_files(fenced.path())[0].clone();
    let mut bytes = std::fs::read(&file).unwrap();
    let (first, id) = Segment::parse_name(file.file_name().unwrap().to_str().unwrap()).unwrap();
    let frames = segment::scan(&bytes, id, first, None, 0).frames;
    bytes[frames[19].payload.start + 9] ^= 0x10;
    std::fs::write(&file, &bytes).unwrap();
    for _ in 0..2 {
        assert_eq!(found(fenced.path(), 0), tens(1).into_iter().filter(|n| *n != 20).collect::<Vec<_>>());
    }
}

#[test]
fn a_record_that_never_fits_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _reader, _) = JournalDir::open(dir.path(), JournalOptions { disk_bytes_max: 12_288, ..small(0) }).unwrap();
    let huge = match body(1) {
        RecordBody::Items(items) => {
            let span = ItemSpan { bytes: 0..20_000, request_index: 0 };
            RecordBody::Items(Items { heap: vec![b' '; 20_000].into(), spans: vec![span], ..items })
        }
        other => other,
    };
    assert!(matches!(wait(journal.append(huge, None)), Err(PortError::TooLarge(why)) if why.contains("fewer items")));
    append(&journal, [1]);
}

#[test]
fn a_lost_identity_is_replaced_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, reader, _) = JournalDir::open(dir.path(), small(0)).unwrap();
    append(&journal, [1]);
    let key = journal.uid_key();
    drop((journal, reader));
    std::fs::write(dir.path().join("identity"), b"short").unwrap();
    let (journal, _reader, report) = JournalDir::open(dir.path(), small(0)).unwrap();
    assert!(report.identity_replaced && journal.uid_key() != key);
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
