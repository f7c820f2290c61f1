//! Commands of operators on their way: into the journal, through the fold, and back with what was decided.

use super::decisions::Decisions;
use super::in_flight::InFlightJournal;
use super::progress::Progress;
use crate::api::{Commands, Handed, Redriving};
use alertmill_core::command::Command;
use alertmill_core::letter::Redrive;
use alertmill_core::ports::{Journal, PortError};
use alertmill_core::record::RecordBody;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How long a request waits for the fold. A pipeline that is behind for longer is told of honestly instead.
const DECIDED_WITHIN: Duration = Duration::from_secs(10);

/// The journal, and what comes out behind it.
pub struct JournaledCommands {
    journal: InFlightJournal,
    progress: Arc<Progress>,
    decided_within: Duration,
}

impl JournaledCommands {
    /// Before this journal.
    pub fn new(journal: InFlightJournal, progress: Arc<Progress>) -> JournaledCommands {
        JournaledCommands { journal, progress, decided_within: DECIDED_WITHIN }
    }
}

impl Commands for JournaledCommands {
    fn hand_over(&self, command: Command) -> Handed {
        self.spawn(RecordBody::Command(command), Progress::decisions)
    }

    fn redrive(&self, redrive: Redrive) -> Redriving {
        self.spawn(RecordBody::Redrive(redrive), Progress::redriven)
    }
}

impl JournaledCommands {
    fn spawn<T: Clone + Send + 'static>(&self, body: RecordBody, of: fn(&Progress) -> &Decisions<T>) -> Seen<T> {
        let (journal, progress, within) = (self.journal.clone(), self.progress.clone(), self.decided_within);
        // It goes on when the operator hangs up: a record that is half on its way holds room that must be given back.
        let task = tokio::spawn(async move { see_through(&journal, &progress, body, of(&progress), within).await });
        Box::pin(async move { task.await.unwrap_or_else(|_| Err(PortError::Unclear("the command was cut off inside; repeat it".to_owned()))) })
    }
}

/// What was decided of a record, or none when that takes too long.
type Seen<T> = Pin<Box<dyn Future<Output = Result<Option<T>, PortError>> + Send>>;

async fn see_through<T: Clone>(
    journal: &InFlightJournal,
    progress: &Progress,
    body: RecordBody,
    decisions: &Decisions<T>,
    within: Duration,
) -> Result<Option<T>, PortError> {
    let place = decisions.wait(progress.position());
    let appended = journal.append(body, None).await?;
    tokio::select! {
        biased;
        () = progress.reached(appended.ordinal) => Ok(place.take(appended.ordinal)),
        _ = progress.failed() => Ok(None),
        () = tokio::time::sleep(within) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_core::command::{Action, AlertRef, Decided, Decision, Verdict};
    use alertmill_core::ports::{Commit, Restored};
    use alertmill_stores::journal::{JournalDir, JournalOptions};

    fn close() -> Command {
        let alerts = vec![AlertRef { create_time: 1_700_000_000, seq: 1 }];
        Command { tenant: "system".into(), action: Action::Close, alerts, operator: "wang".into(), comment: "".into(), idempotency_key: None }
    }

    #[tokio::test]
    async fn a_command_waits_for_its_commit_and_no_longer_than_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let (handle, _reader, _) = JournalDir::open(dir.path(), JournalOptions::default()).unwrap();
        let progress = Arc::new(Progress::new(&Restored::default(), 0, None, 0));
        let journal = InFlightJournal::new(handle, 10_000, progress.clone());
        let mut commands = JournaledCommands::new(journal.clone(), progress.clone());
        let decisions = vec![Decision { verdict: Verdict::NotOpen, alert: None }];
        let commit = |to: u64| {
            let commands = vec![Decided { ordinal: to, decisions: decisions.clone() }];
            progress.committed(&Commit { to, commands, ..Commit::default() }, 0);
        };
        let waiting = commands.hand_over(close());
        while journal.handle().counts().last_ordinal < 1 {
            tokio::task::yield_now().await;
        }
        assert!(journal.bytes() > 0, "it counts as in flight");
        commit(1);
        assert_eq!((waiting.await, journal.bytes()), (Ok(Some(decisions.clone())), 0));
        // A fold that does not come to it, and one that has stopped.
        commands.decided_within = Duration::ZERO;
        assert_eq!(commands.hand_over(close()).await, Ok(None));
        commands.decided_within = Duration::from_secs(3600);
        let waiting = commands.hand_over(close());
        while journal.handle().counts().last_ordinal < 3 {
            tokio::task::yield_now().await;
        }
        progress.fail("it panicked".to_owned());
        assert_eq!(waiting.await, Ok(None));
        assert!(matches!(commands.hand_over(close()).await, Err(PortError::Fatal(_))), "then nothing is taken any more");
    }

    #[tokio::test]
    async fn commands_that_nobody_folds_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (handle, _reader, _) = JournalDir::open(dir.path(), JournalOptions::default()).unwrap();
        let progress = Arc::new(Progress::new(&Restored::default(), 0, None, 0));
        let mut commands = JournaledCommands::new(InFlightJournal::new(handle, 10 * close().size_bytes(), progress.clone()), progress);
        commands.decided_within = Duration::ZERO;
        for _ in 0..10 {
            assert_eq!(commands.hand_over(close()).await, Ok(None));
        }
        assert!(matches!(commands.hand_over(close()).await, Err(PortError::Unavailable(_))));
    }
}
