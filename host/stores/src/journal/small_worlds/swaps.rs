//! Writes and renames that went astray: a block in another place, a file over another one, a file under another name.

use super::*;
use alertmill_proof::Tier;
use std::time::Instant;

const FILES: usize = 8;
const SEGMENT_BYTES: usize = 4096;
const BLOCK: usize = 512;

fn files() -> Vec<Written> {
    let mut files: Vec<Written> = Vec::new();
    for i in 0..FILES {
        let first = files.last().map_or(1, |file| file.last() + 1);
        files.push(Written::new(0xd0 + i as u64, first, SEGMENT_BYTES, i + 1 < FILES));
    }
    files
}

/// The ordinals of a file whose frames touch these bytes.
fn touched(file: &Written, bytes: Range<usize>) -> Vec<u64> {
    let hit = |frame: &Range<usize>| frame.start < bytes.end && bytes.start < frame.end;
    file.frames.iter().zip(file.segment.first..).filter(|(frame, _)| hit(frame)).map(|(_, ordinal)| ordinal).collect()
}

fn all_of(file: &Written) -> Vec<u64> {
    (file.segment.first..=file.last()).collect()
}

/// Does one thing to a folder; gives its name and the records that may be missing after it.
fn go_astray(dir: &Path, files: &[Written], random: &mut Random) -> (&'static str, Vec<u64>) {
    let from = random.below(FILES);
    let to = (from + 1 + random.below(FILES - 1)) % FILES;
    let path = |i: usize| dir.join(files[i].segment.name());
    let mut block = |i: usize| {
        let at = random.below(files[i].bytes.len() / BLOCK) * BLOCK;
        at..at + BLOCK
    };
    match (block(from), block(to), random.below(10)) {
        (_, _, 0) => {
            std::fs::copy(path(from), path(to)).unwrap();
            ("a file is copied over another one", all_of(&files[to]))
        }
        (_, _, 1) => {
            std::fs::rename(path(from), path(to)).unwrap();
            ("a file is renamed over another one", all_of(&files[to]))
        }
        (_, _, 2) => {
            let stale = Segment { id: 0xff, ..files[from].segment.clone() };
            std::fs::copy(path(from), dir.join(stale.name())).unwrap();
            ("a copy stands under a newer name", Vec::new())
        }
        (source, target, 3) => {
            let mut bytes = files[to].bytes.clone();
            bytes[target.clone()].copy_from_slice(&files[from].bytes[source]);
            std::fs::write(path(to), bytes).unwrap();
            ("a block is written into another file", touched(&files[to], target))
        }
        (source, _, 4) => {
            let target = (source.end % files[from].bytes.len() / BLOCK * BLOCK).min(files[from].bytes.len() / BLOCK * BLOCK - BLOCK);
            let target = target..target + BLOCK;
            let mut bytes = files[from].bytes.clone();
            bytes.copy_within(source, target.start);
            std::fs::write(path(from), bytes).unwrap();
            ("a block is written to the next place", touched(&files[from], target))
        }
        (one, _, 5) => {
            let other = random.below(files[from].bytes.len() / BLOCK) * BLOCK;
            let other = other..other + BLOCK;
            let mut bytes = files[from].bytes.clone();
            bytes[one.clone()].copy_from_slice(&files[from].bytes[other.clone()]);
            bytes[other.clone()].copy_from_slice(&files[from].bytes[one.clone()]);
            std::fs::write(path(from), bytes).unwrap();
            ("two blocks of a file change places", [touched(&files[from], one), touched(&files[from], other)].concat())
        }
        (_, _, 6) => {
            std::fs::rename(path(from), dir.join("between")).unwrap();
            std::fs::rename(path(to), path(from)).unwrap();
            std::fs::rename(dir.join("between"), path(to)).unwrap();
            ("two files change names", Vec::new())
        }
        (_, _, 7) => {
            let between = |i: usize| dir.join(format!("between-{i}"));
            (0..FILES).for_each(|i| std::fs::rename(path(i), between(i)).unwrap());
            (0..FILES).for_each(|i| std::fs::rename(between(i), path((i + 1) % FILES)).unwrap());
            ("each file has the name of the next", Vec::new())
        }
        (_, _, 8) => {
            std::fs::write(path(to), &files[from].bytes).unwrap();
            std::fs::write(path(from), [&[7; segment::HEADER_BYTES][..], &files[to].bytes[segment::HEADER_BYTES..]].concat()).unwrap();
            ("two files change names, and the head of one is lost", all_of(&files[to]))
        }
        (block, _, _) => {
            let mut bytes = files[from].bytes.clone();
            bytes[block.clone()].fill(0);
            std::fs::write(path(from), bytes).unwrap();
            ("a block is never written", touched(&files[from], block))
        }
    }
}

#[test]
fn writes_and_renames_that_went_astray_are_seen() {
    const SWAPS: usize = 1_000;
    let began = Instant::now();
    let files = files();
    let acked = files[FILES - 1].last();
    let lost = in_parallel(|core, cores| {
        let (dir, mut lost) = (scratch(), 0u64);
        for seed in (core..SWAPS).step_by(cores) {
            clear(dir.path());
            files.iter().for_each(|file| file.put(dir.path()));
            put_watermark(dir.path(), acked);
            let (what, may_miss) = go_astray(dir.path(), &files, &mut Random(seed as u64));
            let what = format!("seed {seed}: {what}");
            let (_, missing) = recover_and_check(dir.path(), acked, &what);
            for gap in &missing {
                assert!((gap.first..=gap.last).all(|ordinal| may_miss.contains(&ordinal)), "{what}: {missing:?}, and only {may_miss:?} were hit");
                lost += gap.last - gap.first + 1;
            }
            // Recovery itself left everything in order: what is gone is said again, and nothing more is.
            open_and_check(dir.path(), acked, &missing, &what);
        }
        lost
    });
    alertmill_proof::record(
        "journal-swaps",
        Tier::Ci,
        &[
            ("swaps", &SWAPS),
            ("records_reported_missing", &lost.iter().sum::<u64>()),
            ("silently_lost", &0),
            ("wrong_records", &0),
            ("took_ms", &began.elapsed().as_millis()),
        ],
    );
}

/// Two files have changed names, and the start that puts them right was killed behind its first step.
#[test]
fn a_kill_while_names_are_given_back_changes_nothing() {
    let files = files();
    let acked = files[FILES - 1].last();
    for (one, other) in [(0, 1), (2, 6), (FILES - 1, 0)] {
        let dir = scratch();
        files.iter().for_each(|file| file.put(dir.path()));
        put_watermark(dir.path(), acked);
        let path = |i: usize| dir.path().join(files[i].segment.name());
        let free = Segment { id: 0xd0 + FILES as u64, ..files[one].segment.clone() };
        std::fs::rename(path(one), dir.path().join(free.name())).unwrap();
        std::fs::rename(path(other), path(one)).unwrap();
        let what = format!("{one} and {other}");
        let report = open_and_check(dir.path(), acked, &[], &what);
        assert!(report.fenced.is_empty(), "{what}: {:?}", report.fenced);
    }
}
