//! What a start makes of the files it finds: torn tails are cut, damage is fenced under `quarantine/` with the exact
//! ordinals that are missing, and what the last process may not have synced is written again. Never needs a human, and
//! finds the same things again after a crash at any point of its own work.

use super::Segment;
use super::sealed::SealedSegment;
use super::segment::{self, Frame, Gap, Header, Scan};
use super::watermark;
use super::writer::Again;
use crate::disk::UNFINISHED;
use crate::durable::{self, StoreError};
use alertmill_core::verdict::Verdicts;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What was found when a journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalReport {
    /// The last durable ordinal; 0 for a new journal.
    pub last_ordinal: u64,
    /// Records behind the given position, which the reader hands out first.
    pub replay: u64,
    /// Records of the last group, written again because the last process may not have synced it.
    pub written_again: u64,
    /// Bytes of an unfinished write that were cut; nothing of them was ever acknowledged.
    pub torn_bytes: u64,
    /// Files set aside in this start.
    pub fenced: Vec<Fenced>,
    /// Ordinals behind the given position that are missing although they were durable once. The reader hands out a
    /// `Clock` record in the place of each, except for those before the oldest file.
    pub gaps: Vec<Gap>,
    /// The journal ends before the position of the state: it was deleted or an older copy of it restored. Ordinals go on
    /// behind the state's.
    pub behind_state: bool,
    /// The watermark was missing or damaged, so that nobody can tell whether the last group, or whole files behind the last
    /// one, were lost. So after a version that did not write it.
    pub watermark_missing: bool,
    /// Verdicts in the records behind the given position: of those records, and of what else their generations hold.
    pub verdicts: Vec<Verdicts>,
    /// The key of the uids was missing or damaged and a new one was made: retries of earlier events count again.
    pub identity_replaced: bool,
}

/// A damaged file that was set aside; what could be read of it stays in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// Where it is now.
    pub quarantined: PathBuf,
    /// What could not be read of it.
    pub missing: Vec<Gap>,
}

pub(super) struct Recovered {
    pub segments: Vec<Segment>,
    pub again: Vec<Again>,
    pub next_ordinal: u64,
    pub next_id: u64,
    pub last_ms: i64,
    /// The last ordinal that was acknowledged for certain.
    acked: u64,
    /// There was nothing at all.
    pub is_new: bool,
    /// The last file when it was not sealed, and where its data end: its blocks behind that can go.
    pub unsealed: Option<(PathBuf, u64)>,
    pub report: JournalReport,
}

/// Reads the files of `dir` that hold ordinals behind `position`.
pub(super) fn recover(dir: &Path, position: u64, position_ms: i64) -> Result<Recovered, StoreError> {
    let unfinished: Vec<PathBuf> = durable::names_with_suffix(dir, UNFINISHED)?.iter().map(|name| dir.join(name)).collect();
    durable::remove_files(dir, &unfinished)?;
    let misnamed = put_misnamed_right(dir)?;
    let (found, superseded) = list_current(dir)?;
    let acked = watermark::read(dir)?;
    let next_id = match found.iter().chain(&superseded).map(|segment| segment.id).max() {
        Some(id) => id + 1,
        None => u64::from_le_bytes(durable::random_bytes()?) >> 16,
    };
    durable::remove_files(dir, &superseded.iter().map(|segment| dir.join(segment.name())).collect::<Vec<_>>())?;
    let is_new = found.is_empty() && acked.is_none();
    let mut recovered = Recovered {
        segments: Vec::new(),
        again: Vec::new(),
        next_ordinal: 0,
        next_id,
        last_ms: position_ms,
        acked: acked.unwrap_or_default(),
        is_new,
        unsealed: None,
        report: JournalReport { watermark_missing: acked.is_none() && !is_new, fenced: misnamed, ..JournalReport::default() },
    };
    // An empty or unreadable segment, too, says which ordinals were given before it.
    recovered.report.last_ordinal = found.last().map_or(0, |segment| segment.first - 1);
    let mut covered: Vec<Gap> = Vec::new();
    for (i, segment) in found.iter().enumerate() {
        let limit = found.get(i + 1).map(|next| next.first);
        if limit.is_some_and(|limit| limit <= position + 1) {
            recovered.segments.push(segment.clone());
            continue;
        }
        recovered.read_segment(dir, segment, limit, position, &mut covered)?;
    }
    recovered.finish(position, &covered);
    Ok(recovered)
}

/// A file under the name of another one, as after a rename that went astray, would stand in its place; its header knows
/// better. It gets its own name back, or is set aside when the file of that name is there.
fn put_misnamed_right(dir: &Path) -> Result<Vec<Fenced>, StoreError> {
    let all = list(dir)?;
    let mut misnamed = Vec::new();
    for named in &all {
        if let Some(own) = own_name(dir, named)? {
            misnamed.push((named.clone(), own));
        }
    }
    if misnamed.is_empty() {
        return Ok(Vec::new());
    }
    // Who stands under a name whose file is misnamed as well gives it up first: two may have changed places. Until then its
    // name is one that no file has, and which its header contradicts too: a kill in between changes nothing.
    let owns: Vec<Segment> = misnamed.iter().map(|(_, own)| own.clone()).collect();
    let highest_id = all.iter().chain(&owns).map(|segment| segment.id).max().unwrap_or(0);
    let is_same = |a: &Segment, b: &Segment| (a.id, a.first) == (b.id, b.first);
    let in_the_way = misnamed.iter_mut().filter(|(named, _)| owns.iter().any(|own| is_same(own, named)));
    for (free_id, (named, own)) in (highest_id + 1..).zip(in_the_way) {
        let free = Segment { id: free_id, ..own.clone() };
        let path = dir.join(named.name());
        std::fs::rename(&path, dir.join(free.name())).map_err(StoreError::io("rename", &path))?;
        *named = free;
    }
    // The other way round a name would be given away twice.
    durable::sync_dir(dir)?;
    let mut fenced = Vec::new();
    for (named, own) in misnamed {
        let is_there = dir.join(own.name()).exists();
        if is_there && is_itself(dir, &own)? {
            let quarantined = set_aside(dir, &named)?;
            durable::remove_files(dir, &[dir.join(named.name())])?;
            fenced.push(Fenced { quarantined, missing: Vec::new() });
            continue;
        }
        if is_there {
            // Nothing in it says that it is the one of that name.
            fenced.push(Fenced { quarantined: set_aside(dir, &own)?, missing: Vec::new() });
        }
        let path = dir.join(named.name());
        std::fs::rename(&path, dir.join(own.name())).map_err(StoreError::io("rename", &path))?;
        durable::sync_dir(dir)?;
    }
    Ok(fenced)
}

/// The segment that a file's header says it is, when that is another one than its name says.
fn own_name(dir: &Path, named: &Segment) -> Result<Option<Segment>, StoreError> {
    match header_of(&dir.join(named.name())) {
        Header::Good { id, first } if !is_itself(dir, named)? => Ok(Some(Segment { id, first, bytes: named.bytes })),
        _ => Ok(None),
    }
}

/// Whether a file is the one that its name says, by its header or by any of its frames: only its first block may be another
/// file's, or damaged.
fn is_itself(dir: &Path, named: &Segment) -> Result<bool, StoreError> {
    let path = dir.join(named.name());
    if header_of(&path) == (Header::Good { id: named.id, first: named.first }) {
        return Ok(true);
    }
    Ok(!segment::scan(&read_what_is_readable(&path)?, named.id, named.first, None, 0).frames.is_empty())
}

fn header_of(path: &Path) -> Header {
    let mut header = [0; segment::HEADER_BYTES];
    match File::open(path).and_then(|file| file.read_exact_at(&mut header, 0)) {
        Ok(()) => segment::decode_header(&header),
        Err(_) => Header::Damaged,
    }
}

/// Gives a file a second name in quarantine; the first one is the caller's to remove.
fn set_aside(dir: &Path, segment: &Segment) -> Result<PathBuf, StoreError> {
    set_aside_with(dir, segment, |from, to| std::fs::hard_link(from, to))
}

/// Where the file system has no links the second one is a copy.
pub(super) fn set_aside_with(dir: &Path, segment: &Segment, link: impl Fn(&Path, &Path) -> io::Result<()>) -> Result<PathBuf, StoreError> {
    let quarantine = dir.join("quarantine");
    durable::make_dir(&quarantine)?;
    let original = dir.join(segment.name());
    let mut aside = quarantine.join(segment.name());
    for number in 2.. {
        match link(&original, &aside) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // A start set it aside that was killed before it took the first name away; or it is another file of that name.
                if read_what_is_readable(&original)? == read_what_is_readable(&aside)? {
                    break;
                }
                aside = quarantine.join(format!("{}.{number}", segment.name()));
            }
            Err(error) if durable::has_no_links(&error) => {
                durable::write_atomically(&aside, &read_what_is_readable(&original)?)?;
                break;
            }
            Err(error) => return Err(StoreError::io("set aside", &original)(error)),
        }
    }
    durable::sync_dir(&quarantine)?;
    Ok(aside)
}

pub(super) fn list(dir: &Path) -> Result<Vec<Segment>, StoreError> {
    let mut found = Vec::new();
    for name in durable::names_with_suffix(dir, Segment::SUFFIX)? {
        let path = dir.join(&name);
        if let Some((first, id)) = Segment::parse_name(&name) {
            let bytes = path.metadata().map_err(StoreError::io("look at", &path))?.len();
            found.push(Segment { first, id, bytes });
        }
    }
    found.sort_by_key(|segment| (segment.first, segment.id));
    Ok(found)
}

/// The segments that count, and those whose successor begins at the same ordinal: they were written again there as a whole.
pub(super) fn list_current(dir: &Path) -> Result<(Vec<Segment>, Vec<Segment>), StoreError> {
    let found = list(dir)?;
    let firsts: Vec<u64> = found.iter().map(|segment| segment.first).collect();
    let (mut current, mut superseded) = (Vec::new(), Vec::new());
    for (i, segment) in found.into_iter().enumerate() {
        let is_current = firsts.get(i + 1).is_none_or(|next| *next > segment.first);
        if is_current { &mut current } else { &mut superseded }.push(segment);
    }
    Ok((current, superseded))
}

/// Whether a file must be set aside, and what can be read of it; or the newer format that it has.
pub(super) fn judge(bytes: &[u8], segment: &Segment, limit: Option<u64>, acked: u64) -> Result<(bool, Scan), u32> {
    let header_good = match segment::decode_header(bytes) {
        Header::Newer(found) => return Err(found),
        Header::Good { id, first } => (id, first) == (segment.id, segment.first),
        Header::Damaged => false,
    };
    let scan = segment::scan(bytes, segment.id, segment.first, limit, acked);
    Ok((!header_good || !scan.gaps.is_empty() || scan.holed, scan))
}

impl Recovered {
    fn read_segment(&mut self, dir: &Path, segment: &Segment, limit: Option<u64>, position: u64, covered: &mut Vec<Gap>) -> Result<(), StoreError> {
        let path = dir.join(segment.name());
        let bytes = read_what_is_readable(&path)?;
        let (is_damaged, scan) = match judge(&bytes, segment, limit, self.acked) {
            Ok(judged) => judged,
            Err(found) => return Err(StoreError::Newer { path, found, known: segment::FORMAT }),
        };
        for frame in &scan.frames {
            self.last_ms = self.last_ms.max(frame.head.received_at_ms);
            if frame.head.ordinal > position {
                self.report.verdicts.extend(Verdicts::of_payload(&bytes[frame.payload.clone()]));
            }
            match covered.last_mut() {
                Some(run) if run.last + 1 == frame.head.ordinal => run.last += 1,
                _ => covered.push(Gap { first: frame.head.ordinal, last: frame.head.ordinal }),
            }
        }
        if is_damaged {
            return self.fence(dir, segment, &bytes, scan);
        }
        self.report.torn_bytes += scan.torn_bytes;
        self.segments.push(segment.clone());
        if limit.is_none() && !scan.sealed {
            let group_first = scan.frames.last().map_or(0, |frame| frame.head.group_first);
            let last_group = scan.frames.iter().filter(|frame| frame.head.ordinal >= group_first);
            self.again = last_group.map(|frame| Again { head: frame.head, payload: bytes[frame.payload.clone()].to_vec() }).collect();
            self.unsealed = Some((path, scan.end as u64));
        }
        Ok(())
    }

    /// Sets a damaged file aside. First its good parts become segments of their own, then its name goes: a crash in
    /// between leaves it in the journal and the next start does the same again.
    fn fence(&mut self, dir: &Path, segment: &Segment, bytes: &[u8], scan: Scan) -> Result<(), StoreError> {
        let quarantined = set_aside(dir, segment)?;
        let mut parts: Vec<Vec<&Frame>> = Vec::new();
        for frame in &scan.frames {
            match parts.last_mut().filter(|part| part.last().is_some_and(|last| last.head.ordinal + 1 == frame.head.ordinal)) {
                Some(part) => part.push(frame),
                None => parts.push(vec![frame]),
            }
        }
        // The first part comes last: it begins where the damaged file does, and from then on stands in its place.
        let at = self.segments.len();
        for part in parts.iter().rev() {
            let written = self.write_part(dir, bytes, part)?;
            self.segments.insert(at, written);
        }
        durable::remove_files(dir, &[dir.join(segment.name())])?;
        self.report.fenced.push(Fenced { quarantined, missing: scan.gaps });
        Ok(())
    }

    fn write_part(&mut self, dir: &Path, bytes: &[u8], part: &[&Frame]) -> Result<Segment, StoreError> {
        let mut sealed = SealedSegment::new(self.next_id, part[0].head.ordinal);
        self.next_id += 1;
        for frame in part {
            sealed.take(frame.head, &bytes[frame.payload.clone()]);
        }
        sealed.write(dir)
    }

    fn finish(&mut self, position: u64, covered: &[Gap]) {
        let mut next = position + 1;
        for run in covered.iter().filter(|run| run.last > position) {
            if run.first > next {
                self.report.gaps.push(Gap { first: next, last: run.first - 1 });
            }
            self.report.replay += run.last - run.first.max(next) + 1;
            next = run.last + 1;
        }
        let found = covered.last().map_or(0, |run| run.last).max(self.report.last_ordinal);
        self.report.behind_state = found < position;
        if self.report.behind_state {
            // The state covers them, and in a segment that goes on behind the state they would be the edge of a hole.
            self.again.clear();
        }
        let promised = found.max(self.acked);
        if promised >= next {
            self.report.gaps.push(Gap { first: next, last: promised });
        }
        self.report.last_ordinal = promised.max(position);
        self.report.written_again = self.again.len() as u64;
        self.next_ordinal = self.report.last_ordinal + 1;
    }
}

/// The file's bytes; blocks that the disk cannot read are zeros.
pub(super) fn read_what_is_readable(path: &Path) -> Result<Vec<u8>, StoreError> {
    const BLOCK: usize = 4096;
    if let Ok(bytes) = std::fs::read(path) {
        return Ok(bytes);
    }
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    let length = file.metadata().map_err(StoreError::io("look at", path))?.len() as usize;
    let mut bytes = vec![0; length];
    for (i, block) in bytes.chunks_mut(BLOCK).enumerate() {
        if file.read_exact_at(block, (i * BLOCK) as u64).is_err() {
            block.fill(0);
        }
    }
    Ok(bytes)
}
