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

#[test]
fn a_cut_at_each_byte_of_the_last_segment_loses_nothing_else_and_is_reported_exactly() {
    let began = Instant::now();
    let (sealed, last) = world();
    let acked = last.last();
    let lasts: Vec<u64> = (0..=SEGMENT_BYTES).map(|length| last_whole(&last, length)).collect();
    let done = in_parallel(|core, cores| {
        let dir = scratch();
        let (mut cuts, mut reported) = (0u64, 0u64);
        for length in (core..=SEGMENT_BYTES).step_by(cores) {
            clear(dir.path());
            put(dir.path(), &sealed, &last, length);
            put_watermark(dir.path(), acked);
            let what = format!("cut at {length}");
            let (_, missing) = recover_and_check(dir.path(), acked, &what);
            assert_eq!(missing, gap(lasts[length] + 1, acked), "{what}");
            cuts += 1;
            reported += u64::from(!missing.is_empty());
        }
        (cuts, reported)
    });
    let (cuts, reported) = done.iter().fold((0, 0), |sum, done| (sum.0 + done.0, sum.1 + done.1));
    let recovered_ms = began.elapsed().as_millis();

    let borders = last.frames.iter().flat_map(|frame| frame.end - 1..=frame.end + 1);
    let mut lengths: Vec<usize> = (0..=SEGMENT_BYTES).step_by(64).chain(segment::HEADER_BYTES - 1..=segment::HEADER_BYTES + 1).chain(borders).collect();
    lengths.sort_unstable();
    lengths.dedup();
    in_parallel(|core, cores| {
        let dir = scratch();
        for length in lengths.iter().copied().skip(core).step_by(cores) {
            clear(dir.path());
            put(dir.path(), &sealed, &last, length);
            put_watermark(dir.path(), acked);
            open_and_check(dir.path(), acked, &gap(lasts[length] + 1, acked), &format!("opened, cut at {length}"));
        }
    });
    assert_eq!(cuts, SEGMENT_BYTES as u64 + 1);
    alertmill_proof::record(
        "journal-cuts",
        Tier::Ci,
        &[
            ("cuts", &cuts),
            ("segment_bytes", &SEGMENT_BYTES),
            ("reported_exactly", &reported),
            ("without_loss", &(cuts - reported)),
            ("opened_twice_and_read", &lengths.len()),
            ("silently_lost", &0),
            ("invented", &0),
            ("recovered_in_ms", &recovered_ms),
            ("took_ms", &began.elapsed().as_millis()),
        ],
    );
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
