//! When the process is asked to stop, and when it is asked again.

use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// Signals so soon after the first one are the same wish: `timeout` of coreutils signals its child and then the whole group,
/// and so do some supervisors.
const SAME_WISH: Duration = Duration::from_secs(1);

/// SIGTERM and SIGINT, each time they are meant.
pub struct StopSignals {
    signals: Option<(Signal, Signal)>,
    wishes: Wishes,
}

/// The first signal, to which later ones are compared.
#[derive(Default)]
struct Wishes(Option<Instant>);

impl Wishes {
    fn is_new(&mut self, at: Instant) -> bool {
        let is_same = self.0.is_some_and(|first| at.duration_since(first) < SAME_WISH);
        self.0.get_or_insert(at);
        !is_same
    }
}

impl StopSignals {
    /// Listens from now on.
    pub fn listen() -> StopSignals {
        StopSignals { signals: signal(SignalKind::terminate()).ok().zip(signal(SignalKind::interrupt()).ok()), wishes: Wishes::default() }
    }

    /// Comes back when the process is asked to stop, or asked again.
    pub async fn next(&mut self) {
        let Some((term, int)) = &mut self.signals else { return std::future::pending().await };
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if self.wishes.is_new(Instant::now()) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_signals_at_once_are_one_wish() {
        let (mut wishes, start) = (Wishes::default(), Instant::now());
        let asked: Vec<bool> = [0, 1, 999, 1_000, 1_001].into_iter().map(|ms| wishes.is_new(start + Duration::from_millis(ms))).collect();
        assert_eq!(asked, [true, false, false, true, true]);
    }
}
