//! Whether each part of the process does its work, and what an operator has to know of, for `/readyz`.

use super::progress::{Part, Progress};
use crate::api::{Dependency, Health};
use alertmill_stores::JournalHandle;
use alertmill_stores::embedded::{Checkpointer, FenceReport};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reports of losses that nobody has removed from the quarantine yet.
#[derive(Clone, Default)]
pub struct Losses(Arc<[PathBuf]>);

impl Losses {
    /// Those of a data folder, as its start found or left them.
    pub fn of(data_dir: &Path) -> Losses {
        let found = FenceReport::all(data_dir).unwrap_or_else(|error| {
            tracing::warn!("{error}; whether an earlier start lost something is not known");
            Vec::new()
        });
        Losses(found.into_iter().filter(|(_, report)| report.has_losses()).map(|(path, _)| path).collect())
    }

    /// The files that are still there.
    pub fn standing(&self) -> Vec<&Path> {
        self.0.iter().map(PathBuf::as_path).filter(|path| path.exists()).collect()
    }
}

/// Asks journal, state and both halves.
pub struct ProcessHealth {
    journal: JournalHandle,
    checkpointer: Checkpointer,
    progress: Arc<Progress>,
    losses: Losses,
}

impl ProcessHealth {
    /// Over these.
    pub fn new(journal: JournalHandle, checkpointer: Checkpointer, progress: Arc<Progress>, losses: Losses) -> ProcessHealth {
        ProcessHealth { journal, checkpointer, progress, losses }
    }
}

impl Health for ProcessHealth {
    fn dependencies(&self) -> Vec<Dependency> {
        let part = |name, failure: Option<String>| Dependency { name, ok: failure.is_none(), detail: failure.unwrap_or_else(|| "works".to_owned()) };
        let backlog = self.progress.backlog();
        let replay = (backlog > 0).then(|| format!("{backlog} records of the last process are still to be folded"));
        // What is lost is lost: no reason to take no events, and one to tell until somebody has read it.
        let standing = self.losses.standing();
        let losses = Dependency { name: "losses", ok: true, detail: words(&standing) };
        vec![
            part(Part::Journal.name(), self.journal.failure().map(str::to_owned).or_else(|| self.progress.troubled(Part::Journal))),
            part(Part::Fold.name(), self.checkpointer.failure().or_else(|| self.progress.troubled(Part::Fold))),
            part(Part::Prepare.name(), self.progress.failure().or_else(|| self.progress.troubled(Part::Prepare))),
            part("replay", replay),
            losses,
        ]
    }
}

fn words(standing: &[&Path]) -> String {
    match standing {
        [] => "none".to_owned(),
        some => {
            let files: Vec<String> = some.iter().map(|path| path.display().to_string()).collect();
            format!("a damaged state lost something; read and then remove {}", files.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_until_its_report_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("quarantine");
        std::fs::create_dir(&folder).unwrap();
        assert!(Losses::of(dir.path()).standing().is_empty());
        let whole = FenceReport { at_ms: 1, rebuilt: "replay".to_owned(), ..FenceReport::default() };
        let lossy = FenceReport { at_ms: 2, rebuilt: "rows".to_owned(), lost_alerts: vec![7], ..FenceReport::default() };
        for report in [&whole, &lossy] {
            std::fs::write(folder.join(format!("{}-state.json", report.at_ms)), serde_json::to_vec(report).unwrap()).unwrap();
        }
        std::fs::write(folder.join("3-state.json"), b"{").unwrap();
        let losses = Losses::of(dir.path());
        let standing = losses.standing();
        assert!(words(&standing).ends_with("/quarantine/2-state.json") && standing.len() == 1, "{standing:?}");
        std::fs::remove_file(folder.join("2-state.json")).unwrap();
        assert_eq!((losses.standing().len(), words(&losses.standing()).as_str()), (0, "none"));
    }

    #[test]
    fn the_page_on_operating_has_every_part() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md")).unwrap();
        for part in Part::ALL.map(Part::name).iter().chain(&["replay", "losses"]) {
            assert!(page.contains(&format!("\n| `{part}` | ")), "{part}");
        }
    }
}
