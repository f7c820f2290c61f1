//! When an open alert ends by itself.

use crate::alert::Alert;
use crate::event::Status;

/// The next time-out of an open alert.
pub(super) struct Due {
    /// When it fires.
    pub at_ms: i64,
    /// What it makes of the alert.
    pub status: Status,
    /// When the alert has ended then; earlier than `at_ms` if the grace held it back.
    pub end_time_s: i64,
}

/// Which time-out ends the alert next, and when: the close or delayed recovery, or the end of a re-sent episode. Nothing
/// that a re-send would have put off fires before the grace after a start is over, since nobody could re-send while we were
/// down. A strategy's alerts are ended by checks.
pub(super) fn next_due(alert: &Alert, grace_until_ms: i64) -> Option<Due> {
    let not_before = |at_s: i64| milliseconds(at_s).max(grace_until_ms);
    let timer = alert.next_status.filter(|_| !alert.strategy_id.is_truthy()).map(|(status, at)| {
        let waits = status == Status::Closed && alert.lasting.is_some();
        Due { at_ms: if waits { not_before(at) } else { milliseconds(at) }, status, end_time_s: at }
    });
    let episode = alert.lasting.and_then(|l| l.ends_at);
    let episode = episode.map(|at| Due { at_ms: not_before(at), status: Status::Recovered, end_time_s: at });
    match (timer, episode) {
        (Some(a), Some(b)) => Some(if b.at_ms <= a.at_ms { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// Milliseconds of a second; one that no clock shows is as far away as can be said.
pub(super) fn milliseconds(s: i64) -> i64 {
    s.saturating_mul(1000)
}
