//! What keeps the data folder bounded: journal segments go behind a synced position; alerts, events and dead letters by age
//! and size; damaged files that were set aside. What went, and why, is counted in [`Removals`].

use super::between::Pacer;
use super::clock::wall_ms;
use super::storage::{Family, Removals, Why};
use crate::config::{Data, Retention};
use alertmill_core::event::Uid;
use alertmill_core::ports::{Commit, KnownUids, LocalStore, PortError};
use alertmill_stores::embedded::Checkpointer;
use alertmill_stores::{EmbeddedStore, JournalHandle, StoreError, SyncedPosition, quarantine};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const DAY_S: i64 = 86_400;
/// Between two looks at what is too old.
const RETIRE_EVERY: Duration = Duration::from_secs(60);
/// Alerts removed in one step, so that no commit waits long.
const RETIRE_ALERTS_MAX: usize = 200;
/// Generations younger than this are kept beside the newest ones, `YOUNG_GENERATIONS` times as many in all.
const YOUNG_DAYS: u32 = 7;
const YOUNG_GENERATIONS: u64 = 4;
/// Dead letters removed in one step.
const RETIRE_LETTERS_MAX: usize = 500;

/// Removes journal segments that the synced state no longer needs, once a second; of those that `data.journal_keep` keeps, the
/// ones that are older than `data.journal_keep_days`, if that is any.
pub async fn release_journal(journal: JournalHandle, checkpointer: Checkpointer, data: Data, removals: Arc<Removals>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let (journal, checkpointer, data, removals) = (journal.clone(), checkpointer.clone(), data.clone(), removals.clone());
        let released = tokio::task::spawn_blocking(move || release(&journal, checkpointer.synced_position(), &data, &removals));
        if let Ok(Some(error)) = released.await {
            tracing::warn!(%error, "journal segments could not be removed");
        }
    }
}

/// Counts what went, and gives why the rest did not.
fn release(journal: &JournalHandle, covered: SyncedPosition, data: &Data, removals: &Removals) -> Option<StoreError> {
    let before_ms = if data.journal_keep_days == 0 { i64::MIN } else { wall_ms() - i64::from(data.journal_keep_days) * DAY_S * 1_000 };
    let released = journal.release_older(covered, before_ms);
    // Where none is kept, what is folded goes as it should; it did not make room for anything.
    let why = if data.journal_keep.0 == 0 { Why::NotNeeded } else { Why::Size };
    removals.add(Family::Journal, why, released.unneeded as u64);
    removals.add(Family::Journal, Why::Age, released.too_old as u64);
    released.failed
}

/// Removes damaged files that were set aside, once an hour.
pub async fn bound_quarantine(data_dir: PathBuf, retention: Retention, removals: Arc<Removals>, mut stop: watch::Receiver<bool>) {
    loop {
        let (dir, retention) = (data_dir.clone(), retention.clone());
        let older_than_s = wall_ms() / 1_000 - i64::from(retention.quarantine_days) * DAY_S;
        let bounded = tokio::task::spawn_blocking(move || quarantine::bound(&dir, retention.quarantine_size.0, older_than_s)).await;
        if let Ok((gone, failed)) = bounded {
            removals.add(Family::Quarantine, Why::Age, gone.by_age);
            removals.add(Family::Quarantine, Why::Size, gone.by_size);
            if let Some(error) = failed {
                tracing::warn!(%error, "damaged files that were set aside could not be removed");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(3_600)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// The store, retiring what is too old between commits: it has one writer, so it is done where commits are.
pub struct Retaining {
    pub(super) store: EmbeddedStore,
    retention: Retention,
    removals: Arc<Removals>,
    /// Ordinal of the first record in the journal.
    journal_begins: Box<dyn Fn() -> u64 + Send>,
    last: Instant,
    pacer: Option<Pacer>,
}

impl Retaining {
    /// Over this store; `journal_begins` gives the ordinal of the first record in the journal.
    pub fn new(store: EmbeddedStore, retention: Retention, removals: Arc<Removals>, journal_begins: impl Fn() -> u64 + Send + 'static) -> Retaining {
        Retaining { store, retention, removals, journal_begins: Box::new(journal_begins), last: Instant::now(), pacer: None }
    }

    /// Tells `pacer` how long the syncs of commits take.
    pub fn pace_with(&mut self, pacer: Pacer) {
        self.pacer = Some(pacer);
    }

    /// Syncs the state before the process ends.
    pub fn settle(&mut self) {
        if let Err(error) = self.store.checkpoint() {
            tracing::warn!(%error, "the state was not synced at the end; the journal replays it");
        }
    }

    fn retire(&mut self, now_s: i64) {
        // As long as there is more, the next commit goes on. What failed waits.
        if !self.retire_step(now_s) {
            self.last = Instant::now();
        }
    }

    /// One bounded step of each kind, whatever became of the others; whether none failed and there is more to do.
    pub(super) fn retire_step(&mut self, now_s: i64) -> bool {
        let before_s = |days: u32| now_s - i64::from(days) * DAY_S;
        let (store, retention, removals) = (&mut self.store, &self.retention, &self.removals);
        let mut failed = false;
        let old_alerts = removed(store.retire_alerts(before_s(retention.alerts_days), RETIRE_ALERTS_MAX), &mut failed);
        removals.add(Family::Alerts, Why::Age, old_alerts as u64);
        let alerts_over = removed(store.shrink_state(retention.state_size.0, RETIRE_ALERTS_MAX), &mut failed);
        removals.add(Family::Alerts, Why::Size, alerts_over as u64);
        let letters = removed(store.retire_dead_letters(before_s(retention.dead_letters_days) * 1_000, RETIRE_LETTERS_MAX), &mut failed);
        removals.add(Family::DeadLetters, Why::Age, letters as u64);
        let kept = u64::from(retention.rule_generations);
        let journal_begins = (self.journal_begins)();
        removed(store.retire_audit(before_s(retention.audit_days) * 1_000), &mut failed);
        removed(store.retire_rule_sets(kept, kept * YOUNG_GENERATIONS, before_s(YOUNG_DAYS) * 1_000, journal_begins), &mut failed);
        let events = removed(store.retire_events(retention.events_size.0, before_s(retention.events_days)), &mut failed);
        removals.add(Family::Events, Why::Age, events.by_age);
        removals.add(Family::Events, Why::Size, events.by_size);
        !failed && (old_alerts == RETIRE_ALERTS_MAX || alerts_over == RETIRE_ALERTS_MAX || letters == RETIRE_LETTERS_MAX)
    }
}

/// What a step removed: nothing, where it failed.
fn removed<T: Default>(step: Result<T, StoreError>, failed: &mut bool) -> T {
    step.unwrap_or_else(|error| {
        *failed = true;
        tracing::warn!(%error, "retention could not remove what is too old");
        T::default()
    })
}

impl LocalStore for Retaining {
    fn begin(&mut self, commit: &Commit) -> bool {
        self.store.begin(commit)
    }

    async fn commit(&mut self, commit: &Commit) -> Result<(), PortError> {
        self.store.commit_blocking(commit)?;
        if let Some(pacer) = self.pacer.as_ref().filter(|_| !commit.events.is_empty()) {
            pacer.synced(commit.events.len(), self.store.last_event_sync());
        }
        if self.last.elapsed() >= RETIRE_EVERY {
            self.retire(commit.received_at_ms.div_euclid(1000));
        }
        Ok(())
    }
}

impl KnownUids for Retaining {
    fn known_until_s(&mut self, uids: &[Uid]) -> Result<Vec<Option<i64>>, PortError> {
        self.store.known_until_s(uids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_core::record::RuleSet;
    use alertmill_stores::embedded::EmbeddedOptions;

    const NOW_S: i64 = 1_790_000_000;

    #[test]
    fn a_step_that_meets_damage_does_not_keep_the_others_from_their_work() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
        for n in 1..=20 {
            let rule_sets = vec![RuleSet { generation: n, ..RuleSet::default() }];
            store.commit_blocking(&Commit { from: n - 1, to: n, received_at_ms: NOW_S * 1_000, rule_sets, ..Commit::default() }).unwrap();
        }
        drop(store);
        // A name that no start uses, and the first step does.
        let state = dir.path().join("state.sqlite");
        let mut bytes = std::fs::read(&state).unwrap();
        let name = b"alert_events";
        let places: Vec<usize> = (0..bytes.len() - name.len()).filter(|at| bytes[*at..].starts_with(name)).collect();
        places.iter().for_each(|at| bytes[at + name.len() - 1] ^= 1);
        assert!(places.len() >= 3);
        std::fs::write(&state, bytes).unwrap();
        let unchecked = EmbeddedOptions { check_bytes_max: 0, ..EmbeddedOptions::default() };
        let (store, _) = EmbeddedStore::open_with(dir.path(), unchecked).unwrap();
        let reader = store.reader();
        let retention = Retention { rule_generations: 8, ..Retention::default() };
        let mut retaining = Retaining::new(store, retention, Arc::default(), || u64::MAX);
        assert!(!retaining.retire_step(NOW_S + i64::from(YOUNG_DAYS) * DAY_S + 1), "it waits for the next time");
        assert!(dir.path().join("state.suspect").exists(), "the first step met it");
        assert_eq!(reader.rule_sets(99).unwrap().len(), 8);
    }
}
