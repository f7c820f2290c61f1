//! Bits flip: each of a small segment, many of a large one.

use super::*;
use alertmill_proof::Tier;
use std::time::Instant;

const SMALL: usize = 4096;

/// Where a damaged file stands in the journal.
#[derive(Clone, Copy, Debug)]
enum Place {
    LastUnsealed,
    LastSealed,
    Middle,
    /// As a kill leaves it right behind the change of the segment.
    MiddleUnsealed,
}

impl Place {
    fn files(self) -> Vec<Written> {
        let before = Written::new(0xb1, 1, SMALL, true);
        let sealed = matches!(self, Place::LastSealed | Place::Middle);
        let mut flipped = Written::new(0xb2, before.last() + 1, SMALL, sealed);
        // Behind the footer a file of 4 KiB has none of its own bytes; the bits there are tried too.
        flipped.bytes.resize(SMALL, 0);
        let mut files = vec![before, flipped];
        if matches!(self, Place::Middle | Place::MiddleUnsealed) {
            let after = Written::new(0xb3, files[1].last() + 1, SMALL, false);
            files.push(after);
        }
        files
    }
}

/// Damages one bit of the second file and says what must be missing.
fn flip(files: &mut [Written], bit: usize) -> Vec<Gap> {
    let file = &mut files[1];
    file.bytes[bit / 8] ^= 1 << (bit % 8);
    let hit = file.frames.iter().zip(file.segment.first..).find(|(frame, _)| frame.contains(&(bit / 8)));
    // Padding belongs to nobody.
    let hit = hit.filter(|(frame, ordinal)| bit / 8 < frame.start + segment::FRAME_HEAD_BYTES + payload(*ordinal).len());
    hit.map_or(Vec::new(), |(_, ordinal)| gap(ordinal, ordinal))
}

#[test]
fn each_bit_of_a_segment_is_seen_or_without_effect() {
    let began = Instant::now();
    let places = [Place::LastUnsealed, Place::LastSealed, Place::Middle, Place::MiddleUnsealed];
    let done = in_parallel(|core, cores| {
        let (mut flips, mut fenced, mut harmless) = (0u64, 0u64, 0u64);
        for place in places {
            let files = place.files();
            let acked = files[files.len() - 1].last();
            let limit = files.get(2).map(|next| next.segment.first);
            for bit in (core..SMALL * 8).step_by(cores) {
                let mut files = files.clone();
                let missing = flip(&mut files, bit);
                let file = &files[1];
                let (is_damaged, scan) = recovery::judge(&file.bytes, &file.segment, limit, acked).expect("no flip makes another format");
                let what = format!("{place:?}, bit {bit}");
                assert_eq!(scan.gaps, missing, "{what}");
                assert!(is_damaged || !scan.holed, "{what}");
                let mut expected = (file.segment.first..=file.last()).filter(|ordinal| missing.iter().all(|gap| gap.first != *ordinal));
                for frame in &scan.frames {
                    assert_eq!(Some(frame.head.ordinal), expected.next(), "{what}");
                    assert!(file.bytes[frame.payload.clone()] == *payload(frame.head.ordinal), "{what}");
                }
                assert_eq!(expected.next(), None, "{what}: silently lost");
                let in_header = bit / 8 < segment::HEADER_BYTES;
                assert_eq!(is_damaged, in_header || !missing.is_empty(), "{what}");
                flips += 1;
                fenced += u64::from(is_damaged);
                harmless += u64::from(!is_damaged);
            }
        }
        (flips, fenced, harmless)
    });
    let (flips, fenced, harmless) = done.iter().fold((0, 0, 0), |sum, done| (sum.0 + done.0, sum.1 + done.1, sum.2 + done.2));
    let opened: usize = in_parallel(|core, cores| {
        let (dir, mut opened) = (scratch(), 0);
        for place in places {
            let header = 0..segment::HEADER_BYTES * 8;
            for bit in header.step_by(8).chain((0..SMALL * 8).step_by(61)).skip(core).step_by(cores) {
                let mut files = place.files();
                let missing = flip(&mut files, bit);
                clear(dir.path());
                files.iter().for_each(|file| file.put(dir.path()));
                let acked = files[files.len() - 1].last();
                put_watermark(dir.path(), acked);
                let report = open_and_check(dir.path(), acked, &missing, &format!("{place:?}, bit {bit}"));
                let named: Vec<Gap> = report.fenced.iter().flat_map(|fenced| fenced.missing.clone()).collect();
                assert_eq!(named, missing, "{place:?}, bit {bit}");
                opened += 1;
            }
        }
        opened
    })
    .iter()
    .sum();
    let large = flips_in_a_large_segment(2_000);
    assert_eq!(flips as usize, 4 * SMALL * 8);
    alertmill_proof::record(
        "journal-flips",
        Tier::Ci,
        &[
            ("bits_of_a_segment", &(SMALL * 8)),
            ("places_of_the_segment", &places.len()),
            ("flips", &flips),
            ("fenced_and_reported_exactly", &fenced),
            ("without_effect", &harmless),
            ("opened_twice_and_read", &opened),
            ("flips_in_64_mib", &large),
            ("silently_lost", &0),
            ("wrong_records", &0),
            ("took_ms", &began.elapsed().as_millis()),
        ],
    );
}

/// By hand: about a minute.
#[test]
#[ignore = "the long version, by hand: cargo test --release -p alertmill-stores --lib -- --ignored --nocapture"]
fn a_hundred_thousand_flips_in_a_large_segment() {
    let began = Instant::now();
    let flips = flips_in_a_large_segment(100_000);
    alertmill_proof::record(
        "journal-flips",
        Tier::Hand,
        &[("flips_in_64_mib", &flips), ("silently_lost", &0), ("wrong_records", &0), ("took_ms", &began.elapsed().as_millis())],
    );
}

/// Random bits of 64 MiB, fifty at once in a copy: each is a frame that is missing, or padding.
fn flips_in_a_large_segment(flips: usize) -> usize {
    const LARGE: usize = 64 << 20;
    const AT_ONCE: usize = 50;
    const RECORD: usize = 1_000;
    let id = 0xc1;
    let content = |ordinal: u64| {
        let mut content = vec![ordinal as u8; RECORD];
        content[..8].copy_from_slice(&ordinal.to_le_bytes());
        content
    };
    let mut bytes = segment::encode_header(id, 1).to_vec();
    let mut last = 0;
    while bytes.len() + segment::frame_bytes(RECORD) <= LARGE {
        last += 1;
        segment::encode_frame(&mut bytes, id, FrameHead { ordinal: last, received_at_ms: 0, group_first: last }, &content(last));
    }
    bytes.resize(LARGE, 0);
    let segment = Segment { first: 1, id, bytes: LARGE as u64 };
    let rounds = flips.div_ceil(AT_ONCE);
    let sound = &bytes;
    let done = in_parallel(|core, cores| {
        let (mut bytes, mut random) = (sound.clone(), Random(flips as u64 + core as u64));
        for _ in (core..rounds).step_by(cores) {
            let bits: Vec<usize> = (0..AT_ONCE).map(|_| segment::HEADER_BYTES * 8 + random.below((LARGE - segment::HEADER_BYTES) * 8)).collect();
            bits.iter().for_each(|bit| bytes[bit / 8] ^= 1 << (bit % 8));
            let (is_damaged, scan) = recovery::judge(&bytes, &segment, None, last).expect("the same format");
            // A frame of 1,000 bytes needs no padding, and two flips of the same bit are none.
            let (mut expected, mut gaps) = (1, scan.gaps.iter());
            let hit = |ordinal: u64| {
                let begin = segment::HEADER_BYTES + (ordinal as usize - 1) * segment::frame_bytes(RECORD);
                bits.iter().any(|bit| (begin..begin + segment::frame_bytes(RECORD)).contains(&(bit / 8)))
            };
            for frame in &scan.frames {
                if frame.head.ordinal != expected {
                    let gap = gaps.next().expect("what is left out is reported");
                    assert_eq!((gap.first, gap.last), (expected, frame.head.ordinal - 1));
                    assert!((gap.first..=gap.last).all(hit), "{gap:?} of {bits:?}");
                }
                assert!(bytes[frame.payload.clone()] == content(frame.head.ordinal));
                expected = frame.head.ordinal + 1;
            }
            if let Some(gap) = gaps.next() {
                assert!((gap.first, gap.last) == (expected, last) && (gap.first..=gap.last).all(hit), "{gap:?} of {bits:?}");
                expected = last + 1;
            }
            assert!(expected == last + 1 && gaps.next().is_none() && is_damaged != scan.gaps.is_empty(), "{:?} of {bits:?}", scan.gaps);
            bits.iter().for_each(|bit| bytes[bit / 8] ^= 1 << (bit % 8));
        }
    });
    assert!(!done.is_empty());
    rounds * AT_ONCE
}
