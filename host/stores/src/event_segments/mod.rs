//! Event documents in append-only files, durable before any commit names them.
//!
//! One writer, inside the store: it appends a commit's documents, syncs, and only then the state's transaction runs. The sync
//! may run while the caller does something else, and the next file is made before it is needed. So
//! a commit never names bytes that are not there, and what lies behind the end that the state names is garbage of a commit
//! that never was: it is cut when the files are opened. A row is found by its place, never by search.
//!
//! File `NNNNNNNNNN.events`, little endian: magic, format u32, number u32; then rows: length u32, crc u32, uid, seconds
//! until which the uid is known i64, index time i64 (s), document. The crc covers the row's place too, so that a row, block
//! or file that lies where another belongs never passes for it.

mod read;
#[cfg(test)]
mod tests;

pub use read::{EventRead, EventReader, EventRow};
pub(crate) use read::{NextRow, scan_file};

use crate::disk::{Aside, Disk, Pending, RealDisk, SegmentFile, UNFINISHED};
use crate::durable::{self, StoreError};
use alertmill_core::ports::StoredEvent;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

const MAGIC: &[u8; 8] = b"ALRTEVNT";
const FORMAT: u32 = 2;
pub(crate) const HEADER_BYTES: u32 = 16;
pub(crate) const ROW_HEAD_BYTES: usize = 40;
const SUFFIX: &str = ".events";

/// Where a row lies, or where rows end. Orders as they were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventPlace {
    /// Number of the file, from 1.
    pub segment: u32,
    /// Byte in it.
    pub offset: u32,
}

/// How large a file gets; a commit is never split, so a file may be one commit larger.
pub const SEGMENT_BYTES: u32 = 128 << 20;

/// A file that is being made.
type PendingFile = Pending<io::Result<Box<dyn SegmentFile>>>;

/// The writer.
pub struct EventSegments {
    dir: PathBuf,
    segment_bytes: u32,
    end: EventPlace,
    day: i64,
    disk: Arc<dyn Disk>,
    active: Option<Arc<dyn SegmentFile>>,
    /// The file behind the active one, by number, on its way.
    ahead: Option<(u32, PendingFile)>,
    /// Rows that lie in `buffer` and are on their way.
    begun: Option<Begun>,
    buffer: Vec<u8>,
    /// fdatasyncs that failed; each ended its file.
    pub failed_syncs: u64,
    /// How long the last fdatasync took.
    pub sync_took: Duration,
    makes: Aside,
    syncs: Aside,
}

/// Where the rows lie in the buffer, and what came of their write, or will come of their sync.
struct Begun {
    offsets: Vec<u32>,
    synced: io::Result<Pending<(io::Result<()>, Duration)>>,
}

/// What the buffer keeps for the next commit, bytes; of a larger one the rest is given back.
const BUFFER_KEPT_BYTES: usize = 16 << 20;
/// The next file is made when the active one is so full.
const MAKE_NEXT_AT: u64 = 2;

impl EventSegments {
    /// Opens the files of `dir` whose rows end at `committed`, as the state says; cuts what lies behind it. The second
    /// answer is false when the files end before that: rows that the state names are gone.
    pub fn open(dir: &Path, committed: EventPlace, segment_bytes: u32) -> Result<(EventSegments, bool), StoreError> {
        EventSegments::open_on(dir, committed, segment_bytes, Arc::new(RealDisk))
    }

    pub(crate) fn open_on(dir: &Path, committed: EventPlace, segment_bytes: u32, disk: Arc<dyn Disk>) -> Result<(EventSegments, bool), StoreError> {
        durable::make_dir(dir)?;
        let mut behind: Vec<PathBuf> = numbers(dir)?.into_iter().filter(|n| *n > committed.segment).map(|n| path_of(dir, n)).collect();
        behind.extend(durable::names_with_suffix(dir, UNFINISHED)?.iter().map(|name| dir.join(name)));
        durable::remove_files(dir, &behind)?;
        let aside = |name: &'static str| Aside::start(name).map_err(StoreError::io("start a thread for", dir));
        let mut segments = EventSegments {
            dir: dir.to_path_buf(),
            segment_bytes,
            end: committed,
            day: -1,
            disk,
            active: None,
            ahead: None,
            begun: None,
            buffer: Vec::new(),
            failed_syncs: 0,
            sync_took: Duration::ZERO,
            makes: aside("event-files")?,
            syncs: aside("event-sync")?,
        };
        if committed.segment == 0 {
            return Ok((segments, true));
        }
        let whole = segments.reopen(committed)?;
        Ok((segments, whole))
    }

    fn reopen(&mut self, committed: EventPlace) -> Result<bool, StoreError> {
        let path = path_of(&self.dir, committed.segment);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::io("open", &path)(error)),
        };
        let length = file.metadata().map_err(StoreError::io("look at", &path))?.len();
        if length < u64::from(committed.offset) {
            // The next rows begin a new file, so that no place is ever used twice.
            return Ok(false);
        }
        let again = file.set_len(committed.offset.into()).and_then(|()| durable::preallocate(&file, self.segment_bytes.into()));
        again.map_err(StoreError::io("cut", &path))?;
        self.active = Some(Arc::new(file));
        Ok(true)
    }

    /// Where committed rows end once the caller's commit succeeds.
    pub fn end(&self) -> EventPlace {
        self.end
    }

    /// Takes back what was appended behind `end`, because its commit failed. Rows in a newer file than that stay as garbage:
    /// the state never names them.
    pub fn rewind(&mut self, end: EventPlace) {
        if self.end.segment == end.segment {
            self.end = end;
        }
    }

    /// Appends the documents and syncs them. Gives the place of each. `received_at_s` decides the day of the file.
    pub fn append(&mut self, events: &[StoredEvent], heap: &[u8], received_at_s: i64) -> Result<Vec<EventPlace>, StoreError> {
        let Some(offsets) = self.place(events, heap, received_at_s)? else { return Ok(Vec::new()) };
        let began = Instant::now();
        let written = self.write().and_then(|file| file.sync_data());
        self.settle(offsets, written, began.elapsed())
    }

    /// As [`append`](Self::append), but the sync runs on while the caller does something else, until it calls
    /// [`finish`](Self::finish).
    pub fn begin(&mut self, events: &[StoredEvent], heap: &[u8], received_at_s: i64) -> Result<(), StoreError> {
        let Some(offsets) = self.place(events, heap, received_at_s)? else { return Ok(()) };
        let synced = self.write().map(|file| {
            self.syncs.begin(move || {
                let began = Instant::now();
                (file.sync_data(), began.elapsed())
            })
        });
        self.begun = Some(Begun { offsets, synced });
        Ok(())
    }

    /// Waits until what was begun is durable. Gives the place of each document.
    pub fn finish(&mut self) -> Result<Vec<EventPlace>, StoreError> {
        let Some(Begun { offsets, synced }) = self.begun.take() else { return Ok(Vec::new()) };
        let (written, took) = match synced {
            Ok(pending) => pending.wait().unwrap_or_else(|| (Err(io::Error::other("the sync panicked")), Duration::ZERO)),
            Err(error) => (Err(error), Duration::ZERO),
        };
        self.settle(offsets, written, took)
    }

    /// Puts the rows into the buffer, and decides which file they are for. Gives where they lie in the buffer; nothing when
    /// there are none.
    fn place(&mut self, events: &[StoredEvent], heap: &[u8], received_at_s: i64) -> Result<Option<Vec<u32>>, StoreError> {
        // The loop before lets no such commit through; one that came would be written where it is never found.
        let ends = u64::from(HEADER_BYTES) + heap.len() as u64 + (events.len() * ROW_HEAD_BYTES) as u64;
        if ends > u64::from(u32::MAX) {
            let error = io::Error::new(io::ErrorKind::FileTooLarge, format!("{ends} bytes of events in one commit"));
            return Err(StoreError::io("write", &path_of(&self.dir, self.end.segment))(error));
        }
        let mut offsets = Vec::with_capacity(events.len());
        self.buffer.clear();
        for event in events {
            offsets.push(self.buffer.len() as u32);
            let document = &heap[event.document.start as usize..event.document.end as usize];
            encode_row(&mut self.buffer, event, document);
        }
        if events.is_empty() {
            return Ok(None);
        }
        let day = received_at_s.div_euclid(86_400);
        let full = u64::from(self.end.offset) + self.buffer.len() as u64 > u64::from(self.segment_bytes);
        if self.active.is_none() || (full && self.end.offset > HEADER_BYTES) || (self.day != -1 && self.day != day) {
            self.begin_segment()?;
        }
        self.day = day;
        self.place_rows(&offsets);
        Ok(Some(offsets))
    }

    /// The rows of the buffer are durable, or must go into a new file.
    fn settle(&mut self, offsets: Vec<u32>, written: io::Result<()>, took: Duration) -> Result<Vec<EventPlace>, StoreError> {
        self.sync_took = took;
        if let Err(error) = written {
            self.give_up(&error);
            self.begin_segment()?;
            self.place_rows(&offsets);
            if let Err(error) = self.write().and_then(|file| file.sync_data()) {
                self.give_up(&error);
                return Err(StoreError::io("write", &path_of(&self.dir, self.end.segment))(error));
            }
        }
        let EventPlace { segment, offset } = self.end;
        self.end.offset += self.buffer.len() as u32;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT_BYTES);
        if self.ahead.is_none() && u64::from(self.end.offset) * MAKE_NEXT_AT > u64::from(self.segment_bytes) {
            self.make_next();
        }
        Ok(offsets.into_iter().map(|at| EventPlace { segment, offset: offset + at }).collect())
    }

    /// Writes the checksums of the buffer's rows, which lie at `offsets` in it, for the place where they will be written.
    fn place_rows(&mut self, offsets: &[u32]) {
        let ends = offsets.iter().skip(1).map(|at| *at as usize).chain([self.buffer.len()]);
        for (at, end) in offsets.iter().zip(ends).collect::<Vec<_>>() {
            let place = EventPlace { segment: self.end.segment, offset: self.end.offset + at };
            let row = &mut self.buffer[*at as usize..end];
            let crc = row_crc(place, row);
            row[4..8].copy_from_slice(&crc.to_le_bytes());
        }
    }

    /// Writes the buffer; gives the file that is to be synced.
    fn write(&self) -> io::Result<Arc<dyn SegmentFile>> {
        let Some(file) = &self.active else { return Err(io::Error::other("no file")) };
        file.write_all_at(&self.buffer, self.end.offset.into())?;
        Ok(file.clone())
    }

    /// The active file failed. It is never written or synced again: the kernel may have dropped its pages and would call the
    /// next sync a success. What was just written goes into a new file; here it is cut, lest a later start takes a half of it
    /// for damage.
    fn give_up(&mut self, error: &io::Error) {
        self.failed_syncs += 1;
        tracing::error!("{}: {error}; its last rows are written again into a new file", path_of(&self.dir, self.end.segment).display());
        self.end_active();
    }

    /// Gives back the blocks behind the rows of the active file. Their absence only saves space, so nothing is synced.
    fn end_active(&mut self) {
        if let Some(Err(error)) = self.active.take().map(|file| file.set_len(self.end.offset.into())) {
            tracing::warn!("cannot cut {}: {error}; it takes more space than it needs", path_of(&self.dir, self.end.segment).display());
        }
    }

    fn begin_segment(&mut self) -> Result<(), StoreError> {
        self.end_active();
        let number = self.end.segment + 1;
        let made = self.ahead.take().filter(|(ahead, _)| *ahead == number).and_then(|(_, pending)| pending.wait());
        let file = match made {
            Some(Ok(file)) => file,
            // What kept it from being made ahead may be over.
            _ => create(self.disk.as_ref(), &self.dir, number, self.segment_bytes).map_err(StoreError::io("create", &path_of(&self.dir, number)))?,
        };
        self.active = Some(file.into());
        self.end = EventPlace { segment: number, offset: HEADER_BYTES };
        Ok(())
    }

    /// A commit does not wait for the syncs of a new file. Without rows it is garbage to a start that finds it.
    fn make_next(&mut self) {
        let (disk, dir, number, bytes) = (self.disk.clone(), self.dir.clone(), self.end.segment + 1, self.segment_bytes);
        self.ahead = Some((number, self.makes.begin(move || create(disk.as_ref(), &dir, number, bytes))));
    }

    /// Removes the oldest whole files while all together are over `bytes_max`, and those whose last row was received before
    /// `older_than_s` (seconds since 1970), as `received_at_s` says; where it does not know, by when they were last written. Never
    /// the one being written, nor `keep_from` and newer. `removing` sees all that go before the first of them does, and none goes
    /// when it fails. Rows in them read as [`EventRead::Gone`] from then on.
    pub fn retire(
        &mut self,
        bytes_max: u64,
        older_than_s: i64,
        keep_from: u32,
        received_at_s: impl Fn(u32) -> Option<i64>,
        removing: impl FnOnce(&[(u32, PathBuf)]) -> Result<(), StoreError>,
    ) -> Result<RetiredFiles, StoreError> {
        let keep_from = keep_from.min(self.end.segment);
        let mut files = Vec::new();
        // One that is made ahead has no rows.
        for number in numbers(&self.dir)?.into_iter().filter(|number| *number <= self.end.segment) {
            let path = path_of(&self.dir, number);
            let metadata = path.metadata().map_err(StoreError::io("look at", &path))?;
            let modified_s = || metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).and_then(|at| i64::try_from(at.as_secs()).ok());
            files.push((number, path, metadata.len(), received_at_s(number).or_else(modified_s).unwrap_or(i64::MAX)));
        }
        let mut total: u64 = files.iter().map(|file| file.2).sum();
        let (mut gone, mut retired) = (Vec::new(), RetiredFiles::default());
        for (number, path, bytes, last_s) in files {
            if number >= keep_from || (total <= bytes_max && last_s >= older_than_s) {
                break;
            }
            *(if last_s < older_than_s { &mut retired.by_age } else { &mut retired.by_size }) += 1;
            total -= bytes;
            gone.push((number, path));
        }
        if !gone.is_empty() {
            removing(&gone)?;
            durable::remove_files(&self.dir, &gone.into_iter().map(|(_, path)| path).collect::<Vec<_>>())?;
        }
        Ok(retired)
    }
}

/// A file that was made ahead and is not wanted goes.
impl Drop for EventSegments {
    fn drop(&mut self) {
        if let Some((number, pending)) = self.ahead.take()
            && let Some(Ok(_)) = pending.wait()
        {
            let _ = std::fs::remove_file(path_of(&self.dir, number));
        }
    }
}

/// How many files went, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetiredFiles {
    /// Too old.
    pub by_age: u64,
    /// No room.
    pub by_size: u64,
}

fn create(disk: &dyn Disk, dir: &Path, number: u32, bytes: u32) -> io::Result<Box<dyn SegmentFile>> {
    disk.create(&path_of(dir, number), bytes.into(), &header(number))
}

fn header(number: u32) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[12..].copy_from_slice(&number.to_le_bytes());
    header
}

fn encode_row(out: &mut Vec<u8>, event: &StoredEvent, document: &[u8]) {
    out.extend_from_slice(&(document.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&event.uid.0);
    out.extend_from_slice(&event.known_until_s.to_le_bytes());
    out.extend_from_slice(&event.index_time_s.to_le_bytes());
    out.extend_from_slice(document);
}

fn row_crc(place: EventPlace, row: &[u8]) -> u32 {
    let mut start = [0; 12];
    start[..4].copy_from_slice(&place.segment.to_le_bytes());
    start[4..8].copy_from_slice(&place.offset.to_le_bytes());
    start[8..].copy_from_slice(&row[..4]);
    crc32c::crc32c_append(crc32c::crc32c(&start), &row[8..])
}

fn path_of(dir: &Path, number: u32) -> PathBuf {
    dir.join(file_name(number))
}

fn numbers(dir: &Path) -> Result<Vec<u32>, StoreError> {
    let names = durable::names_with_suffix(dir, SUFFIX)?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(SUFFIX)?.parse().ok()).collect())
}

/// Number and name of every file, ascending.
pub(crate) fn files(dir: &Path) -> Result<Vec<(u32, String)>, StoreError> {
    Ok(numbers(dir)?.into_iter().map(|number| (number, file_name(number))).collect())
}

pub(crate) fn file_name(number: u32) -> String {
    format!("{number:010}{SUFFIX}")
}

/// Gives the end of every whole row of a file.
pub(crate) fn whole_rows(path: &Path, number: u32, mut take: impl FnMut(EventPlace)) -> Result<(), StoreError> {
    let end = EventPlace { segment: u32::MAX, offset: 0 };
    scan_file(path, number, EventPlace::default(), end, |_, row_end| take(row_end)).map(drop)
}

/// Stretches of a file that are no whole rows although rows end at `end`; rows that are whole are added to `rows`.
pub(crate) fn check_file(path: &Path, number: u32, end: EventPlace, rows: &mut u64) -> Result<Vec<(usize, usize)>, StoreError> {
    let mut damaged = scan_file(path, number, EventPlace::default(), end, |_, _| *rows += 1)?;
    let mut head = [0; HEADER_BYTES as usize];
    let is_whole = std::fs::File::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut head)).is_ok() && head == header(number);
    if !is_whole {
        damaged.insert(0, (0, HEADER_BYTES as usize));
    }
    Ok(damaged)
}
