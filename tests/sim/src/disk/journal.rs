//! The journal's files: segments of durable records, and the one group that is written and not synced. A group is written
//! only when all before it is synced, so nothing later can survive the loss of something earlier.

use crate::rng::Rng;
use alertmill_core::record::{Journaled, Record, RecordBody};
use alertmill_core::verdict::Verdicts;
use std::collections::VecDeque;

/// What a record is, for whoever only counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    Items,
    RuleSet(u64),
    Clock,
    Start,
    Command,
    Payload,
    Verdicts,
    RuleVersion,
    Redrive,
}

/// A journal record on the simulated disk.
#[derive(Clone, Debug)]
pub struct DiskRecord {
    pub ordinal: u64,
    pub received_at_ms: i64,
    pub kind: RecordKind,
    pub payload: Vec<u8>,
}

impl DiskRecord {
    /// The record as it is read again after a restart.
    pub fn replayed(&self) -> Journaled {
        let body = RecordBody::decode(&self.payload).expect("our own payload");
        Journaled { record: Record { ordinal: self.ordinal, received_at_ms: self.received_at_ms, body }, parsed: None }
    }
}

/// The verdicts that records hold, with their generations.
pub fn verdicts_of<'r>(records: impl IntoIterator<Item = &'r DiskRecord>) -> Vec<Verdicts> {
    records.into_iter().filter_map(|record| Verdicts::of_payload(&record.payload)).collect()
}

/// What the last crash left of the group that was written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// All of it.
    Whole,
    /// Records from its front.
    Front,
    /// Records from its front, and the begin of another one.
    Torn,
}

/// The journal's files.
#[derive(Default)]
pub struct JournalDisk {
    /// Every record that ever was durable, at its ordinal - 1; what no segment holds any more only the checks may see.
    pub records: Vec<DiskRecord>,
    /// First ordinals of the segments that are there, the last one is written to.
    segments: VecDeque<u64>,
    /// Written, not synced.
    pub cached: Vec<DiskRecord>,
    /// From this ordinal on some were taken for durable and never synced; only a planted bug does it.
    never_synced: Option<u64>,
}

impl JournalDisk {
    /// The ordinal that the next record gets.
    pub fn next_ordinal(&self) -> u64 {
        self.records.len() as u64 + 1
    }

    /// The last durable record's time; 0 without one.
    pub fn last_ms(&self) -> i64 {
        self.records.last().map_or(0, |record| record.received_at_ms)
    }

    /// The first ordinal that a segment still holds.
    pub fn first_held(&self) -> u64 {
        self.segments.front().copied().unwrap_or(1)
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Records of the segment that is written to.
    pub fn active_records(&self) -> u64 {
        self.segments.back().map_or(0, |first| self.next_ordinal() - first)
    }

    /// A new segment, which holds what is written from now on.
    pub fn begin_segment(&mut self) {
        let first = self.next_ordinal();
        if self.segments.back() != Some(&first) {
            self.segments.push_back(first);
        }
    }

    /// What is in the cache is durable.
    pub fn sync(&mut self) {
        if self.segments.is_empty() {
            self.begin_segment();
        }
        self.records.append(&mut self.cached);
    }

    /// The planted bug: what is in the cache is taken for durable.
    pub fn trust_cache(&mut self) {
        let first = self.next_ordinal();
        if !self.cached.is_empty() {
            self.never_synced.get_or_insert(first);
        }
        self.sync();
    }

    /// The power fails. Nothing is read behind a hole.
    pub fn lose_never_synced(&mut self) {
        if let Some(first) = self.never_synced.take() {
            self.records.truncate(first as usize - 1);
            self.segments.retain(|begins| *begins <= first);
        }
    }

    /// How many of the oldest segments hold nothing behind `position`; the one that is written to always stays.
    pub fn releasable(&self, position: u64) -> usize {
        self.segments.iter().skip(1).take_while(|first| **first <= position + 1).count()
    }

    /// Removes the oldest segments.
    pub fn release(&mut self, segments: usize) {
        self.segments.drain(..segments);
    }

    /// Something happened to the unsynced group: what is left of it. Cut anywhere in its bytes, only whole records count.
    pub fn lose_tail(&mut self, rng: &mut Rng, may_tear: bool) -> Tail {
        const FRAME_HEAD_BYTES: usize = 32;
        let bytes: usize = self.cached.iter().map(|record| FRAME_HEAD_BYTES + record.payload.len()).sum();
        let mut left = rng.below(bytes as u64 + 1) as usize;
        let before = self.cached.len();
        let mut kept = 0;
        for record in &self.cached {
            match left.checked_sub(FRAME_HEAD_BYTES + record.payload.len()) {
                Some(rest) => (left, kept) = (rest, kept + 1),
                None => break,
            }
        }
        self.cached.truncate(kept);
        match kept == before {
            true => Tail::Whole,
            false if left > 0 && may_tear => Tail::Torn,
            false => Tail::Front,
        }
    }

    /// The last generation that was written, folded or not.
    pub fn newest_generation(&self) -> u64 {
        let of = |record: &DiskRecord| if let RecordKind::RuleSet(generation) = record.kind { Some(generation) } else { None };
        self.records.iter().chain(&self.cached).rev().find_map(of).unwrap_or(0)
    }
}
