//! The data folder: which store lies where in it, and opening all of them in the only right order. The state comes first:
//! it says behind which position the journal is to be replayed.

use crate::backup;
use crate::durable::{self, FolderLock, StoreError};
use crate::embedded::{EmbeddedOptions, EmbeddedReport, EmbeddedStore, FenceReport, fence};
use crate::journal::{JournalDir, JournalHandle, JournalOptions, JournalReader, JournalReport};
use crate::modules::ModuleFiles;
use alertmill_core::ports::Restored;
use std::path::{Path, PathBuf};

/// Names in a data folder.
pub struct DataFolder;

impl DataFolder {
    /// Segment files of the journal, `identity`, `watermark` and `quarantine/`.
    pub const JOURNAL: &str = "journal";
    /// Event documents.
    pub const EVENTS: &str = "events";
    /// Known uids.
    pub const UIDS: &str = "uids";
    /// The state.
    pub const STATE: &str = "state.sqlite";
    /// Rule modules and tables, by digest.
    pub const MODULES: &str = "modules";
    /// Compiled code of modules. It can be made again and is in no backup.
    pub const COMPILED: &str = "compiled";
    /// The key that compiled code is known by.
    pub const COMPILED_KEY: &str = "compiled.key";
    /// Held by the process that works here.
    pub const LOCK: &str = "lock";

    /// Opens everything in `dir`, or makes it (folders 0700, files 0600). Fails when another process works there.
    pub fn open(dir: &Path, options: FolderOptions) -> Result<OpenFolder, StoreError> {
        durable::make_dir(dir)?;
        let lock = FolderLock::take(&dir.join(DataFolder::LOCK))?;
        backup::refuse_unfinished(dir)?;
        backup::remove_leftovers(dir)?;
        let modules = ModuleFiles::open(&dir.join(DataFolder::MODULES))?;
        let mut fenced: Vec<FenceReport> = fence::resume(dir)?.into_iter().collect();
        if let Some(finding) = fence::is_missing(dir)? {
            fenced.push(fence::fence(dir, vec![finding])?);
        }
        let opened = match EmbeddedStore::open_with(dir, options.embedded.clone()) {
            // Once: what was just made and cannot be opened is another fault.
            Err(StoreError::Damaged { path, what, .. }) if path == dir.join(DataFolder::STATE) => {
                fenced.push(fence::fence(dir, vec![what])?);
                EmbeddedStore::open_with(dir, options.embedded)
            }
            other => other,
        };
        let (store, restored) = opened?;
        let journal = JournalOptions { position: restored.position, position_ms: restored.received_at_ms, ..options.journal };
        let (journal, records, journal_report) = JournalDir::open(&dir.join(DataFolder::JOURNAL), journal)?;
        let store_report = store.report().clone();
        Ok(OpenFolder { dir: dir.to_path_buf(), journal, records, journal_report, store, restored, store_report, modules, fenced, lock })
    }
}

/// How a data folder is opened; position and time of the journal options come from the state.
#[derive(Default)]
pub struct FolderOptions {
    /// The journal.
    pub journal: JournalOptions,
    /// The state, event files and uids.
    pub embedded: EmbeddedOptions,
}

/// All stores of a data folder.
pub struct OpenFolder {
    /// The folder.
    pub dir: PathBuf,
    /// Appends.
    pub journal: JournalHandle,
    /// Records behind the state's position, then new ones.
    pub records: JournalReader,
    /// What was found in the journal.
    pub journal_report: JournalReport,
    /// The state.
    pub store: EmbeddedStore,
    /// What the fold goes on from.
    pub restored: Restored,
    /// What was found beside the state.
    pub store_report: EmbeddedReport,
    /// Modules and tables.
    pub modules: ModuleFiles,
    /// Damaged states that this start set aside, and what came of each.
    pub fenced: Vec<FenceReport>,
    /// Keep it as long as any of them is used.
    pub lock: FolderLock,
}
