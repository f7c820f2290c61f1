//! Counters of one rule for `/metrics` and the API. Telemetry only: nothing here decides anything.

use crate::failure::FailureKind;
use crate::manifest::as_text;
use alertmill_core::value::Text;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the batch-size histogram, rows.
pub const BATCH_ROWS_BOUNDS: [u64; 7] = [1, 8, 16, 64, 128, 255, 256];
/// Upper bounds of the call-time histogram, nanoseconds; a last bucket takes what is longer.
pub const CALL_NANOS_BOUNDS: [u64; 8] = [10_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// Live counters, shared by all workers.
#[derive(Default)]
pub(crate) struct RuleStats {
    pub calls: AtomicU64,
    pub rows: AtomicU64,
    pub changed: AtomicU64,
    pub dropped: AtomicU64,
    pub nanos: AtomicU64,
    pub instances: AtomicU64,
    failures: [AtomicU64; FailureKind::ALL.len()],
    batch_rows: [AtomicU64; BATCH_ROWS_BOUNDS.len()],
    call_nanos: [AtomicU64; CALL_NANOS_BOUNDS.len() + 1],
}

/// Counters of one rule at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RuleStatsSnapshot {
    /// Which rule.
    #[serde(serialize_with = "as_text")]
    pub rule: Text,
    /// Its version.
    #[serde(serialize_with = "as_text")]
    pub version: Text,
    /// SHA-256 of its file.
    #[serde(serialize_with = "as_text")]
    pub digest: Text,
    /// Calls into the module.
    pub calls: u64,
    /// Rows handed over; rows of repeated calls count again.
    pub rows: u64,
    /// Rows changed or keyed.
    pub changed: u64,
    /// Rows taken out.
    pub dropped: u64,
    /// Nanoseconds inside calls.
    pub nanos: u64,
    /// Instances made; one a worker unless it crashes.
    pub instances: u64,
    /// Failed rows by kind; kinds that never happened are left out.
    pub failures: Vec<(&'static str, u64)>,
    /// Calls by size; counts of the buckets of [`BATCH_ROWS_BOUNDS`].
    pub batch_rows: Vec<u64>,
    /// Calls by time; counts of the buckets of [`CALL_NANOS_BOUNDS`] and one above.
    pub call_nanos: Vec<u64>,
    /// Strikes since it was loaded.
    pub strikes: u64,
    /// It is out and not called at present.
    pub struck_out: bool,
    /// Log lines over its share.
    pub log_lines_dropped: u64,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl RuleStats {
    pub fn call(&self, rows: u64, nanos: u64) {
        add(&self.calls, 1);
        add(&self.rows, rows);
        add(&self.nanos, nanos);
        add(&self.batch_rows[BATCH_ROWS_BOUNDS.iter().position(|b| rows <= *b).unwrap_or(BATCH_ROWS_BOUNDS.len() - 1)], 1);
        add(&self.call_nanos[CALL_NANOS_BOUNDS.iter().position(|b| nanos <= *b).unwrap_or(CALL_NANOS_BOUNDS.len())], 1);
    }

    pub fn failed(&self, kind: FailureKind, rows: u64) {
        add(&self.failures[kind.index()], rows);
    }

    pub fn applied(&self, changed: u64, dropped: u64) {
        add(&self.changed, changed);
        add(&self.dropped, dropped);
    }

    pub fn instance_made(&self) {
        add(&self.instances, 1);
    }

    pub fn snapshot(&self) -> RuleStatsSnapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RuleStatsSnapshot {
            calls: get(&self.calls),
            rows: get(&self.rows),
            changed: get(&self.changed),
            dropped: get(&self.dropped),
            nanos: get(&self.nanos),
            instances: get(&self.instances),
            failures: FailureKind::ALL.iter().map(|kind| (kind.as_str(), get(&self.failures[kind.index()]))).filter(|(_, n)| *n > 0).collect(),
            batch_rows: self.batch_rows.iter().map(get).collect(),
            call_nanos: self.call_nanos.iter().map(get).collect(),
            ..RuleStatsSnapshot::default()
        }
    }
}
