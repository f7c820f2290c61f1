//! The prepare half's side: durable records in order, from the files while it is behind, from memory when it has caught
//! up. Which of the two is decided record by record, so falling behind and catching up need no mode.

use super::live::{self, Live};
use super::segment::{self, Frame, Gap, Piece};
use super::{Segment, Shared};
use alertmill_core::ports::{PortError, Records};
use alertmill_core::record::{Journaled, Record, RecordBody, RecordError};
use std::fs::File;
use std::future::poll_fn;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

const READ_BYTES: usize = 1 << 20;

/// The only reader of a journal. Reading of files happens in the call; it is short and from the page cache as a rule.
pub struct JournalReader {
    shared: Arc<Shared>,
    next: u64,
    last_ms: i64,
    gaps: Vec<Gap>,
    cursor: Option<Cursor>,
}

struct Cursor {
    segment: Segment,
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    /// Offset of `buffer` in the file.
    offset: u64,
    at: usize,
    /// Where the frame before `at` begins in `buffer`, for a record that is to be read again.
    before: usize,
}

impl Records for JournalReader {
    async fn next_records(&mut self, rows_max: usize) -> Result<Vec<Journaled>, PortError> {
        poll_fn(|context| self.poll_records(context, rows_max)).await
    }
}

impl JournalReader {
    pub(super) fn new(shared: Arc<Shared>, next: u64, last_ms: i64, gaps: Vec<Gap>) -> JournalReader {
        shared.live.lock().reader_next = next;
        JournalReader { shared, next, last_ms, gaps, cursor: None }
    }

    /// As `next_records`, blocking this thread.
    pub fn next_blocking(&mut self, rows_max: usize) -> Result<Vec<Journaled>, PortError> {
        loop {
            if let Some(records) = self.try_records(rows_max, None)? {
                return Ok(records);
            }
            let live = self.shared.live.lock();
            if live.front().is_none() && live.durable < self.next && live.ended.is_none() {
                drop(self.shared.live.wait(live));
            }
        }
    }

    /// The ordinal that comes next.
    pub fn next_ordinal(&self) -> u64 {
        self.next
    }

    /// Waits until `records`, which were given out last, have `rows_wanted` items, but no longer than `at_most`, and puts
    /// behind them what comes, at most `rows_max` items in all. Only a reader that has caught up lingers: what waits in the
    /// files makes full batches by itself.
    pub fn linger(&mut self, records: &mut Vec<Journaled>, rows_max: usize, rows_wanted: usize, at_most: Duration) {
        let until = Instant::now() + at_most;
        let shared = self.shared.clone();
        let mut live = shared.live.lock();
        while records.iter().map(live::rows_of).sum::<usize>() < rows_wanted && live.ended.is_none() {
            if live.front() == Some(self.next) {
                let before = records.len();
                live.take(records, rows_max);
                if records.len() == before {
                    break;
                }
                self.passed(records, &live);
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if live.durable >= self.next || left.is_zero() {
                break;
            }
            live = shared.live.wait_at_most(live, left);
        }
    }

    /// These records are handed out.
    fn passed(&mut self, records: &[Journaled], live: &Live) {
        let Some(last) = records.last() else { return };
        (self.next, self.last_ms) = (last.record.ordinal + 1, last.record.received_at_ms);
        self.shared.counters.live_queue_bytes.store(live.bytes() as u64, Relaxed);
        self.shared.counters.handed_over.store(self.next - 1, Relaxed);
    }

    fn poll_records(&mut self, context: &mut Context<'_>, rows_max: usize) -> Poll<Result<Vec<Journaled>, PortError>> {
        match self.try_records(rows_max, Some(context)) {
            Ok(Some(records)) => Poll::Ready(Ok(records)),
            Ok(None) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// What is there now; when nothing is, the waker is left behind under the same lock.
    fn try_records(&mut self, rows_max: usize, context: Option<&mut Context<'_>>) -> Result<Option<Vec<Journaled>>, PortError> {
        let shared = self.shared.clone();
        let mut live = shared.live.lock();
        let records = if live.front() == Some(self.next) {
            let mut records = Vec::new();
            live.take(&mut records, rows_max);
            records
        } else if self.next <= live.durable {
            let until = live.front().map_or(live.durable, |front| front - 1);
            drop(live);
            let records = self.read_files(until, rows_max)?;
            live = shared.live.lock();
            live.reader_next = records.last().map_or(self.next, |last| last.record.ordinal + 1);
            records
        } else if let Some(why) = &live.ended {
            return Err(PortError::Fatal(why.clone()));
        } else {
            live.waker = context.map(|context| context.waker().clone());
            return Ok(None);
        };
        self.passed(&records, &live);
        Ok((!records.is_empty()).then_some(records))
    }

    fn read_files(&mut self, until: u64, rows_max: usize) -> Result<Vec<Journaled>, PortError> {
        let mut records: Vec<Journaled> = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        let (mut next, mut last_ms) = (self.next, self.last_ms);
        while next <= until && rows < rows_max.max(1) {
            let record = if self.gaps.iter().any(|gap| (gap.first..=gap.last).contains(&next)) {
                // A lost record keeps its place, so that nobody behind the reader meets a hole.
                Record { ordinal: next, received_at_ms: last_ms, body: RecordBody::Clock }
            } else {
                self.read_one(next)?
            };
            let journaled = Journaled { record, parsed: None };
            rows += live::rows_of(&journaled);
            bytes += journaled.size_bytes();
            if (rows > rows_max || bytes > live::BATCH_BYTES_MAX) && !records.is_empty() {
                // It comes first in the next batch.
                if let Some(cursor) = self.cursor.as_mut() {
                    cursor.at = cursor.before;
                }
                break;
            }
            (next, last_ms) = (next + 1, journaled.record.received_at_ms);
            records.push(journaled);
        }
        Ok(records)
    }

    fn read_one(&mut self, ordinal: u64) -> Result<Record, PortError> {
        let fatal = |why: String| PortError::Fatal(format!("record {ordinal} cannot be read: {why}; restart, and the start will set damage aside"));
        let segment = self.shared.segment_of(ordinal).ok_or_else(|| fatal("no segment holds it".into()))?;
        if self.cursor.as_ref().is_none_or(|cursor| cursor.segment.id != segment.id) {
            let path = self.shared.dir.join(segment.name());
            let file = File::open(&path).map_err(|error| fatal(format!("{}: {error}", path.display())))?;
            self.cursor = Some(Cursor { segment, path, file, buffer: Vec::new(), offset: segment::HEADER_BYTES as u64, at: 0, before: 0 });
        }
        let Some(cursor) = self.cursor.as_mut() else { return Err(fatal("no file".into())) };
        loop {
            let frame = cursor.frame().map_err(|why| fatal(format!("{} at byte {}: {why}", cursor.path.display(), cursor.place())))?;
            if frame.head.ordinal < ordinal {
                cursor.at = frame.end;
                continue;
            }
            if frame.head.ordinal > ordinal {
                return Err(fatal(format!("{} goes on with {}", cursor.path.display(), frame.head.ordinal)));
            }
            let body = RecordBody::decode(&cursor.buffer[frame.payload.clone()]).map_err(|error| match error {
                RecordError::Damaged(_) => fatal(error.to_string()),
                // The file is whole; a start would find nothing to set aside.
                RecordError::Format(_) | RecordError::Kind(_) => {
                    PortError::Fatal(format!("record {ordinal} cannot be read: {error}; run that version, or a later one"))
                }
            })?;
            // The cursor is forgotten on errors of the body only by a restart: the same record would fail again.
            cursor.before = std::mem::replace(&mut cursor.at, frame.end);
            return Ok(Record { ordinal, received_at_ms: frame.head.received_at_ms, body });
        }
    }
}

impl Cursor {
    fn place(&self) -> u64 {
        self.offset + self.at as u64
    }

    /// The frame at the cursor. What was buffered may be older than what is durable now, so a frame that cannot be read
    /// from the buffer is read from the file once more.
    fn frame(&mut self) -> Result<Frame, String> {
        let mut want = READ_BYTES;
        for fresh in [false, true, true] {
            if fresh {
                self.refill(want).map_err(|error| error.to_string())?;
            }
            match segment::piece_at(&self.buffer, self.at, self.segment.id) {
                Piece::Frame(frame) => return Ok(frame),
                Piece::Short(bytes) => want = want.max(segment::padded(bytes)),
                Piece::Footer(_) | Piece::Nothing => {}
            }
        }
        Err("no readable frame".into())
    }

    fn refill(&mut self, want: usize) -> std::io::Result<()> {
        self.offset = self.place();
        self.at = 0;
        self.buffer.resize(want, 0);
        let mut got = 0;
        while got < want {
            match self.file.read_at(&mut self.buffer[got..], self.offset + got as u64)? {
                0 => break,
                n => got += n,
            }
        }
        self.buffer.truncate(got);
        Ok(())
    }
}
