//! The reader: batches, files behind memory, verdicts that a start looks for.

use super::*;

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
