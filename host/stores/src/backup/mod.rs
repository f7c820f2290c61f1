//! Backups of a data folder: taken from a running server or a folder at rest ([`Snapshot`]), kept as a folder or a tar
//! archive, and made a data folder again ([`restore`]).
//!
//! A backup holds the state at one position, everything that was stored until then, and the records behind it that were
//! durable: what was acknowledged before it was asked for is in it. Every file is named in `manifest.json` with its digest.

mod journal_tail;
mod keep;
mod manifest;
mod restore;
mod snapshot;
pub mod tar;
#[cfg(test)]
mod tests;

pub use keep::{keep, receive};
pub use manifest::{FileEntry, Manifest};
pub use restore::{Restored, restore};
pub use snapshot::Snapshot;

pub(crate) use restore::refuse_unfinished;
pub use snapshot::held_by_backups;
pub(crate) use snapshot::remove_leftovers;

use crate::durable::StoreError;
use std::path::PathBuf;

/// A backup that was not taken or not restored; nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The data folder is damaged: each finding names file and place.
    #[error("the data folder is damaged:\n{}", .0.join("\n"))]
    Damaged(Vec<String>),
    /// What was to be restored is not a whole backup, or the target is not free; says which file and why.
    #[error("{0}")]
    Refused(String),
    /// It would fill the disk of a folder that is worked in.
    #[error("there is no room for a backup in {}: it takes up to {needed} bytes there until it is fetched, and {free} are free; free space on that disk", path.display())]
    NoRoom {
        /// The data folder.
        path: PathBuf,
        /// Bytes that it takes at most, about.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Files went while they were copied, again and again.
    #[error("files of the data folder went while they were copied; try again")]
    Moved,
    /// The disk, or another process that works in the folder.
    #[error(transparent)]
    Store(StoreError),
}
