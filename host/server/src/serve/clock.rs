//! Time goes by in records: when a time-out is due and nothing else was received, a clock record says so.

use super::{InFlightJournal, Progress};
use alertmill_core::ports::Journal;
use alertmill_core::record::RecordBody;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// A record at least so often, so that what depends on age (retention, forgetting of uids) goes on without events.
const QUIET_MAX: Duration = Duration::from_secs(3600);
/// Between two clock records at least.
const PAUSE: Duration = Duration::from_millis(50);

/// Writes clock records until told to stop.
pub async fn run(journal: InFlightJournal, progress: Arc<Progress>, mut stop: watch::Receiver<bool>) {
    let mut positions = progress.positions();
    loop {
        let due_ms = progress.next_due_ms();
        let wait = due_ms.map_or(QUIET_MAX, |due| Duration::from_millis((due - now_ms()).max(0) as u64)).min(QUIET_MAX);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // A commit may have moved the next time-out.
            changed = positions.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let is_due = due_ms.is_none_or(|due| progress.received_at_ms() < due);
        if is_due && journal.append(RecordBody::Clock, None).await.is_err() && progress.failure().is_some() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}
