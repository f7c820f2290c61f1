//! Reading event rows: one by its place, for pages of an alert; all of a stretch, to rebuild what is known of uids.

use super::{EventPlace, HEADER_BYTES, ROW_HEAD_BYTES, numbers, path_of, row_crc};
use crate::durable::StoreError;
use alertmill_core::event::Uid;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
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
/// Read in one go when files are scanned.
const SCAN_BYTES: usize = 256 << 10;

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
        match decode(&row) {
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

    /// Lets go of open files of segments that retention removed, so that their blocks come free.
    pub fn forget_removed(&self) {
        let exists = |number: u32| path_of(&self.dir, number).exists();
        self.files.lock().unwrap_or_else(PoisonError::into_inner).retain(|(number, _)| exists(*number));
    }

    /// Numbers of the files that are there, ascending.
    pub(crate) fn numbers(&self) -> Result<Vec<u32>, StoreError> {
        numbers(&self.dir)
    }

    /// Calls `take` with uid, known-until second and end of every row in `from..to`. Where a row is damaged, the rest of its
    /// file is left out; gives how many files that happened to.
    pub fn scan(&self, from: EventPlace, to: EventPlace, mut take: impl FnMut(Uid, i64, EventPlace)) -> Result<usize, StoreError> {
        let mut damaged = 0;
        for number in numbers(&self.dir)?.into_iter().filter(|n| (from.segment..=to.segment).contains(n)) {
            let start = if number == from.segment { from.offset.max(HEADER_BYTES) } else { HEADER_BYTES };
            let end = (number == to.segment).then_some(to.offset);
            if let Some(at) = self.scan_file(number, start, end, &mut take)? {
                damaged += 1;
                tracing::error!("{} is damaged at byte {at}; uids behind it are not known any more", path_of(&self.dir, number).display());
            }
        }
        Ok(damaged)
    }

    /// One file from `start` to `end`, or to the end of its rows. Gives the place of a damaged row. Reads no more than
    /// that: the file that is being written is as long as it may ever get.
    fn scan_file(&self, number: u32, start: u32, end: Option<u32>, take: &mut impl FnMut(Uid, i64, EventPlace)) -> Result<Option<u32>, StoreError> {
        let path = path_of(&self.dir, number);
        let failed = |error| StoreError::io("read", &path)(error);
        let mut file = File::open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let end_at = end.map_or(length, |end| length.min(end.into()));
        file.seek(SeekFrom::Start(start.into())).map_err(failed)?;
        let mut rows = BufReader::with_capacity(SCAN_BYTES, file);
        let (mut at, mut row) = (u64::from(start), Vec::new());
        while at + ROW_HEAD_BYTES as u64 <= end_at {
            row.resize(ROW_HEAD_BYTES, 0);
            rows.read_exact(&mut row).map_err(failed)?;
            let document = u64::from(u32::from_le_bytes([row[0], row[1], row[2], row[3]]));
            let next = at + ROW_HEAD_BYTES as u64 + document;
            // Documents are never empty: zeros are the blocks behind the last row.
            let is_possible = document > 0 && next <= end_at;
            if is_possible {
                row.resize(ROW_HEAD_BYTES + document as usize, 0);
                rows.read_exact(&mut row[ROW_HEAD_BYTES..]).map_err(failed)?;
            }
            let Some(head) = Some(&row).filter(|_| is_possible).and_then(|row| decode_head(row)) else {
                let is_end = end.is_none() && row.iter().all(|byte| *byte == 0);
                return Ok((!is_end).then_some(at as u32));
            };
            at = next;
            take(head.0, head.1, EventPlace { segment: number, offset: at as u32 });
        }
        Ok(None)
    }
}

fn decode_head(row: &[u8]) -> Option<(Uid, i64, i64)> {
    if row[4..8] != row_crc(row).to_le_bytes() {
        return None;
    }
    let uid = Uid(row[8..24].try_into().ok()?);
    Some((uid, i64::from_le_bytes(row[24..32].try_into().ok()?), i64::from_le_bytes(row[32..40].try_into().ok()?)))
}

fn decode(row: &[u8]) -> Option<EventRow> {
    let (uid, known_until_s, index_time_s) = decode_head(row)?;
    Some(EventRow { uid, known_until_s, index_time_s, document: row[ROW_HEAD_BYTES..].to_vec() })
}
