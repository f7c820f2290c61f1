//! Rows at which a rule with the policy `stop` halted the pipeline: what waits, and what operators say of it.

use super::clock::wall_ms;
use super::progress::{Part, Progress};
use alertmill_core::item::Item;
use alertmill_core::ports::{Appended, Halts, Journal, PortError, Resume};
use alertmill_core::record::RecordBody;
use alertmill_core::verdict::{Halted, Place};
use alertmill_stores::JournalHandle;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};

/// Between two times that a rule is asked about the same row, at most.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What waits, at most one row of each half. Clones share it.
#[derive(Clone, Default)]
pub struct HaltedRows(Arc<Mutex<BTreeMap<Part, Waiting>>>);

struct Waiting {
    row: HaltedRow,
    resume: oneshot::Sender<Resume>,
}

/// A row that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaltedRow {
    /// Which, and why.
    pub halted: Halted,
    /// When it was first asked about, milliseconds.
    pub since_ms: i64,
}

impl HaltedRows {
    /// All that wait.
    pub fn all(&self) -> Vec<HaltedRow> {
        self.lock().values().map(|waiting| waiting.row.clone()).collect()
    }

    /// Lets the rows go on that a rule has halted. Gives them; there are none when it has halted nothing.
    pub fn resume(&self, rule: &str, resume: Resume) -> Vec<Halted> {
        let mut rows = self.lock();
        let parts: Vec<Part> = rows.iter().filter(|(_, waiting)| waiting.row.halted.rule == rule).map(|(part, _)| *part).collect();
        let waiting = parts.into_iter().filter_map(|part| rows.remove(&part));
        // A half that has just gone on by itself asks again, if it must.
        waiting.filter_map(|waiting| waiting.resume.send(resume).ok().map(|()| waiting.row.halted)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Part, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One half's end of it.
pub struct Operators {
    /// Which half.
    pub half: Part,
    /// What waits.
    pub rows: HaltedRows,
    /// Where everyone can see that it does.
    pub progress: Arc<Progress>,
    /// Turns true when the process is asked to stop.
    pub stop: watch::Receiver<bool>,
    /// Told when that is why nothing goes on.
    pub gave_up: Arc<Notify>,
    /// The row that was asked about last, since when, and how often.
    pub last: Option<(Place, i64, u32)>,
}

impl Operators {
    fn since(&mut self, at: Place) -> (i64, u32) {
        let (since_ms, tries) = match self.last {
            Some((last, since_ms, tries)) if last == at => (since_ms, tries + 1),
            _ => (wall_ms(), 0),
        };
        self.last = Some((at, since_ms, tries));
        (since_ms, tries)
    }
}

impl Halts for Operators {
    async fn decide(&mut self, halted: &Halted) -> Resume {
        let (since_ms, tries) = self.since(halted.at);
        let (resume, resumed) = oneshot::channel();
        self.rows.lock().insert(self.half, Waiting { row: HaltedRow { halted: halted.clone(), since_ms }, resume });
        let rule = &halted.rule;
        if tries == 0 {
            tracing::error!(%rule, "the pipeline is halted: {halted}");
        }
        self.progress.trouble(self.half, format!("{halted}; say what is done with it: alertmill rule resume {rule} --as retry|pass-through|dead-letter"));
        let by_itself = async {
            match halted.may_pass {
                true => tokio::time::sleep(pause(tries)).await,
                false => std::future::pending().await,
            }
        };
        let resume = tokio::select! {
            Ok(resume) = resumed => {
                tracing::warn!(%rule, ?resume, "an operator lets the pipeline go on");
                resume
            }
            () = by_itself => Resume::Retry,
            () = stopping(&mut self.stop) => {
                tracing::warn!(%rule, "halted while the process stops; what is not folded waits in the journal");
                self.gave_up.notify_one();
                // The loop is dropped where it waits.
                std::future::pending().await
            }
        };
        self.rows.lock().remove(&self.half);
        resume
    }
}

/// The journal as the halves write verdicts into it. One that is closed because the process stops is no failure: what is not
/// folded waits in it.
pub struct VerdictJournal {
    /// The journal itself: the bound of what is in flight is the halves' own to empty.
    pub journal: JournalHandle,
    /// Where verdicts are counted.
    pub progress: Arc<Progress>,
    /// Turns true before it is closed on purpose.
    pub stop: watch::Receiver<bool>,
    /// Told when that is why nothing goes on.
    pub gave_up: Arc<Notify>,
}

impl Journal for VerdictJournal {
    async fn append(&self, body: RecordBody, parsed: Option<Vec<Item>>) -> Result<Appended, PortError> {
        let verdicts = if let RecordBody::Verdicts(verdicts) = &body { Some(verdicts.clone()) } else { None };
        let answer = self.journal.append(body, parsed).await;
        if let (Ok(_), Some(verdicts)) = (&answer, verdicts) {
            self.progress.judged(&verdicts);
        }
        let stopping = *self.stop.borrow();
        if matches!(answer, Err(PortError::Fatal(_))) && stopping && self.journal.failure().is_none() {
            self.gave_up.notify_one();
            return std::future::pending().await;
        }
        answer
    }
}

/// Before a rule is asked about the same row again.
fn pause(tries: u32) -> Duration {
    PAUSE_MAX.min(Duration::from_millis(50 << tries.min(16)))
}

/// Comes back when the process is asked to stop.
async fn stopping(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_core::ports::Restored;
    use alertmill_core::verdict::{Hook, Policy};

    fn halted(rule: &str, may_pass: bool) -> Halted {
        let (at, kind) = (Place { ordinal: 7, index: 2 }, if may_pass { "deadline" } else { "trap" });
        Halted { rule: rule.into(), version: "1.2.0@sha256:00".into(), hook: Hook::EnrichEvent, at, kind: kind.into(), message: "says why".into(), may_pass }
    }

    fn operators() -> (Operators, HaltedRows, watch::Sender<bool>) {
        let (stopping, stop) = watch::channel(false);
        let progress = Arc::new(Progress::new(&Restored::default(), 0, None, 0));
        let rows = HaltedRows::default();
        (Operators { half: Part::Prepare, rows: rows.clone(), progress, stop, gave_up: Arc::default(), last: None }, rows, stopping)
    }

    #[tokio::test]
    async fn a_row_waits_for_an_operator_and_everyone_can_see_it() {
        let (mut half, rows, _stopping) = operators();
        let progress = half.progress.clone();
        let letter = Resume::As { policy: Policy::DeadLetter, to_the_end: false };
        let halted = halted("owner", false);
        let waits = half.decide(&halted);
        let operator = async {
            while rows.all().is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(rows.all()[0].halted, halted);
            let words = progress.troubled(Part::Prepare).unwrap();
            assert!(words.contains("rule owner 1.2.0@sha256:00 (enrich-event) could not judge event 7.2: trap: says why"), "{words}");
            assert!(words.contains("alertmill rule resume owner --as"), "{words}");
            assert_eq!(rows.resume("another", letter), []);
            rows.resume("owner", letter)
        };
        let (resume, resumed) = tokio::join!(waits, operator);
        assert_eq!((resume, resumed), (letter, vec![halted]));
        assert_eq!((rows.all(), rows.resume("owner", letter)), (Vec::new(), Vec::new()), "once");
    }

    #[tokio::test]
    async fn what_may_pass_is_asked_again_by_itself_after_growing_pauses() {
        let (mut half, rows, _stopping) = operators();
        for expected in [(7, 0), (7, 1), (8, 0)] {
            let at = Place { ordinal: expected.0, index: 0 };
            assert_eq!(half.decide(&Halted { at, ..halted("owner", true) }).await, Resume::Retry);
            assert_eq!((half.last.unwrap().0, half.last.unwrap().2), (at, expected.1), "another row begins anew");
        }
        assert!(rows.all().is_empty());
        let pauses: Vec<u128> = [0, 1, 5, 20, u32::MAX].map(|tries| pause(tries).as_millis()).to_vec();
        assert_eq!(pauses, [50, 100, 1_600, 60_000, 60_000]);
    }

    #[tokio::test]
    async fn a_process_that_stops_does_not_wait() {
        let (mut half, _rows, stopping) = operators();
        let gave_up = half.gave_up.clone();
        stopping.send_replace(true);
        let halted = halted("owner", false);
        tokio::select! {
            resume = half.decide(&halted) => panic!("{resume:?}"),
            () = gave_up.notified() => {}
        }
    }
}
