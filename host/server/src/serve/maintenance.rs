//! What keeps the data folder bounded: journal segments go behind a synced position, alerts and events by age and size.

use crate::config::Retention;
use alertmill_core::event::Uid;
use alertmill_core::ports::{Commit, KnownUids, LocalStore, PortError};
use alertmill_stores::embedded::Checkpointer;
use alertmill_stores::modules::ModuleFiles;
use alertmill_stores::{EmbeddedReader, EmbeddedStore, JournalHandle};
use std::time::{Duration, Instant};
use tokio::sync::watch;

const DAY_S: i64 = 86_400;
/// Between two looks at what is too old.
const RETIRE_EVERY: Duration = Duration::from_secs(60);
/// Alerts removed in one step, so that no commit waits long.
const RETIRE_ALERTS_MAX: usize = 200;

/// Removes journal segments that the synced state no longer needs, once a second.
pub async fn release_journal(journal: JournalHandle, checkpointer: Checkpointer, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let (journal, checkpointer) = (journal.clone(), checkpointer.clone());
        let released = tokio::task::spawn_blocking(move || journal.release(checkpointer.synced_position())).await;
        if let Ok(Err(error)) = released {
            tracing::warn!(%error, "journal segments could not be removed");
        }
    }
}

/// Generations whose modules and tables stay: after power loss the journal is replayed from an earlier commit, under the
/// generation of that time.
const GENERATIONS_KEPT: usize = 64;

/// Removes modules and tables of long gone generations, at start, before any new one is written.
pub fn remove_unused_modules(modules: &ModuleFiles, reader: &EmbeddedReader) {
    let removed = reader.rule_sets(GENERATIONS_KEPT).and_then(|sets| {
        // Fewer generations than are kept: none is long gone, and the journal may name ones that the state does not know.
        if sets.len() < GENERATIONS_KEPT {
            return Ok(0);
        }
        modules.remove_unused(|digest| sets.iter().any(|set| set.content.contains(digest)))
    });
    if let Err(error) = removed {
        tracing::warn!(%error, "modules that no generation uses could not be removed");
    }
}

/// The store, retiring what is too old between commits: it has one writer, so it is done where commits are.
pub struct Retaining {
    store: EmbeddedStore,
    retention: Retention,
    last: Instant,
}

impl Retaining {
    /// Over this store.
    pub fn new(store: EmbeddedStore, retention: Retention) -> Retaining {
        Retaining { store, retention, last: Instant::now() }
    }

    /// Syncs the state before the process ends.
    pub fn settle(&mut self) {
        if let Err(error) = self.store.checkpoint() {
            tracing::warn!(%error, "the state was not synced at the end; the journal replays it");
        }
    }

    fn retire(&mut self, now_s: i64) {
        let alerts_before = now_s - i64::from(self.retention.alerts_days) * DAY_S;
        let events_before = now_s - i64::from(self.retention.events_days) * DAY_S;
        let retired = self.store.retire_alerts(alerts_before, RETIRE_ALERTS_MAX).and_then(|alerts| {
            // As long as there are more, the next commit goes on.
            self.last = if alerts < RETIRE_ALERTS_MAX { Instant::now() } else { self.last };
            self.store.retire_events(self.retention.events_size.0, events_before)
        });
        if let Err(error) = retired {
            self.last = Instant::now();
            tracing::warn!(%error, "retention could not remove what is too old");
        }
    }
}

impl LocalStore for Retaining {
    async fn commit(&mut self, commit: &Commit) -> Result<(), PortError> {
        self.store.commit_blocking(commit)?;
        if self.last.elapsed() >= RETIRE_EVERY {
            self.retire(commit.received_at_ms.div_euclid(1000));
        }
        Ok(())
    }
}

impl KnownUids for Retaining {
    fn known(&mut self, uids: &[Uid]) -> Result<Vec<bool>, PortError> {
        self.store.known(uids)
    }
}
