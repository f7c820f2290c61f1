//! What each source's door counted: for `/metrics`, since the process started; and for the ledger, what must still ride in
//! the source's next record.

use crate::telemetry::DoorSnapshot;
use alertmill_core::decode::Code;
use alertmill_core::record::DoorCounts;
use alertmill_core::value::Text;
use axum::http::StatusCode;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Sources that the process counts apart; more would be a sender's way to fill `/metrics`.
pub const SOURCES_MAX: usize = 1_000;

/// Statuses that doors answer with; the last entry is any other.
const STATUSES: [u16; 10] = [200, 400, 405, 408, 413, 415, 429, 500, 503, 0];

/// Counters of one source at one door, since the process started.
#[derive(Debug)]
pub struct DoorMetrics {
    source: Text,
    door: &'static str,
    requests: [AtomicU64; STATUSES.len()],
    refused: [AtomicU64; Code::ALL.len()],
    received: AtomicU64,
    journaled: AtomicU64,
    duplicates: AtomicU64,
    bytes: AtomicU64,
    /// For the ledger: what no record carries yet.
    pending: Mutex<DoorCounts>,
}

impl DoorMetrics {
    fn new(source: Text, door: &'static str) -> DoorMetrics {
        let zeros = || AtomicU64::new(0);
        DoorMetrics {
            source,
            door,
            requests: std::array::from_fn(|_| zeros()),
            refused: std::array::from_fn(|_| zeros()),
            received: zeros(),
            journaled: zeros(),
            duplicates: zeros(),
            bytes: zeros(),
            pending: Mutex::new(DoorCounts::default()),
        }
    }

    /// Name of the source.
    pub fn source(&self) -> &Text {
        &self.source
    }

    /// Counts an answer.
    pub(super) fn answered(&self, status: StatusCode) {
        let i = STATUSES.iter().position(|s| *s == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        self.requests[i].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a body that was read.
    pub(super) fn read(&self, sent: usize) {
        self.bytes.fetch_add(sent as u64, Ordering::Relaxed);
    }

    /// Counts the items of a request whose fate is settled.
    pub(super) fn settled(&self, counts: DoorCounts, codes: impl IntoIterator<Item = Code>) {
        self.received.fetch_add(counts.received, Ordering::Relaxed);
        self.duplicates.fetch_add(counts.duplicates, Ordering::Relaxed);
        self.journaled.fetch_add(counts.received - counts.refused - counts.duplicates, Ordering::Relaxed);
        for code in codes {
            self.refused[code as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps numbers for the source's next record.
    pub(super) fn keep(&self, counts: DoorCounts) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.received += counts.received;
        pending.refused += counts.refused;
        pending.duplicates += counts.duplicates;
    }

    /// Takes what was kept; the caller puts it into a record, or back.
    pub(super) fn take_kept(&self) -> DoorCounts {
        std::mem::take(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn snapshot(&self) -> DoorSnapshot {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let used = |(name, n): (u16, &AtomicU64)| Some((name, load(n))).filter(|(_, n)| *n > 0);
        DoorSnapshot {
            source: self.source.to_string(),
            door: self.door.to_owned(),
            requests: STATUSES.into_iter().zip(&self.requests).filter_map(used).collect(),
            received: load(&self.received),
            refused: Code::ALL.iter().zip(&self.refused).map(|(code, n)| (code.as_str().to_owned(), load(n))).filter(|(_, n)| *n > 0).collect(),
            journaled: load(&self.journaled),
            duplicates: load(&self.duplicates),
        }
    }

    /// Bytes of bodies as they were sent.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The counters of all sources, by name of the door.
#[derive(Debug)]
pub(super) struct Counters {
    sources: RwLock<HashMap<(&'static str, Text), Arc<DoorMetrics>>>,
}

impl Counters {
    /// Sources of the config are there from the start, so that their zeros show.
    pub fn new(doors: impl IntoIterator<Item = (&'static str, Text)>) -> Counters {
        let metrics = |(door, source): (&'static str, Text)| ((door, source.clone()), Arc::new(DoorMetrics::new(source, door)));
        Counters { sources: RwLock::new(doors.into_iter().map(metrics).collect()) }
    }

    /// The counters of a source, made when it is new; none when there are too many.
    pub fn of(&self, door: &'static str, source: &Text) -> Option<Arc<DoorMetrics>> {
        let key = (door, source.clone());
        if let Some(metrics) = self.sources.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Some(metrics.clone());
        }
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        if sources.len() >= SOURCES_MAX && !sources.contains_key(&key) {
            return None;
        }
        Some(sources.entry(key).or_insert_with(|| Arc::new(DoorMetrics::new(source.clone(), door))).clone())
    }

    pub fn snapshot(&self) -> Vec<DoorSnapshot> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = sources.values().map(|metrics| metrics.snapshot()).collect();
        all.sort_by(|a, b| (&a.door, &a.source).cmp(&(&b.door, &b.source)));
        all
    }
}
