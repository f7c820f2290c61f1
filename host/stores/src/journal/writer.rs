//! The one thread that writes: it takes all requests that wait, gives them ordinals and a time, writes them with one
//! write and one fdatasync, answers them, and only then hands them on. While one fdatasync runs the next group gathers.
//! A change of the segment costs it one more sync, that of the folder: the next file is made ahead, and the last one sealed
//! behind, by a thread of its own.

use super::answer::Promise;
use super::clock::Ticking;
use super::gather::{Gathering, PAUSE, WINDOW};
use super::segment::{self, FrameHead};
use super::watermark::Watermark;
use super::{Segment, Shared};
use crate::disk::{Aside, Disk, Pending, SegmentFile, UNFINISHED};
use alertmill_core::item::Item;
use alertmill_core::ports::{Appended, PortError};
use alertmill_core::record::{Journaled, Record, RecordBody};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One append that waits.
pub(super) struct Request {
    pub payload: Vec<u8>,
    pub body: RecordBody,
    pub parsed: Option<Vec<Item>>,
    pub promise: Promise,
}

impl Request {
    /// The halves, and so whatever makes room, wait for it: it may use the reserve.
    fn is_awaited(&self) -> bool {
        matches!(self.body, RecordBody::Verdicts(_) | RecordBody::Start { .. })
    }
}

/// The appends that wait.
#[derive(Default)]
pub(super) struct AppendQueue {
    pub requests: VecDeque<Request>,
    pub bytes: usize,
    /// The writer is to be woken when so many wait; in between it looks by itself.
    pub wake_at: usize,
    pub closed: bool,
}

struct Active {
    file: Box<dyn SegmentFile>,
    id: u64,
    offset: u64,
    capacity: u64,
}

/// The file of the next segment, or of the one behind it, on its way.
struct Spare {
    unfinished: PathBuf,
    bytes: u64,
    file: Pending<io::Result<Box<dyn SegmentFile>>>,
}

/// The spare is made when the active segment is so full: one half is time enough, and a journal at rest needs none.
const MAKE_SPARE_AT: u64 = 2;

/// A record that was durable before and must be written again into the first segment of this process.
pub(super) struct Again {
    pub head: FrameHead,
    pub payload: Vec<u8>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    aside: Aside,
    clock: Ticking,
    active: Option<Active>,
    spare: Option<Spare>,
    watermark: Watermark,
    next_ordinal: u64,
    next_id: u64,
    last_ms: i64,
    buffer: Vec<u8>,
    gathering: Gathering,
    /// The active segment was begun beyond the journal's limit.
    in_reserve: bool,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, disk: Arc<dyn Disk>, aside: Aside, clock: Ticking, next_ordinal: u64, next_id: u64, last_ms: i64) -> Writer {
        let (watermark, gathering) = (Watermark::new(), Gathering::default());
        Writer {
            shared,
            disk,
            aside,
            clock,
            active: None,
            spare: None,
            watermark,
            next_ordinal,
            next_id,
            last_ms,
            buffer: Vec::new(),
            gathering,
            in_reserve: false,
        }
    }

    /// Makes the first segment, with what the last process may not have synced.
    pub fn begin(&mut self, again: &[Again]) -> io::Result<()> {
        // All before it is durable, so a kill leaves no segment without a watermark; else the next start could not tell.
        if again.is_empty() {
            self.watermark.renew(self.disk.as_ref(), &self.shared.dir, self.next_ordinal - 1);
        }
        let heads: Vec<(FrameHead, &[u8])> = again.iter().map(|record| (record.head, record.payload.as_slice())).collect();
        self.active = Some(self.new_segment(self.next_ordinal, &heads)?);
        // There is always one, but in a journal that was full it is no room for senders.
        self.in_reserve = self.free() < 0;
        Ok(())
    }

    /// Runs until the journal is closed.
    pub fn run(mut self) {
        let _panics = Panics(self.shared.clone());
        while let Some(group) = self.next_group() {
            match self.make_durable(&group) {
                Ok((first, received_at_ms)) => self.hand_over(group, first, received_at_ms),
                Err(error @ PortError::Full(_)) => self.take_awaited(group, &error),
                Err(error) => self.refuse(group, &error),
            }
        }
        self.seal(self.next_ordinal - 1);
        self.drop_spare();
        self.watermark.sync();
        let shared = self.shared.clone();
        // Its thread comes to its end with it.
        drop(self);
        shared.live.end("the journal is closed".into());
    }

    fn next_group(&mut self) -> Option<Vec<Request>> {
        if self.watermark.is_overdue() {
            self.watermark.sync();
        }
        let shared = self.shared.clone();
        let mut queue = shared.append.lock().unwrap_or_else(PoisonError::into_inner);
        while queue.requests.is_empty() {
            if queue.closed {
                return None;
            }
            queue.wake_at = 1;
            queue = match self.watermark.rests_for() {
                None => shared.append_ready.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    drop(queue);
                    self.watermark.sync();
                    shared.append.lock().unwrap_or_else(PoisonError::into_inner)
                }
                Some(rest) => shared.append_ready.wait_timeout(queue, rest).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        queue = self.gather(queue);
        let mut group = Vec::with_capacity(queue.requests.len());
        let mut bytes = 0;
        while let Some(request) = queue.requests.front() {
            bytes += segment::frame_bytes(request.payload.len());
            if bytes > self.shared.group_bytes_max && !group.is_empty() {
                break;
            }
            queue.bytes -= request.payload.len();
            group.extend(queue.requests.pop_front());
        }
        self.shared.counters.append_queue_bytes.store(queue.bytes as u64, Relaxed);
        self.gathering.group_of(group.len());
        Some(group)
    }

    /// Waits until as many wait as were there lately, or no more come.
    fn gather<'a>(&self, mut queue: MutexGuard<'a, AppendQueue>) -> MutexGuard<'a, AppendQueue> {
        let until = Instant::now() + WINDOW;
        queue.wake_at = self.gathering.wanted();
        while queue.requests.len() < queue.wake_at && queue.bytes < self.shared.group_bytes_max && !queue.closed {
            let (waiting, pause) = (queue.requests.len(), until.saturating_duration_since(Instant::now()).min(PAUSE));
            queue = self.shared.append_ready.wait_timeout(queue, pause).unwrap_or_else(PoisonError::into_inner).0;
            if pause.is_zero() || queue.requests.len() == waiting {
                break;
            }
        }
        queue
    }

    /// Gives the group's first ordinal and its time, once it is durable.
    fn make_durable(&mut self, group: &[Request]) -> Result<(u64, i64), PortError> {
        let first = self.next_ordinal;
        let received_at_ms = self.clock.now_ms();
        let heads: Vec<(FrameHead, &[u8])> = group
            .iter()
            .enumerate()
            .map(|(i, request)| (FrameHead { ordinal: first + i as u64, received_at_ms, group_first: first }, request.payload.as_slice()))
            .collect();
        let began = Instant::now();
        let need: usize = heads.iter().map(|(_, payload)| segment::frame_bytes(payload.len())).sum();
        let is_awaited = group.iter().all(Request::is_awaited);
        // What stands in the reserve is full for everyone else until it is none any more.
        self.in_reserve &= self.free() < 0;
        let is_open = is_awaited || !self.in_reserve;
        let begins_anew = self.shared.begins_anew.swap(false, Relaxed) && matches!(self.room_for(need, is_awaited), Ok(false));
        match self.active.as_mut().filter(|active| is_open && active.has_room(need) && !(begins_anew && active.has_records())) {
            Some(active) => {
                if let Err(error) = active.write_group(&heads, &mut self.buffer) {
                    self.rescue(&heads, &error)?;
                }
            }
            None => {
                let in_reserve = self.room_for(need, is_awaited)?;
                let begun = self.new_segment(first, &heads);
                self.in_reserve = in_reserve;
                self.seal(first - 1);
                self.active = Some(begun.map_err(|error| PortError::DiskRefused(format!("{}; nothing was taken", not_created(&error))))?);
            }
        }
        self.shared.counters.group_of(group.len() as u64, need as u64, began.elapsed().as_nanos() as u64);
        self.next_ordinal = first + group.len() as u64;
        self.last_ms = received_at_ms;
        self.watermark.advance(self.next_ordinal - 1);
        self.make_spare();
        if self.shared.counters.refuses.swap(false, Relaxed) {
            tracing::warn!("{}: the journal takes records again", self.shared.dir.display());
        }
        Ok((first, received_at_ms))
    }

    /// A journal that is full empties only when the halves go on, and they may wait for their verdicts to be taken: those have a
    /// reserve.
    fn take_awaited(&mut self, group: Vec<Request>, error: &PortError) {
        let (awaited, others): (Vec<Request>, Vec<Request>) = group.into_iter().partition(Request::is_awaited);
        let are_alone = others.is_empty();
        self.refuse(others, error);
        if awaited.is_empty() {
            return;
        }
        // By themselves they have used up the reserve.
        match if are_alone { Err(error.clone()) } else { self.make_durable(&awaited) } {
            Ok((first, received_at_ms)) => self.hand_over(awaited, first, received_at_ms),
            Err(error) => self.refuse(awaited, &error),
        }
    }

    /// Said once in the log, not for each group: whoever refuses is asked again and again.
    fn refuse(&mut self, group: Vec<Request>, error: &PortError) {
        if !self.shared.counters.refuses.swap(true, Relaxed) {
            tracing::error!("{}: the journal takes nothing: {error}; appends are refused until it works again", self.shared.dir.display());
        }
        group.into_iter().for_each(|request| request.promise.keep(Err(error.clone())));
    }

    fn hand_over(&mut self, group: Vec<Request>, first: u64, received_at_ms: i64) {
        let counters = &self.shared.counters;
        counters.last_ordinal.store(self.next_ordinal - 1, Relaxed);
        counters.watermark_syncs.store(self.watermark.syncs, Relaxed);
        counters.watermark_nanos.store(self.watermark.spent.as_nanos() as u64, Relaxed);
        let mut records = Vec::with_capacity(group.len());
        for (request, ordinal) in group.into_iter().zip(first..) {
            request.promise.keep(Ok(Appended { ordinal, received_at_ms }));
            let record = Record { ordinal, received_at_ms, body: request.body };
            records.push(Journaled { record, parsed: request.parsed });
        }
        // One huge group must not hold its memory for ever.
        self.buffer.shrink_to(2 * self.shared.group_bytes_max);
        let bytes = self.shared.live.push(records);
        self.shared.counters.live_queue_bytes.store(bytes as u64, Relaxed);
    }

    /// The active file failed. The kernel may have dropped its pages and would call the next fsync a success, so it is
    /// never written or synced again; its group is still in memory and begins a new file. When that fails too, nobody knows
    /// whether the group will be there after a restart. In this process it has no ordinals: the next group begins a file
    /// with the same ones, and in the failed file they do not count any more.
    fn rescue(&mut self, heads: &[(FrameHead, &[u8])], error: &io::Error) -> Result<(), PortError> {
        self.shared.counters.failed_syncs.fetch_add(1, Relaxed);
        let why = format!("cannot write a segment of the journal: {error}");
        if let Some(failed) = self.active.take() {
            tracing::error!("{}: segment {:016x}: {why}; the last group is written again into a new one", self.shared.dir.display(), failed.id);
        }
        let first = heads.first().map_or(self.next_ordinal, |(head, _)| head.ordinal);
        let rescued = self.new_segment(first, heads);
        self.active = Some(rescued.map_err(|second| PortError::Unclear(format!("{why}; then {}", not_created(&second))))?);
        Ok(())
    }

    /// Bytes to the limit; less than none in the reserve.
    fn free(&self) -> i64 {
        self.shared.disk_bytes_max as i64 - self.shared.counters.segment_bytes.load(Relaxed) as i64
    }

    /// Whether another segment would stand in the reserve, which is one segment for what is awaited; or that there is no room.
    fn room_for(&self, need: usize, is_awaited: bool) -> Result<bool, PortError> {
        let (free, segment) = (self.free(), self.shared.segment_bytes.max(need as u64) as i64);
        let in_reserve = free < segment;
        if !in_reserve || is_awaited && free >= 0 {
            return Ok(in_reserve);
        }
        let (limit, taken) = (self.shared.disk_bytes_max, self.shared.counters.segment_bytes.load(Relaxed));
        Err(PortError::Full(format!("the journal is full: {taken} bytes wait to be folded and its limit is {limit}; send it again a little later")))
    }

    /// A durable segment that begins with these records.
    fn new_segment(&mut self, first: u64, heads: &[(FrameHead, &[u8])]) -> io::Result<Active> {
        let id = self.next_id;
        // Also a failed attempt uses up its id, so that no two files ever share one.
        self.next_id += 1;
        let first = heads.first().map_or(first, |(head, _)| head.ordinal);
        self.buffer.clear();
        self.buffer.extend_from_slice(&segment::encode_header(id, first));
        for (head, payload) in heads {
            segment::encode_frame(&mut self.buffer, id, *head, payload);
        }
        let offset = self.buffer.len() as u64;
        let capacity = self.shared.segment_bytes.max(offset + segment::FRAME_HEAD_BYTES as u64);
        let spare = self.take_spare(capacity);
        let capacity = spare.as_ref().map_or(capacity, |(_, _, bytes)| *bytes);
        let segment = Segment { first, id, bytes: capacity };
        let path = self.shared.dir.join(segment.name());
        let file = match spare {
            Some((file, unfinished, _)) => {
                self.disk.finish(file.as_ref(), &unfinished, &path, &self.buffer)?;
                file
            }
            None => self.disk.create(&path, capacity, &self.buffer)?,
        };
        self.shared.add_segment(segment);
        self.watermark.renew(self.disk.as_ref(), &self.shared.dir, self.next_ordinal - 1);
        Ok(Active { file, id, offset, capacity })
    }

    /// Begins a file for the next segment, once the active one is half full and as long as the journal's bound leaves room.
    fn make_spare(&mut self) {
        let bytes = self.shared.segment_bytes;
        let wanted = self.active.as_ref().is_some_and(|active| active.offset * MAKE_SPARE_AT > active.capacity);
        let has_room = self.shared.counters.segment_bytes.load(Relaxed) + bytes <= self.shared.disk_bytes_max;
        if self.spare.is_some() || !wanted || !has_room {
            return;
        }
        // No two files ever share an id, and so not a name.
        let unfinished = self.shared.dir.join(format!("spare-{:016x}.{UNFINISHED}", self.next_id));
        self.next_id += 1;
        let (disk, path) = (self.disk.clone(), unfinished.clone());
        let file = self.aside.begin(move || disk.prepare(&path, bytes));
        self.spare = Some(Spare { unfinished, bytes, file });
    }

    /// The spare, when it holds so much. One that is on its way is sooner there than another would be; one that is too small
    /// gives its room away.
    fn take_spare(&mut self, need: u64) -> Option<(Box<dyn SegmentFile>, PathBuf, u64)> {
        if self.spare.as_ref().is_some_and(|spare| spare.bytes < need) {
            self.drop_spare();
        }
        let Spare { unfinished, bytes, file } = self.spare.take()?;
        // What kept it from being made may be over.
        let file = file.wait()?.ok()?;
        Some((file, unfinished, bytes))
    }

    fn drop_spare(&mut self) {
        if let Some(spare) = self.spare.take()
            && let Some(Ok(_)) = spare.file.wait()
        {
            // Else the next start removes it.
            let _ = std::fs::remove_file(spare.unfinished);
        }
    }

    /// Ends the active segment, whose last record is `last`. A footer only spares work at the next start, so nobody waits for
    /// it and its failure loses nothing.
    fn seal(&mut self, last: u64) {
        let Some(Active { file, id, offset, .. }) = self.active.take() else { return };
        let (shared, last_ms) = (self.shared.clone(), self.last_ms);
        self.aside.begin(move || {
            let footer = segment::encode_footer(id, last, last_ms);
            let end = offset + footer.len() as u64;
            let sealed = file.write_all_at(&footer, offset).and_then(|()| file.set_len(end));
            match sealed.and_then(|()| file.sync_data()) {
                Ok(()) => shared.shrink_segment(id, end),
                Err(error) => tracing::warn!("cannot seal segment {id:016x} in {}: {error}; its records are safe", shared.dir.display()),
            }
        });
    }
}

/// For senders, who must not learn where files are.
fn not_created(error: &io::Error) -> String {
    format!("cannot create a segment of the journal: {error}")
}

/// A writer that panics must not look well, nor let anyone wait for it.
struct Panics(Arc<Shared>);

impl Drop for Panics {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "the journal's writer panicked; this is a bug, restart: what was acknowledged is safe".to_owned();
            let _ = self.0.failed.set(why.clone());
            let mut queue = self.0.append.lock().unwrap_or_else(PoisonError::into_inner);
            queue.closed = true;
            let waiting = std::mem::take(&mut queue.requests);
            queue.bytes = 0;
            drop(queue);
            waiting.into_iter().for_each(|request| request.promise.keep(Err(PortError::Fatal(why.clone()))));
            self.0.live.end(why);
        }
    }
}

impl Active {
    fn has_records(&self) -> bool {
        self.offset > segment::HEADER_BYTES as u64
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.offset + (bytes + segment::FRAME_HEAD_BYTES) as u64 <= self.capacity
    }

    fn write_group(&mut self, records: &[(FrameHead, &[u8])], buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        for (head, payload) in records {
            segment::encode_frame(buffer, self.id, *head, payload);
        }
        self.file.write_all_at(buffer, self.offset)?;
        self.file.sync_data()?;
        self.offset += buffer.len() as u64;
        Ok(())
    }
}
