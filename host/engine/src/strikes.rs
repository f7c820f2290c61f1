//! Bounds what a bad rule can cost. A looping rule must not stall its pipeline for every row, so that after three strikes
//! within a minute it is not called for a minute; its rows get the policy with the outcome `struck-out`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Strikes that put a rule out.
pub const STRIKES_MAX: usize = 3;
/// Strikes older than this are forgotten.
pub const STRIKE_WINDOW: Duration = Duration::from_secs(60);
/// How long a rule stays out.
pub const STRUCK_OUT_FOR: Duration = Duration::from_secs(60);

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
    out_since: Option<Instant>,
}

impl Strikes {
    /// Counts a strike; true when it puts the rule out.
    pub fn add(&self, now: Instant) -> bool {
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.any.store(true, Ordering::Relaxed);
        state.recent.retain(|strike| now.saturating_duration_since(*strike) < STRIKE_WINDOW);
        state.recent.push(now);
        if state.recent.len() >= STRIKES_MAX && state.out_since.is_none() {
            state.out_since = Some(now);
            return true;
        }
        false
    }

    /// Whether the rule is not to be called now.
    pub fn is_out(&self, now: Instant) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.out_since {
            Some(since) if now.saturating_duration_since(since) < STRUCK_OUT_FOR => true,
            Some(_) => {
                *state = State::default();
                self.any.store(false, Ordering::Relaxed);
                false
            }
            None => {
                state.recent.retain(|strike| now.saturating_duration_since(*strike) < STRIKE_WINDOW);
                // Set under the same lock, so a strike that comes now is not lost.
                self.any.store(!state.recent.is_empty(), Ordering::Relaxed);
                false
            }
        }
    }

    /// Whether strikes still count, or the rule is out.
    pub fn any(&self, now: Instant) -> bool {
        self.is_out(now) || self.any.load(Ordering::Relaxed)
    }

    /// Strikes since the rule was loaded.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_within_the_window_put_it_out_for_a_while() {
        let strikes = Strikes::default();
        let t = Instant::now();
        assert!(!strikes.add(t) && !strikes.add(t) && !strikes.is_out(t));
        assert!(strikes.add(t) && strikes.is_out(t));
        assert!(!strikes.add(t), "said once");
        assert!(strikes.is_out(t + STRUCK_OUT_FOR - Duration::from_millis(1)));
        let later = t + STRUCK_OUT_FOR;
        assert!(!strikes.is_out(later) && !strikes.add(later) && !strikes.is_out(later));
        assert_eq!(strikes.total(), 5);
    }

    #[test]
    fn old_strikes_are_forgotten() {
        let strikes = Strikes::default();
        let t = Instant::now();
        for n in 0..10 {
            assert!(!strikes.add(t + n * (STRIKE_WINDOW / 2)));
        }
        let last = t + 9 * (STRIKE_WINDOW / 2);
        assert!(!strikes.is_out(last) && strikes.any.load(Ordering::Relaxed));
        assert!(strikes.any(last));
        assert!(!strikes.any(last + STRIKE_WINDOW) && !strikes.any.load(Ordering::Relaxed), "without a lock again");
    }
}
