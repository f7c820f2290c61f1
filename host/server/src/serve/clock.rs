//! Time goes by in records: when a time-out is due and nothing else was received, a clock record says so.

use super::InFlightJournal;
use super::progress::{Part, Progress};
use alertmill_core::ports::Journal;
use alertmill_core::record::RecordBody;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// A record at least so often, so that what depends on age (retention, forgetting of uids) goes on without events.
const QUIET_MAX: Duration = Duration::from_secs(3600);
/// Between two clock records at least.
const PAUSE: Duration = Duration::from_millis(50);
/// And at most, while the journal's clock is behind.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Writes clock records until told to stop.
pub async fn run(journal: InFlightJournal, progress: Arc<Progress>, mut stop: watch::Receiver<bool>) {
    let (mut positions, mut troubles) = (progress.positions(), progress.troubles());
    loop {
        let due_ms = progress.next_due_ms();
        // A journal that took nothing is asked again although nobody sends: senders may stay away because of it.
        let quiet_max = if progress.troubled(Part::Journal).is_some() { PAUSE_MAX } else { QUIET_MAX };
        let wait = due_ms.map_or(quiet_max, |due| Duration::from_millis((due - now_ms()).max(0) as u64)).min(quiet_max);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // A commit may have moved the next time-out.
            changed = positions.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            changed = troubles.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if due_ms.is_some_and(|due| progress.received_at_ms() >= due) {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let pause = match journal.append(RecordBody::Clock, None).await {
            Err(_) if progress.failure().is_some() => return,
            Err(_) => PAUSE_MAX,
            // After a step of the wall clock the journal's own is behind for a while: no use in asking twenty times a second.
            Ok(appended) => Duration::from_millis(due_ms.map_or(0, |due| (due - appended.received_at_ms).max(0)) as u64).clamp(PAUSE, PAUSE_MAX),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}
