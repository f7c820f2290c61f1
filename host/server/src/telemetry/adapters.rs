//! The stores' and the engine's own numbers as [`Sources`](super::Sources) wants them.

use super::{EngineSnapshot, HistogramSnapshot, JournalSnapshot, ListenerSnapshot};
use crate::http::ListenerStats;
use alertmill_core::rules::Generation;
use alertmill_engine::{BATCH_ROWS_BOUNDS, LoadStats, RuleStatsSnapshot};
use alertmill_stores::JournalHandle;
use alertmill_stores::journal::GROUP_SIZE_BOUNDS;
use std::sync::atomic::{AtomicU64, Ordering};

impl JournalSnapshot {
    /// A journal's numbers now. `segment_bytes_max` is what it was opened with.
    pub fn of(journal: &JournalHandle, segment_bytes_max: u64) -> JournalSnapshot {
        let counts = journal.counts();
        let bounds = GROUP_SIZE_BOUNDS.iter().map(|bound| *bound as f64).chain([f64::INFINITY]);
        JournalSnapshot {
            fdatasyncs: counts.fdatasyncs,
            groups: counts.groups,
            records: counts.records,
            bytes: counts.bytes,
            group_sizes: HistogramSnapshot { buckets: bounds.zip(counts.group_sizes).collect(), sum: counts.records as f64 },
            refused: counts.refused,
            failed_syncs: counts.failed_syncs,
            queue_bytes: counts.append_queue_bytes + counts.live_queue_bytes,
            segment_bytes: counts.segment_bytes,
            segment_bytes_max,
            failed: counts.refuses || journal.failure().is_some(),
        }
    }
}

impl ListenerSnapshot {
    /// A listener's numbers now.
    pub fn of(stats: &ListenerStats) -> ListenerSnapshot {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        ListenerSnapshot {
            accepted: load(&stats.accepted),
            open: load(&stats.open),
            refused: load(&stats.refused),
            strict_refusals: load(&stats.strict_refusals),
            errors: load(&stats.errors),
        }
    }
}

impl EngineSnapshot {
    /// An engine's numbers now.
    pub fn of(generation: Generation, rules: &[RuleStatsSnapshot], load: LoadStats) -> EngineSnapshot {
        let calls = |bucket: usize| rules.iter().map(|rule| rule.batch_rows.get(bucket).copied().unwrap_or(0)).sum();
        EngineSnapshot {
            generation,
            load,
            batch_rows: HistogramSnapshot {
                // No call has more rows than the last bound; the bucket above stays empty.
                buckets: BATCH_ROWS_BOUNDS.iter().enumerate().map(|(i, bound)| (*bound as f64, calls(i))).chain([(f64::INFINITY, 0)]).collect(),
                sum: rules.iter().map(|rule| rule.rows).sum::<u64>() as f64,
            },
            rules: rules.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_all_rules_are_summed_by_size() {
        let rule = |name: &str, bucket: usize, rows: u64| {
            let mut batch_rows = vec![0; BATCH_ROWS_BOUNDS.len()];
            batch_rows[bucket] = 2;
            RuleStatsSnapshot { rule: name.into(), calls: 2, rows, batch_rows, failures: vec![("trap", 1)], nanos: 5, ..RuleStatsSnapshot::default() }
        };
        let snapshot = EngineSnapshot::of(3, &[rule("a", 0, 2), rule("b", 6, 512)], LoadStats::default());
        assert_eq!((snapshot.generation, snapshot.batch_rows.count(), snapshot.batch_rows.mean()), (3, 4, 128.5));
        assert_eq!(snapshot.batch_rows.buckets[6], (256.0, 2));
        assert_eq!(snapshot.rules[0].failures, [("trap", 1)]);
    }
}
