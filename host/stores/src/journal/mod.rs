//! The record journal: what was acknowledged is in its segment files, synced, with a number and a time.
//!
//! One writer thread gives every record its ordinal and its time and makes whole groups of them durable with one
//! fdatasync; one reader hands them out in order. A failed write or fdatasync ends its file for good. Callers: the doors
//! append, the prepare half reads, the store's synced position releases what is no longer needed.

mod answer;
mod clock;
pub(crate) mod copy;
mod counters;
mod gather;
mod live;
mod reader;
mod recovery;
mod sealed;
mod segment;
#[cfg(test)]
mod small_worlds;
#[cfg(test)]
mod tests;
mod watermark;
mod writer;

pub use clock::Clock;
pub use counters::{GROUP_SIZE_BOUNDS, JournalCounts};
pub use reader::JournalReader;
pub use recovery::{Fenced, JournalReport};
pub use segment::Gap;

use crate::disk::{Aside, Disk, RealDisk};
use crate::durable::{self, FolderLock, StoreError};
use crate::embedded::SyncedPosition;
use alertmill_core::identity::UidKey;
use alertmill_core::item::Item;
use alertmill_core::ports::{Appended, Journal, PortError};
use alertmill_core::record::RecordBody;
use answer::answer;
use clock::Ticking;
use counters::Counters;
use live::LiveQueue;
use std::fs::OpenOptions;
use std::future::{Future, ready};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use writer::{AppendQueue, Request, Writer};

/// Bytes of one record at most; its length is written in 32 bits and it must fit in memory several times.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

/// Held by the process that works in the folder.
const LOCK: &str = "lock";

/// How a journal is opened.
pub struct JournalOptions {
    /// Bytes of a segment file, preallocated.
    pub segment_bytes: u64,
    /// Bytes of one group at most, unless its first record alone has more.
    pub group_bytes_max: usize,
    /// Bytes of appends that may wait; more are refused at once.
    pub queue_bytes_max: usize,
    /// Bytes of durable records kept in memory for the reader; it reads the rest from the files.
    pub live_bytes_max: usize,
    /// Bytes of all segment files; when they are reached, appends are refused until some are released, but for verdicts and
    /// starts, which have one segment beyond them.
    pub disk_bytes_max: u64,
    /// Bytes of released segments that stay nevertheless, the newest ones, for golden re-runs.
    pub keep_bytes: u64,
    /// The state's position: the reader begins behind it.
    pub position: u64,
    /// The time of the record at that position, milliseconds; times go on from it.
    pub position_ms: i64,
    /// Where time comes from.
    pub clock: Clock,
}

impl Default for JournalOptions {
    fn default() -> JournalOptions {
        JournalOptions {
            segment_bytes: 64 << 20,
            group_bytes_max: 4 << 20,
            queue_bytes_max: 32 << 20,
            live_bytes_max: 64 << 20,
            disk_bytes_max: 8 << 30,
            keep_bytes: 0,
            position: 0,
            position_ms: 0,
            clock: Clock::Slewed,
        }
    }
}

/// Segments that went.
#[derive(Debug)]
pub struct Released {
    /// The state covers them, and there are newer ones enough to keep.
    pub unneeded: usize,
    /// Kept, until they were too old.
    pub too_old: usize,
    /// Why the others did not go; they are tried again.
    pub failed: Option<StoreError>,
}

/// One segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    first: u64,
    id: u64,
    bytes: u64,
}

impl Segment {
    const SUFFIX: &str = ".journal";

    /// First ordinal, then the id: both can be read even when the header cannot.
    fn name(&self) -> String {
        format!("{:020}-{:016x}{}", self.first, self.id, Segment::SUFFIX)
    }

    fn parse_name(name: &str) -> Option<(u64, u64)> {
        let (first, id) = name.strip_suffix(Segment::SUFFIX)?.split_once('-')?;
        Some((first.parse().ok().filter(|first| *first > 0)?, u64::from_str_radix(id, 16).ok()?))
    }
}

struct Shared {
    dir: PathBuf,
    segment_bytes: u64,
    group_bytes_max: usize,
    queue_bytes_max: usize,
    disk_bytes_max: u64,
    keep_bytes: u64,
    append: Mutex<AppendQueue>,
    append_ready: Condvar,
    /// The next record is to be the first of a segment.
    begins_anew: AtomicBool,
    live: LiveQueue,
    segments: Mutex<Vec<Segment>>,
    counters: Counters,
    failed: OnceLock<String>,
    _lock: FolderLock,
}

/// Opens journals.
pub struct JournalDir;

impl JournalDir {
    /// Opens the journal in `dir`, or makes one. Gives the side that appends, the side that reads (behind
    /// `options.position`), and what was found. Fails when another process has it, when a newer version wrote it, or when
    /// the disk refuses; damage is set aside and reported, and is no failure.
    pub fn open(dir: &Path, options: JournalOptions) -> Result<(JournalHandle, JournalReader, JournalReport), StoreError> {
        open_on(dir, options, Arc::new(RealDisk))
    }
}

fn open_on(dir: &Path, options: JournalOptions, disk: Arc<dyn Disk>) -> Result<(JournalHandle, JournalReader, JournalReport), StoreError> {
    durable::make_dir(dir)?;
    let lock = FolderLock::take(&dir.join(LOCK))?;
    let mut found = recovery::recover(dir, options.position, options.position_ms)?;
    let (uid_key, identity_replaced) = identity(dir, found.is_new && options.position == 0)?;
    found.report.identity_replaced = identity_replaced;
    let live = LiveQueue::new(options.live_bytes_max, found.report.last_ordinal);
    let shared = Arc::new(Shared {
        dir: dir.to_path_buf(),
        segment_bytes: options.segment_bytes,
        group_bytes_max: options.group_bytes_max,
        queue_bytes_max: options.queue_bytes_max,
        disk_bytes_max: options.disk_bytes_max,
        keep_bytes: options.keep_bytes,
        append: Mutex::default(),
        append_ready: Condvar::new(),
        begins_anew: AtomicBool::new(false),
        live,
        segments: Mutex::default(),
        counters: Counters::default(),
        failed: OnceLock::new(),
        _lock: lock,
    });
    found.segments.into_iter().for_each(|segment| shared.add_segment(segment));
    shared.counters.last_ordinal.store(found.report.last_ordinal, Relaxed);
    let clock = Ticking::start(options.clock, found.last_ms);
    let aside = Aside::start("journal-files").map_err(StoreError::io("start a thread for", dir))?;
    let mut writer = Writer::new(shared.clone(), disk, aside, clock, found.next_ordinal, found.next_id, found.last_ms);
    writer.begin(&found.again).map_err(StoreError::io("begin a segment in", dir))?;
    shared.drop_unsealed(found.unsealed)?;
    // Before the oldest file nothing is known, not even how much; there the reader begins with what there is.
    let oldest = shared.oldest_ordinal();
    let next = (options.position + 1).max(oldest.min(found.next_ordinal));
    let gaps = found.report.gaps.iter().filter(|gap| gap.first >= next).copied().collect();
    let reader = JournalReader::new(shared.clone(), next, options.position_ms, gaps);
    let thread = std::thread::Builder::new().name("journal".into()).spawn(move || writer.run());
    let thread = thread.map_err(StoreError::io("start the writer of", dir))?;
    let inner = Inner { shared, uid_key, thread: Mutex::new(Some(thread)) };
    Ok((JournalHandle { inner: Arc::new(inner) }, reader, found.report))
}

/// The key of the uids: made once with the journal, and never again unless it is lost. Where there is a state and no journal,
/// it went with the journal.
fn identity(dir: &Path, is_new: bool) -> Result<(UidKey, bool), StoreError> {
    let path = dir.join("identity");
    let content = match std::fs::read(&path) {
        Ok(content) => content,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(StoreError::io("read", &path)(error)),
    };
    if let Some((key, check)) = content.split_first_chunk::<16>()
        && check == crc32c::crc32c(key).to_le_bytes()
    {
        return Ok((UidKey(*key), false));
    }
    let key: [u8; 16] = durable::random_bytes()?;
    durable::write_atomically(&path, &[key.as_slice(), &crc32c::crc32c(&key).to_le_bytes()].concat())?;
    Ok((UidKey(key), !is_new))
}

impl Shared {
    fn add_segment(&self, segment: Segment) {
        self.counters.segment_bytes.fetch_add(segment.bytes, Relaxed);
        self.segments.lock().unwrap_or_else(PoisonError::into_inner).push(segment);
    }

    fn shrink_segment(&self, id: u64, bytes: u64) {
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = segments.iter_mut().find(|segment| segment.id == id) {
            self.counters.segment_bytes.fetch_sub(segment.bytes - bytes.min(segment.bytes), Relaxed);
            segment.bytes = bytes;
        }
    }

    fn forget_segments(&self, gone: &[Segment]) {
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments.retain(|segment| {
            let is_gone = gone.iter().any(|gone| gone.id == segment.id);
            if is_gone {
                self.counters.segment_bytes.fetch_sub(segment.bytes, Relaxed);
            }
            !is_gone
        });
    }

    /// The segment that holds an ordinal: the last one that begins at or before it, since a later one holds again what
    /// an earlier one could not sync.
    fn segment_of(&self, ordinal: u64) -> Option<Segment> {
        let segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments.iter().rev().find(|segment| segment.first <= ordinal).cloned()
    }

    fn oldest_ordinal(&self) -> u64 {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner).first().map_or(1, |segment| segment.first)
    }

    /// The last process's unsealed file gives back the blocks behind its data.
    fn drop_unsealed(&self, unsealed: Option<(PathBuf, u64)>) -> Result<(), StoreError> {
        let Some((path, end)) = unsealed else { return Ok(()) };
        let cut = OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(end));
        cut.map_err(StoreError::io("cut", &path))?;
        if let Some((_, id)) = path.file_name().and_then(|name| Segment::parse_name(name.to_str()?)) {
            self.shrink_segment(id, end);
        }
        Ok(())
    }
}

/// The side that appends. Clones share one journal; when the last one goes, what waits is written and the journal closes.
#[derive(Clone)]
pub struct JournalHandle {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    uid_key: UidKey,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal for JournalHandle {
    /// The record is queued by the call itself, in the order of calls; dropping the future does not take it back.
    fn append(&self, body: RecordBody, parsed: Option<Vec<Item>>) -> impl Future<Output = Result<Appended, PortError>> + Send {
        let queued = self.enqueue(body, parsed);
        async move {
            match queued {
                Ok(answer) => answer.await,
                Err(error) => ready(Err(error)).await,
            }
        }
    }
}

impl JournalHandle {
    fn enqueue(&self, body: RecordBody, parsed: Option<Vec<Item>>) -> Result<answer::Answer, PortError> {
        let shared = &self.inner.shared;
        let mut payload = Vec::new();
        body.encode(&mut payload);
        let bytes = payload.len();
        let bytes_max = self.record_bytes_max();
        if bytes > bytes_max {
            return Err(PortError::TooLarge(format!("a record of {bytes} bytes is over {bytes_max}; send fewer items at once")));
        }
        let mut queue = shared.append.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.closed {
            let why = shared.failed.get().cloned();
            return Err(PortError::Fatal(why.unwrap_or_else(|| "the journal is closed".into())));
        }
        // Who waits for a verdict to be taken cannot wait for senders.
        let is_of_verdicts = matches!(body, RecordBody::Verdicts(_));
        if queue.bytes + bytes > shared.queue_bytes_max && !queue.requests.is_empty() && !is_of_verdicts {
            shared.counters.refused.fetch_add(1, Relaxed);
            let waiting = queue.bytes;
            return Err(PortError::Unavailable(format!("journal queue full: {waiting} bytes wait for the disk; try again in a second")));
        }
        let (promise, answer) = answer();
        queue.bytes += bytes;
        shared.counters.append_queue_bytes.store(queue.bytes as u64, Relaxed);
        queue.requests.push_back(Request { payload, body, parsed, promise });
        let is_awaited = queue.requests.len() >= queue.wake_at || queue.bytes >= shared.group_bytes_max;
        drop(queue);
        if is_awaited {
            shared.append_ready.notify_one();
        }
        Ok(answer)
    }

    /// Bytes that one record may have, encoded; a larger one is never taken.
    pub fn record_bytes_max(&self) -> usize {
        usize::try_from(self.inner.shared.disk_bytes_max).map_or(RECORD_BYTES_MAX, |disk| disk.min(RECORD_BYTES_MAX))
    }

    /// The secret of this journal's uids.
    pub fn uid_key(&self) -> UidKey {
        self.inner.uid_key
    }

    /// The journal's numbers now.
    pub fn counts(&self) -> JournalCounts {
        self.inner.shared.counters.read()
    }

    /// Ordinal of the first record that the segments hold; 1 when there is none yet.
    pub fn oldest_ordinal(&self) -> u64 {
        self.inner.shared.oldest_ordinal()
    }

    /// Lets the next record begin a segment, if there is room for one, so that all records so far can be released once they are
    /// covered. For those who keep what records name: a segment may else be written for weeks.
    pub fn begin_segment(&self) {
        self.inner.shared.begins_anew.store(true, Relaxed);
    }

    /// Why the journal works no more, if so; for health.
    pub fn failure(&self) -> Option<&str> {
        self.inner.shared.failed.get().map(String::as_str)
    }

    /// Removes whole segments that a synced position of the state covers, but keeps the newest `keep_bytes` of them.
    /// Gives the number removed.
    pub fn release(&self, covered: SyncedPosition) -> Result<usize, StoreError> {
        let released = self.release_older(covered, i64::MIN);
        released.failed.map_or(Ok(released.unneeded), Err)
    }

    /// As [`release`](Self::release); of those kept, the ones whose last record was received before `before_ms` go too.
    pub fn release_older(&self, covered: SyncedPosition, before_ms: i64) -> Released {
        let shared = &self.inner.shared;
        // The writer waits for this lock when it begins a segment, so it is not held while files are looked at. Those that are
        // here now stay until they are released here.
        let segments = shared.segments.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let behind = segments.windows(2).take_while(|pair| pair[1].first <= covered.ordinal() + 1).count();
        let mut kept = 0;
        let unneeded = segments[..behind]
            .iter()
            .rposition(|segment| {
                kept += segment.bytes;
                kept > shared.keep_bytes
            })
            .map_or(0, |newest| newest + 1);
        let path = |segment: &Segment| shared.dir.join(segment.name());
        let too_old = |pair: &&[Segment]| {
            // One that a kill left without a footer ends before the next begins.
            let last_ms = copy::last_record_ms(&path(&pair[0])).or_else(|| copy::first_record_ms(&path(&pair[1])));
            last_ms.is_some_and(|last_ms| last_ms < before_ms)
        };
        // Only what is behind has a next one.
        let older = segments.windows(2).take(behind).skip(unneeded).take_while(too_old).count();
        let released = &segments[..unneeded + older];
        let paths: Vec<PathBuf> = released.iter().map(path).collect();
        let (gone, failed) = durable::remove_in_order(&shared.dir, &paths);
        // What could not be removed still takes its bytes, and is tried again.
        shared.forget_segments(&released[..gone]);
        Released { unneeded: gone.min(unneeded), too_old: gone.saturating_sub(unneeded), failed }
    }

    /// Writes what waits, seals the segment and ends the writer. Later appends fail; the reader gives out what is durable
    /// and then ends.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        self.shared.append.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.append_ready.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the journal's writer panicked; what it acknowledged is safe");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
