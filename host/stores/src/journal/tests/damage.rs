//! Files that are spoiled, lost or from elsewhere: what a start makes of them.

use super::*;

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
