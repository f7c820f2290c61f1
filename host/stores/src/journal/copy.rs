//! Records read from segment files without opening the journal, and written into sealed segments of their own: for backups.

use super::sealed::SealedSegment;
use super::segment::{self, FrameHead, Gap, Header};
use super::{Segment, recovery, watermark};
use crate::durable::{self, FolderLock, StoreError};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The key of the uids.
pub(crate) const IDENTITY: &str = "identity";
/// How far senders were answered.
pub(crate) const WATERMARK: &str = watermark::NAME;
/// Bytes of a written segment, about.
const SEGMENT_BYTES: usize = 64 << 20;

/// Whether these are the bytes of a whole identity.
pub(crate) fn is_identity(content: &[u8]) -> bool {
    content.split_first_chunk::<16>().is_some_and(|(key, check)| check == crc32c::crc32c(key).to_le_bytes())
}

/// The last ordinal that was acknowledged for certain, if the journal's watermark can be read.
pub(crate) fn acknowledged(dir: &Path) -> Result<Option<u64>, StoreError> {
    watermark::read(dir)
}

/// Keeps processes out of a journal while it is read.
pub(crate) fn hold(dir: &Path) -> Result<Option<FolderLock>, StoreError> {
    FolderLock::take_if_there(&dir.join(super::LOCK))
}

/// Names of the segment files, sorted.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    durable::names_with_suffix(dir, Segment::SUFFIX)
}

/// The segment file in which a record belongs, by name.
pub(crate) fn holder_of(dir: &Path, ordinal: u64) -> Result<Option<String>, StoreError> {
    let (found, _) = recovery::list_current(dir)?;
    Ok(found.iter().rev().find(|segment| segment.first <= ordinal).map(Segment::name))
}

/// An id above all that are in use.
pub(crate) fn next_id(dir: &Path) -> Result<u64, StoreError> {
    Ok(recovery::list(dir)?.iter().map(|segment| segment.id).max().unwrap_or(0) + 1)
}

/// The oldest record in a journal's files as (ordinal, milliseconds), if any can be read.
pub(crate) fn oldest(dir: &Path) -> Result<Option<(u64, i64)>, StoreError> {
    for segment in recovery::list(dir)? {
        let bytes = recovery::read_what_is_readable(&dir.join(segment.name()))?;
        if let Some(frame) = segment::scan(&bytes, segment.id, segment.first, None, 0).frames.first() {
            return Ok(Some((frame.head.ordinal, frame.head.received_at_ms)));
        }
    }
    Ok(None)
}

/// The first record that a segment file has by its name, if there is one.
pub(crate) fn first_named(dir: &Path) -> Result<Option<u64>, StoreError> {
    Ok(recovery::list(dir)?.first().map(|segment| segment.first))
}

/// When the last record of a sealed segment was received, milliseconds.
pub(crate) fn last_record_ms(path: &Path) -> Option<i64> {
    let file = File::open(path).ok()?;
    let footer_at = file.metadata().ok()?.len().checked_sub(segment::FRAME_HEAD_BYTES as u64)?;
    let mut footer = [0; segment::FRAME_HEAD_BYTES];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut footer, footer_at).ok()?;
    let (_, id) = path.file_name().and_then(|name| Segment::parse_name(name.to_str()?))?;
    segment::footer_ms(&footer, id)
}

/// When the first record of a segment was received, milliseconds; `None` when none can be read there.
pub(crate) fn first_record_ms(path: &Path) -> Option<i64> {
    let file = File::open(path).ok()?;
    let (_, id) = path.file_name().and_then(|name| Segment::parse_name(name.to_str()?))?;
    let mut frame = vec![0; segment::FRAME_HEAD_BYTES];
    loop {
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut frame, segment::HEADER_BYTES as u64).ok()?;
        match segment::piece_at(&frame, 0, id) {
            segment::Piece::Frame(found) => return Some(found.head.received_at_ms),
            // Its length may be anything in a damaged file.
            segment::Piece::Short(bytes) if bytes > frame.len() && bytes <= super::RECORD_BYTES_MAX + segment::FRAME_HEAD_BYTES => frame.resize(bytes, 0),
            _ => return None,
        }
    }
}

/// Gives every record behind `position` to `take`, in order, up to `until` when it is given. Gives the first records that
/// are missing: those before a readable one, and those up to `until`.
pub(crate) fn read(
    dir: &Path,
    position: u64,
    until: Option<u64>,
    mut take: impl FnMut(FrameHead, &[u8]) -> Result<(), StoreError>,
) -> Result<Option<Gap>, StoreError> {
    let (found, _) = recovery::list_current(dir)?;
    let mut next = position + 1;
    for (i, segment) in found.iter().enumerate() {
        let limit = found.get(i + 1).map(|next| next.first);
        if limit.is_some_and(|limit| limit <= next) {
            continue;
        }
        if segment.first > next && until.is_none_or(|until| until >= next) {
            return Ok(Some(Gap { first: next, last: segment.first - 1 }));
        }
        let path = dir.join(segment.name());
        let bytes = recovery::read_what_is_readable(&path)?;
        match segment::decode_header(&bytes) {
            Header::Newer(found) => return Err(StoreError::Newer { path, found, known: segment::FORMAT }),
            // The records of a damaged one are checked one by one.
            Header::Good { .. } | Header::Damaged => {}
        }
        let scan = segment::scan(&bytes, segment.id, segment.first, limit, 0);
        for frame in scan.frames {
            let ordinal = frame.head.ordinal;
            if ordinal < next {
                continue;
            }
            if until.is_some_and(|until| ordinal > until) {
                return Ok(None);
            }
            if ordinal > next {
                return Ok(Some(Gap { first: next, last: ordinal - 1 }));
            }
            take(frame.head, &bytes[frame.payload.clone()])?;
            next = ordinal + 1;
        }
        // Behind the last file's end only its footer and the heads of its groups tell.
        if limit.is_none()
            && until.is_none()
            && let Some(gap) = scan.gaps.last().filter(|gap| gap.last >= next)
        {
            return Ok(Some(Gap { first: next, last: gap.last }));
        }
        // The next one says by its name what was given before it.
        if let Some(limit) = limit.filter(|limit| *limit > next && until.is_none_or(|until| until >= next)) {
            return Ok(Some(Gap { first: next, last: limit - 1 }));
        }
    }
    Ok(until.filter(|until| *until >= next).map(|until| Gap { first: next, last: until }))
}

/// Writes records into sealed segments.
pub(crate) struct TailWriter {
    dir: PathBuf,
    segment: SealedSegment,
}

impl TailWriter {
    /// Into `dir`, for records behind `position`.
    pub fn new(dir: &Path, position: u64, id: u64) -> TailWriter {
        TailWriter { dir: dir.to_path_buf(), segment: SealedSegment::new(id, position + 1) }
    }

    /// The next record.
    pub fn take(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), StoreError> {
        if self.segment.bytes() > SEGMENT_BYTES {
            let next = SealedSegment::new(self.segment.id() + 1, head.ordinal);
            std::mem::replace(&mut self.segment, next).write(&self.dir)?;
        }
        // Each is a group of its own: all of them are durable.
        self.segment.take(FrameHead { group_first: head.ordinal, ..head }, payload);
        Ok(())
    }

    /// Writes the last segment, which there always is: without records it says with which ordinal the journal goes on; and the
    /// watermark. Gives the last ordinal.
    pub fn finish(self) -> Result<u64, StoreError> {
        let last = self.segment.last();
        self.segment.write(&self.dir)?;
        durable::write_atomically(&self.dir.join(watermark::NAME), &watermark::content(last))?;
        Ok(last)
    }
}
