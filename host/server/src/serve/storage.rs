//! What each kind of data takes, its bounds, and what went because of them: for `/api/v1/pipeline/storage` and `/metrics`.

use crate::config::Config;
use alertmill_stores::backup::held_by_backups;
use alertmill_stores::embedded::EmbeddedReader;
use alertmill_stores::folder::DataFolder;
use alertmill_stores::known_uids::KnownUidsHandle;
use alertmill_stores::{JournalHandle, StoreError, quarantine};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A kind of data with bounds of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Segments of the journal.
    Journal,
    /// Alerts with logs and lists.
    Alerts,
    /// Event documents.
    Events,
    /// Dead letters.
    DeadLetters,
    /// Uids that are known.
    KnownUids,
    /// Modules and tables of rules.
    Modules,
    /// Compiled code of modules.
    CompiledCode,
    /// Damaged files.
    Quarantine,
    /// What a backup holds until it is fetched.
    Backup,
}

const FAMILIES: [Family; 9] = [
    Family::Journal,
    Family::Alerts,
    Family::Events,
    Family::DeadLetters,
    Family::KnownUids,
    Family::Modules,
    Family::CompiledCode,
    Family::Quarantine,
    Family::Backup,
];

impl Family {
    fn name(self) -> &'static str {
        match self {
            Family::Journal => "journal",
            Family::Alerts => "state",
            Family::Events => "events",
            Family::DeadLetters => "dead-letters",
            Family::KnownUids => "known-uids",
            Family::Modules => "modules",
            Family::CompiledCode => "compiled-code",
            Family::Quarantine => "quarantine",
            Family::Backup => "backup",
        }
    }
}

/// Why something went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was too old.
    Age,
    /// There was no room.
    Size,
    /// There were too many.
    Count,
    /// Nothing asks for it any more.
    NotNeeded,
}

const WHYS: [(Why, &str); 4] = [(Why::Age, "age"), (Why::Size, "size"), (Why::Count, "count"), (Why::NotNeeded, "not-needed")];

/// What went since the process started.
#[derive(Debug, Default)]
pub struct Removals([[AtomicU64; WHYS.len()]; FAMILIES.len()]);

impl Removals {
    /// So many went.
    pub fn add(&self, family: Family, why: Why, count: u64) {
        self.0[family as usize][why as usize].fetch_add(count, Relaxed);
    }

    fn of(&self, family: Family) -> BTreeMap<&'static str, u64> {
        let counts = WHYS.iter().map(|(why, name)| (*name, self.0[family as usize][*why as usize].load(Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// One kind of data as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct FamilyUse {
    /// Its name.
    pub name: &'static str,
    /// Bytes on disk; of the dead letters, which are in the state, those of their items.
    pub bytes: u64,
    /// Files or, in the state, rows, as far as they are counted anyway.
    pub count: u64,
    /// Its bounds by their keys in the configuration.
    pub bounds: BTreeMap<&'static str, u64>,
    /// What went since the process started, by reason: files, alerts or dead letters.
    pub removed: BTreeMap<&'static str, u64>,
}

/// All kinds, and the damage that is on record.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StorageReport {
    /// Each kind of data.
    pub families: Vec<FamilyUse>,
    /// Files that were set aside because they are damaged, with the reports of what was lost; oldest first.
    pub damages: Vec<Damage>,
}

/// A file that was set aside, or a report about it.
#[derive(Clone, Debug, Serialize)]
pub struct Damage {
    /// Where it is, from the data folder.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Seconds since 1970.
    pub at: i64,
    /// What a report says; left out when it is too long to be shown here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<serde_json::Value>,
}

/// Bytes of a report of damage that are read,
const REPORT_BYTES_MAX: u64 = 1 << 20;
/// and of all.
const REPORTS_BYTES_MAX: u64 = 4 << 20;

/// Looks at the data folder.
pub struct Storage {
    config: Config,
    reader: EmbeddedReader,
    journal: JournalHandle,
    uids: KnownUidsHandle,
    removals: Arc<Removals>,
    /// Dead letters that had gone for newer ones when the process started.
    letters_dropped_before: u64,
    last: Mutex<StorageReport>,
    last_full: Mutex<Option<(Instant, Arc<StorageReport>)>>,
}

impl Storage {
    /// Of these stores.
    pub fn new(config: Config, reader: EmbeddedReader, journal: JournalHandle, uids: KnownUidsHandle, removals: Arc<Removals>) -> Storage {
        let letters_dropped_before = reader.dead_letter_sums().map_or(0, |(_, dropped, _)| dropped);
        Storage { config, reader, journal, uids, removals, letters_dropped_before, last: Mutex::default(), last_full: Mutex::default() }
    }

    /// What the last look saw, without what reports say.
    pub fn last(&self) -> StorageReport {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks, and reads reports of damage, unless that was done within `fresh_for`. Those who ask meanwhile wait for the one
    /// look: it is dear. May wait for the disk.
    pub fn full(&self, fresh_for: Duration) -> Result<Arc<StorageReport>, StoreError> {
        let mut last = self.last_full.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, report)) = last.as_ref().filter(|(at, _)| at.elapsed() < fresh_for) {
            return Ok(report.clone());
        }
        let mut report = self.look()?;
        let mut room = REPORTS_BYTES_MAX;
        // The newest first, as far as there is room.
        for damage in report.damages.iter_mut().rev().filter(|damage| damage.file.ends_with(".json")) {
            if damage.bytes > room.min(REPORT_BYTES_MAX) {
                continue;
            }
            room -= damage.bytes;
            damage.report = std::fs::read(self.config.data.dir.join(&damage.file)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        }
        let report = Arc::new(report);
        *last = Some((Instant::now(), report.clone()));
        Ok(report)
    }

    /// Looks now, and reads no report of damage. May wait for the disk.
    pub fn look(&self) -> Result<StorageReport, StoreError> {
        let (data, retention) = (&self.config.data, &self.config.retention);
        let pages = self.reader.pages()?;
        let alerts: u64 = self.reader.alert_counts(None)?.iter().map(|count| count.count).sum();
        let (letters, dropped, letter_bytes) = self.reader.dead_letter_sums()?;
        let damages = self.damages()?;
        let families = FAMILIES.map(|family| {
            let ((bytes, count), bounds): ((u64, u64), Vec<(&'static str, u64)>) = match family {
                Family::Journal => (
                    (self.journal.counts().segment_bytes, self.files(DataFolder::JOURNAL).1),
                    vec![
                        ("data.journal_max", data.journal_max.0),
                        ("data.journal_keep", data.journal_keep.0),
                        ("data.journal_keep_days", data.journal_keep_days.into()),
                    ],
                ),
                Family::Alerts => (
                    (pages.used_bytes(), alerts),
                    vec![("retention.state_size", retention.state_size.0), ("retention.alerts_days", retention.alerts_days.into())],
                ),
                Family::Events => (
                    self.files(DataFolder::EVENTS),
                    vec![("retention.events_size", retention.events_size.0), ("retention.events_days", retention.events_days.into())],
                ),
                Family::DeadLetters => (
                    (letter_bytes, letters),
                    vec![
                        ("retention.dead_letters_size", retention.dead_letters_size.0),
                        ("retention.dead_letters_days", retention.dead_letters_days.into()),
                        ("retention.dead_letters_per_source", retention.dead_letters_per_source.into()),
                    ],
                ),
                Family::KnownUids => {
                    let counts = self.uids.counts();
                    ((self.files(DataFolder::UIDS).0, counts.in_memory + counts.in_files), Vec::new())
                }
                Family::Modules => (
                    self.files(DataFolder::MODULES),
                    vec![
                        ("retention.rule_generations", retention.rule_generations.into()),
                        ("retention.rule_versions", retention.rule_versions.into()),
                        ("retention.table_versions", retention.table_versions.into()),
                    ],
                ),
                Family::CompiledCode => (self.files(DataFolder::COMPILED), vec![("rules.compiled_size", self.config.rules.compiled_size.0)]),
                Family::Backup => (held_by_backups(&data.dir), Vec::new()),
                Family::Quarantine => (
                    (damages.iter().map(|damage| damage.bytes).sum(), damages.len() as u64),
                    vec![("retention.quarantine_size", retention.quarantine_size.0), ("retention.quarantine_days", retention.quarantine_days.into())],
                ),
            };
            let mut removed = self.removals.of(family);
            // The store itself counts what went for newer ones, for as long as it is there.
            let newer = dropped.saturating_sub(self.letters_dropped_before);
            if family == Family::DeadLetters && newer > 0 {
                removed.insert("newer", newer);
            }
            FamilyUse { name: family.name(), bytes, count, bounds: bounds.into_iter().collect(), removed }
        });
        let report = StorageReport { families: families.into(), damages };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = report.clone();
        Ok(report)
    }

    /// Bytes and number of the files of a folder.
    fn files(&self, folder: &str) -> (u64, u64) {
        let entries = std::fs::read_dir(self.config.data.dir.join(folder)).into_iter().flatten().flatten();
        let files = entries.filter_map(|entry| entry.metadata().ok()).filter(std::fs::Metadata::is_file);
        files.fold((0, 0), |(bytes, count), file| (bytes + file.len(), count + 1))
    }

    fn damages(&self) -> Result<Vec<Damage>, StoreError> {
        let of = |file: quarantine::SetAside| {
            let below: PathBuf = file.path.strip_prefix(&self.config.data.dir).map_or_else(|_| file.path.clone(), Into::into);
            Damage { file: below.display().to_string(), bytes: file.bytes, at: file.at_s, report: None }
        };
        Ok(quarantine::list(&self.config.data.dir)?.into_iter().map(of).collect())
    }
}

/// Looks every ten seconds, so that `/metrics` has numbers without waiting for a disk.
pub async fn keep_looking(storage: Arc<Storage>, mut stop: tokio::sync::watch::Receiver<bool>) {
    loop {
        let own = storage.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || own.look()).await {
            tracing::warn!(%error, "the data folder could not be measured");
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(10)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_core::ports::{Commit, DeadLetter};
    use alertmill_stores::folder::{FolderOptions, OpenFolder};

    fn opened(dir: &std::path::Path) -> (OpenFolder, Storage) {
        let mut options = FolderOptions::default();
        options.embedded.dead_letters_per_source_max = 2;
        let folder = DataFolder::open(dir, options).unwrap();
        let mut config = Config::default();
        config.data.dir = dir.to_path_buf();
        let storage = Storage::new(config, folder.store.reader(), folder.journal.clone(), folder.store.known_uids(), Arc::default());
        (folder, storage)
    }

    fn letters(folder: &mut OpenFolder, to: u64) {
        let letter = |index| DeadLetter {
            ordinal: to,
            index,
            received_at_ms: 1_790_000_000_000,
            tenant: "system".into(),
            source: "events".into(),
            code: "clean-error".into(),
            detail: "no time".into(),
            item: b"{}".to_vec(),
            arrival: None,
        };
        let commit = Commit { from: to - 1, to, received_at_ms: 1_790_000_000_000, dead_letters: (0..5).map(letter).collect(), ..Commit::default() };
        folder.store.commit_blocking(&commit).unwrap();
    }

    fn newer(storage: &Storage) -> Option<u64> {
        let report = storage.look().unwrap();
        report.families.iter().find(|family| family.name == "dead-letters").unwrap().removed.get("newer").copied()
    }

    #[test]
    fn dead_letters_that_went_for_newer_ones_are_counted_since_the_process_started() {
        let dir = tempfile::tempdir().unwrap();
        let (mut folder, storage) = opened(dir.path());
        letters(&mut folder, 1);
        assert_eq!(newer(&storage), Some(3));
        drop((folder, storage));
        let (mut folder, storage) = opened(dir.path());
        assert_eq!(newer(&storage), None);
        letters(&mut folder, 2);
        assert_eq!(newer(&storage), Some(5));
    }

    #[test]
    fn one_look_answers_all_who_ask_within_a_moment_and_only_that_reads_reports() {
        let dir = tempfile::tempdir().unwrap();
        let (_folder, storage) = opened(dir.path());
        let quarantine = dir.path().join("quarantine");
        std::fs::create_dir(&quarantine).unwrap();
        std::fs::write(quarantine.join("1-state.json"), br#"{"lost":7}"#).unwrap();
        std::fs::write(quarantine.join("2-state.json"), vec![b' '; 1 + REPORT_BYTES_MAX as usize]).unwrap();
        let report = storage.full(Duration::ZERO).unwrap();
        let of = |report: &StorageReport, name: &str| report.damages.iter().find(|damage| damage.file.ends_with(name)).unwrap().clone();
        assert_eq!(of(&report, "1-state.json").report.unwrap()["lost"], 7);
        assert!(of(&report, "2-state.json").report.is_none() && of(&report, "2-state.json").bytes > REPORT_BYTES_MAX);
        assert!(storage.last().damages.len() == 2 && storage.last().damages.iter().all(|damage| damage.report.is_none()));
        let soon = storage.full(Duration::from_secs(3_600)).unwrap();
        assert!(Arc::ptr_eq(&report, &soon));
        assert!(!Arc::ptr_eq(&report, &storage.full(Duration::ZERO).unwrap()));
    }
}
