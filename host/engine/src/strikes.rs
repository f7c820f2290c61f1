//! Bounds what a bad rule can cost. A looping rule must not stall its pipeline for every row, so that after three strikes
//! within a minute it is not called any more: its rows get the policy, with the kind `struck-out`, until a later generation says
//! otherwise. A rule that fails on most of what it is asked about is put out too.

use crate::cpu::Took;
use crate::failure::CallFailure;
use crate::options::RuleOptions;
use alertmill_core::rules::Generation;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a module is out when no generation says otherwise.
pub const STRUCK_OUT_FOR: Duration = Duration::from_secs(60);
/// A share of failing rows says something when there are so many in [`RATIO_WINDOW`].
const RATIO_ROWS_MIN: u64 = 500;
const RATIO_WINDOW: Duration = Duration::from_secs(60);
/// A rule that ran for less than one part in so many of the time that it took did not take it: the machine stood still. A loop on a
/// machine that is merely busy has more.
const RAN_PARTS: u32 = 10;
/// Between two turns of a thread on a busy machine. So short a wait is everyday, and says nothing of a machine that stands still.
const TURN: Duration = Duration::from_millis(10);

/// Strikes of one rule, over all workers.
#[derive(Default)]
pub(crate) struct Strikes {
    /// Spares the lock while all is well.
    any: AtomicBool,
    total: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    recent: Vec<Instant>,
    /// How long it ran in what was no strike.
    ran: Duration,
    /// How long they count.
    window: Duration,
    out: Option<Out>,
    /// The newest generation that was loaded, and whether it holds the rule in quarantine.
    generation: Generation,
    is_quarantined: bool,
    ratio: Option<Ratio>,
}

/// Why and since when it is not called.
#[derive(Clone)]
pub(crate) struct Out {
    since: Instant,
    pub why: CallFailure,
}

/// Rows since a moment, and those of them that failed by a fault of the rule.
struct Ratio {
    since: Instant,
    rows: u64,
    failed: u64,
}

impl Strikes {
    /// Counts a strike for time that the rule took; true when it puts the rule out. Time in which the rule did not run is none. What
    /// it did run in such times is added up, so that a loop is put out on any machine.
    pub fn add(&self, now: Instant, why: &CallFailure, took: Took, options: &RuleOptions) -> bool {
        let mut state = self.state();
        state.ran += took.ran;
        if (state.ran + TURN) * RAN_PARTS < took.wall {
            return false;
        }
        state.ran = Duration::ZERO;
        self.total.fetch_add(1, Ordering::Relaxed);
        self.any.store(true, Ordering::Relaxed);
        state.window = Duration::from_secs(options.strike_window_s);
        state.forget_old(now);
        state.recent.push(now);
        state.recent.len() >= options.strikes as usize && state.put_out(now, why)
    }

    /// Counts rows that it was called for, and those that failed by its fault; true when they are too many and put the rule out.
    /// What it refuses in words is no fault.
    pub fn judged(&self, now: Instant, rows: u64, failed: u64, why: impl FnOnce() -> CallFailure) -> bool {
        let mut state = self.state();
        let ratio = state.ratio.get_or_insert(Ratio { since: now, rows: 0, failed: 0 });
        if now.saturating_duration_since(ratio.since) >= RATIO_WINDOW {
            *ratio = Ratio { since: now, rows: 0, failed: 0 };
        }
        ratio.rows += rows;
        ratio.failed += failed;
        let is_bad = failed > 0 && ratio.rows >= RATIO_ROWS_MIN && ratio.failed * 2 > ratio.rows;
        let is_new = is_bad && state.put_out(now, &why());
        if is_new {
            self.total.fetch_add(1, Ordering::Relaxed);
            self.any.store(true, Ordering::Relaxed);
        }
        is_new
    }

    /// It was put out by an earlier process, whose verdict says so.
    pub fn was_out(&self, now: Instant, why: &CallFailure) {
        let mut state = self.state();
        self.any.store(true, Ordering::Relaxed);
        state.put_out(now, why);
    }

    /// A generation was loaded that holds it in quarantine, or does not: who comes out of it has no strikes. One that is older
    /// than another that was loaded, as when records are read again, says nothing.
    pub fn quarantined(&self, generation: Generation, is_quarantined: bool) {
        let mut state = self.state();
        if generation < state.generation {
            return;
        }
        if state.is_quarantined && !is_quarantined {
            *state = State::default();
            self.any.store(false, Ordering::Relaxed);
        }
        (state.generation, state.is_quarantined) = (generation, is_quarantined);
    }

    /// Whether the last generation that began holds it in quarantine.
    pub fn is_quarantined(&self) -> bool {
        self.state().is_quarantined
    }

    /// Why the rule is not to be called now, if it is not.
    pub fn out(&self, now: Instant) -> Option<CallFailure> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state();
        match &state.out {
            Some(out) if now.saturating_duration_since(out.since) < STRUCK_OUT_FOR => return Some(out.why.clone()),
            Some(_) => *state = State { generation: state.generation, is_quarantined: state.is_quarantined, ..State::default() },
            None => state.forget_old(now),
        }
        // Set under the same lock, so a strike that comes now is not lost.
        self.any.store(!state.recent.is_empty(), Ordering::Relaxed);
        None
    }

    /// Whether strikes still count, or the rule is out.
    pub fn any(&self, now: Instant) -> bool {
        self.out(now).is_some() || self.any.load(Ordering::Relaxed)
    }

    /// Strikes since the rule was loaded.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_old(&mut self, now: Instant) {
        let window = self.window;
        self.recent.retain(|strike| now.saturating_duration_since(*strike) < window);
    }

    /// False when it is out already.
    fn put_out(&mut self, now: Instant, why: &CallFailure) -> bool {
        let is_new = self.out.is_none();
        self.out.get_or_insert_with(|| Out { since: now, why: why.clone() });
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;

    const WINDOW: Duration = Duration::from_secs(60);

    const LIMIT: Duration = Duration::from_millis(250);
    /// As a loop does on a machine that has nothing else to do.
    const ALL_OF_IT: Took = Took { wall: LIMIT, ran: LIMIT };

    fn late() -> CallFailure {
        CallFailure::new(FailureKind::Deadline, "late")
    }

    #[test]
    fn a_rule_is_struck_for_time_in_which_it_ran() {
        let (t, options) = (Instant::now(), RuleOptions::default());
        // How much of a processor a loop gets, and how many calls put it out.
        for (parts, calls) in [(1, 3), (2, 3), (10, 3), (20, 6), (100, 18), (1_000, 180)] {
            let strikes = Strikes::default();
            let late_calls = (1..).find(|_| strikes.add(t, &late(), Took { wall: LIMIT, ran: LIMIT / parts }, &options));
            assert_eq!((late_calls, strikes.total()), (Some(calls), 3), "one part in {parts}");
        }
        let strikes = Strikes::default();
        let short = Took { wall: TURN * RAN_PARTS, ran: Duration::ZERO };
        assert!((0..3).map(|_| strikes.add(t, &late(), short, &options)).eq([false, false, true]), "short limits are too short to tell");
        let strikes = Strikes::default();
        let stalled = Took { wall: Duration::from_secs(3_600), ran: Duration::from_micros(50) };
        assert!(!(0..1_000).any(|_| strikes.add(t, &late(), stalled, &options)), "a machine that stands still puts nobody out");
        assert_eq!((strikes.total(), strikes.any(t)), (0, false));
    }

    #[test]
    fn so_many_within_the_window_put_it_out_for_a_while() {
        for max in [1, 3, 5] {
            let options = RuleOptions { strikes: max, ..RuleOptions::default() };
            let strikes = Strikes::default();
            let t = Instant::now();
            assert!((1..max).all(|_| !strikes.add(t, &late(), ALL_OF_IT, &options)) && strikes.out(t).is_none());
            assert!(strikes.add(t, &late(), ALL_OF_IT, &options) && strikes.out(t) == Some(late()));
            assert!(!strikes.add(t, &late(), ALL_OF_IT, &options), "said once");
            assert!(strikes.out(t + STRUCK_OUT_FOR - Duration::from_millis(1)).is_some());
            assert!(strikes.out(t + STRUCK_OUT_FOR).is_none());
            assert_eq!(strikes.total(), u64::from(max) + 1);
        }
    }

    #[test]
    fn old_strikes_are_forgotten() {
        let strikes = Strikes::default();
        let t = Instant::now();
        for n in 0..10 {
            assert!(!strikes.add(t + n * (WINDOW / 2), &late(), ALL_OF_IT, &RuleOptions::default()));
        }
        let last = t + 9 * (WINDOW / 2);
        assert!(strikes.out(last).is_none() && strikes.any.load(Ordering::Relaxed));
        assert!(strikes.any(last));
        assert!(!strikes.any(last + WINDOW) && !strikes.any.load(Ordering::Relaxed), "without a lock again");
    }

    #[test]
    fn who_fails_on_most_rows_is_put_out_and_half_of_them_is_not_most() {
        let t = Instant::now();
        for (calls, rows, failed, out) in [(2, 250, 126, true), (2, 250, 125, false), (1, 499, 499, false), (1, 500, 251, true), (9, 1_000, 0, false)] {
            let strikes = Strikes::default();
            let said: Vec<bool> = (0..calls).map(|_| strikes.judged(t, rows, failed, late)).collect();
            assert_eq!((said.last() == Some(&true), strikes.out(t).is_some()), (out, out), "{calls} times {failed} of {rows}");
        }
        let strikes = Strikes::default();
        assert!(!strikes.judged(t, 400, 400, late));
        assert!(!strikes.judged(t + RATIO_WINDOW, 400, 400, late), "another minute");
    }

    #[test]
    fn who_comes_out_of_quarantine_has_no_strikes() {
        let strikes = Strikes::default();
        let (t, options) = (Instant::now(), RuleOptions::default());
        (0..options.strikes).for_each(|_| _ = strikes.add(t, &late(), ALL_OF_IT, &options));
        strikes.quarantined(1, false);
        assert!(strikes.out(t).is_some(), "it never was in quarantine");
        strikes.quarantined(3, true);
        strikes.quarantined(2, false);
        assert!(strikes.out(t).is_some() && strikes.is_quarantined(), "an older generation says nothing");
        strikes.quarantined(4, false);
        assert!(strikes.out(t).is_none() && !strikes.any(t));
        assert!(!strikes.add(t, &late(), ALL_OF_IT, &options), "they are counted anew");
    }
}
