//! When rules and tables are looked at: before the first door opens, then at intervals, and when a table has changed.

use super::in_flight::InFlightJournal;
use super::progress::{Part, Progress};
use crate::rules::RuleKeeper;
use crate::rules_folder::SETTLED_AFTER;
use crate::tables::Tables;
use alertmill_stores::embedded::EmbeddedReader;
use anyhow::anyhow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What is looked at, and where what comes of it goes.
pub struct Looks {
    /// Looks, and begins generations.
    pub keeper: Arc<RuleKeeper>,
    /// What changes beside the rules folder.
    pub tables: Tables,
    /// The state's versions.
    pub reader: EmbeddedReader,
    /// Where generations go.
    pub journal: InFlightJournal,
    /// How far the last process's records are folded.
    pub progress: Arc<Progress>,
    /// The last one of them.
    pub backlog_end: u64,
}

impl Looks {
    /// Begins the first generation before any door opens, so that no event is ever judged without one. The state knows none
    /// when it is new, and when the process before was killed early; then the journal may hold one.
    pub async fn begin_first_generation(&self) -> anyhow::Result<()> {
        backlog_folded(&self.progress, self.backlog_end).await?;
        self.read_versions().await;
        if self.keeper.shown().set.generation == 0 {
            self.look().await?;
        }
        Ok(())
    }

    /// Looks at the rules folder at intervals, and when a table has changed, once the generations that the last process
    /// journaled are known.
    pub async fn keep_looking(self, poll_ms: u64, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.progress.reached(self.backlog_end) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        loop {
            if !self.keeper.has_versions() {
                self.read_versions().await;
            }
            if let Err(e) = self.look().await {
                tracing::warn!("the rules folder could not be taken over, the rules in force go on: {e}");
            }
            let pause = match poll_ms {
                // What was written right before the start is still taken, once it is whole; so are versions, once they can be read.
                0 if !self.keeper.has_versions() || self.keeper.shown().is_unsettled => SETTLED_AFTER,
                0 => Duration::MAX,
                poll_ms => Duration::from_millis(poll_ms),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.tables.changed() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Reads and compiles on a thread where that is fine.
    async fn look(&self) -> anyhow::Result<()> {
        let (runtime, keeper, journal) = (tokio::runtime::Handle::current(), self.keeper.clone(), self.journal.clone());
        let looked = tokio::task::spawn_blocking(move || runtime.block_on(keeper.look(&journal))).await?;
        looked.map(drop).map_err(|e| anyhow!("{e}"))
    }

    /// The state has all versions now: tells the keeper, if they can be read. As long as they cannot, nobody can name one, and
    /// what the folder offers gets its record once more.
    async fn read_versions(&self) {
        let reader = self.reader.clone();
        match tokio::task::spawn_blocking(move || reader.rule_versions(None, None, i64::MAX as usize)).await {
            Ok(Ok(versions)) => self.keeper.is_replayed(versions.iter().map(|version| &version.change)),
            Ok(Err(error)) => tracing::warn!(%error, "versions of rules cannot be read"),
            Err(error) => tracing::warn!(%error, "versions of rules were not read"),
        }
    }
}

/// Comes back when the last process's records are folded. A part that is refused what it needs would try for ever, with no
/// door open and no `/readyz` to say so: then the start ends with its words, and the records stay in the journal.
async fn backlog_folded(progress: &Progress, backlog_end: u64) -> anyhow::Result<()> {
    let mut troubles = progress.troubles();
    loop {
        tokio::select! {
            biased;
            () = progress.reached(backlog_end) => return Ok(()),
            why = progress.failed() => return Err(anyhow!("the pipeline stopped: {why}")),
            _ = troubles.wait_for(|troubled| *troubled > 0) => {}
        }
        if let Some((part, why)) = Part::ALL.into_iter().find_map(|part| Some((part, progress.troubled(part)?))) {
            return Err(anyhow!(
                "{} is refused what it needs for the records of the last process: {why}; they wait in the journal for the next start",
                part.name()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_core::ports::Restored;

    #[tokio::test]
    async fn a_start_that_is_refused_what_it_needs_ends_with_the_part_and_its_words() {
        let progress = Progress::new(&Restored::default(), 0, None, 7);
        progress.trouble(Part::Fold, "no room".to_owned());
        let words = backlog_folded(&progress, 7).await.expect_err("it is refused").to_string();
        assert!(words.starts_with("state is refused") && words.contains("no room"), "{words}");
        let nothing_left = Progress::new(&Restored::default(), 0, None, 0);
        backlog_folded(&nothing_left, 0).await.unwrap();
    }
}
