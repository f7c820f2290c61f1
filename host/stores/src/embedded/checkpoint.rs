//! How far the state has reached the disk. Commits are not synced one by one; a thread syncs SQLite's write-ahead log at
//! most 50 ms after a commit, and only what it has synced releases journal segments and lets uid files be written.
//!
//! Syncing the log alone is enough: after power loss SQLite replays every whole transaction of it. Moving its pages into
//! the database is done here too, in passing, so that the log stays short.

use super::{open_as_it_is, sqlite_error};
use crate::durable::{self, StoreError};
use crate::event_segments::EventPlace;
use rusqlite::Connection;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A position of the state that survives power loss. Only a store's synced checkpoint makes one, so that nothing is
/// removed behind a position that might still be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncedPosition(u64);

impl SyncedPosition {
    /// For other stores and for tests: the caller vouches that `ordinal` is synced.
    pub const fn vouched(ordinal: u64) -> SyncedPosition {
        SyncedPosition(ordinal)
    }

    /// The last ordinal that the synced state covers.
    pub const fn ordinal(self) -> u64 {
        self.0
    }
}

const SYNC_WITHIN: Duration = Duration::from_millis(50);

/// Syncs and shortens the write-ahead log; clones share one state.
#[derive(Clone)]
pub struct Checkpointer {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    wal: File,
    wal_pages_max: u64,
    progress: Mutex<Progress>,
    changed: Condvar,
    /// One mover at a time: SQLite would turn the second one away instead of letting it wait.
    moving: Mutex<()>,
    wal_pages: AtomicU64,
    syncs: AtomicU64,
    checkpoints: AtomicU64,
}

/// How far a state is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reached {
    pub position: u64,
    /// Where its event rows end.
    pub events: EventPlace,
    /// Time of the record at the position, seconds.
    pub received_at_s: i64,
}

#[derive(Default)]
struct Progress {
    committed: Reached,
    synced: Reached,
    closed: bool,
    failed: Option<String>,
}

/// The thread that runs it; ends when dropped.
pub(super) struct CheckpointThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Begins with a state whose pages are all in the database or the log, so far. The log and its
    /// name are synced before its position is claimed.
    pub(super) fn start(path: &Path, at: Reached, wal_pages_max: u64) -> Result<(Checkpointer, CheckpointThread), StoreError> {
        let mut wal_path = path.as_os_str().to_os_string();
        wal_path.push("-wal");
        let wal_path = PathBuf::from(wal_path);
        // SQLite's locks are on the database and its index file; closing this descriptor drops none of them.
        let wal = File::open(&wal_path).map_err(StoreError::io("open", &wal_path))?;
        wal.sync_data().map_err(StoreError::io("sync", &wal_path))?;
        durable::sync_dir(path.parent().unwrap_or(Path::new(".")))?;
        let progress = Progress { committed: at, synced: at, ..Progress::default() };
        let shared = Arc::new(Shared {
            path: path.to_path_buf(),
            wal,
            wal_pages_max,
            progress: Mutex::new(progress),
            changed: Condvar::new(),
            moving: Mutex::new(()),
            wal_pages: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
        });
        let connection = open_as_it_is(path).map_err(sqlite_error("open", path))?;
        let own = shared.clone();
        let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(move || own.run(&connection));
        let thread = Some(thread.map_err(StoreError::io("start the checkpoint thread of", path))?);
        Ok((Checkpointer { shared: shared.clone() }, CheckpointThread { shared, thread }))
    }

    /// Syncs now; gives the position that is safe from then on.
    pub fn checkpoint(&self) -> Result<SyncedPosition, StoreError> {
        self.shared.sync()?;
        Ok(self.synced_position())
    }

    /// The position of the last synced checkpoint.
    pub fn synced_position(&self) -> SyncedPosition {
        SyncedPosition(self.shared.lock().synced.position)
    }

    /// Where the event rows of the last synced checkpoint end.
    pub(super) fn synced_events(&self) -> EventPlace {
        self.shared.lock().synced.events
    }

    /// Why the state can no longer be synced, if so; for health.
    pub fn failure(&self) -> Option<String> {
        self.shared.lock().failed.clone()
    }

    /// Syncs of the write-ahead log, and moves of its pages into the database, so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.syncs.load(Relaxed), self.shared.checkpoints.load(Relaxed))
    }

    /// A commit happened; gives how far the last synced checkpoint is.
    pub(super) fn committed(&self, at: Reached) -> Reached {
        let mut progress = self.shared.lock();
        progress.committed = at;
        let synced = progress.synced;
        drop(progress);
        self.shared.changed.notify_one();
        synced
    }

    /// The log begins anew only when all of its pages are in the database at the time of a write. A writer that never
    /// rests leaves no such moment to the thread, so from some length on it finishes the work itself.
    pub(super) fn shorten_wal(&self, connection: &Connection) {
        if self.shared.wal_pages.load(Relaxed) > 4 * self.shared.wal_pages_max {
            self.shared.move_pages(connection);
        }
    }
}

#[cfg(test)]
impl Checkpointer {
    pub(super) fn count_log(&self, connection: &Connection) {
        self.shared.pages_to_move(connection);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, connection: &Connection) {
        loop {
            let mut progress = self.lock();
            while progress.committed.position == progress.synced.position && !progress.closed {
                progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
            }
            if progress.closed || progress.failed.is_some() {
                return;
            }
            let closed = |progress: &mut Progress| !progress.closed;
            drop(self.changed.wait_timeout_while(progress, SYNC_WITHIN, closed));
            if let Err(error) = self.sync() {
                tracing::error!("{error}; commits are refused from now on");
                return;
            }
            if self.pages_to_move(connection) > self.wal_pages_max {
                self.move_pages(connection);
            }
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        let committed = self.lock().committed;
        let synced = self.wal.sync_data();
        let mut progress = self.lock();
        match synced {
            Ok(()) if progress.failed.is_none() => {
                progress.synced = progress.synced.max(committed);
                self.syncs.fetch_add(1, Relaxed);
                Ok(())
            }
            // A second sync of the same pages would claim success; a restart writes them anew.
            other => {
                let error = other.err().unwrap_or_else(|| std::io::Error::other("an earlier sync failed"));
                let why = format!("cannot sync {}-wal: {error}; check the disk, then restart: the journal has everything", self.path.display());
                progress.failed.get_or_insert(why);
                Err(StoreError::io("sync the log of", &self.path)(error))
            }
        }
    }

    fn pages_to_move(&self, connection: &Connection) -> u64 {
        self.checkpoint_pragma(connection, "PRAGMA wal_checkpoint(NOOP)")
    }

    fn move_pages(&self, connection: &Connection) {
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        self.checkpoints.fetch_add(1, Relaxed);
        self.checkpoint_pragma(connection, "PRAGMA wal_checkpoint(PASSIVE)");
    }

    /// Runs it; notes the length of the log and gives the pages in it that the database does not have yet.
    fn checkpoint_pragma(&self, connection: &Connection, pragma: &str) -> u64 {
        let read = connection.query_row(pragma, [], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)));
        match read {
            // SQLite was busy and says nothing.
            Ok((log, _)) if log < 0 => 0,
            Ok((log, moved)) => {
                // With nothing left to move the next write begins the log anew.
                self.wal_pages.store(if moved < log { log as u64 } else { 0 }, Relaxed);
                (log - moved).max(0) as u64
            }
            Err(error) => {
                tracing::warn!("{}: {pragma}: {error}; tried again with the next sync", self.path.display());
                0
            }
        }
    }
}

impl Drop for CheckpointThread {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
