//! Calls that fail, writers that panic, kills in between.

use super::*;

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
