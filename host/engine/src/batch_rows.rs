//! How many rows a rule gets in one call: fewer once a batch took too long, as many as before once it is quick again. One
//! stall of the machine would otherwise slow a rule for good.

use std::time::Duration;

/// Rows of one call are never cut below this when a rule is too slow for its batch.
const ROWS_MIN: usize = 16;
/// So many quick calls, each as large as now allowed, let the batch double.
const QUICK_CALLS: u32 = 64;
/// A call is quick when it takes no more than this part of its limit: twice the rows then leave room for half of it.
const QUICK_PART: u32 = 4;

/// Of one hook at one worker.
#[derive(Clone, Debug)]
pub(crate) struct BatchRows {
    now: usize,
    max: usize,
    quick_calls: u32,
}

impl BatchRows {
    pub fn new(max: usize) -> BatchRows {
        BatchRows { now: max, max, quick_calls: 0 }
    }

    pub fn now(&self) -> usize {
        self.now
    }

    /// A call of so many rows ran into its deadline.
    pub fn too_slow(&mut self, rows: usize) {
        self.quick_calls = 0;
        if rows > ROWS_MIN {
            self.now = (rows / 2).max(ROWS_MIN);
        }
    }

    /// A call of so many rows was answered in time.
    pub fn answered(&mut self, rows: usize, took: Duration, limit: Duration) {
        if self.now == self.max || rows < self.now {
            return;
        }
        // A slow one says that the size is right: growing would be the next strike.
        if took > limit / QUICK_PART {
            self.quick_calls = 0;
            return;
        }
        self.quick_calls += 1;
        if self.quick_calls >= QUICK_CALLS {
            self.quick_calls = 0;
            self.now = (self.now * 2).min(self.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(250);
    const QUICK: Duration = Duration::from_millis(2);

    fn after(mut rows: BatchRows, calls: u32, of: usize, took: Duration) -> (BatchRows, usize) {
        (0..calls).for_each(|_| rows.answered(of, took, LIMIT));
        let now = rows.now();
        (rows, now)
    }

    #[test]
    fn a_batch_that_was_halved_grows_back_to_its_size_and_not_beyond() {
        let mut rows = BatchRows::new(200);
        rows.too_slow(200);
        assert_eq!(rows.now(), 100);
        rows.too_slow(50);
        assert_eq!(rows.now(), 25);
        rows.too_slow(25);
        rows.too_slow(16);
        assert_eq!(rows.now(), 16);
        for wanted in [32, 64, 128, 200, 200] {
            let of = rows.now();
            let (before, same) = after(rows, QUICK_CALLS - 1, of, QUICK);
            assert_eq!(same, of);
            (rows, _) = after(before, 1, of, QUICK);
            assert_eq!(rows.now(), wanted);
        }
    }

    #[test]
    fn it_stays_small_while_calls_are_slow_or_small() {
        let mut rows = BatchRows::new(256);
        rows.too_slow(256);
        let (rows, now) = after(rows, 1_000, 128, LIMIT / 3);
        assert_eq!(now, 128, "256 rows would be close to the limit again");
        let (rows, now) = after(rows, 1_000, 127, QUICK);
        assert_eq!(now, 128, "fewer rows say nothing of more");
        let (rows, _) = after(rows, QUICK_CALLS - 1, 128, QUICK);
        let (rows, _) = after(rows, 1, 128, LIMIT / 3);
        let (mut rows, now) = after(rows, QUICK_CALLS - 1, 128, QUICK);
        assert_eq!(now, 128, "counted from the slow one on");
        rows.too_slow(128);
        let (_, now) = after(rows, QUICK_CALLS - 1, 64, QUICK);
        assert_eq!(now, 64);
    }
}
