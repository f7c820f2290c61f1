use super::*;
use crate::disk::faulty::{Failing, FaultyDisk};
use alertmill_core::event::Uid;
use std::sync::atomic::Ordering;

fn events(n: u8) -> (Vec<StoredEvent>, Vec<u8>) {
    let mut heap = Vec::new();
    let events = (0..n)
        .map(|i| {
            let start = heap.len() as u32;
            heap.extend_from_slice(format!("{{\"n\":{i}}}").as_bytes());
            StoredEvent { uid: Uid([i; 16]), known_until_s: i64::from(i), index_time_s: 9, document: start..heap.len() as u32 }
        })
        .collect();
    (events, heap)
}

fn document(reader: &EventReader, place: EventPlace) -> String {
    match reader.read(place).unwrap() {
        EventRead::Found(row) => String::from_utf8(row.document).unwrap(),
        EventRead::Gone => "gone".into(),
        EventRead::Damaged => "damaged".into(),
    }
}

#[test]
fn rows_are_read_by_place_and_garbage_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (events, heap) = events(3);
    let (mut segments, _) = EventSegments::open(dir.path(), EventPlace::default(), 1 << 16).unwrap();
    let places = segments.append(&events, &heap, 0).unwrap();
    let committed = segments.end();
    segments.append(&events, &heap, 0).unwrap();
    drop(segments);
    let reader = EventReader::new(dir.path());
    assert_eq!(document(&reader, places[1]), "{\"n\":1}");
    let (mut segments, whole) = EventSegments::open(dir.path(), committed, 1 << 16).unwrap();
    assert!(whole);
    assert_eq!(document(&reader, committed), "damaged", "what no commit named is not there");
    assert_eq!(segments.append(&events, &heap, 0).unwrap()[0], committed);
    let mut seen = Vec::new();
    assert_eq!(reader.scan(places[1], segments.end(), |uid, until, _| seen.push((uid.0[0], until))).unwrap(), 0);
    assert_eq!(seen, [(1, 1), (2, 2), (0, 0), (1, 1), (2, 2)]);
}

#[test]
fn a_huge_commit_keeps_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (mut segments, _) = EventSegments::open(dir.path(), EventPlace::default(), 1 << 20).unwrap();
    let heap = vec![b'x'; 2 * BUFFER_KEPT_BYTES];
    let (mut events, _) = events(1);
    events[0].document = 0..heap.len() as u32;
    let huge = segments.append(&events, &heap, 0).unwrap()[0];
    assert!(segments.buffer.capacity() <= BUFFER_KEPT_BYTES, "{}", segments.buffer.capacity());
    assert_eq!(document(&EventReader::new(dir.path()), huge).len(), heap.len());
}

#[test]
fn files_turn_by_size_and_day_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    let (events, heap) = events(3);
    let (mut segments, _) = EventSegments::open(dir.path(), EventPlace::default(), 256).unwrap();
    let first = segments.append(&events, &heap, 0).unwrap()[0];
    let by_size = segments.append(&events, &heap, 0).unwrap()[0];
    let by_day = segments.append(&events[..1], &heap, 86_400).unwrap()[0];
    assert_eq!([first.segment, by_size.segment, by_day.segment], [1, 2, 3]);
    let reader = EventReader::new(dir.path());
    assert_eq!(document(&reader, first), "{\"n\":0}");
    let mut seen = 0;
    assert_eq!(reader.scan(first, segments.end(), |_, _, _| seen += 1).unwrap(), 0);
    assert_eq!(seen, 7);
    // Age is that of the data, whenever a file was written.
    let received = |number: u32| Some(i64::from(number) * 100);
    assert_eq!(segments.retire(u64::MAX, 100, 9, received, |_| Ok(())).unwrap(), RetiredFiles::default());
    assert_eq!(segments.retire(u64::MAX, 999, 1, received, |_| Ok(())).unwrap(), RetiredFiles::default(), "what is still needed stays");
    assert_eq!(segments.retire(u64::MAX, 101, 9, received, |_| Ok(())).unwrap(), RetiredFiles { by_age: 1, by_size: 0 });
    reader.forget_removed();
    assert_eq!(reader.read(first).unwrap(), EventRead::Gone);
    assert_eq!(document(&reader, by_size), "{\"n\":0}");
    assert_eq!(segments.retire(0, 0, 9, received, |_| Ok(())).unwrap(), RetiredFiles { by_age: 0, by_size: 1 });
    assert!(reader.numbers().unwrap() == [3], "the one that is written stays");
}

#[test]
fn every_flipped_bit_of_a_row_is_detected() {
    let dir = tempfile::tempdir().unwrap();
    let (events, heap) = events(2);
    let (mut segments, _) = EventSegments::open(dir.path(), EventPlace::default(), 4096).unwrap();
    let places = segments.append(&events, &heap, 0).unwrap();
    let path = path_of(dir.path(), 1);
    let bytes = std::fs::read(&path).unwrap();
    for bit in places[0].offset * 8..places[1].offset * 8 {
        let mut flipped = bytes.clone();
        flipped[bit as usize / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, flipped).unwrap();
        assert_eq!(EventReader::new(dir.path()).read(places[0]).unwrap(), EventRead::Damaged, "bit {bit}");
    }
}

#[test]
fn a_file_shorter_than_the_state_says_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (events, heap) = events(2);
    let (mut segments, _) = EventSegments::open(dir.path(), EventPlace::default(), 4096).unwrap();
    segments.append(&events, &heap, 0).unwrap();
    let committed = segments.end();
    drop(segments);
    std::fs::remove_file(path_of(dir.path(), 1)).unwrap();
    let (mut segments, whole) = EventSegments::open(dir.path(), committed, 4096).unwrap();
    assert!(!whole);
    assert_eq!(segments.append(&events, &heap, 0).unwrap()[0].segment, 2, "no place is used twice");
}

#[test]
fn what_is_taken_back_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let (three, heap) = events(3);
    let (mut segments, _) = EventSegments::open(dir.path(), EventPlace::default(), 1 << 16).unwrap();
    segments.append(&three, &heap, 0).unwrap();
    let before = segments.end();
    let taken_back = segments.append(&three, &heap, 0).unwrap();
    segments.rewind(before);
    let again = segments.append(&three[1..2], &heap, 0).unwrap();
    assert_eq!(again[0], taken_back[0]);
    let reader = EventReader::new(dir.path());
    assert_eq!(document(&reader, again[0]), "{\"n\":1}");
    // Nor does the rest of it come back with a restart or with the next file.
    let committed = segments.end();
    segments.append(&three, &heap, 86_400).unwrap();
    let mut seen = Vec::new();
    assert_eq!(reader.scan(EventPlace::default(), segments.end(), |uid, _, _| seen.push(uid.0[0])).unwrap(), 0);
    assert_eq!(seen, [0, 1, 2, 1, 0, 1, 2]);
    segments.rewind(committed);
    assert_eq!(segments.append(&three[..1], &heap, 86_400).unwrap()[0].segment, 2, "the state names nothing of what is before it there");
    drop(segments);
    let (segments, whole) = EventSegments::open(dir.path(), committed, 1 << 16).unwrap();
    assert!(whole && segments.end() == committed && !path_of(dir.path(), 2).exists());
}

#[test]
fn a_failed_sync_ends_the_file_and_loses_nothing() {
    for failing in 1..=6 {
        let dir = tempfile::tempdir().unwrap();
        let (three, heap) = events(3);
        let disk = FaultyDisk { syncs: Failing::at(&[failing]), ..FaultyDisk::default() };
        let (mut segments, _) = EventSegments::open_on(dir.path(), EventPlace::default(), 1 << 16, Arc::new(disk.clone())).unwrap();
        let places: Vec<EventPlace> = (0..6).flat_map(|_| segments.append(&three, &heap, 0).unwrap()).collect();
        assert_eq!((segments.failed_syncs, segments.end().segment), (1, 2));
        assert!(!disk.used_after_failure.load(Ordering::SeqCst));
        let reader = EventReader::new(dir.path());
        for (i, place) in places.iter().enumerate() {
            assert_eq!(document(&reader, *place), format!("{{\"n\":{}}}", i % 3));
        }
        let mut seen = 0;
        assert_eq!(reader.scan(EventPlace::default(), segments.end(), |_, _, _| seen += 1).unwrap(), 0, "no damage");
        assert_eq!(seen, 18, "and nothing twice");
    }
}

#[test]
fn after_a_second_failure_neither_file_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (three, heap) = events(3);
    let disk = FaultyDisk { syncs: Failing::at(&[2, 3]), creates: Failing::at(&[3]), ..FaultyDisk::default() };
    let (mut segments, _) = EventSegments::open_on(dir.path(), EventPlace::default(), 1 << 16, Arc::new(disk.clone())).unwrap();
    let mut places = segments.append(&three, &heap, 0).unwrap();
    let committed = segments.end();
    let error = segments.append(&three, &heap, 0).unwrap_err();
    assert!(error.to_string().contains("input/output error"), "{error}");
    segments.rewind(committed);
    assert_eq!(segments.failed_syncs, 2);
    assert!(segments.append(&three, &heap, 0).is_err(), "a disk that is full now");
    segments.rewind(committed);
    places.extend(segments.append(&three, &heap, 0).unwrap());
    assert!(!disk.used_after_failure.load(Ordering::SeqCst));
    let reader = EventReader::new(dir.path());
    assert_eq!(places.iter().map(|place| document(&reader, *place)).collect::<String>(), "{\"n\":0}{\"n\":1}{\"n\":2}".repeat(2));
    let mut seen = 0;
    assert_eq!(reader.scan(EventPlace::default(), segments.end(), |_, _, _| seen += 1).unwrap(), 0, "no damage");
    assert_eq!(seen, 6);
    let end = segments.end();
    drop(segments);
    assert!(EventSegments::open(dir.path(), end, 1 << 16).unwrap().1);
}

#[test]
fn a_scan_reads_rows_and_not_the_room_behind_them() {
    let dir = tempfile::tempdir().unwrap();
    let (events, heap) = events(3);
    let (mut segments, _) = EventSegments::open(dir.path(), EventPlace::default(), 1 << 16).unwrap();
    segments.append(&events, &heap, 0).unwrap();
    // More than any memory holds; it takes no space.
    OpenOptions::new().write(true).open(path_of(dir.path(), 1)).unwrap().set_len(1 << 40).unwrap();
    let mut seen = 0;
    let damaged = EventReader::new(dir.path()).scan(EventPlace { segment: 1, offset: 0 }, segments.end(), |_, _, _| seen += 1).unwrap();
    assert_eq!((seen, damaged), (3, 0));
}

#[test]
fn what_is_begun_has_the_places_that_it_ends_with_whatever_fails() {
    for failing in 0..=4 {
        let dir = tempfile::tempdir().unwrap();
        let (three, heap) = events(3);
        let disk = FaultyDisk { syncs: Failing::at(&[failing]), ..FaultyDisk::default() };
        let (mut segments, _) = EventSegments::open_on(dir.path(), EventPlace::default(), 1 << 16, Arc::new(disk.clone())).unwrap();
        let mut places = Vec::new();
        for _ in 0..4 {
            segments.begin(&three, &heap, 0).unwrap();
            places.extend(segments.finish().unwrap());
        }
        assert_eq!((segments.failed_syncs, segments.finish().unwrap().len()), (u64::from(failing > 0), 0));
        assert!(!disk.used_after_failure.load(Ordering::SeqCst));
        let reader = EventReader::new(dir.path());
        assert_eq!(places.iter().map(|place| document(&reader, *place)).collect::<String>(), "{\"n\":0}{\"n\":1}{\"n\":2}".repeat(4));
        let mut seen = 0;
        assert_eq!(reader.scan(EventPlace::default(), segments.end(), |_, _, _| seen += 1).unwrap(), 0, "no damage");
        assert_eq!(seen, 12, "and nothing twice");
    }
}

#[test]
fn the_next_file_is_made_ahead_and_when_that_fails_it_is_made_when_it_is_wanted() {
    for failing in [0, 2, 3] {
        let dir = tempfile::tempdir().unwrap();
        let (three, heap) = events(3);
        let disk = FaultyDisk { creates: Failing::at(&[failing]), ..FaultyDisk::default() };
        let (mut segments, _) = EventSegments::open_on(dir.path(), EventPlace::default(), 512, Arc::new(disk)).unwrap();
        let places: Vec<EventPlace> = (0..12).flat_map(|_| segments.append(&three, &heap, 0).unwrap()).collect();
        assert!(segments.end().segment > 2);
        let reader = EventReader::new(dir.path());
        assert!(places.iter().enumerate().all(|(i, place)| document(&reader, *place) == format!("{{\"n\":{}}}", i % 3)));
        // One that is on its way has no rows and does not count; the one that is written to stays.
        let retired = segments.retire(0, 0, u32::MAX, |_| Some(0), |_| Ok(())).unwrap();
        assert_eq!(retired.by_size, u64::from(segments.end().segment) - 1);
        let end = segments.end();
        drop(segments);
        assert_eq!(numbers(dir.path()).unwrap(), [end.segment], "what was made in vain is gone");
    }
}
