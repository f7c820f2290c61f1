//! What a healthy rule notices of one that means harm and runs beside it, on another thread.

use super::{Bench, enrich, options, rows_with};
use alertmill_core::rules::RuleTally;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Alone and beside take turns, so that a slow moment of the machine hits both.
const WINDOWS: u32 = 8;
const WINDOW: Duration = Duration::from_millis(250);
const ROWS: u32 = 64;

/// How long calls of the healthy rule took, each by itself.
pub struct Noticed {
    pub alone: Vec<Duration>,
    pub beside: Vec<Duration>,
}

impl Noticed {
    /// 99 of 100 calls were no longer, alone and beside.
    pub fn p99(&mut self) -> (Duration, Duration) {
        let p99 = |times: &mut Vec<Duration>| {
            times.sort();
            times[times.len() * 99 / 100]
        };
        (p99(&mut self.alone), p99(&mut self.beside))
    }
}

/// Calls `says` for some seconds, half of the time while another thread does `harm` over and over. Asserts that all its answers are there.
pub fn beside(mut harm: impl FnMut() + Send) -> Noticed {
    let mut chain = Bench::new().chain(&[("says", options(json!({})))], &[]);
    let rows = rows_with(ROWS, |_| false, "", "");
    let mut call = || -> RuleTally {
        let mut rows = rows.clone();
        let tally = enrich(&mut *chain, &mut rows).remove(0);
        assert_eq!((tally.rows, tally.changed, tally.failed, tally.calls), (u64::from(ROWS), u64::from(ROWS), 0, 1));
        tally
    };
    let mut window = |times: &mut Vec<Duration>| {
        let end = Instant::now() + WINDOW;
        while Instant::now() < end {
            times.push(Duration::from_nanos(call().nanos));
        }
    };
    let mut noticed = Noticed { alone: Vec::new(), beside: Vec::new() };
    for _ in 0..WINDOWS {
        window(&mut noticed.alone);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    harm();
                }
            });
            window(&mut noticed.beside);
            is_over.store(true, Ordering::Relaxed);
        });
    }
    noticed
}
