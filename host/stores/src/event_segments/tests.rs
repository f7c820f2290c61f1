use super::*;
use alertmill_core::event::Uid;

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
    assert!(reader.read(committed).is_err(), "what no commit named is gone");
    assert_eq!(segments.append(&events, &heap, 0).unwrap()[0], committed);
    let mut seen = Vec::new();
    assert_eq!(reader.scan(places[1], segments.end(), |uid, until, _| seen.push((uid.0[0], until))).unwrap(), 0);
    assert_eq!(seen, [(1, 1), (2, 2), (0, 0), (1, 1), (2, 2)]);
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
    assert_eq!(segments.retire(0, 0, 2).unwrap(), 1, "what is still needed stays");
    reader.forget_removed();
    assert_eq!(reader.read(first).unwrap(), EventRead::Gone);
    assert_eq!(document(&reader, by_size), "{\"n\":0}");
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
        assert!(EventReader::new(dir.path()).read(places[0]).is_err(), "bit {bit}");
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
