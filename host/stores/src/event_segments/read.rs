//! Reading event rows: one by its place, for pages of an alert; all of a stretch, to rebuild what is known of uids.

use super::{EventPlace, HEADER_BYTES, ROW_HEAD_BYTES, numbers, path_of, row_crc};
use crate::durable::StoreError;
use alertmill_core::event::Uid;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Its uid.
    pub uid: Uid,
    /// Seconds until which a retry of it must be recognised.
    pub known_until_s: i64,
    /// Seconds that choose its day index.
    pub index_time_s: i64,
    /// JSON.
    pub document: Vec<u8>,
}

/// What lies at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventRead {
    /// The row.
    Found(EventRow),
    /// Its file was removed by retention.
    Gone,
    /// The file is there, but not this row; the log says what is wrong with it.
    Damaged,
}

const OPEN_FILES_MAX: usize = 16;

/// Reads rows; clones share open files.
#[derive(Clone)]
pub struct EventReader {
    dir: PathBuf,
    files: Arc<Mutex<Vec<OpenFile>>>,
}

/// Number of a file, and the file; the last one was used last.
type OpenFile = (u32, Arc<File>);

impl EventReader {
    /// A reader of the files in `dir`.
    pub fn new(dir: &Path) -> EventReader {
        EventReader { dir: dir.to_path_buf(), files: Arc::default() }
    }

    /// Reads the row at a place that a commit named. One damaged row is an answer, not an error: the others of its page are
    /// worth reading.
    pub fn read(&self, place: EventPlace) -> Result<EventRead, StoreError> {
        match self.read_whole(place) {
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::error!("{error}");
                Ok(EventRead::Damaged)
            }
            other => other,
        }
    }

    fn read_whole(&self, place: EventPlace) -> Result<EventRead, StoreError> {
        let path = path_of(&self.dir, place.segment);
        let Some(file) = self.file(place.segment, &path)? else { return Ok(EventRead::Gone) };
        let damaged = |what: String| StoreError::Damaged {
            path: path.clone(),
            what: format!("{what} at byte {}", place.offset),
            remedy: "other events are not affected; remove the file to give up all of its events",
        };
        let mut head = [0; ROW_HEAD_BYTES];
        file.read_exact_at(&mut head, place.offset.into()).map_err(|error| damaged(error.to_string()))?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        // A damaged length must not ask for memory that the file cannot fill.
        let left = file.metadata().map_err(StoreError::io("look at", &path))?.len().saturating_sub(place.offset.into());
        if (length + ROW_HEAD_BYTES) as u64 > left {
            return Err(damaged("a row longer than the file".into()));
        }
        let mut row = head.to_vec();
        row.resize(ROW_HEAD_BYTES + length, 0);
        let document = file.read_exact_at(&mut row[ROW_HEAD_BYTES..], u64::from(place.offset) + ROW_HEAD_BYTES as u64);
        document.map_err(|error| damaged(error.to_string()))?;
        match decode(place, &row) {
            Some(row) => Ok(EventRead::Found(row)),
            None => Err(damaged("a row with a wrong checksum".into())),
        }
    }

    fn file(&self, number: u32, path: &Path) -> Result<Option<Arc<File>>, StoreError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = files.iter().position(|(n, _)| *n == number) {
            let found = files.remove(at);
            let file = found.1.clone();
            files.push(found);
            return Ok(Some(file));
        }
        let file = match File::open(path) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("open", path)(error)),
        };
        if files.len() == OPEN_FILES_MAX {
            files.remove(0);
        }
        files.push((number, file.clone()));
        Ok(Some(file))
    }

    /// The next whole row at a place or behind it, of rows that end at `to`; where files are gone or damaged it goes on behind.
    pub(crate) fn next_row(&self, at: EventPlace, to: EventPlace) -> Result<NextRow, StoreError> {
        let at = EventPlace { offset: at.offset.max(HEADER_BYTES), ..at };
        if at >= to {
            return Ok(NextRow::End);
        }
        let path = path_of(&self.dir, at.segment);
        let elsewhere = || -> Result<NextRow, StoreError> {
            let next = self.numbers()?.into_iter().find(|number| *number > at.segment).filter(|number| *number <= to.segment);
            Ok(NextRow::Elsewhere(next.map_or(to, |segment| EventPlace { segment, offset: HEADER_BYTES })))
        };
        let Some(file) = self.file(at.segment, &path)? else { return elsewhere() };
        let length = file.metadata().map_err(StoreError::io("look at", &path))?.len();
        let end = if at.segment == to.segment { length.min(to.offset.into()) } else { length };
        if u64::from(at.offset) + ROW_HEAD_BYTES as u64 > end {
            return elsewhere();
        }
        let mut documents_bytes = [0; 4];
        let is_read = file.read_exact_at(&mut documents_bytes, at.offset.into()).is_ok();
        // Zeros are the blocks behind the last row, or damage where rows follow.
        if !is_read || (at.segment != to.segment && documents_bytes == [0; 4]) {
            return self.behind_damage(&path, at, to, end)?.map_or_else(elsewhere, Ok);
        }
        match self.read(at)? {
            EventRead::Found(row) => {
                let next = at.offset + (ROW_HEAD_BYTES + row.document.len()) as u32;
                Ok(NextRow::Row(row, EventPlace { offset: next, ..at }))
            }
            EventRead::Gone => elsewhere(),
            EventRead::Damaged => self.behind_damage(&path, at, to, end)?.map_or_else(elsewhere, Ok),
        }
    }

    /// Where the next whole row of a file is whose bytes at `at` are none; `None` when there is no other in it.
    fn behind_damage(&self, path: &Path, at: EventPlace, to: EventPlace, end: u64) -> Result<Option<NextRow>, StoreError> {
        let Some((from, behind)) = scan_file(path, at.segment, at, to, |_, _| {})?.first().copied() else { return Ok(None) };
        tracing::error!("{} is damaged from byte {from} to {behind}; events there are not shipped", path.display());
        let next = EventPlace { offset: behind as u32, ..at };
        Ok((next > at && (behind as u64) < end).then_some(NextRow::Elsewhere(next)))
    }

    /// Lets go of open files of segments that retention removed, so that their blocks come free.
    pub fn forget_removed(&self) {
        let exists = |number: u32| path_of(&self.dir, number).exists();
        self.files.lock().unwrap_or_else(PoisonError::into_inner).retain(|(number, _)| exists(*number));
    }

    /// Numbers of the files that are there, ascending.
    pub(crate) fn numbers(&self) -> Result<Vec<u32>, StoreError> {
        numbers(&self.dir)
    }

    /// Calls `take` with uid, known-until second and end of every row in `from..to`. What is damaged is left out up to the
    /// next row that is whole; gives how many files that happened to.
    pub fn scan(&self, from: EventPlace, to: EventPlace, mut take: impl FnMut(Uid, i64, EventPlace)) -> Result<usize, StoreError> {
        let mut damaged = 0;
        for number in numbers(&self.dir)?.into_iter().filter(|n| (from.segment..=to.segment).contains(n)) {
            let path = path_of(&self.dir, number);
            let found = scan_file(&path, number, from, to, |row, end| take(row.uid, row.known_until_s, end))?;
            for (from, to) in &found {
                tracing::error!("{} is damaged from byte {from} to {to}; uids of the rows there are not known any more", path.display());
            }
            damaged += usize::from(!found.is_empty());
        }
        Ok(damaged)
    }
}

/// What comes next in the files.
pub(crate) enum NextRow {
    /// A row, and where the next one may be.
    Row(EventRow, EventPlace),
    /// No row here; the next one may be there.
    Elsewhere(EventPlace),
    /// All rows were seen.
    End,
}

/// What a scan sees of a row.
pub(crate) struct RowHead {
    pub uid: Uid,
    pub known_until_s: i64,
}

/// Bytes of rows that may be looked at in vain in search of the next whole one: what only looks like a row has any length.
const SEARCH_BYTES_MAX: usize = 256 << 20;

/// Gives every whole row of a file that lies in `from..to` to `take`, with its end, and the stretches that are no rows.
pub(crate) fn scan_file(
    path: &Path,
    number: u32,
    from: EventPlace,
    to: EventPlace,
    take: impl FnMut(RowHead, EventPlace),
) -> Result<Vec<(usize, usize)>, StoreError> {
    let base = if number == from.segment { from.offset.max(HEADER_BYTES) } else { HEADER_BYTES } as usize;
    let until = (number == to.segment).then_some(to.offset as usize);
    let part = read_part(path, base, until).map_err(StoreError::io("read", path))?;
    Ok(scan_part(&part, base, until, number, take))
}

/// Gives every whole row of a part of a file to `take`, and the stretches that are no rows. The part begins at `base`, and rows
/// end at `until` if that is known.
fn scan_part(part: &Part, base: usize, until: Option<usize>, number: u32, mut take: impl FnMut(RowHead, EventPlace)) -> Vec<(usize, usize)> {
    let bytes = &part.bytes;
    let end = until.unwrap_or(base + bytes.len());
    let mut damaged: Vec<(usize, usize)> = Vec::new();
    let (mut at, mut budget) = (base, SEARCH_BYTES_MAX);
    while at < end {
        if let Some((head, next)) = row_at(bytes, base, number, at, &mut budget) {
            at = next;
            take(head, EventPlace { segment: number, offset: at as u32 });
            continue;
        }
        // Zeros are the blocks behind the last row. Only a file that ends at a committed place has none.
        let rest = bytes.get(at - base..).unwrap_or_default();
        let is_end = until.is_none() && at - base >= part.unread_before && rest.iter().all(|byte| *byte == 0);
        if is_end {
            break;
        }
        budget = SEARCH_BYTES_MAX;
        let next = (at + 1..base + bytes.len()).find(|next| budget == 0 || row_at(bytes, base, number, *next, &mut budget).is_some());
        let next = next.filter(|_| budget > 0).unwrap_or(end);
        damaged.push((at, next));
        at = next;
    }
    damaged
}

/// A part of a file.
struct Part {
    bytes: Vec<u8>,
    /// Behind this byte of it everything could be read; before it, blocks that could not are zeros.
    unread_before: usize,
}

/// The bytes of a file from `from` to `until`, or to its end, as far as there are any. The file that is being written is as long
/// as it may ever get, so a start must not read all of it.
fn read_part(path: &Path, from: usize, until: Option<usize>) -> io::Result<Part> {
    let file = File::open(path)?;
    let length = file.metadata()?.len() as usize;
    let until = until.map_or(length, |until| until.min(length)).max(from);
    let mut bytes = vec![0; until - from];
    match file.read_exact_at(&mut bytes, from as u64) {
        Ok(()) => Ok(Part { bytes, unread_before: 0 }),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
            tracing::error!("{}: {error}; what can be read of it is read", path.display());
            Ok(read_blocks(from, until, |block, at| file.read_exact_at(block, at as u64)))
        }
        Err(error) => Err(error),
    }
}

/// A sector that the disk cannot read costs its block and not the file.
fn read_blocks(from: usize, until: usize, mut read_at: impl FnMut(&mut [u8], usize) -> io::Result<()>) -> Part {
    const BLOCK_BYTES: usize = 4096;
    let mut part = Part { bytes: vec![0; until - from], unread_before: 0 };
    let mut at = from;
    while at < until {
        let next = until.min((at / BLOCK_BYTES + 1) * BLOCK_BYTES);
        let block = &mut part.bytes[at - from..next - from];
        if read_at(block, at).is_err() {
            block.fill(0);
            part.unread_before = next - from;
        }
        at = next;
    }
    part
}

/// The row at a place of a file of which `bytes` begin at `base`, and where it ends; bytes whose checksum was made in vain are taken from `budget`.
fn row_at(bytes: &[u8], base: usize, number: u32, at: usize, budget: &mut usize) -> Option<(RowHead, usize)> {
    let bytes = bytes.get(at - base..)?;
    let length = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
    // Documents are never empty.
    let row = bytes.get(..ROW_HEAD_BYTES.checked_add(length)?).filter(|_| length > 0)?;
    let Some((uid, known_until_s, _)) = decode_head(EventPlace { segment: number, offset: at as u32 }, row) else {
        *budget = budget.saturating_sub(row.len());
        return None;
    };
    Some((RowHead { uid, known_until_s }, at + row.len()))
}

fn decode_head(place: EventPlace, row: &[u8]) -> Option<(Uid, i64, i64)> {
    if row[4..8] != row_crc(place, row).to_le_bytes() {
        return None;
    }
    let uid = Uid(row[8..24].try_into().ok()?);
    Some((uid, i64::from_le_bytes(row[24..32].try_into().ok()?), i64::from_le_bytes(row[32..40].try_into().ok()?)))
}

fn decode(place: EventPlace, row: &[u8]) -> Option<EventRow> {
    let (uid, known_until_s, index_time_s) = decode_head(place, row)?;
    Some(EventRow { uid, known_until_s, index_time_s, document: row[ROW_HEAD_BYTES..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_segments::EventSegments;
    use alertmill_core::ports::StoredEvent;

    /// A file with rows of 1,000 bytes each, and where they end.
    fn file(dir: &Path, rows: u8) -> EventPlace {
        let (mut segments, _) = EventSegments::open(dir, EventPlace::default(), 64 << 10).unwrap();
        let event = |n| StoredEvent { uid: Uid([n; 16]), known_until_s: 1, index_time_s: 1, document: 0..(1_000 - ROW_HEAD_BYTES as u32) };
        segments.append(&(1..=rows).map(event).collect::<Vec<_>>(), &[b'x'; 1_000], 0).unwrap();
        segments.end()
    }

    #[test]
    fn a_sector_that_cannot_be_read_costs_the_rows_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let end = file(dir.path(), 20);
        let bytes = std::fs::read(path_of(dir.path(), 1)).unwrap();
        let first = HEADER_BYTES as usize;
        for (from, bad, until, kept, stretch) in [
            // Rows begin at byte 16, so those from 5 to 9 touch the second block.
            (first, 1, Some(end.offset as usize), 15, (4_016, 9_016)),
            (first, 1, None, 15, (4_016, 9_016)),
            // The last of them: zeros that nobody wrote are not the room behind the rows.
            (first, 4, Some(end.offset as usize), 16, (16_016, end.offset as usize)),
            (first, 4, None, 16, (16_016, bytes.len())),
            (17_016, 4, None, 0, (17_016, bytes.len())),
        ] {
            let read = |block: &mut [u8], at: usize| {
                assert!(block.len() <= 4096 && at / 4096 == (at + block.len() - 1) / 4096, "blocks of the disk");
                if at / 4096 == bad {
                    return Err(io::Error::from_raw_os_error(5));
                }
                block.copy_from_slice(&bytes[at..at + block.len()]);
                Ok(())
            };
            let part = read_blocks(from, until.unwrap_or(bytes.len()), read);
            let mut seen = 0;
            let damaged = scan_part(&part, from, until, 1, |_, _| seen += 1);
            assert_eq!((seen, &damaged[..]), (kept, &[stretch][..]), "block {bad}, {from} to {until:?}");
        }
    }
}
