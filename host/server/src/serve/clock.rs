//! Time goes by in records: when a time-out is due and nothing else was received, a clock record says so.

use super::InFlightJournal;
use super::progress::{Part, Progress};
use alertmill_core::pipeline::clock_records::{OnItsWay, PAUSE_MAX_MS, ask_in_ms, pause_ms};
use alertmill_core::ports::Journal;
use alertmill_core::record::RecordBody;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::Instant;

/// A record at least so often, so that what depends on age (retention, forgetting of uids) goes on without events.
const QUIET_MAX: Duration = Duration::from_secs(3600);
const PAUSE_MAX: Duration = Duration::from_millis(PAUSE_MAX_MS as u64);

/// Writes clock records until told to stop.
pub async fn run(journal: InFlightJournal, progress: Arc<Progress>, mut stop: watch::Receiver<bool>) {
    let (mut positions, mut troubles) = (progress.positions(), progress.troubles());
    let mut asked = Instant::now();
    // The time of the last record that is folded, and since when we know of it.
    let mut last_record = (progress.received_at_ms(), asked);
    let mut on_its_way = OnItsWay::default();
    loop {
        // Before the time-out, which the commit of this position may have moved.
        let position = progress.position();
        let due_ms = on_its_way.leaves(progress.next_due_ms(), position);
        if progress.received_at_ms() != last_record.0 {
            last_record = (progress.received_at_ms(), Instant::now());
        }
        let since_seen_ms = last_record.1.elapsed().as_millis() as i64;
        let due_in = due_ms.map(|due_ms| Duration::from_millis(ask_in_ms(due_ms, wall_ms(), last_record.0, since_seen_ms) as u64));
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
        let answer = journal.append(RecordBody::Clock, None).await;
        asked = Instant::now();
        let pause = match answer {
            Err(_) if progress.failure().is_some() => return,
            Err(_) => PAUSE_MAX,
            Ok(appended) => {
                on_its_way = OnItsWay::journaled(appended.ordinal, appended.received_at_ms);
                Duration::from_millis(pause_ms(due_ms, appended.received_at_ms) as u64)
            }
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

/// The wall clock, milliseconds since 1970.
pub(super) fn wall_ms() -> i64 {
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
