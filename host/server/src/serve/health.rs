//! Whether each part of the process does its work, for `/readyz`.

use super::progress::{Part, Progress};
use crate::api::{Dependency, Health};
use alertmill_stores::JournalHandle;
use alertmill_stores::embedded::Checkpointer;
use std::sync::Arc;

/// Asks journal, state and both halves.
pub struct ProcessHealth {
    journal: JournalHandle,
    checkpointer: Checkpointer,
    progress: Arc<Progress>,
}

impl ProcessHealth {
    /// Over these.
    pub fn new(journal: JournalHandle, checkpointer: Checkpointer, progress: Arc<Progress>) -> ProcessHealth {
        ProcessHealth { journal, checkpointer, progress }
    }
}

impl Health for ProcessHealth {
    fn dependencies(&self) -> Vec<Dependency> {
        let part = |name, failure: Option<String>| Dependency { name, ok: failure.is_none(), detail: failure.unwrap_or_else(|| "works".to_owned()) };
        let backlog = self.progress.backlog();
        let replay = (backlog > 0).then(|| format!("{backlog} records of the last process are still to be folded"));
        vec![
            part(Part::Journal.name(), self.journal.failure().map(str::to_owned).or_else(|| self.progress.troubled(Part::Journal))),
            part(Part::Fold.name(), self.checkpointer.failure().or_else(|| self.progress.troubled(Part::Fold))),
            part(Part::Prepare.name(), self.progress.failure().or_else(|| self.progress.troubled(Part::Prepare))),
            part("replay", replay),
        ]
    }
}
