//! Which segments go, and when.

use super::*;

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
