//! Versions of rules, and files of modules and tables, that nobody asks for any more.

use super::in_flight::InFlightJournal;
use super::progress::Progress;
use super::storage::{Family, Removals, Why};
use crate::rules::RuleKeeper;
use alertmill_core::record::RuleSet;
use alertmill_core::value::Text;
use alertmill_core::version_change::{VersionAction, VersionChange};
use alertmill_stores::embedded::{Checkpointer, RuleSetRow};
use alertmill_stores::modules::ModuleFiles;
use alertmill_stores::{EmbeddedReader, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

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
            if let Err(problem) = keeper.remove_version(&journal, change).await {
                tracing::warn!(problem = problem.detail, "an old version of a rule could not be removed");
                break;
            }
        }
        let (looking, held_by, records) = (unused.clone(), keeper.clone(), journal.handle().clone());
        let removed = tokio::task::spawn_blocking(move || {
            let newest_in_state = looking.newest_in_state()?;
            held_by.between_looks(newest_in_state, |held| looking.remove(held, records.oldest_ordinal()))
        });
        match removed.await {
            // The segment that is written may last for weeks, and so would what it names. Behind the next one it is released.
            Ok(Ok(Held::ByTheJournal)) => journal.handle().begin_segment(),
            Ok(Err(error)) => tracing::warn!(%error, "modules that no generation uses could not be removed"),
            Ok(Ok(Held::ByNobody)) | Err(_) => {}
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
    /// Versions of each table that are kept.
    pub tables_kept: usize,
}

/// Whether there are old versions of tables that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// None.
    ByNobody,
    /// A replay of the journal may ask for them.
    ByTheJournal,
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

    /// Removes what neither the state nor `held` names, and old versions of tables, but none that a replay of the journal from
    /// `journal_begins`, its first record, may ask for.
    fn remove(&self, held: &BTreeSet<Text>, journal_begins: u64) -> Result<Held, StoreError> {
        let sets = self.reader.rule_sets(i64::MAX as usize)?;
        let outdated = outdated_tables(&sets, self.tables_kept, journal_begins);
        let all_old = outdated_tables(&sets, self.tables_kept, u64::MAX);
        let versions = self.reader.rule_versions(None, None, i64::MAX as usize)?;
        let kept: BTreeSet<&str> = versions.iter().flat_map(|version| version.change.digests()).map(Text::as_str).collect();
        // What was read may be lost with the power as long as it is not synced, and an earlier state asks for what was then in use.
        self.checkpointer.checkpoint()?;
        let removed = self.modules.remove_unused(self.young, |digest| {
            let is_named = || sets.iter().any(|set| set.content.contains(digest));
            held.contains(digest) || kept.contains(digest) || (!outdated.contains(digest) && is_named())
        })?;
        self.removals.add(Family::Modules, Why::Count, removed as u64);
        Ok(if all_old.len() > outdated.len() { Held::ByTheJournal } else { Held::ByNobody })
    }
}

/// Of the tables that generations, the newest first, were begun with: those that are not among the newest `kept` of their name, and
/// that no replay of the journal asks for. That begins with the generation in force at `journal_begins`.
fn outdated_tables(sets: &[RuleSetRow], kept: usize, journal_begins: u64) -> BTreeSet<Text> {
    let mut newest: BTreeMap<Text, Vec<Text>> = BTreeMap::new();
    let (mut needed, mut outdated) = (BTreeSet::new(), BTreeSet::new());
    let mut is_replayed = true;
    for row in sets {
        // One that cannot be read names no table that goes.
        let tables = serde_json::from_str::<RuleSet>(&row.content).map(|set| set.tables).unwrap_or_default();
        for (name, digest) in tables {
            let newest = newest.entry(name).or_default();
            if !newest.contains(&digest) && newest.len() < kept {
                newest.push(digest.clone());
            }
            let is_needed = is_replayed || newest.contains(&digest);
            if is_needed {
                needed.insert(digest)
            } else {
                outdated.insert(digest)
            };
        }
        is_replayed &= row.ordinal >= journal_begins;
    }
    &outdated - &needed
}

#[cfg(test)]
mod tests {
    use super::super::maintenance::Retaining;
    use super::*;
    use crate::config::Retention;
    use alertmill_core::ports::{Commit, VersionWrite};
    use alertmill_core::record::RuleEntry;
    use alertmill_core::version_change::VersionSignature;
    use alertmill_stores::EmbeddedStore;
    use alertmill_stores::modules::digest;
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::time::SystemTime;

    const NOW_S: i64 = 1_790_000_000;

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
                tables_kept: usize::MAX,
            };
            let journal_begins = Arc::new(AtomicU64::new(u64::MAX));
            let begins = journal_begins.clone();
            let retention = Retention { rule_generations: 8, ..Retention::default() };
            let retaining = Retaining::new(store, retention, Arc::default(), move || begins.load(Relaxed));
            Hourly { retaining, unused, hours: 0, journal_begins }
        }

        /// One more generation; gives the digest of its table.
        fn hour(&mut self) -> String {
            self.hour_with(self.hours + 1)
        }

        /// One whose table is that of an hour.
        fn hour_with(&mut self, content: u64) -> String {
            self.hours += 1;
            let module = self.unused.modules.put(b"a module").unwrap();
            let table = self.unused.modules.put(format!("key,hour\na,{content}\n").as_bytes()).unwrap();
            let rule =
                RuleEntry { name: "r".into(), version: "1".into(), digest: module.into(), config: "".into(), options: "".into(), ..RuleEntry::default() };
            let set = RuleSet { generation: self.hours, rules: vec![rule], tables: vec![("hosts".into(), table.clone().into())], ..RuleSet::default() };
            let now_s = NOW_S + self.hours as i64 * 3_600;
            let commit = Commit { from: self.hours - 1, to: self.hours, received_at_ms: now_s * 1_000, rule_sets: vec![set], ..Commit::default() };
            self.retaining.store.commit_blocking(&commit).unwrap();
            self.retaining.retire_step(now_s);
            table
        }

        fn remove(&self, held: &BTreeSet<Text>) -> Result<Held, StoreError> {
            self.unused.remove(held, self.journal_begins.load(Relaxed))
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
            world.remove(&BTreeSet::new()).unwrap();
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
        world.remove(&BTreeSet::new()).unwrap();
        assert_eq!(world.files().len(), 101, "the journal names all of them");
        world.journal_begins.store(51, Relaxed);
        let held = world.unused.modules.put(b"a table that a look holds").unwrap();
        world.hour();
        world.remove(&BTreeSet::from([Text::new(&held)])).unwrap();
        // Those of records 51 to 101, and the one in force before them, with which a replay begins; the module, and what is held.
        assert_eq!((world.files().len(), world.files().contains(&held)), (51 + 1 + 2, true));
        world.remove(&BTreeSet::new()).unwrap();
        assert!(!world.files().contains(&held));
    }

    #[test]
    fn old_versions_of_a_table_go_and_those_that_a_replay_may_ask_for_stay() {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Hourly::new(dir.path());
        world.unused.tables_kept = 3;
        let module = digest(b"a module");
        let check = |world: &Hourly, tables: &[String], are_held: Held| {
            assert_eq!(world.remove(&BTreeSet::new()).unwrap(), are_held);
            let mut expected: Vec<String> = tables.iter().chain([&module]).cloned().collect();
            expected.sort();
            expected.dedup();
            assert_eq!(world.files(), expected);
        };
        // All records are folded, and none is kept.
        let mut tables: Vec<String> = (0..40).map(|_| world.hour()).collect();
        check(&world, &tables[37..], Held::ByNobody);
        // The journal goes back to record 45, when the table of the generation before, of record 44, was in force.
        tables.extend((40..60).map(|_| world.hour()));
        world.journal_begins.store(45, Relaxed);
        check(&world, &tables[43..], Held::ByTheJournal);
        // A content that comes again is no old one.
        world.journal_begins.store(u64::MAX, Relaxed);
        let again = world.hour_with(1);
        assert_eq!(again, tables[0]);
        check(&world, &[tables[58].clone(), tables[59].clone(), again], Held::ByNobody);
        // And what a look holds stays, however old.
        let held = world.unused.modules.put(b"key,hour\na,held\n").unwrap();
        world.remove(&BTreeSet::from([Text::new(&held)])).unwrap();
        assert!(world.files().contains(&held));
        assert!(world.unused.reader.rule_sets(99).unwrap().len() > 4, "generations are remembered longer than their tables");
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
        world.remove(&held).unwrap();
        let files = world.files();
        let is_there = |digest: &Text| files.iter().any(|file| file == digest);
        let there: Vec<bool> = owner.iter().chain([&other]).map(is_there).collect();
        assert_eq!(there, [true, false, false, true, true, true, true]);
        assert_eq!(files.len(), 10, "each with its signature");
        assert!(removed_versions(&mut world, &held).is_empty(), "nothing is removed twice");
        // Nothing names them any more, and nobody holds them.
        assert_eq!(removed_versions(&mut world, &BTreeSet::new()), [owner[0].clone()]);
        world.remove(&BTreeSet::new()).unwrap();
        assert_eq!(world.files().len(), 8);
    }

    #[test]
    fn nothing_of_a_running_upload_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Hourly::new(dir.path());
        world.unused.young = YOUNG_MODULES;
        let module = world.unused.modules.put(b"its record is on its way").unwrap();
        world.remove(&BTreeSet::new()).unwrap();
        assert_eq!(world.files(), std::slice::from_ref(&module));
        let old = SystemTime::now() - 2 * YOUNG_MODULES;
        let file = std::fs::File::options().append(true).open(dir.path().join("modules").join(&module)).unwrap();
        file.set_modified(old).unwrap();
        // The same content again is a new upload, also where the file is old.
        world.unused.modules.put(b"its record is on its way").unwrap();
        world.remove(&BTreeSet::new()).unwrap();
        assert_eq!(world.files(), [module]);
        file.set_modified(old).unwrap();
        world.remove(&BTreeSet::new()).unwrap();
        assert!(world.files().is_empty());
    }
}
