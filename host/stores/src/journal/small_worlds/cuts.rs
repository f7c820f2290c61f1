//! The last segment ends at each of its bytes.

use super::*;
use alertmill_proof::Tier;
use std::time::Instant;

const SEGMENT_BYTES: usize = 64 << 10;

/// Two files: a sealed one, and one of 64 KiB that a kill left unsealed.
fn world() -> (Written, Written) {
    let sealed = Written::new(0xa1, 1, 4096, true);
    let last = Written::new(0xa2, sealed.last() + 1, SEGMENT_BYTES, false);
    (sealed, last)
}

fn put(dir: &Path, sealed: &Written, last: &Written, length: usize) {
    sealed.put(dir);
    std::fs::write(dir.join(last.segment.name()), &last.bytes[..length]).unwrap();
}

/// The last ordinal whose payload ends before `length`; padding is of no use to anyone.
fn last_whole(last: &Written, length: usize) -> u64 {
    let whole = |ordinal: u64, frame: &Range<usize>| frame.start + segment::FRAME_HEAD_BYTES + payload(ordinal).len() <= length;
    last.segment.first + last.frames.iter().zip(last.segment.first..).take_while(|(frame, ordinal)| whole(*ordinal, frame)).count() as u64 - 1
}

/// What recovery makes of a file, judged for each length it may have. Gives how many cuts, and how many lose something.
fn judged(last: &Written, acked: u64) -> (u64, u64) {
    let mut reported = 0;
    for length in 0..=SEGMENT_BYTES {
        let bytes = &last.bytes[..length];
        let (is_damaged, scan) = recovery::judge(bytes, &last.segment, None, acked).expect("the same format");
        let whole = last_whole(last, length);
        assert_eq!(scan.gaps, gap(whole + 1, acked), "cut at {length}");
        let found = scan.frames.iter().map(|frame| frame.head.ordinal);
        assert!(found.eq(last.segment.first..=whole), "cut at {length}");
        assert!(scan.frames.iter().all(|frame| bytes[frame.payload.clone()] == *payload(frame.head.ordinal)), "cut at {length}");
        assert_eq!(is_damaged, length < segment::HEADER_BYTES || whole < acked, "cut at {length}");
        reported += u64::from(whole < acked);
    }
    (SEGMENT_BYTES as u64 + 1, reported)
}

/// Recovers real folders with the file cut at these lengths.
fn recovered(sealed: &Written, last: &Written, lengths: &[usize]) {
    in_parallel(|core, cores| {
        let dir = scratch();
        for length in lengths.iter().copied().skip(core).step_by(cores) {
            clear(dir.path());
            put(dir.path(), sealed, last, length);
            put_watermark(dir.path(), last.last());
            let what = format!("cut at {length}");
            let (_, missing) = recover_and_check(dir.path(), last.last(), &what);
            assert_eq!(missing, gap(last_whole(last, length) + 1, last.last()), "{what}");
        }
    });
}

/// Every so many lengths, and all next to the header's end and to where a frame ends.
fn lengths(last: &Written, step: usize) -> Vec<usize> {
    let borders = last.frames.iter().flat_map(|frame| frame.end - 1..=frame.end + 1);
    let header = segment::HEADER_BYTES - 1..=segment::HEADER_BYTES + 1;
    let mut lengths: Vec<usize> = (0..=SEGMENT_BYTES).step_by(step).chain(header).chain(borders).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

#[test]
fn a_cut_at_each_byte_of_the_last_segment_loses_nothing_else_and_is_reported_exactly() {
    let began = Instant::now();
    let (sealed, last) = world();
    let acked = last.last();
    let (cuts, reported) = judged(&last, acked);
    let zero_tails = zeros_from_each_byte_on(&last, acked);
    let on_disk = lengths(&last, 8);
    recovered(&sealed, &last, &on_disk);
    let opened = lengths(&last, 64);
    in_parallel(|core, cores| {
        let dir = scratch();
        for length in opened.iter().copied().skip(core).step_by(cores) {
            clear(dir.path());
            put(dir.path(), &sealed, &last, length);
            put_watermark(dir.path(), acked);
            open_and_check(dir.path(), acked, &gap(last_whole(&last, length) + 1, acked), &format!("opened, cut at {length}"));
        }
    });
    alertmill_proof::record(
        "journal-cuts",
        Tier::Ci,
        &[
            ("cuts", &cuts),
            ("segment_bytes", &SEGMENT_BYTES),
            ("reported_exactly", &reported),
            ("without_loss", &(cuts - reported)),
            ("zero_tails", &zero_tails),
            ("recovered_on_disk", &on_disk.len()),
            ("opened_twice_and_read", &opened.len()),
            ("silently_lost", &0),
            ("invented", &0),
            ("took_ms", &began.elapsed().as_millis()),
        ],
    );
}

#[test]
#[ignore = "the long version, by hand: cargo test --release -p alertmill-stores --lib -- --ignored --nocapture"]
fn each_cut_recovered_on_disk() {
    let began = Instant::now();
    let (sealed, last) = world();
    let on_disk = lengths(&last, 1);
    recovered(&sealed, &last, &on_disk);
    alertmill_proof::record(
        "journal-cuts",
        Tier::Hand,
        &[("recovered_on_disk", &on_disk.len()), ("silently_lost", &0), ("invented", &0), ("took_ms", &began.elapsed().as_millis())],
    );
}

/// The file is as long as it was, with zeros from each of its bytes on, as a file system leaves one after a loss of power.
fn zeros_from_each_byte_on(last: &Written, acked: u64) -> usize {
    // A frame that ends in zeros is whole although they are "gone".
    let needs = |frame: &Range<usize>| frame.start + last.bytes[frame.clone()].iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let ends: Vec<usize> = last.frames.iter().map(needs).collect();
    let mut torn = last.bytes.clone();
    for length in (0..SEGMENT_BYTES).rev() {
        torn[length] = 0;
        let (is_damaged, scan) = recovery::judge(&torn, &last.segment, None, acked).expect("the same format");
        let whole = ends.iter().take_while(|end| **end <= length).count();
        assert_eq!(scan.gaps, gap(last.segment.first + whole as u64, acked), "zeros from {length} on");
        assert_eq!(scan.frames.len(), whole, "zeros from {length} on");
        assert!(is_damaged || whole == ends.len(), "zeros from {length} on");
        assert!(scan.frames.iter().all(|frame| torn[frame.payload.clone()] == *payload(frame.head.ordinal)), "zeros from {length} on");
    }
    SEGMENT_BYTES
}

/// After a loss of power the watermark is behind: what it covers is reported, and a cut behind it is a torn write.
#[test]
fn a_watermark_that_is_behind_reports_up_to_itself() {
    let (sealed, last) = world();
    let middle = last.segment.first + 100;
    for watermark in [None, Some(sealed.last()), Some(middle)] {
        let dir = scratch();
        for length in (0..=SEGMENT_BYTES).step_by(509).chain(last.frames.iter().map(|frame| frame.end)) {
            clear(dir.path());
            put(dir.path(), &sealed, &last, length);
            if let Some(acked) = watermark {
                put_watermark(dir.path(), acked);
            }
            let whole = last_whole(&last, length);
            let known = watermark.unwrap_or_default().max(whole);
            let what = format!("cut at {length}, watermark {watermark:?}");
            let (recovered, missing) = recover_and_check(dir.path(), known, &what);
            assert_eq!(missing, gap(whole + 1, known), "{what}");
            assert_eq!(recovered.report.watermark_missing, watermark.is_none(), "{what}");
        }
    }
}
