//! The way from the writer to the reader that needs no disk: durable records with what the door parsed. It is bounded in
//! bytes; what does not fit is left out and the reader takes it from the files, so a slow prepare half costs no memory.

use alertmill_core::record::Journaled;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// Bytes of the records that are handed over together, at most, unless one alone has more: what waits behind the reader is
/// counted by batches.
pub(super) const BATCH_BYTES_MAX: usize = 16 << 20;

#[derive(Default)]
pub(super) struct Live {
    /// Records, each with the bytes it counts for.
    queue: VecDeque<(Journaled, usize)>,
    bytes: usize,
    /// The ordinal that the reader needs next.
    pub reader_next: u64,
    /// The last durable ordinal: so far files may be read.
    pub durable: u64,
    /// No further record will come, and why.
    pub ended: Option<String>,
    pub waker: Option<Waker>,
}

pub(super) struct LiveQueue {
    live: Mutex<Live>,
    changed: Condvar,
    bytes_max: usize,
}

impl LiveQueue {
    pub fn new(bytes_max: usize, durable: u64) -> LiveQueue {
        let live = Live { durable, ..Live::default() };
        LiveQueue { live: Mutex::new(live), changed: Condvar::new(), bytes_max }
    }

    pub fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn wait<'a>(&self, live: MutexGuard<'a, Live>) -> MutexGuard<'a, Live> {
        self.changed.wait(live).unwrap_or_else(PoisonError::into_inner)
    }

    pub fn wait_at_most<'a>(&self, live: MutexGuard<'a, Live>, at_most: Duration) -> MutexGuard<'a, Live> {
        self.changed.wait_timeout(live, at_most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Hands over a group that is durable now. Gives the bytes that the queue holds afterwards.
    pub fn push(&self, group: Vec<Journaled>) -> usize {
        let mut live = self.lock();
        for record in group {
            let ordinal = record.record.ordinal;
            live.durable = ordinal;
            // Only an unbroken run up to the newest record is of use: a reader that is behind it reads files first.
            let follows = match live.queue.back() {
                Some((back, _)) => back.record.ordinal + 1 == ordinal,
                None => live.reader_next == ordinal,
            };
            let size = record.size_bytes();
            if follows && live.bytes + size <= self.bytes_max {
                live.bytes += size;
                live.queue.push_back((record, size));
            }
        }
        let bytes = live.bytes;
        self.wake(live);
        bytes
    }

    pub fn end(&self, why: String) {
        let mut live = self.lock();
        live.ended.get_or_insert(why);
        self.wake(live);
    }

    fn wake(&self, mut live: MutexGuard<'_, Live>) {
        let waker = live.waker.take();
        drop(live);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Live {
    /// The first ordinal that waits in memory.
    pub fn front(&self) -> Option<u64> {
        self.queue.front().map(|(front, _)| front.record.ordinal)
    }

    /// Puts records behind `taken` while the items of all fit in `rows_max` and their bytes in [`BATCH_BYTES_MAX`], or at least
    /// one when there are none yet.
    pub fn take(&mut self, taken: &mut Vec<Journaled>, rows_max: usize) {
        let mut rows: usize = taken.iter().map(rows_of).sum();
        let mut bytes: usize = taken.iter().map(Journaled::size_bytes).sum();
        while let Some((front, size)) = self.queue.front() {
            rows += rows_of(front);
            bytes += size;
            if (rows > rows_max || bytes > BATCH_BYTES_MAX) && !taken.is_empty() {
                break;
            }
            self.bytes -= size;
            self.reader_next = front.record.ordinal + 1;
            taken.extend(self.queue.pop_front().map(|(record, _)| record));
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What a raw payload counts as: rules make any number of events of it, and those of one batch are in memory at once.
const PAYLOAD_ROWS: usize = 32;

/// Items of a record, or alerts of a command; others count as one row, so that a batch of them ends too.
pub(super) fn rows_of(record: &Journaled) -> usize {
    use alertmill_core::record::{ArrivalBy, RecordBody, RedrivenLetter};
    match &record.record.body {
        RecordBody::Items(items) => items.spans.len().max(1),
        RecordBody::Command(command) => command.alerts.len().max(1),
        RecordBody::Payload(_) => PAYLOAD_ROWS,
        RecordBody::Redrive(redrive) => {
            let rows = |letter: &RedrivenLetter| if letter.arrival.by == ArrivalBy::Payload { PAYLOAD_ROWS } else { 1 };
            redrive.letters.iter().map(rows).sum::<usize>().max(1)
        }
        RecordBody::RuleSet(_) | RecordBody::Clock | RecordBody::Start { .. } | RecordBody::Verdicts(_) | RecordBody::RuleVersion(_) => 1,
    }
}
