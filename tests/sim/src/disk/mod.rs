//! What survives a crash: the journal's files and the store's tables.

mod journal;
mod outbox;
mod tables;

pub use journal::{DiskRecord, JournalDisk, RecordKind, Tail, verdicts_of};
pub use outbox::{History, Outbox};
pub use tables::{EventRow, Tables};

use crate::rng::Rng;
use alertmill_core::event::Uid;
use alertmill_core::ports::Commit;
use tables::Undo;

/// What survives a crash.
#[derive(Default)]
pub struct Disk {
    pub journal: JournalDisk,
    /// The store as its last commit left it: what a kill leaves.
    pub tables: Tables,
    /// What takes back the commits since the last synced one: power loss keeps some of the front. With each, what waited for
    /// services before it.
    unsynced: Vec<(Undo, Outbox)>,
    /// What waits for services.
    pub outbox: Outbox,
    /// The same right after the last commit or sync.
    outbox_then: Outbox,
    /// Documents of alerts that services may hold.
    pub history: History,
    /// Whose documents lie in the files of events, in order. They are synced before the commit that names them, and what no
    /// row names is written over.
    pub event_files: Vec<Uid>,
}

impl Disk {
    /// The position that survives power loss.
    pub fn synced_position(&self) -> u64 {
        self.unsynced.first().map_or(self.tables.position, |(undo, _)| undo.position())
    }

    /// Writes the documents of a commit.
    pub fn write_events(&mut self, commit: &Commit) {
        self.event_files.truncate(self.tables.events.len());
        self.event_files.extend(commit.events.iter().map(|event| event.uid));
    }

    /// Takes a commit; its documents are written.
    pub fn commit(&mut self, commit: &Commit) {
        let before = self.outbox.clone();
        self.unsynced.push((self.tables.apply(commit), before));
        self.outbox.note(commit);
        self.history.note(commit);
        self.outbox_then = self.outbox.clone();
    }

    /// The planted bug: all of a commit but its events and dead letters.
    pub fn commit_without_events(&mut self, commit: &Commit) {
        self.commit(commit);
        let events = self.tables.events.len() - commit.events.len();
        for row in self.tables.events.drain(events..) {
            self.tables.stored.remove(&row.uid);
            self.tables.uids.remove(&row.uid);
        }
        self.tables.dead_letters.truncate(self.tables.dead_letters.len() - commit.dead_letters.len());
        self.event_files.truncate(events);
    }

    /// Commits up to this position are synced. Uids that were over then are forgotten for good.
    pub fn checkpoint(&mut self, position: u64) {
        self.unsynced.retain(|(undo, _)| undo.position() >= position);
        let synced_ms = self.unsynced.first().map_or(self.tables.received_at_ms, |(undo, _)| undo.received_at_ms());
        self.tables.forget_uids_before(synced_ms);
        if self.unsynced.is_empty() {
            self.outbox_then = self.outbox.clone();
        }
    }

    /// The power failed: commits behind the last synced one are there in part. How many are not.
    pub fn lose_commits(&mut self, rng: &mut Rng) -> usize {
        let kept = rng.below(self.unsynced.len() as u64 + 1) as usize;
        let lost = self.unsynced.split_off(kept);
        let n = lost.len();
        // What was only noted of services since may be gone, with commits or without.
        if n > 0 || rng.chance(50) {
            self.outbox = lost.first().map_or_else(|| self.outbox_then.clone(), |(_, before)| before.clone());
        }
        lost.into_iter().rev().for_each(|(undo, _)| self.tables.take_back(undo));
        self.history.fell_back(self.tables.position);
        self.unsynced.clear();
        self.outbox_then = self.outbox.clone();
        n
    }
}
