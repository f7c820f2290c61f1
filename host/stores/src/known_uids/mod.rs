//! Which uids were counted, for as long as a retry of them can still count (I2).
//!
//! New uids go into a table in memory. A full table, once the state that committed its events is synced, becomes sorted
//! files, one for each hour in which uids end, each with a filter in memory; whole hours are dropped when they are past.
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
use worker::{Files, Job, Worker};

/// Uids and the second at which each ends.
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
    /// Full tables on their way into files, oldest first: until where their events go, and whether the worker has it.
    full: VecDeque<(Arc<Table>, EventPlace, bool)>,
    files: Arc<Files>,
    worker: Worker,
    now_s: i64,
    hour_over: bool,
    page_reads: u64,
}

impl UidIndex {
    /// Opens the index in `dir` for a state whose event rows end at `committed` (synced) and whose time is `now_s`.
    pub fn open(
        dir: &Path,
        options: UidOptions,
        events: &EventReader,
        committed: EventPlace,
        now_s: i64,
    ) -> Result<(UidIndex, UidReport), StoreError> {
        let worker = Worker::open(dir, committed, now_s)?;
        let files = worker.files();
        let mut index = UidIndex { options, recent: Table::default(), full: VecDeque::new(), files, worker, now_s, hour_over: false, page_reads: 0 };
        let mut report = UidReport { in_files: index.counts().in_files, ..UidReport::default() };
        let from = index.files.mark;
        report.damaged_event_files = events.scan(from, committed, |uid, known_until_s, end| {
            report.read_again += 1;
            index.insert(uid, known_until_s);
            if index.recent.len() >= index.options.table_uids_max {
                index.freeze(end);
                index.give(committed);
                index.worker.wait();
                index.collect();
            }
        })?;
        Ok((index, report))
    }

    /// Notes a uid whose event's commit succeeded.
    pub fn insert(&mut self, uid: Uid, known_until_s: i64) {
        let end_s = end_of_hour(known_until_s, self.now_s);
        if end_s > self.now_s {
            let slot = self.recent.entry(u128::from_be_bytes(uid.0)).or_insert(end_s);
            *slot = end_s.max(*slot);
        }
    }

    /// Time goes on to `now_s`, before the uids of a commit of that time are noted.
    pub fn advance(&mut self, now_s: i64) {
        self.hour_over |= now_s.div_euclid(HOUR_S) > self.now_s.div_euclid(HOUR_S);
        self.now_s = self.now_s.max(now_s);
    }

    /// After a commit whose event rows end at `end`; those of the last synced checkpoint end at `synced`.
    pub fn committed(&mut self, end: EventPlace, synced: EventPlace) {
        if self.recent.len() >= self.options.table_uids_max {
            self.freeze(end);
        }
        self.give(synced);
        if self.hour_over && self.worker.is_idle() {
            // Nothing to write, but hours to drop.
            self.hour_over = false;
            let (table, mark) = (Arc::new(Table::default()), EventPlace::default());
            self.worker.give(Job { table, mark, now_s: self.now_s });
        }
        self.collect();
    }

    fn freeze(&mut self, end: EventPlace) {
        let full = std::mem::take(&mut self.recent);
        self.recent.reserve(self.options.table_uids_max.min(full.len()));
        self.full.push_back((Arc::new(full), end, false));
    }

    /// Gives the worker what a synced state covers. A failed job is given again, in order.
    fn give(&mut self, synced: EventPlace) {
        if self.worker.failure().is_some() && self.worker.is_idle() {
            self.full.iter_mut().for_each(|full| full.2 = false);
        }
        for (table, end, given) in self.full.iter_mut().filter(|full| !full.2 && full.1 <= synced) {
            *given = true;
            self.worker.give(Job { table: table.clone(), mark: *end, now_s: self.now_s });
        }
    }

    fn collect(&mut self) {
        self.files = self.worker.files();
        while self.full.front().is_some_and(|full| full.1 <= self.files.mark) {
            self.full.pop_front();
        }
    }

    /// Why no further commit should be taken, if so: full tables wait for a disk that refuses them.
    pub fn overfull(&self) -> Option<String> {
        let waiting = self.full.len();
        (waiting > self.options.tables_waiting_max).then(|| {
            let why = self.worker.failure().unwrap_or_else(|| "the state is not being synced".into());
            format!("{waiting} tables of known uids wait in memory: {why}")
        })
    }

    /// One answer per uid.
    pub fn known(&mut self, uids: &[Uid]) -> Result<Vec<bool>, PortError> {
        let keys: Vec<u128> = uids.iter().map(|uid| u128::from_be_bytes(uid.0)).collect();
        let now_s = self.now_s;
        let lasts = |table: &Table, key: &u128| table.get(key).is_some_and(|end_s| *end_s > now_s);
        let mut known: Vec<bool> =
            keys.iter().map(|key| lasts(&self.recent, key) || self.full.iter().any(|full| lasts(&full.0, key))).collect();
        // File by file, so that one filter stays in the cache for the whole batch.
        for run in self.files.hours.range(now_s + 1..).flat_map(|(_, runs)| runs) {
            for (key, known) in keys.iter().zip(known.iter_mut()).filter(|(_, known)| !**known) {
                if run.may_hold(*key) {
                    self.page_reads += 1;
                    let found = run.holds(*key);
                    *known = found.map_err(|error| PortError::Unavailable(format!("cannot read {}: {error}; check the disk", run.path.display())))?;
                }
            }
        }
        Ok(known)
    }

    /// All event rows before this place have their uids in files.
    pub fn flushed(&self) -> EventPlace {
        self.files.mark
    }

    /// The index's numbers.
    pub fn counts(&self) -> UidCounts {
        let runs = || self.files.hours.values().flatten();
        UidCounts {
            in_memory: (self.recent.len() + self.full.iter().map(|full| full.0.len()).sum::<usize>()) as u64,
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

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;

/// The second at which the group of a uid ends. Hours for the usual 24 h; further ahead days, then months, so that wild
/// times of a sender make a bounded number of groups. Never before `known_until_s`, up to ten years ahead.
fn end_of_hour(known_until_s: i64, now_s: i64) -> i64 {
    let until = known_until_s.clamp(now_s.saturating_sub(HOUR_S), now_s.saturating_add(3_650 * DAY_S));
    let ahead = until.saturating_sub(now_s);
    let step = if ahead <= 27 * HOUR_S {
        HOUR_S
    } else if ahead <= 60 * DAY_S {
        DAY_S
    } else {
        30 * DAY_S
    };
    (until.div_euclid(step) + 1) * step
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
    fn known(&mut self, uids: &[Uid]) -> Result<Vec<bool>, PortError> {
        self.lock().known(uids)
    }
}
