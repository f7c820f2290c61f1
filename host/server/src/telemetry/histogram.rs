//! A histogram that many threads may fill without waiting.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds for numbers of rows: powers of two up to 4096.
pub const ROWS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096];
/// Upper bounds for milliseconds, up to five minutes.
pub const MILLISECONDS: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000];

/// Counts of whole numbers below fixed bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// With these upper bounds, in rising order.
    pub fn new(bounds: &'static [u64]) -> Self {
        Histogram { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// Counts one value.
    pub fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// The present counts.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let bounds = self.bounds.iter().map(|bound| *bound as f64).chain([f64::INFINITY]);
        HistogramSnapshot { buckets: bounds.zip(self.counts.iter().map(|count| count.load(Relaxed))).collect(), sum: self.sum.load(Relaxed) as f64 }
    }
}

/// The counts at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramSnapshot {
    /// Upper bound and how many values lie in this bucket alone. The last bound is `f64::INFINITY`: everything above.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all values.
    pub sum: f64,
}

impl HistogramSnapshot {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, n)| n).sum()
    }

    /// The mean; 0 when there are none.
    pub fn mean(&self) -> f64 {
        match self.count() {
            0 => 0.0,
            n => self.sum / n as f64,
        }
    }
}
