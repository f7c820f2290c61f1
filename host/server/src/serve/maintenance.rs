//! What keeps the data folder bounded: journal segments go behind a synced position; alerts, events and dead letters by age
//! and size; damaged files that were set aside. What went, and why, is counted in [`Removals`].

use super::between::Pacer;
use super::in_flight::InFlightJournal;
use super::progress::Progress;
use super::storage::{Family, Removals, Why};
use crate::config::{Data, Retention};
use crate::rules::RuleKeeper;
use alertmill_core::event::Uid;
use alertmill_core::ports::{Commit, Journal, KnownUids, LocalStore, PortError};
use alertmill_core::record::RecordBody;
use alertmill_core::value::Text;
use alertmill_core::version_change::{VersionAction, VersionChange};
use alertmill_stores::embedded::Checkpointer;
use alertmill_stores::modules::ModuleFiles;
use alertmill_stores::{EmbeddedReader, EmbeddedStore, JournalHandle, StoreError, SyncedPosition, quarantine};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
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
    let before_ms = if data.journal_keep_days == 0 { i64::MIN } else { now_ms() - i64::from(data.journal_keep_days) * DAY_S * 1_000 };
    let released = journal.release_older(covered, before_ms);
    // Where none is kept, what is folded goes as it should; it did not make room for anything.
    let why = if data.journal_keep.0 == 0 { Why::NotNeeded } else { Why::Size };
    removals.add(Family::Journal, why, released.unneeded as u64);
    removals.add(Family::Journal, Why::Age, released.too_old as u64);
    released.failed
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

/// Removes damaged files that were set aside, once an hour.
pub async fn bound_quarantine(data_dir: PathBuf, retention: Retention, removals: Arc<Removals>, mut stop: watch::Receiver<bool>) {
    loop {
        let (dir, retention) = (data_dir.clone(), retention.clone());
        let older_than_s = now_ms() / 1_000 - i64::from(retention.quarantine_days) * DAY_S;
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

/// Removes versions of rules beyond those that are kept, then modules and tables that nothing names any more: once the records
/// of the last process are read, and then once an hour.
pub async fn bound_modules(unused: UnusedModules, keeper: Arc<RuleKeeper>, journal: InFlightJournal, progress: Arc<Progress>, mut stop: watch::Receiver<bool>) {
    let unused = Arc::new(unused);
    loop {
        // What is in the journal and not in the state yet names modules too.
        let journaled = journal.handle().counts().last_ordinal;
        tokio::select! {
            () = progress.reached(journaled) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let (looking, held_by) = (unused.clone(), keeper.clone());
        let surplus = tokio::task::spawn_blocking(move || {
            let newest_in_state = looking.newest_in_state()?;
            held_by.between_looks(newest_in_state, |held| looking.surplus(held))
        });
        for change in surplus.await.unwrap_or_else(|_| Ok(Vec::new())).unwrap_or_else(not_looked_for) {
            if let Err(error) = journal.append(RecordBody::RuleVersion(change.clone()), None).await {
                tracing::warn!(%error, "an old version of a rule could not be removed");
                break;
            }
            keeper.knows(&change);
        }
        let (looking, held_by) = (unused.clone(), keeper.clone());
        let removed = tokio::task::spawn_blocking(move || {
            let newest_in_state = looking.newest_in_state()?;
            held_by.between_looks(newest_in_state, |held| looking.remove(held))
        });
        if let Ok(Err(error)) = removed.await {
            tracing::warn!(%error, "modules that no generation uses could not be removed");
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(3_600)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn not_looked_for(error: StoreError) -> Vec<VersionChange> {
    tracing::warn!(%error, "old versions of rules could not be looked for");
    Vec::new()
}

/// Modules and tables, and what is asked which of them are in use. The state remembers the generations that are kept and those
/// that the journal may still replay ([`Retaining`]).
pub struct UnusedModules {
    /// The files.
    pub modules: ModuleFiles,
    /// The state's generations.
    pub reader: EmbeddedReader,
    /// Syncs the state.
    pub checkpointer: Checkpointer,
    /// Where removals are counted.
    pub removals: Arc<Removals>,
    /// What was put within this time stays: its record may be on its way.
    pub young: Duration,
    /// Versions of each rule that are kept.
    pub versions_kept: usize,
}

/// How long an upload may take from its file to its record.
pub const YOUNG_MODULES: Duration = Duration::from_secs(3_600);

impl UnusedModules {
    /// The newest generation that a commit has stored; 0 before the first.
    fn newest_in_state(&self) -> Result<u64, StoreError> {
        Ok(self.reader.rule_sets(1)?.first().map_or(0, |set| set.generation))
    }

    /// The versions of each rule beyond the newest ones that are kept, but none that `held` names, as the records that remove them.
    fn surplus(&self, held: &BTreeSet<Text>) -> Result<Vec<VersionChange>, StoreError> {
        let mut newer: BTreeMap<Text, usize> = BTreeMap::new();
        let mut surplus = Vec::new();
        for version in self.reader.rule_versions(None, None, i64::MAX as usize)? {
            let VersionChange { name, version, digest, size_bytes, .. } = version.change;
            let newer = newer.entry(name.clone()).or_insert(0);
            *newer += 1;
            if *newer > self.versions_kept && !held.contains(&digest) {
                let (action, operator) = (VersionAction::Removed, Text::new_static("retention"));
                surplus.push(VersionChange { action, name, version, digest, size_bytes, operator, ..VersionChange::default() });
            }
        }
        Ok(surplus)
    }

    /// Removes what neither the state nor `held` names.
    fn remove(&self, held: &BTreeSet<Text>) -> Result<(), StoreError> {
        let sets = self.reader.rule_sets(i64::MAX as usize)?;
        let versions = self.reader.rule_versions(None, None, i64::MAX as usize)?;
        let kept: BTreeSet<&Text> = versions.iter().flat_map(|version| version.change.digests()).collect();
        // What was read may be lost with the power as long as it is not synced, and an earlier state asks for what was then in use.
        self.checkpointer.checkpoint()?;
        let removed = self.modules.remove_unused(self.young, |digest| {
            held.contains(digest) || kept.iter().any(|kept| kept.as_str() == digest) || sets.iter().any(|set| set.content.contains(digest))
        })?;
        self.removals.add(Family::Modules, Why::Count, removed as u64);
        Ok(())
    }
}

/// The store, retiring what is too old between commits: it has one writer, so it is done where commits are.
pub struct Retaining {
    store: EmbeddedStore,
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
    fn retire_step(&mut self, now_s: i64) -> bool {
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
    use alertmill_core::ports::VersionWrite;
    use alertmill_core::record::{RuleEntry, RuleSet};
    use alertmill_core::version_change::VersionSignature;
    use alertmill_stores::embedded::EmbeddedOptions;
    use alertmill_stores::modules::digest;
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

    /// A store whose generations name one module and a table that changes with each of them, and the files.
    struct Hourly {
        retaining: Retaining,
        unused: UnusedModules,
        hours: u64,
        journal_begins: Arc<AtomicU64>,
    }

    impl Hourly {
        fn new(dir: &Path) -> Hourly {
            let (store, _) = EmbeddedStore::open(dir).unwrap();
            let modules = ModuleFiles::open(&dir.join("modules")).unwrap();
            let unused = UnusedModules {
                modules,
                reader: store.reader(),
                checkpointer: store.checkpointer(),
                removals: Arc::default(),
                young: Duration::ZERO,
                versions_kept: 3,
            };
            let journal_begins = Arc::new(AtomicU64::new(u64::MAX));
            let begins = journal_begins.clone();
            let retention = Retention { rule_generations: 8, ..Retention::default() };
            let retaining = Retaining::new(store, retention, Arc::default(), move || begins.load(Relaxed));
            Hourly { retaining, unused, hours: 0, journal_begins }
        }

        /// One more generation; gives the digest of its table.
        fn hour(&mut self) -> String {
            self.hours += 1;
            let module = self.unused.modules.put(b"a module").unwrap();
            let table = self.unused.modules.put(format!("key,hour\na,{}\n", self.hours).as_bytes()).unwrap();
            let rule =
                RuleEntry { name: "r".into(), version: "1".into(), digest: module.into(), config: "".into(), options: "".into(), ..RuleEntry::default() };
            let set = RuleSet { generation: self.hours, rules: vec![rule], tables: vec![("hosts".into(), table.clone().into())], ..RuleSet::default() };
            let now_s = NOW_S + self.hours as i64 * 3_600;
            let commit = Commit { from: self.hours - 1, to: self.hours, received_at_ms: now_s * 1_000, rule_sets: vec![set], ..Commit::default() };
            self.retaining.store.commit_blocking(&commit).unwrap();
            self.retaining.retire_step(now_s);
            table
        }

        fn files(&self) -> Vec<String> {
            self.unused.modules.list().unwrap()
        }
    }

    #[test]
    fn a_table_that_changes_hourly_leaves_bounded_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Hourly::new(dir.path());
        let (mut tables, mut most) = (Vec::new(), 0);
        for _ in 0..10 * 24 {
            tables.push(world.hour());
            world.unused.remove(&BTreeSet::new()).unwrap();
            most = most.max(world.files().len());
            // What was judged by is what a loss of power leaves.
            assert_eq!(world.unused.checkpointer.synced_position().ordinal(), world.hours);
        }
        // 8 generations, and 4 times as many where they are young; and the module.
        assert_eq!(most, 8 * 4 + 1);
        let mut expected: Vec<String> = tables[tables.len() - 32..].to_vec();
        expected.push(digest(b"a module"));
        expected.sort();
        assert_eq!(world.files(), expected);
    }

    #[test]
    fn what_a_replay_needs_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Hourly::new(dir.path());
        world.journal_begins.store(1, Relaxed);
        (0..100).for_each(|_| drop(world.hour()));
        world.unused.remove(&BTreeSet::new()).unwrap();
        assert_eq!(world.files().len(), 101, "the journal names all of them");
        world.journal_begins.store(51, Relaxed);
        let held = world.unused.modules.put(b"a table that a look holds").unwrap();
        world.hour();
        world.unused.remove(&BTreeSet::from([Text::new(&held)])).unwrap();
        assert_eq!((world.files().len(), world.files().contains(&held)), (51 + 2, true));
        world.unused.remove(&BTreeSet::new()).unwrap();
        assert!(!world.files().contains(&held));
    }

    /// A version of a rule came, under its own record.
    fn uploaded(world: &mut Hourly, name: &str, content: &[u8]) -> Text {
        world.hours += 1;
        let digest = Text::from(world.unused.modules.put(content).unwrap());
        let signature = world.unused.modules.put(&[content, b" is signed"].concat()).unwrap();
        let signature = Some(VersionSignature { signer: "platform".into(), key_id: "k".into(), digest: signature.into() });
        let change = VersionChange { name: name.into(), digest: digest.clone(), signature, ..VersionChange::default() };
        let received_at_ms = NOW_S * 1_000;
        let rule_versions = vec![VersionWrite { ordinal: world.hours, received_at_ms, change }];
        let commit = Commit { from: world.hours - 1, to: world.hours, received_at_ms, rule_versions, ..Commit::default() };
        world.retaining.store.commit_blocking(&commit).unwrap();
        digest
    }

    fn removed_versions(world: &mut Hourly, held: &BTreeSet<Text>) -> Vec<Text> {
        let surplus = world.unused.surplus(held).unwrap();
        assert!(surplus.iter().all(|change| change.operator == "retention" && change.action == VersionAction::Removed));
        let gone = surplus.iter().map(|change| change.digest.clone()).collect();
        world.hours += 1;
        let write = |change| VersionWrite { ordinal: world.hours, received_at_ms: NOW_S * 1_000, change };
        let commit = Commit {
            from: world.hours - 1,
            to: world.hours,
            received_at_ms: NOW_S * 1_000,
            rule_versions: surplus.into_iter().map(write).collect(),
            ..Commit::default()
        };
        world.retaining.store.commit_blocking(&commit).unwrap();
        gone
    }

    #[test]
    fn what_a_kept_version_needs_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Hourly::new(dir.path());
        let owner: Vec<Text> = (0..6u8).map(|n| uploaded(&mut world, "owner", &[n])).collect();
        let other = uploaded(&mut world, "other", b"other");
        // What runs, or ran before, or is offered, stays beside the newest three.
        let held = BTreeSet::from([owner[0].clone()]);
        assert_eq!(removed_versions(&mut world, &held), [owner[2].clone(), owner[1].clone()]);
        world.unused.remove(&held).unwrap();
        let files = world.files();
        let is_there = |digest: &Text| files.iter().any(|file| file == digest);
        let there: Vec<bool> = owner.iter().chain([&other]).map(is_there).collect();
        assert_eq!(there, [true, false, false, true, true, true, true]);
        assert_eq!(files.len(), 10, "each with its signature");
        assert!(removed_versions(&mut world, &held).is_empty(), "nothing is removed twice");
        // Nothing names them any more, and nobody holds them.
        assert_eq!(removed_versions(&mut world, &BTreeSet::new()), [owner[0].clone()]);
        world.unused.remove(&BTreeSet::new()).unwrap();
        assert_eq!(world.files().len(), 8);
    }

    #[test]
    fn nothing_of_a_running_upload_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Hourly::new(dir.path());
        world.unused.young = YOUNG_MODULES;
        let module = world.unused.modules.put(b"its record is on its way").unwrap();
        world.unused.remove(&BTreeSet::new()).unwrap();
        assert_eq!(world.files(), std::slice::from_ref(&module));
        let old = SystemTime::now() - 2 * YOUNG_MODULES;
        let file = std::fs::File::options().append(true).open(dir.path().join("modules").join(&module)).unwrap();
        file.set_modified(old).unwrap();
        // The same content again is a new upload, also where the file is old.
        world.unused.modules.put(b"its record is on its way").unwrap();
        world.unused.remove(&BTreeSet::new()).unwrap();
        assert_eq!(world.files(), [module]);
        file.set_modified(old).unwrap();
        world.unused.remove(&BTreeSet::new()).unwrap();
        assert!(world.files().is_empty());
    }
}
