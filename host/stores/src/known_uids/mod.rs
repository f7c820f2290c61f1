//! Which uids were counted, and until when a retry of them is known (I2, I8).
//!
//! New uids go into a table in memory. A full table, once the state that committed its events is synced, becomes sorted
//! files, one for each hour at whose end uids end, each with a filter in memory: so the file alone says until when its uids
//! are known. Whole hours are dropped when the time of the synced state has passed them, since after a loss of power records
//! are judged again. A table whose first uid came an hour ago counts as full.
//! So the cost of an event is flat: a few filter probes, and a page read for one in some hundreds. What is not in files
//! yet is read again from the event files at start, up to exactly where the state ends: state and uids cannot disagree.

mod filter;
mod run;
#[cfg(test)]
mod tests;
mod worker;

use crate::durable::StoreError;
use crate::event_segments::{EventPlace, EventReader};
use alertmill_core::event::Uid;
use alertmill_core::ports::{KnownUids, PortError};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use worker::{Files, Full, Job, Worker};

pub(crate) use worker::MANIFEST;

/// The files that the manifest of a folder names, and the manifest as it is.
pub(crate) struct NamedFiles {
    /// Name, end of its hour in seconds, CRC of its keys.
    pub files: Vec<(String, i64, u32)>,
    pub bytes: Vec<u8>,
}

/// Reads the manifest, if there is one; the error says that it is damaged.
pub(crate) fn named_files(dir: &Path) -> Result<Option<NamedFiles>, String> {
    let bytes = match std::fs::read(dir.join(MANIFEST)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| format!("{MANIFEST}: {error}"))?,
    };
    let manifest = worker::Manifest::from_bytes(&bytes).ok_or_else(|| format!("{MANIFEST}: it has a wrong checksum"))?;
    Ok(Some(NamedFiles { files: manifest.files, bytes }))
}

/// Whether a file is the one with this end and checksum, and whole.
pub(crate) fn is_whole(path: &Path, end_s: i64, crc: u32) -> Result<bool, StoreError> {
    Ok(run::Run::open(path, end_s, crc)?.is_some())
}

/// Uids and the last second of each.
type Table = HashMap<u128, i64, BuildHasherDefault<UidHasher>>;

/// Uids are keyed hashes already; hashing them again would only cost time.
#[derive(Default)]
struct UidHasher(u64);

impl Hasher for UidHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64 ^ (key >> 64) as u64;
    }
}

/// How the index is kept.
#[derive(Clone, Debug)]
pub struct UidOptions {
    /// Uids in the table before it becomes files.
    pub table_uids_max: usize,
    /// Full tables that may wait for the disk before commits are refused.
    pub tables_waiting_max: usize,
}

impl Default for UidOptions {
    fn default() -> UidOptions {
        // Seven eighths of a power of two: the fullest that the table gets without doubling.
        UidOptions { table_uids_max: 229_376, tables_waiting_max: 32 }
    }
}

/// What was found at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UidReport {
    /// Uids read again from event files.
    pub read_again: u64,
    /// Uids in files.
    pub in_files: u64,
    /// Event files with damage.
    pub damaged_event_files: usize,
    /// Uids that should be known were in no uid file, and the event files to read them from are gone.
    pub forgotten: bool,
}

/// The index's numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UidCounts {
    /// Uids in memory that are in no file yet.
    pub in_memory: u64,
    /// Uids in files.
    pub in_files: u64,
    /// Files.
    pub files: usize,
    /// Hours that have files.
    pub hours: usize,
    /// Bytes of filters and fences.
    pub filter_bytes: usize,
    /// Pages read by look-ups since the start.
    pub page_reads: u64,
}

/// The index; one per store.
pub struct UidIndex {
    options: UidOptions,
    recent: Table,
    /// Record time of the oldest uid in `recent`, seconds.
    oldest_s: Option<i64>,
    /// Full tables on their way into files, oldest first, and whether the worker has it.
    full: VecDeque<(Full, bool)>,
    /// Where the event rows of `recent` begin.
    from: EventPlace,
    files: Arc<Files>,
    worker: Worker,
    now_s: i64,
    /// Time of the last synced state, seconds: hours before it are gone for good.
    synced_s: i64,
    hour_over: bool,
    page_reads: u64,
}

impl UidIndex {
    /// Opens the index in `dir` for a state whose event rows end at `committed` (synced) and whose time is `now_s`.
    pub fn open(dir: &Path, options: UidOptions, events: &EventReader, committed: EventPlace, now_s: i64) -> Result<(UidIndex, UidReport), StoreError> {
        let worker = Worker::open(dir, committed, now_s)?;
        let files = worker.files();
        let from = files.mark;
        let (recent, full) = (Table::default(), VecDeque::new());
        let mut index = UidIndex { options, recent, oldest_s: None, full, from, files, worker, now_s, synced_s: now_s, hour_over: false, page_reads: 0 };
        let mut report = UidReport { in_files: index.counts().in_files, ..UidReport::default() };
        let mut first_until_s = None;
        report.damaged_event_files = events.scan(from, committed, |uid, known_until_s, end| {
            report.read_again += 1;
            first_until_s.get_or_insert(end_of_hour(known_until_s));
            index.insert(uid, known_until_s);
            // It was received in the hour a day before that, or earlier: no reason to keep it in memory for another hour.
            let received_s = known_until_s.saturating_sub(DAY_S + HOUR_S);
            index.oldest_s = index.oldest_s.map(|oldest_s| oldest_s.min(received_s));
            if index.recent.len() >= index.options.table_uids_max {
                index.freeze(end);
                index.give(committed);
                index.worker.wait();
                index.collect();
            }
        })?;
        report.forgotten = is_forgotten(&events.numbers()?, from, committed, first_until_s.is_some_and(|until_s| until_s < now_s));
        Ok((index, report))
    }

    /// Notes a uid whose event's commit succeeded.
    pub fn insert(&mut self, uid: Uid, known_until_s: i64) {
        let end_s = end_of_hour(known_until_s);
        if end_s >= self.synced_s {
            let slot = self.recent.entry(u128::from_be_bytes(uid.0)).or_insert(end_s);
            *slot = end_s.max(*slot);
            self.oldest_s.get_or_insert(self.now_s);
        }
    }

    /// Time goes on to `now_s`, before the uids of a commit of that time are noted.
    pub fn advance(&mut self, now_s: i64) {
        self.now_s = self.now_s.max(now_s);
    }

    /// After a commit whose event rows end at `end`; those of the last synced checkpoint end at `synced`, and its time is
    /// `synced_s`.
    pub fn committed(&mut self, end: EventPlace, synced: EventPlace, synced_s: i64) {
        // An hour ends with its last second, which is the first of the next one.
        self.hour_over |= (synced_s - 1).div_euclid(HOUR_S) > (self.synced_s - 1).div_euclid(HOUR_S);
        self.synced_s = self.synced_s.max(synced_s);
        // Where few events come, a table takes days to fill, and event files must stay as long as they are needed for it.
        let is_old = self.full.is_empty() && self.oldest_s.is_some_and(|oldest_s| self.now_s - oldest_s >= HOUR_S);
        if self.recent.len() >= self.options.table_uids_max || is_old {
            self.freeze(end);
        }
        self.give(synced);
        if self.hour_over && self.full.is_empty() && self.worker.is_idle() {
            // Nothing to write, but hours to drop.
            self.hour_over = false;
            self.worker.give(Job { full: None, synced_s: self.synced_s });
        }
        self.collect();
    }

    fn freeze(&mut self, end: EventPlace) {
        let table = std::mem::take(&mut self.recent);
        self.recent.reserve(self.options.table_uids_max.min(table.len()));
        let from = std::mem::replace(&mut self.from, end);
        self.full.push_back((Full { table: Arc::new(table), from, end }, false));
        self.oldest_s = None;
    }

    /// Gives the worker what a synced state covers. What an idle worker has not done has failed, and is given again, in order.
    fn give(&mut self, synced: EventPlace) {
        if self.worker.is_idle() {
            self.collect();
            self.full.iter_mut().for_each(|(_, given)| *given = false);
        }
        for (full, given) in self.full.iter_mut().filter(|(full, given)| !given && full.end <= synced) {
            *given = true;
            self.worker.give(Job { full: Some(full.clone()), synced_s: self.synced_s });
        }
    }

    fn collect(&mut self) {
        self.files = self.worker.files();
        while self.full.front().is_some_and(|(full, _)| full.end <= self.files.mark) {
            self.full.pop_front();
        }
    }

    /// Why no further commit should be taken, if so: full tables wait for a disk that refuses them. As long as none is taken
    /// nobody else looks whether the disk is better, so this does; event rows of the last synced checkpoint end at `synced`.
    pub fn overfull(&mut self, synced: EventPlace) -> Option<String> {
        if self.full.len() > self.options.tables_waiting_max {
            self.give(synced);
            self.collect();
        }
        let waiting = self.full.len();
        (waiting > self.options.tables_waiting_max).then(|| {
            let why = self.worker.failure().unwrap_or_else(|| "the state is not being synced".into());
            format!("{waiting} tables of known uids wait in memory: {why}")
        })
    }

    /// Until which second each uid is known; `None`: it never was, or is not any more.
    pub fn known_until_s(&mut self, uids: &[Uid]) -> Result<Vec<Option<i64>>, PortError> {
        let keys: Vec<u128> = uids.iter().map(|uid| u128::from_be_bytes(uid.0)).collect();
        // A uid that is stored again, when it is not known any more, ends later than before: what is newest says until when.
        let tables = || std::iter::once(&self.recent).chain(self.full.iter().rev().map(|(full, _)| &*full.table));
        let mut until_s: Vec<Option<i64>> = keys.iter().map(|key| tables().find_map(|table| table.get(key).copied())).collect();
        // File by file, so that one filter stays in the cache for the whole batch. Hours that are past go with the next job;
        // what they answer meanwhile is as true as before.
        for (end_s, runs) in self.files.hours.range(self.synced_s..).rev() {
            for run in runs {
                for (key, until_s) in keys.iter().zip(until_s.iter_mut()).filter(|(_, until_s)| until_s.is_none()) {
                    if run.may_hold(*key) {
                        self.page_reads += 1;
                        let found = run.holds(*key).map_err(|error| unreadable(&run.path, &error))?;
                        *until_s = found.then_some(*end_s);
                    }
                }
            }
        }
        Ok(until_s)
    }

    /// All event rows before this place have their uids in files.
    pub fn flushed(&self) -> EventPlace {
        self.files.mark
    }

    /// The index's numbers.
    pub fn counts(&self) -> UidCounts {
        let runs = || self.files.hours.values().flatten();
        UidCounts {
            in_memory: (self.recent.len() + self.full.iter().map(|(full, _)| full.table.len()).sum::<usize>()) as u64,
            in_files: runs().map(|run| run.count).sum(),
            files: runs().count(),
            hours: self.files.hours.len(),
            filter_bytes: runs().map(|run| run.memory_bytes()).sum(),
            page_reads: self.page_reads,
        }
    }

    /// Waits until all tables given to the disk are there; for tests and measurements.
    pub fn settle(&mut self) {
        self.worker.wait();
        self.collect();
    }
}

/// A page that went bad stays so; the next start reads the uids of its file again from the event files.
fn unreadable(path: &Path, error: &std::io::Error) -> PortError {
    match error.kind() {
        std::io::ErrorKind::InvalidData => PortError::Fatal(format!("{}: {error}; restart: the start makes it anew from the event files", path.display())),
        _ => PortError::Unavailable(format!("cannot read {}: {error}; check the disk", path.display())),
    }
}

/// Whether an event file that uids had to be read from is not there. Of files before the oldest one nothing was needed when
/// even that one begins with a uid that has ended.
fn is_forgotten(present: &[u32], from: EventPlace, committed: EventPlace, oldest_has_ended: bool) -> bool {
    let needed_from = match present.first() {
        Some(oldest) if oldest_has_ended => from.segment.max(*oldest),
        _ => from.segment,
    };
    (needed_from.max(1)..=committed.segment).any(|number| present.binary_search(&number).is_err())
}

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;

/// The group of a uid. Commits name the ends of hours already; other seconds, in event files of older versions, must not make
/// groups of their own.
fn end_of_hour(known_until_s: i64) -> i64 {
    known_until_s.saturating_add(HOUR_S - 1).div_euclid(HOUR_S) * HOUR_S
}

/// The index as a value of its own; clones share it.
#[derive(Clone)]
pub struct KnownUidsHandle {
    index: Arc<Mutex<UidIndex>>,
}

impl KnownUidsHandle {
    pub(crate) fn new(index: UidIndex) -> KnownUidsHandle {
        KnownUidsHandle { index: Arc::new(Mutex::new(index)) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, UidIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index's numbers.
    pub fn counts(&self) -> UidCounts {
        self.lock().counts()
    }
}

impl KnownUids for KnownUidsHandle {
    fn known_until_s(&mut self, uids: &[Uid]) -> Result<Vec<Option<i64>>, PortError> {
        self.lock().known_until_s(uids)
    }
}
