//! Counters of one module under one name for `/metrics` and the API. Telemetry only: nothing here decides anything. What is counted
//! costs by the call, not by the row.

use crate::failure::FailureKind;
use crate::limits::Limit;
use crate::manifest::as_text;
use alertmill_core::value::Text;
use alertmill_core::verdict::Policy;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the batch-size histogram, rows.
pub const BATCH_ROWS_BOUNDS: [u64; 7] = [1, 8, 16, 64, 128, 255, 256];
/// Upper bounds of the call-time histogram, nanoseconds; a last bucket takes what is longer.
pub const CALL_NANOS_BOUNDS: [u64; 8] = [10_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// Why an instance was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Began {
    /// A worker had none for this tenant.
    Start,
    /// The one before failed.
    Failed,
    /// The one before had `limits.recycle_calls`.
    Calls,
    /// The one before had grown by `limits.recycle_growth_bytes`.
    Growth,
}

impl Began {
    const ALL: [Began; 4] = [Began::Start, Began::Failed, Began::Calls, Began::Growth];

    const fn name(self) -> &'static str {
        match self {
            Began::Start => "start",
            Began::Failed => "failed",
            Began::Calls => "calls",
            Began::Growth => "growth",
        }
    }
}

/// What a call used, or the most that any did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Memory of the instance, bytes.
    pub memory_bytes: u64,
    /// Time of the call, nanoseconds.
    pub nanos: u64,
    /// What its answer holds, roughly, bytes.
    pub output_bytes: u64,
    /// Keys looked up in tables.
    pub lookups: u64,
    /// Tables open at once.
    pub handles: u64,
}

/// Live counters, shared by all workers.
#[derive(Default)]
pub(crate) struct RuleStats {
    calls: AtomicU64,
    rows: AtomicU64,
    changed: AtomicU64,
    dropped: AtomicU64,
    nanos: AtomicU64,
    slow_calls: AtomicU64,
    instances: [AtomicU64; Began::ALL.len()],
    failures: [AtomicU64; FailureKind::ALL.len()],
    policies: [AtomicU64; Policy::ALL.len()],
    limit_hits: [AtomicU64; Limit::ALL.len()],
    batch_rows: [AtomicU64; BATCH_ROWS_BOUNDS.len()],
    call_nanos: [AtomicU64; CALL_NANOS_BOUNDS.len() + 1],
    most: Most,
}

/// The highest values of [`Used`].
#[derive(Default)]
struct Most {
    memory_bytes: AtomicU64,
    nanos: AtomicU64,
    output_bytes: AtomicU64,
    lookups: AtomicU64,
    handles: AtomicU64,
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
    /// Calls that took longer than `limits.slow_ms`.
    pub slow_calls: u64,
    /// The most that a call used of each.
    pub most: Used,
    /// Instances made; one a worker and tenant unless it crashes or is made anew after many calls.
    pub instances: u64,
    /// The same by reason: `start`, `failed`, `calls`, `growth`; reasons that never were are left out.
    pub instances_by_reason: Vec<(&'static str, u64)>,
    /// Failed rows by kind; kinds that never happened are left out.
    pub failures: Vec<(&'static str, u64)>,
    /// Failed rows by what was done with them; policies that never were are left out.
    pub rows_by_policy: Vec<(&'static str, u64)>,
    /// Calls that ran into a limit, by its key in the options, and rows for `event_bytes`; limits that never were hit are left out.
    pub limit_hits: Vec<(&'static str, u64)>,
    /// Calls by size; counts of the buckets of [`BATCH_ROWS_BOUNDS`].
    pub batch_rows: Vec<u64>,
    /// Calls by time; counts of the buckets of [`CALL_NANOS_BOUNDS`] and one above.
    pub call_nanos: Vec<u64>,
    /// Strikes since it was loaded.
    pub strikes: u64,
    /// It is out and not called at present.
    pub struck_out: bool,
    /// The last generation that was loaded holds it in quarantine.
    pub quarantined: bool,
    /// Log lines over its share.
    pub log_lines_dropped: u64,
    /// What looks wrong about what it does at present: names of alarms.
    pub alarms: Vec<&'static str>,
}

impl RuleStatsSnapshot {
    /// What tells versions apart in metrics: `1.2.0@9f3c12ab`.
    pub fn version_label(&self) -> String {
        format!("{}@{}", self.version, self.digest.get(..8).unwrap_or(&self.digest))
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// A value is seldom higher than all before it, so it is looked at first.
fn raise(most: &AtomicU64, value: u64) {
    if value > most.load(Ordering::Relaxed) {
        most.fetch_max(value, Ordering::Relaxed);
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Those that ever were, with their names.
fn named<const N: usize>(counters: &[AtomicU64; N], name: impl Fn(usize) -> &'static str) -> Vec<(&'static str, u64)> {
    counters.iter().enumerate().map(|(at, counter)| (name(at), get(counter))).filter(|(_, n)| *n > 0).collect()
}

impl RuleStats {
    /// A call of so many rows; whether it was slow.
    pub fn call(&self, rows: u64, used: &Used, slow_ms: u64) -> bool {
        add(&self.calls, 1);
        add(&self.rows, rows);
        add(&self.nanos, used.nanos);
        add(&self.batch_rows[BATCH_ROWS_BOUNDS.iter().position(|b| rows <= *b).unwrap_or(BATCH_ROWS_BOUNDS.len() - 1)], 1);
        add(&self.call_nanos[CALL_NANOS_BOUNDS.iter().position(|b| used.nanos <= *b).unwrap_or(CALL_NANOS_BOUNDS.len())], 1);
        raise(&self.most.memory_bytes, used.memory_bytes);
        raise(&self.most.nanos, used.nanos);
        raise(&self.most.output_bytes, used.output_bytes);
        raise(&self.most.lookups, used.lookups);
        raise(&self.most.handles, used.handles);
        let is_slow = Duration::from_nanos(used.nanos) > Duration::from_millis(slow_ms);
        if is_slow {
            add(&self.slow_calls, 1);
        }
        is_slow
    }

    /// Rows that failed with the kind that has this name, and what was done with them.
    pub fn failed(&self, kind: &str, policy: Policy, rows: u64) {
        if let Some(kind) = FailureKind::ALL.iter().find(|known| known.as_str() == kind) {
            add(&self.failures[kind.index()], rows);
        }
        add(&self.policies[policy as usize], rows);
    }

    pub fn hit(&self, limit: Option<Limit>) {
        limit.iter().for_each(|limit| add(&self.limit_hits[*limit as usize], 1));
    }

    pub fn applied(&self, changed: u64, dropped: u64) {
        add(&self.changed, changed);
        add(&self.dropped, dropped);
    }

    pub fn instance_made(&self, why: Began) {
        add(&self.instances[why as usize], 1);
    }

    pub fn snapshot(&self) -> RuleStatsSnapshot {
        let most = &self.most;
        RuleStatsSnapshot {
            calls: get(&self.calls),
            rows: get(&self.rows),
            changed: get(&self.changed),
            dropped: get(&self.dropped),
            nanos: get(&self.nanos),
            slow_calls: get(&self.slow_calls),
            most: Used {
                memory_bytes: get(&most.memory_bytes),
                nanos: get(&most.nanos),
                output_bytes: get(&most.output_bytes),
                lookups: get(&most.lookups),
                handles: get(&most.handles),
            },
            instances: self.instances.iter().map(get).sum(),
            instances_by_reason: named(&self.instances, |at| Began::ALL[at].name()),
            failures: named(&self.failures, |at| FailureKind::ALL[at].as_str()),
            rows_by_policy: named(&self.policies, |at| Policy::ALL[at].as_str()),
            limit_hits: named(&self.limit_hits, |at| Limit::ALL[at].name()),
            batch_rows: self.batch_rows.iter().map(get).collect(),
            call_nanos: self.call_nanos.iter().map(get).collect(),
            ..RuleStatsSnapshot::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_used_is_counted_and_its_highest_is_kept() {
        let stats = RuleStats::default();
        let call = |nanos: u64, lookups: u64, memory_bytes: u64| {
            let used = Used { memory_bytes, nanos, output_bytes: lookups * 10, lookups, handles: 2 };
            stats.call(64, &used, 50)
        };
        assert!(!call(9_000, 64, 1 << 20) && !call(50_000_000, 7, 3 << 20) && call(50_000_001, 8, 2 << 20));
        [Some(Limit::Lookups), Some(Limit::Stack), None].into_iter().for_each(|limit| stats.hit(limit));
        stats.failed("trap", Policy::DeadLetter, 2);
        stats.instance_made(Began::Start);
        stats.instance_made(Began::Growth);
        stats.instance_made(Began::Growth);
        let seen = stats.snapshot();
        assert_eq!((seen.calls, seen.rows, seen.slow_calls, seen.instances), (3, 192, 1, 3));
        assert_eq!(seen.most, Used { memory_bytes: 3 << 20, nanos: 50_000_001, output_bytes: 640, lookups: 64, handles: 2 });
        assert_eq!(seen.limit_hits, [("lookups", 1), ("stack", 1)]);
        assert_eq!((&*seen.failures, &*seen.rows_by_policy), (&[("trap", 2)][..], &[("dead-letter", 2)][..]));
        assert_eq!(seen.instances_by_reason, [("start", 1), ("growth", 2)]);
        assert_eq!(seen.call_nanos, [1, 0, 0, 0, 0, 0, 2, 0, 0]);
    }

    /// Counters are found by the place of a name in its list.
    #[test]
    fn every_name_stands_at_its_number() {
        assert!(Limit::ALL.iter().enumerate().all(|(at, limit)| *limit as usize == at));
        assert!(Began::ALL.iter().enumerate().all(|(at, why)| *why as usize == at));
        assert!(Policy::ALL.iter().enumerate().all(|(at, policy)| *policy as usize == at));
        assert!(FailureKind::ALL.iter().enumerate().all(|(at, kind)| kind.index() == at));
    }
}
