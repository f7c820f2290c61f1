//! Worlds small enough to be tried whole: each cut, each flipped bit, each kind of lost or mistaken file.
//!
//! What must hold in each: it opens by itself; every record is there as it was written, or reported as missing by its
//! ordinal; nothing else is there.

mod cuts;
mod files;
mod flips;
mod swaps;

use super::recovery::{self, Recovered};
use super::segment::{self, FrameHead, Gap};
use super::{JournalDir, JournalOptions, JournalReport, Segment, watermark};
use crate::disk::{Disk, RealDisk};
use crate::port_suite::{block_on, payload_body, record_body, verdicts_body};
use alertmill_core::ports::Journal;
use alertmill_core::record::RecordBody;
use alertmill_core::verdict::Verdicts;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

/// In memory where there is such a folder: these worlds are many, and none of them loses power.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Runs a part of the work on each core.
fn in_parallel<T: Send>(work: impl Fn(usize, usize) -> T + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(move || work(core, cores))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// Items, raw payloads and verdicts in turns.
fn body_of(ordinal: u64) -> RecordBody {
    match ordinal % 5 {
        3 => payload_body(ordinal),
        0 => verdicts_body(ordinal),
        _ => record_body(ordinal, ordinal as usize % 5 + 1),
    }
}

/// The content of a record in all of these worlds.
fn payload(ordinal: u64) -> &'static [u8] {
    static PAYLOADS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let payload = |ordinal: u64| {
            let mut payload = Vec::new();
            body_of(ordinal).encode(&mut payload);
            payload
        };
        (0..2_000).map(payload).collect()
    });
    &PAYLOADS[ordinal as usize]
}

/// A segment as a writer leaves it, in groups of one to three records.
#[derive(Clone)]
struct Written {
    segment: Segment,
    bytes: Vec<u8>,
    /// Where each frame lies, padding included; by ordinal from the first one on.
    frames: Vec<Range<usize>>,
}

impl Written {
    /// As many records as fit. Unsealed it is as long as it was preallocated.
    fn new(id: u64, first: u64, bytes_max: usize, sealed: bool) -> Written {
        let mut bytes = segment::encode_header(id, first).to_vec();
        let (mut frames, mut group_first, mut ordinal) = (Vec::new(), first, first);
        loop {
            let payload = payload(ordinal);
            if bytes.len() + segment::frame_bytes(payload.len()) + segment::FRAME_HEAD_BYTES > bytes_max {
                break;
            }
            if ordinal - group_first > group_first % 3 {
                group_first = ordinal;
            }
            let begin = bytes.len();
            segment::encode_frame(&mut bytes, id, FrameHead { ordinal, received_at_ms: 1_000 + ordinal as i64, group_first }, payload);
            frames.push(begin..bytes.len());
            ordinal += 1;
        }
        if sealed {
            bytes.extend(segment::encode_footer(id, ordinal - 1, 1_000 + ordinal as i64 - 1));
        } else {
            bytes.resize(bytes_max, 0);
        }
        Written { segment: Segment { first, id, bytes: bytes.len() as u64 }, bytes, frames }
    }

    fn last(&self) -> u64 {
        self.segment.first + self.frames.len() as u64 - 1
    }

    fn put(&self, dir: &Path) {
        std::fs::write(dir.join(self.segment.name()), &self.bytes).unwrap();
    }
}

fn put_watermark(dir: &Path, acked: u64) {
    watermark::Watermark::new().renew(&RealDisk as &dyn Disk, dir, acked);
}

/// Empties a journal folder.
fn clear(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            std::fs::remove_dir_all(entry.path()).unwrap();
        } else {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// What the reader would find, by ordinal: each from the last segment that begins at or before it.
fn readable(dir: &Path, recovered: &Recovered) -> BTreeMap<u64, Vec<u8>> {
    let mut found = BTreeMap::new();
    for (i, segment) in recovered.segments.iter().enumerate() {
        let bytes = std::fs::read(dir.join(segment.name())).unwrap();
        let limit = recovered.segments.get(i + 1).map(|next| next.first);
        let scan = segment::scan(&bytes, segment.id, segment.first, limit, 0);
        assert!(!scan.holed && (limit.is_some() || scan.gaps.is_empty()), "what stays can be read from front to back: {scan:?}");
        found.extend(scan.frames.iter().map(|frame| (frame.head.ordinal, bytes[frame.payload.clone()].to_vec())));
    }
    found
}

/// Recovers a folder whose records 1 to `acked` were acknowledged, and checks what must always hold. Gives what is missing.
#[track_caller]
fn recover_and_check(dir: &Path, acked: u64, what: &str) -> (Recovered, Vec<Gap>) {
    let recovered = recovery::recover(dir, 0, 0).unwrap_or_else(|error| panic!("{what}: {error}"));
    let gaps = recovered.report.gaps.clone();
    let found = readable(dir, &recovered);
    let mut next = 1;
    for gap in &gaps {
        assert!(next <= gap.first && gap.first <= gap.last, "{what}: {gaps:?}");
        assert!((next..gap.first).all(|ordinal| found.contains_key(&ordinal)), "{what}: silently lost; missing {gaps:?}, found {:?}", found.keys());
        assert!(found.range(gap.first..=gap.last).next().is_none(), "{what}: reported and there: {gaps:?}");
        next = gap.last + 1;
    }
    assert!((next..=acked).all(|ordinal| found.contains_key(&ordinal)), "{what}: silently lost; missing {gaps:?}, found {:?}", found.keys());
    assert!(found.keys().all(|ordinal| (1..=acked).contains(ordinal)), "{what}: nobody wrote {:?}", found.keys().next_back());
    for (ordinal, bytes) in &found {
        assert!(bytes == payload(*ordinal), "{what}: another record {ordinal}");
    }
    let verdicts: Vec<Verdicts> = found.values().filter_map(|bytes| Verdicts::of_payload(bytes)).collect();
    assert!(recovered.report.verdicts == verdicts, "{what}: verdicts {:?}", recovered.report.verdicts);
    assert_eq!(recovered.next_ordinal, acked + 1, "{what}");
    (recovered, gaps)
}

/// Opens the journal of a folder as a process does, reads all of it, appends, and opens it once more. The second start finds
/// nothing new: the same records are there, and the same are missing.
#[track_caller]
fn open_and_check(dir: &Path, acked: u64, missing: &[Gap], what: &str) -> JournalReport {
    let options = || JournalOptions { segment_bytes: 4096, ..JournalOptions::default() };
    let mut reports = Vec::new();
    for last in [acked + 1, acked + 2] {
        let (journal, mut reader, report) = JournalDir::open(dir, options()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((&report.gaps[..], report.last_ordinal), (missing, last - 1), "{what}");
        assert_eq!(block_on(journal.append(body_of(last), None)).unwrap().ordinal, last, "{what}");
        let oldest = reader.next_ordinal();
        while reader.next_ordinal() <= last {
            for journaled in reader.next_blocking(usize::MAX).unwrap() {
                let ordinal = journaled.record.ordinal;
                let lost = missing.iter().any(|gap| (gap.first..=gap.last).contains(&ordinal));
                let expected = if lost { RecordBody::Clock } else { body_of(ordinal) };
                assert_eq!(journaled.record.body, expected, "{what}: record {ordinal}");
            }
        }
        assert!(oldest == 1 || missing.first().is_some_and(|gap| (gap.first, gap.last + 1) == (1, oldest)), "{what}: begins at {oldest}");
        reports.push(report);
    }
    assert!(reports[1].fenced.is_empty(), "{what}: the second start sets aside {:?}", reports[1].fenced);
    reports.swap_remove(0)
}

/// The ordinals from `first` to `last` as gaps: one or none.
fn gap(first: u64, last: u64) -> Vec<Gap> {
    (first..=last).next().map(|_| Gap { first, last }).into_iter().collect()
}
