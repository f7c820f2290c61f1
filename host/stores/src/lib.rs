//! Stores behind the ports of `alertmill-core`: what is written down, and when it is safe to say so.
//!
//! - [`journal`]: records, durable before anyone is answered;
//! - [`event_segments`]: event documents, durable before a commit names them;
//! - [`known_uids`]: which events were counted, flat in cost at tens of millions;
//! - [`embedded`]: SQLite, the state and everything that is searched;
//! - [`modules`]: rule modules and tables by digest;
//! - [`compiled`]: code of modules, for which nobody's word is taken but this installation's own;
//! - [`folder`]: all of them in one data folder;
//! - [`quarantine`]: damaged files that were set aside;
//! - [`backup`]: a consistent copy of a data folder, and a data folder from it.
//!
//! No tokio here: the journal has one thread of its own, and answers through plain futures.

pub mod backup;
pub mod compiled;
mod disk;
pub mod durable;
pub mod embedded;
pub mod event_segments;
pub mod folder;
pub mod journal;
pub mod known_uids;
pub mod modules;
#[cfg(any(test, feature = "test-suite"))]
pub mod port_suite;
pub mod quarantine;

pub use durable::StoreError;
pub use embedded::{EmbeddedReader, EmbeddedStore, SyncedPosition};
pub use folder::{DataFolder, FolderOptions, OpenFolder};
pub use journal::{JournalDir, JournalHandle, JournalReader};
