//! Damage that a start must find, and what it makes of it.

use super::tests::{T, alert, commit};
use super::*;
use crate::embedded::EmbeddedStore;
use crate::folder::{DataFolder, FolderOptions};
use alertmill_core::ports::Commit;
use std::fs;

/// Commit `n` opens alert `n` and changes alert 1.
fn numbered(n: u64) -> Commit {
    let mut one = Commit { received_at_ms: (T + n as i64) * 1_000, ..commit(n - 1, n) };
    one.alerts.push(alert(1, n, Status::Abnormal));
    if n > 1 {
        one.alerts.push(alert(n, 1, Status::Abnormal));
    }
    one
}

/// A state at position 20 as a kill leaves it: all of its log is moved into the database, and is still there.
fn killed_after_a_move(dir: &Path) {
    let live = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(live.path()).unwrap();
    (1..=20).for_each(|n| store.commit_blocking(&numbered(n)).unwrap());
    let moved: i64 = store.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2)).unwrap();
    assert!(moved > 40);
    for name in ["state.sqlite", "state.sqlite-wal"] {
        fs::copy(live.path().join(name), dir.join(name)).unwrap();
    }
}

fn with_a_log_that_lost_its_tail(dir: &Path) {
    killed_after_a_move(dir);
    let log = dir.join("state.sqlite-wal");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() / 2]).unwrap();
}

fn open_folder(dir: &Path) -> crate::OpenFolder {
    DataFolder::open(dir, FolderOptions::default()).unwrap()
}

#[test]
fn a_log_that_lost_its_tail_does_not_spoil_the_database() {
    let dir = tempfile::tempdir().unwrap();
    with_a_log_that_lost_its_tail(dir.path());
    let state = dir.path().join("state.sqlite");
    let before = fs::read(&state).unwrap();
    let error = EmbeddedStore::open(dir.path()).err().unwrap();
    assert!(matches!(&error, StoreError::Damaged { what, .. } if what.contains("its log ends at position")), "{error}");
    assert!(fs::read(&state).unwrap() == before, "what is whole without its log stays as it is");
    // A second look finds the same, and so does a backup.
    let copied = copy::copy(&state, &dir.path().join("copy.sqlite")).unwrap();
    assert!(copied.findings.iter().any(|finding| finding.contains("its log ends at position")), "{:?}", copied.findings);
    assert!(fs::read(&state).unwrap() == before);
    let folder = open_folder(dir.path());
    assert_eq!((folder.fenced[0].rebuilt.as_str(), folder.restored.position, folder.restored.alerts.len()), ("copy", 20, 20));
    assert_eq!(folder.restored.alerts[0].revision, 20);
}

#[test]
fn a_state_that_a_kill_left_with_its_log_opens() {
    let dir = tempfile::tempdir().unwrap();
    killed_after_a_move(dir.path());
    let (store, restored) = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!((restored.position, restored.alerts.len()), (20, 20));
    drop(store);
    assert!(!dir.path().join("state.sqlite-wal").exists(), "a whole state leaves no log when it is closed");
}
