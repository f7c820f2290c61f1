//! Time goes by in records: when a time-out is due and nothing else was received, a clock record says so.

use super::InFlightJournal;
use super::progress::{Part, Progress};
use alertmill_core::ports::Journal;
use alertmill_core::record::RecordBody;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::Instant;

/// A record at least so often, so that what depends on age (retention, forgetting of uids) goes on without events.
const QUIET_MAX: Duration = Duration::from_secs(3600);
/// Between two clock records at least.
const PAUSE: Duration = Duration::from_millis(50);
/// And at most, while the journal's clock is behind.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Writes clock records until told to stop.
pub async fn run(journal: InFlightJournal, progress: Arc<Progress>, mut stop: watch::Receiver<bool>) {
    let (mut positions, mut troubles) = (progress.positions(), progress.troubles());
    let mut asked = Instant::now();
    loop {
        let due_ms = progress.next_due_ms();
        let due_in = due_ms.map(|due| Duration::from_millis((due - now_ms()).max(0) as u64));
        let ask_at = ask_at(asked, Instant::now(), due_in, progress.troubled(Part::Journal).is_some());
        tokio::select! {
            () = tokio::time::sleep_until(ask_at) => {}
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
        let answer = journal.append(RecordBody::Clock, None).await;
        asked = Instant::now();
        let pause = match answer {
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

/// When the journal is asked next. One that took nothing is asked again although nobody sends, since senders may stay away
/// because of it; commits of what it holds go on meanwhile, so the pause counts from when it was `asked`, not from the last.
fn ask_at(asked: Instant, now: Instant, due_in: Option<Duration>, is_troubled: bool) -> Instant {
    let quiet = if is_troubled { asked + PAUSE_MAX } else { now + QUIET_MAX };
    due_in.map_or(quiet, |due_in| quiet.min(now + due_in))
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_do_not_put_off_asking_a_journal_that_refused() {
        let asked = Instant::now();
        let after = |ms| asked + Duration::from_millis(ms);
        for commit_ms in [0, 400, 900, 1_300] {
            assert_eq!(ask_at(asked, after(commit_ms), None, true), asked + PAUSE_MAX);
        }
        assert_eq!(ask_at(asked, after(400), Some(Duration::from_millis(100)), true), after(500), "a time-out that is due comes first");
        assert_eq!(ask_at(asked, after(400), None, false), after(400) + QUIET_MAX, "a commit is a sign that time goes on");
    }
}
