//! The real stores under the port suite.

use alertmill_stores::journal::{JournalDir, JournalOptions};
use alertmill_stores::{DataFolder, EmbeddedStore, FolderOptions, SyncedPosition, port_suite};

#[test]
fn the_journal_keeps_its_promises() {
    let dir = tempfile::tempdir().unwrap();
    port_suite::journal_keeps_its_promises(|position| {
        let options = JournalOptions { segment_bytes: 1024, position, ..JournalOptions::default() };
        let (journal, records, report) = JournalDir::open(dir.path(), options).unwrap();
        assert!(report.gaps.is_empty() && report.fenced.is_empty(), "{report:?}");
        (journal, records)
    });
}

#[test]
fn a_full_journal_queue_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions { queue_bytes_max: 100_000, ..JournalOptions::default() };
    let (journal, _records, _) = JournalDir::open(dir.path(), options).unwrap();
    port_suite::refused_appends_leave_no_trace(&journal);
}

#[test]
fn the_embedded_store_keeps_its_promises() {
    let dir = tempfile::tempdir().unwrap();
    port_suite::store_keeps_its_promises(|| EmbeddedStore::open(dir.path()).unwrap());
}

#[test]
fn a_data_folder_goes_on_where_its_state_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut open = DataFolder::open(dir.path(), FolderOptions::default()).unwrap();
    assert!(DataFolder::open(dir.path(), FolderOptions::default()).is_err(), "one process at a time");
    let mut last_ms = 0;
    for n in 1..=5 {
        last_ms = port_suite::block_on(alertmill_core::ports::Journal::append(&open.journal, port_suite::record_body(n, 1), None)).unwrap().received_at_ms;
    }
    for to in 1..=3 {
        open.store.commit_blocking(&port_suite::commit_of(to - 1, to, last_ms)).unwrap();
    }
    let safe: SyncedPosition = open.store.checkpoint().unwrap();
    open.journal.release(safe).unwrap();
    drop(open);
    let mut open = DataFolder::open(dir.path(), FolderOptions::default()).unwrap();
    assert_eq!((open.restored.position, open.journal_report.replay), (3, 2));
    let records = open.records.next_blocking(10).unwrap();
    assert_eq!(records.iter().map(|journaled| journaled.record.ordinal).collect::<Vec<_>>(), [4, 5]);
}
