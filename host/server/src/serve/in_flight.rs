//! The journal behind the doors, with the bound of what is in flight (I9): what is journaled and not yet folded, in bytes.
//! Over it, appends are refused at once and senders get 429.

use super::Progress;
use alertmill_core::item::Item;
use alertmill_core::ports::{Appended, Journal, PortError};
use alertmill_core::record::RecordBody;
use alertmill_stores::JournalHandle;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Clones share journal and bound.
#[derive(Clone)]
pub struct InFlightJournal {
    handle: JournalHandle,
    bytes_max: usize,
    progress: Arc<Progress>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Records that are not folded yet, in order, and those whose ordinal is not known yet.
#[derive(Default)]
struct Waiting {
    bytes: usize,
    records: VecDeque<(u64, usize)>,
}

impl InFlightJournal {
    /// Bounds what is in flight to `bytes_max`.
    pub fn new(handle: JournalHandle, bytes_max: usize, progress: Arc<Progress>) -> InFlightJournal {
        InFlightJournal { handle, bytes_max, progress, waiting: Arc::default() }
    }

    /// The journal itself.
    pub fn handle(&self) -> &JournalHandle {
        &self.handle
    }

    /// Bytes that are journaled, or on the way to it, and not folded.
    pub fn bytes(&self) -> usize {
        self.settle().bytes
    }

    /// Gives back what commits have passed.
    fn settle(&self) -> MutexGuard<'_, Waiting> {
        let position = self.progress.position();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, bytes)) = waiting.records.front().copied().filter(|(ordinal, _)| *ordinal <= position) {
            waiting.records.pop_front();
            waiting.bytes -= bytes;
        }
        waiting
    }

    fn take(&self, bytes: usize) -> Result<(), PortError> {
        if let Some(why) = self.progress.failure() {
            return Err(PortError::Fatal(why));
        }
        let mut waiting = self.settle();
        // One record alone may be larger than the bound; it then has everything to itself.
        if waiting.bytes > 0 && waiting.bytes + bytes > self.bytes_max {
            let why = format!("{} bytes wait to be folded, limits.queue allows {}; send it again a little later", waiting.bytes, self.bytes_max);
            return Err(PortError::Unavailable(why));
        }
        waiting.bytes += bytes;
        Ok(())
    }

    fn appended(&self, ordinal: Option<u64>, bytes: usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match ordinal {
            Some(ordinal) => {
                // Answers of one group arrive in any order; the queue is sorted so that its front is the oldest.
                let at = waiting.records.partition_point(|(other, _)| *other < ordinal);
                waiting.records.insert(at, (ordinal, bytes));
            }
            None => waiting.bytes -= bytes,
        }
    }
}

impl Journal for InFlightJournal {
    fn append(&self, body: RecordBody, parsed: Option<Vec<Item>>) -> impl Future<Output = Result<Appended, PortError>> + Send {
        let (bytes, items) = match &body {
            RecordBody::Items(items) => (items.heap.len() + parsed.iter().flatten().map(Item::size_bytes).sum::<usize>(), items.spans.len() as u64),
            _ => (0, 0),
        };
        let append = self.take(bytes).map(|()| self.handle.append(body, parsed));
        async move {
            let answer = append?.await;
            match &answer {
                Ok(appended) => {
                    self.appended(Some(appended.ordinal), bytes);
                    self.progress.journaled(items);
                }
                Err(_) => self.appended(None, bytes),
            }
            answer
        }
    }
}
