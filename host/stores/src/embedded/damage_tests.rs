//! Damage that a start must find, and what it makes of it.

use super::tests::{T, add_event, alert, commit, dead_letter};
use super::*;
use crate::folder::{DataFolder, FolderOptions};
use crate::journal;
use crate::port_suite::block_on;
use alertmill_core::audit::AuditEntry;
use alertmill_core::ports::{Commit, Journal, LedgerValue, LogWrite, VersionWrite};
use alertmill_core::record::{RecordBody, RuleEntry, RuleSet};
use alertmill_core::services::{AlertOutbox, QueuePlace, SettledAlerts};
use alertmill_core::version_change::VersionChange;
use std::fs::{self, File};

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
    assert!(!folder.fenced[0].has_losses(), "{:?}", folder.fenced[0]);
    let report = &FenceReport::all(dir.path()).unwrap()[0].1;
    assert!(!report.has_losses() && report.findings[0].contains("its log ends at position"), "{report:?}");
}

#[test]
fn what_services_have_of_a_state_is_taken_over_with_a_whole_copy_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    (1..=20).for_each(|n| store.commit_blocking(&numbered(n)).unwrap());
    store.commit_blocking(&Commit { alerts: vec![alert(2, 2, Status::Recovered)], ..numbered(21) }).unwrap();
    let mut outbox = store.outbox().unwrap();
    let done = (1..=20).map(|seq| (seq, 1_000)).collect();
    block_on(outbox.settle_alerts(&SettledAlerts { position: 21, done, refused: Vec::new() })).unwrap();
    block_on(outbox.raise_version_base(7_000, false)).unwrap();
    drop((outbox, store));
    spoil_the_head(dir.path());
    let folder = open_folder(dir.path());
    assert!(folder.fenced[0].rebuilt == "copy" && !folder.fenced[0].has_losses(), "{:?}", folder.fenced[0]);
    let page = block_on(folder.store.outbox().unwrap().waiting_alerts(QueuePlace::default(), 1 << 20)).unwrap();
    assert_eq!(page.version_base, 7_000);
    // The one that ended is shipped; of the others nobody knows whether the services have newer ones.
    let waiting: Vec<u64> = page.alerts.iter().map(|alert| alert.seq).collect();
    assert!(waiting.len() == 19 && !waiting.contains(&2), "{waiting:?}");
}

/// What SQLite refuses and every state has: the rest is whole.
fn spoil_the_head(dir: &Path) {
    let state = dir.join("state.sqlite");
    let mut bytes = fs::read(&state).unwrap();
    bytes[0] ^= 1;
    fs::write(&state, &bytes).unwrap();
}

#[test]
fn a_whole_copy_that_the_journal_does_not_follow_is_a_loss() {
    // The position of the state, the first record that the journal has, and what is in neither.
    for (position, begins, lost) in [(5, 9, Some("6 to 8")), (8, 9, None), (8, 11, Some("9 to 10")), (10, 11, None)] {
        let dir = tempfile::tempdir().unwrap();
        let older = dir.path().join("older");
        // Each start begins a segment.
        for last in [5, 8, 10, 10] {
            let mut folder = open_folder(dir.path());
            for n in folder.store.position() + 1..=last {
                block_on(folder.journal.append(RecordBody::RuleSet(RuleSet::default()), None)).unwrap();
                folder.store.commit_blocking(&numbered(n)).unwrap();
            }
            folder.store.checkpoint().unwrap();
            drop(folder);
            if last == position {
                fs::copy(dir.path().join("state.sqlite"), &older).unwrap();
            }
            let oldest = || journal::copy::oldest(&dir.path().join("journal")).unwrap().map_or(11, |oldest| oldest.0);
            if last == 10 && oldest() < begins {
                let folder = open_folder(dir.path());
                folder.journal.release(SyncedPosition::vouched(begins - 1)).unwrap();
                assert_eq!(oldest(), begins);
            }
        }
        fs::rename(&older, dir.path().join("state.sqlite")).unwrap();
        spoil_the_head(dir.path());
        let folder = open_folder(dir.path());
        let report = &folder.fenced[0];
        assert_eq!((report.rebuilt.as_str(), report.position), ("copy", position));
        let expected: Vec<String> = lost.iter().map(|lost| format!("records {lost} are in neither the state nor the journal")).collect();
        assert_eq!((&report.lost_rows, report.has_losses()), (&expected, lost.is_some()));
    }
}

#[test]
fn what_a_state_still_has_is_not_given_up_for_a_journal_that_ends_before_it() {
    let dir = tempfile::tempdir().unwrap();
    // Each start begins a segment.
    for last in [5, 9] {
        let mut folder = open_folder(dir.path());
        for n in folder.store.position() + 1..=last {
            block_on(folder.journal.append(RecordBody::RuleSet(RuleSet::default()), None)).unwrap();
            folder.store.commit_blocking(&numbered(n)).unwrap();
        }
    }
    let journal = dir.path().join("journal");
    let newest = journal::copy::names(&journal).unwrap().pop().unwrap();
    fs::remove_file(journal.join(newest)).unwrap();
    change(dir.path(), "UPDATE alerts SET severity = severity + 1 WHERE seq = 3");
    let folder = open_folder(dir.path());
    let report = &folder.fenced[0];
    assert_eq!((report.rebuilt.as_str(), folder.restored.position), ("rows", 9), "{report:?}");
    assert!(folder.restored.alerts.len() == 8 && report.has_losses(), "all but the damaged one: {report:?}");
}

#[test]
fn what_cannot_be_linked_or_read_is_set_aside_as_far_as_it_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    // A file on another file system, none of whose bytes can be read.
    let unreadable = Path::new("/proc/self/mem");
    assert_eq!(fs::read(unreadable).unwrap_err().raw_os_error(), Some(5));
    fence::set_aside(unreadable, &dir.path().join("aside")).unwrap();
    assert_eq!(dir.path().join("aside").metadata().unwrap().len(), 0);
    fence::set_aside(&dir.path().join("no such file"), &dir.path().join("none")).unwrap();
    assert!(!dir.path().join("none").exists());
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

/// A state at position 20, as its process left it.
fn stopped(dir: &Path) {
    let (mut store, _) = EmbeddedStore::open(dir).unwrap();
    for n in 1..=20 {
        let mut one = numbered(n);
        add_event(&mut one, n as u8, "{}");
        one.ledger = vec![LedgerValue { scope: "source", name: "events".into(), counter: "journaled".into(), value: n }];
        one.rule_sets = (n == 1).then(|| RuleSet { generation: 1, ..RuleSet::default() }).into_iter().collect();
        store.commit_blocking(&one).unwrap();
    }
}

fn change(dir: &Path, sql: &str) {
    Connection::open(dir.join("state.sqlite")).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn only_a_state_that_is_not_suspected_moves_its_log_when_it_is_closed() {
    for is_suspected in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (state, log) = (dir.path().join("state.sqlite"), dir.path().join("state.sqlite-wal"));
        let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
        (1..=20).for_each(|n| store.commit_blocking(&numbered(n)).unwrap());
        let before = fs::read(&state).unwrap();
        drop(store.outbox().unwrap());
        assert!(fs::read(&state).unwrap() == before);
        if is_suspected {
            store.suspect("a test");
        }
        drop(store);
        assert_eq!((fs::read(&state).unwrap() == before, log.exists()), (is_suspected, is_suspected));
        let (mut store, restored) = EmbeddedStore::open(dir.path()).unwrap();
        assert_eq!(restored.position, 20);
        store.commit_blocking(&numbered(21)).unwrap();
        // One that is closed behind it leaves all to the next start.
        let outbox = store.outbox().unwrap();
        drop(store);
        let before = fs::read(&state).unwrap();
        drop(outbox);
        assert!(fs::read(&state).unwrap() == before);
    }
}

#[test]
fn a_commit_or_shipping_that_meets_damage_makes_the_next_start_look_at_everything() {
    for by_shipping in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        stopped(dir.path());
        let (mut store, _) = EmbeddedStore::open_with(dir.path(), unchecked()).unwrap();
        let log = LogWrite { seq: 1, op_type: "CREATE", create_time: T, document: b"{}".to_vec() };
        store.commit_blocking(&Commit { logs: vec![log], ..numbered(21) }).unwrap();
        let log = "UPDATE logs SET create_time = 1";
        if by_shipping {
            change(dir.path(), &format!("{log}; UPDATE alerts SET event_count = 77 WHERE seq = 1"));
            let waiting = block_on(store.outbox().unwrap().waiting_alerts(QueuePlace::default(), 1 << 20));
            assert!(matches!(&waiting, Err(PortError::Unavailable(why)) if why.contains("alert")), "{waiting:?}");
        } else {
            change(dir.path(), &format!("{log}; UPDATE shipping SET b = 77"));
            let mut one = numbered(22);
            add_event(&mut one, 22, "{}");
            let refused = store.commit_blocking(&one);
            assert!(matches!(&refused, Err(PortError::Fatal(why)) if why.contains("shipping")), "{refused:?}");
        }
        drop(store);
        let error = EmbeddedStore::open_with(dir.path(), unchecked()).err().unwrap();
        assert!(matches!(&error, StoreError::Damaged { what, .. } if what.contains("log ")), "all of it: {error}");
        let folder = DataFolder::open(dir.path(), FolderOptions { embedded: unchecked(), ..FolderOptions::default() }).unwrap();
        assert!(folder.fenced.len() == 1 && !dir.path().join("state.suspect").exists());
    }
}

#[test]
fn the_position_without_a_log_is_that_of_the_database_in_any_folder() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("100% of a#b?immutable=0&c%3f");
    fs::create_dir(&dir).unwrap();
    let state = dir.join("state.sqlite");
    assert_eq!(fence::position_without_log(&state), None, "nothing is there, and nothing is made");
    assert!(!state.exists());
    let (mut store, _) = EmbeddedStore::open(&dir).unwrap();
    (1..=7).for_each(|n| store.commit_blocking(&numbered(n)).unwrap());
    assert_eq!(fence::position_without_log(&state), Some(0), "all of it is in the log");
    let busy: bool = store.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert!(!busy);
    store.commit_blocking(&numbered(8)).unwrap();
    let before = fs::read(&state).unwrap();
    assert_eq!(fence::position_without_log(&state), Some(7));
    assert!(fs::read(&state).unwrap() == before);
    // One of its two copies is enough, and none says nothing.
    store.connection.execute_batch("UPDATE position SET sum = 1; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert_eq!(fence::position_without_log(&state), Some(8));
    store.connection.execute_batch("UPDATE position_copy SET sum = 1; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert_eq!(fence::position_without_log(&state), None);
}

#[test]
fn a_journal_that_nothing_can_be_read_of_still_says_where_it_goes_on() {
    /// What is left of the journal, the last record that the new state covers, and those that are missing behind it.
    struct Left(&'static str, u64, Option<u64>);
    for Left(left, position, missing) in [Left("zeros", 0, Some(5)), Left("an empty segment", 5, None), Left("a watermark", 5, None)] {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = open_folder(dir.path());
        for n in 1..=5 {
            block_on(folder.journal.append(RecordBody::RuleSet(RuleSet::default()), None)).unwrap();
            folder.store.commit_blocking(&numbered(n)).unwrap();
        }
        drop(folder);
        if left == "an empty segment" {
            let folder = open_folder(dir.path());
            assert!(folder.journal.release(SyncedPosition::vouched(5)).unwrap() > 0);
        }
        for name in journal::copy::names(&dir.path().join("journal")).unwrap() {
            let path = dir.path().join("journal").join(name);
            match left {
                "zeros" => fs::write(&path, vec![0; 9_000]).unwrap(),
                "a watermark" => fs::remove_file(&path).unwrap(),
                _ => {}
            }
        }
        fs::remove_file(dir.path().join("state.sqlite")).unwrap();
        let folder = open_folder(dir.path());
        assert_eq!((folder.fenced[0].rebuilt.as_str(), folder.restored.position), ("anew", position), "{left}");
        assert!(folder.fenced[0].lost_rows.iter().any(|row| row.starts_with("rule_sets")));
        let gaps: Vec<(u64, u64)> = folder.journal_report.gaps.iter().map(|gap| (gap.first, gap.last)).collect();
        assert_eq!(gaps, missing.map(|last| (position + 1, last)).into_iter().collect::<Vec<_>>(), "{left}");
    }
}

/// Options with which nothing but what the fold goes on from is looked at.
fn unchecked() -> EmbeddedOptions {
    EmbeddedOptions { check_bytes_max: 0, ..EmbeddedOptions::default() }
}

#[test]
fn a_row_that_is_whole_and_old_is_damage() {
    for with_journal in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        if with_journal {
            let folder = open_folder(dir.path());
            (1..=20).for_each(|_| _ = block_on(folder.journal.append(RecordBody::RuleSet(RuleSet::default()), None)).unwrap());
        }
        let other = Connection::open(dir.path().join("state.sqlite")).unwrap();
        let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
        (1..=10).for_each(|n| store.commit_blocking(&numbered(n)).unwrap());
        other.execute_batch("ATTACH ':memory:' AS kept; CREATE TABLE kept.old AS SELECT * FROM alerts WHERE seq = 1").unwrap();
        (11..=20).for_each(|n| store.commit_blocking(&numbered(n)).unwrap());
        drop(store);
        other.execute_batch("DELETE FROM alerts WHERE seq = 1; INSERT INTO alerts SELECT * FROM kept.old").unwrap();
        let findings = check::check(&other);
        assert!(findings[0].contains("older than the position"), "{findings:?}");
        drop(other);
        let copied = copy::copy(&dir.path().join("state.sqlite"), &dir.path().join("copy.sqlite")).unwrap();
        assert_eq!(copied.findings, findings);
        let folder = open_folder(dir.path());
        let fenced = &folder.fenced[0];
        if with_journal {
            assert_eq!((fenced.rebuilt.as_str(), folder.restored.position), ("replay", 0), "the journal has all of it");
        } else {
            assert_eq!((fenced.rebuilt.as_str(), folder.restored.position), ("rows", 20));
            assert!(fenced.lost_rows.iter().any(|row| row.contains("older than the position")), "{:?}", fenced.lost_rows);
        }
    }
}

#[test]
fn damage_of_what_was_shipped_is_found_at_the_start_and_healed() {
    let dir = tempfile::tempdir().unwrap();
    stopped(dir.path());
    change(dir.path(), "UPDATE shipping SET a = a + 1 WHERE name = (SELECT max(name) FROM shipping)");
    let error = EmbeddedStore::open(dir.path()).err().unwrap();
    assert!(matches!(&error, StoreError::Damaged { what, .. } if what.contains("shipping")), "{error}");
    let mut folder = open_folder(dir.path());
    assert_eq!((folder.fenced.len(), folder.restored.position, folder.restored.alerts.len()), (1, 20, 20));
    assert!(folder.fenced[0].lost_rows.iter().any(|row| row.starts_with("shipping")));
    folder.store.commit_blocking(&numbered(21)).unwrap();
}

#[test]
fn a_value_that_no_column_can_have_is_damage_at_any_size() {
    for damage in [
        "UPDATE ledger SET value = -1",
        "UPDATE alerts SET id = CAST(x'ff' AS TEXT) WHERE seq = 1",
        "UPDATE alerts SET event_count = -9 WHERE seq = 2",
        "UPDATE rule_sets SET ordinal = -1",
        "ALTER TABLE rule_sets RENAME TO rule_setz",
        "DROP INDEX alerts_by_status",
    ] {
        let dir = tempfile::tempdir().unwrap();
        stopped(dir.path());
        change(dir.path(), damage);
        let error = EmbeddedStore::open_with(dir.path(), unchecked()).err().unwrap();
        assert!(matches!(error, StoreError::Damaged { .. }), "{damage}: {error}");
        let folder = DataFolder::open(dir.path(), FolderOptions { embedded: unchecked(), ..FolderOptions::default() }).unwrap();
        assert_eq!((folder.fenced.len(), folder.restored.position), (1, 20), "{damage}");
    }
}

#[test]
fn a_reader_that_meets_damage_makes_the_next_start_look_at_everything() {
    let dir = tempfile::tempdir().unwrap();
    stopped(dir.path());
    let (store, _) = EmbeddedStore::open(dir.path()).unwrap();
    change(dir.path(), "UPDATE rule_sets SET received_at_ms = 1; UPDATE dead_letter_counts SET kept = -1; UPDATE ledger SET value = -1");
    assert!(!dir.path().join("state.suspect").exists());
    let error = store.reader().ledger().unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    drop(store);
    assert!(dir.path().join("state.suspect").exists());
    let error = EmbeddedStore::open_with(dir.path(), unchecked()).err().unwrap();
    assert!(matches!(&error, StoreError::Damaged { what, .. } if what.contains("rule-set generation 1")), "not only what the fold reads: {error}");
}

/// A state at position 21, with three dead letters and one alert that waits.
fn stopped_with_letters(dir: &Path) {
    stopped(dir);
    let (mut store, _) = EmbeddedStore::open(dir).unwrap();
    store.commit_blocking(&Commit { dead_letters: ["web", "web", "mail"].map(|source| dead_letter(21, source)).to_vec(), ..numbered(21) }).unwrap();
}

/// Commit 22, with a dead letter of a source that has some.
fn commit_with_a_letter() -> Commit {
    Commit { dead_letters: vec![dead_letter(22, "web")], ..numbered(22) }
}

#[test]
fn a_damaged_count_that_refuses_a_commit_is_healed_by_the_next_start() {
    for damage in [
        "UPDATE dead_letter_counts SET kept = -123",
        "UPDATE dead_letter_counts SET bytes = -123",
        "ALTER TABLE dead_letter_counts RENAME TO dead_letter_countz",
        "ALTER TABLE outbox RENAME TO outboy",
    ] {
        let dir = tempfile::tempdir().unwrap();
        stopped_with_letters(dir.path());
        let options = || FolderOptions { embedded: unchecked(), ..FolderOptions::default() };
        let mut folder = DataFolder::open(dir.path(), options()).unwrap();
        assert!(folder.fenced.is_empty());
        change(dir.path(), damage);
        let refused = folder.store.commit_blocking(&commit_with_a_letter());
        assert!(matches!(refused, Err(PortError::Fatal(_))), "{damage}: {refused:?}");
        drop(folder);
        let mut folder = DataFolder::open(dir.path(), options()).unwrap();
        assert_eq!((folder.fenced.len(), folder.restored.position), (1, 21), "{damage}");
        folder.store.commit_blocking(&commit_with_a_letter()).unwrap_or_else(|error| panic!("{damage}: {error}"));
        assert_eq!(folder.store.reader().dead_letter_sums().unwrap(), (4, 0, 8), "{damage}");
        drop(folder);
        assert!(open_folder(dir.path()).fenced.is_empty(), "{damage}");
    }
}

#[test]
fn damage_of_what_has_no_checksum_is_found_and_healed() {
    let letters_are_lost = |rows: &[String]| rows.iter().any(|row| row.starts_with("dead_letters: "));
    for (damage, table) in [
        ("UPDATE dead_letter_counts SET dropped = -9223372036854775808", "dead_letter_counts"),
        ("UPDATE dead_letter_counts SET kept = kept + 1024 WHERE source = 'web'", "dead_letter_counts"),
        ("UPDATE dead_letter_counts SET kept = 0 WHERE source = 'web'", "dead_letter_counts"),
        ("UPDATE dead_letter_counts SET bytes = bytes + 4294967296 WHERE source = 'web'", "dead_letter_counts"),
        ("UPDATE dead_letter_counts SET source = 'wec' WHERE source = 'web'", "dead_letter_counts"),
        ("DELETE FROM dead_letters WHERE id = 1", "dead_letter_counts"),
        ("UPDATE outbox SET seq = seq + 1024 WHERE seq = 3", "outbox"),
        ("UPDATE outbox SET seq = -3 WHERE seq = 3", "outbox"),
        ("UPDATE outbox SET revision = revision + 1024 WHERE seq = 3", "outbox"),
        ("UPDATE outbox SET since = -1 WHERE seq = 3", "outbox"),
        ("UPDATE outbox SET service = 9 WHERE seq = 3", "outbox"),
        ("ALTER TABLE event_files RENAME TO event_filet", "event_files"),
        ("ALTER TABLE event_files RENAME COLUMN received_at_s TO seceived_at_s", "event_files"),
        ("DROP INDEX outbox_by_age", "outbox_by_age"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        stopped_with_letters(dir.path());
        change(dir.path(), damage);
        let error = EmbeddedStore::open(dir.path()).err().unwrap_or_else(|| panic!("{damage}: not found"));
        assert!(matches!(&error, StoreError::Damaged { what, .. } if what.starts_with(table)), "{damage}: {error}");
        let mut folder = open_folder(dir.path());
        assert_eq!((folder.fenced.len(), folder.restored.position, folder.restored.alerts.len()), (1, 21, 21), "{damage}");
        let is_lost = damage.starts_with("DELETE");
        let lost = &folder.fenced[0].lost_rows;
        assert_eq!(letters_are_lost(lost), is_lost, "{damage}: {lost:?}");
        assert!(!lost.iter().any(|row| row.contains("pages are damaged")), "{damage}: {lost:?}");
        assert_eq!(folder.store.reader().dead_letter_sums().unwrap().0, if is_lost { 2 } else { 3 }, "{damage}");
        folder.store.commit_blocking(&commit_with_a_letter()).unwrap_or_else(|error| panic!("{damage}: {error}"));
        drop(folder);
        assert!(open_folder(dir.path()).fenced.is_empty(), "{damage}");
    }
}

#[test]
fn other_comments_in_the_schema_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    stopped_with_letters(dir.path());
    let other = "UPDATE sqlite_master SET sql = replace(sql, '-- ', '-- In other words: ')";
    change(dir.path(), &format!("PRAGMA writable_schema = ON; {other} WHERE sql LIKE '%-- %'"));
    let connection = Connection::open(dir.path().join("state.sqlite")).unwrap();
    let changed: u64 = connection.query_row("SELECT count(*) FROM sqlite_master WHERE sql LIKE '%In other words%'", [], |row| row.get(0)).unwrap();
    assert!(changed > 0);
    assert_eq!(check::check(&connection), Vec::<String>::new());
}

#[test]
fn retention_that_meets_damage_makes_the_next_start_look_at_everything() {
    type Step = fn(&mut EmbeddedStore) -> Result<(), StoreError>;
    let steps: [(&str, Step); 7] = [
        ("ALTER TABLE alert_events RENAME TO alert_eventz", |store| store.retire_alerts(i64::MAX, 9).map(drop)),
        ("ALTER TABLE alert_events RENAME TO alert_eventz", |store| store.shrink_state(0, 9).map(drop)),
        ("ALTER TABLE dead_letters RENAME TO dead_letterz", |store| store.retire_dead_letters(i64::MAX, 9).map(drop)),
        ("ALTER TABLE dead_letter_counts RENAME TO dead_letter_countz", |store| store.remove_dead_letters(&[1]).map(drop)),
        ("ALTER TABLE rule_sets RENAME TO rule_setz", |store| store.retire_rule_sets(1, 1, i64::MAX, u64::MAX).map(drop)),
        ("UPDATE shipping SET a = a + 2 WHERE name = 'services'", |store| store.retire_events(0, 0).map(drop)),
        ("ALTER TABLE event_files RENAME TO event_filez", |store| store.retire_events(0, i64::MAX).map(drop)),
    ];
    for (damage, step) in steps {
        let dir = tempfile::tempdir().unwrap();
        stopped_with_letters(dir.path());
        let options = || EmbeddedOptions { event_segment_bytes: 64, uids: UidOptions { table_uids_max: 1, ..UidOptions::default() }, ..unchecked() };
        let (mut store, _) = EmbeddedStore::open_with(dir.path(), options()).unwrap();
        for n in 22..=24 {
            let mut one = numbered(n);
            add_event(&mut one, n as u8, "{}");
            store.commit_blocking(&one).unwrap();
            store.checkpoint().unwrap();
        }
        store.uids.lock().settle();
        store.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        change(dir.path(), damage);
        let met = step(&mut store);
        assert!(matches!(met, Err(StoreError::Damaged { .. })), "{damage}: {met:?}");
        assert!(dir.path().join("state.suspect").exists(), "{damage}");
        drop(store);
        let mut folder = DataFolder::open(dir.path(), FolderOptions { embedded: options(), ..FolderOptions::default() }).unwrap();
        assert_eq!((folder.fenced.len(), folder.restored.position), (1, 24), "{damage}");
        step(&mut folder.store).unwrap_or_else(|error| panic!("{damage}: {error}"));
        assert!(!dir.path().join("state.suspect").exists(), "{damage}");
    }
}

#[test]
fn a_change_of_the_schema_is_a_version() {
    let lines = SCHEMA.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--"));
    let statements: String = lines.flat_map(|line| [line, "\n"]).collect();
    assert_eq!((SCHEMA_VERSION, crc32c::crc32c(statements.as_bytes())), (4, 0xe58c_3190), "another schema needs another version");
}

#[test]
fn a_damaged_version_or_entry_of_the_audit_is_named_and_the_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = open_folder(dir.path());
    for n in 1..=20 {
        block_on(folder.journal.append(RecordBody::Clock, None)).unwrap();
        let change = VersionChange { name: "owner".into(), digest: format!("digest-of-{n}").into(), ..VersionChange::default() };
        let audit = vec![AuditEntry::of_version(n, T * 1_000, &change)];
        let rule_versions = vec![VersionWrite { ordinal: n, received_at_ms: T * 1_000, change }];
        folder.store.commit_blocking(&Commit { rule_versions, audit, ..numbered(n) }).unwrap();
    }
    drop(folder);
    let state = Connection::open(dir.path().join("state.sqlite")).unwrap();
    for change in ["UPDATE rule_versions SET received_at_ms = 9 WHERE ordinal = 7", "UPDATE audit SET at_ms = 9 WHERE ordinal IN (8, 9)"] {
        assert!(state.execute(change, []).unwrap() > 0, "{change}");
    }
    drop(state);
    // A journal that has lost its front cannot make the state again.
    let first = journal::copy::names(&dir.path().join("journal")).unwrap().remove(0);
    fs::remove_file(dir.path().join("journal").join(first)).unwrap();
    let folder = open_folder(dir.path());
    let (report, reader) = (&folder.fenced[0], folder.store.reader());
    assert_eq!(report.rebuilt, "rows", "{report:?}");
    let lost: Vec<&str> = report.lost_rows.iter().map(String::as_str).filter(|row| row.starts_with("rule_versions") || row.starts_with("audit")).collect();
    assert!(lost.len() == 3 && lost[0].contains("record 7") && lost[1].contains("record 8") && lost[2].contains("record 9"), "{lost:?}");
    assert_eq!((reader.rule_versions(None, None, 99).unwrap().len(), reader.audit(None, None, 99).unwrap().len()), (19, 18));
    assert_eq!(reader.check_audit().unwrap().broken.map(|broken| broken.0), Some(10), "what is lost is missed");
}

#[test]
fn a_damaged_module_cannot_be_replayed() {
    for is_damaged in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = open_folder(dir.path());
        let digest = folder.modules.put(b"a module").unwrap();
        let rule = RuleEntry {
            name: "r".into(),
            version: "1".into(),
            digest: digest.as_str().into(),
            config: "{}".into(),
            options: "{}".into(),
            ..RuleEntry::default()
        };
        let set = RuleSet { generation: 1, rules: vec![rule], ..RuleSet::default() };
        block_on(folder.journal.append(RecordBody::RuleSet(set), None)).unwrap();
        folder.store.commit_blocking(&numbered(1)).unwrap();
        drop(folder);
        if is_damaged {
            fs::write(dir.path().join("modules").join(digest), b"a modulf").unwrap();
        }
        change(dir.path(), "UPDATE alerts SET sum = 1");
        let rebuilt = open_folder(dir.path()).fenced.remove(0).rebuilt;
        assert_eq!(rebuilt, if is_damaged { "rows" } else { "replay" });
    }
}

#[test]
fn a_new_state_that_cannot_be_written_is_no_damage_of_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    stopped(dir.path());
    let old = Connection::open(dir.path().join("state.sqlite")).unwrap();
    old.execute_batch("UPDATE alerts SET sum = 1 WHERE seq = 3").unwrap();
    let row = position::read(&old).unwrap();
    let mut report = FenceReport::default();
    let full = fence::create(&dir.path().join("new.sqlite"), &row, &mut report, |new, report| {
        let pages: u64 = new.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        new.execute_batch(&format!("PRAGMA max_page_count = {pages}; INSERT INTO ledger VALUES ('a', 'b', hex(zeroblob(1000)), 1, 1)"))?;
        fence::take_rows(&old, &row, &check::check(&old), new, report)
    });
    let error = full.unwrap_err();
    assert!(matches!(&error, StoreError::Sqlite { error: cause, .. } if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)), "{error}");
    assert!(report.lost_rows.iter().all(|row| !row.contains("cannot be read")), "{:?}", report.lost_rows);
}

#[test]
fn a_copy_that_fails_is_an_error_and_costs_no_candidate() {
    let dir = tempfile::tempdir().unwrap();
    stopped(dir.path());
    // What takes the place of the copy.
    fs::create_dir(dir.path().join("head.sqlite")).unwrap();
    let whole = fence::open_salvage(dir.path(), &|_, _| Ok(true)).unwrap().unwrap();
    assert_eq!(whole.row.unwrap().ordinal, 20, "it needs no copy");
    drop(whole.connection);
    let state = dir.path().join("state.sqlite");
    let mut bytes = fs::read(&state).unwrap();
    bytes[0] ^= 1;
    fs::write(&state, &bytes).unwrap();
    assert!(matches!(fence::open_salvage(dir.path(), &|_, _| Ok(true)), Err(StoreError::Io { .. })));
    fs::remove_dir(dir.path().join("head.sqlite")).unwrap();
    assert_eq!(fence::open_salvage(dir.path(), &|_, _| Ok(true)).unwrap().unwrap().row.unwrap().ordinal, 20);
}

#[test]
fn a_state_without_a_whole_head_heals_too() {
    for bytes in [0, 1, 99, 100, 4095] {
        let dir = tempfile::tempdir().unwrap();
        stopped(dir.path());
        let state = File::options().write(true).open(dir.path().join("state.sqlite")).unwrap();
        state.set_len(bytes).unwrap();
        let folder = open_folder(dir.path());
        assert_eq!((folder.fenced.len(), folder.fenced[0].rebuilt.as_str()), (1, "anew"), "cut to {bytes}");
    }
}

#[test]
fn blocks_that_cannot_be_read_are_zeros_in_the_copy() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("copy");
    let read = |block: &mut [u8], at: u64| {
        block.fill(7);
        if at == 4096 { Err(std::io::Error::from_raw_os_error(5)) } else { Ok(()) }
    };
    fence::copy_blocks(3 * 4096 + 5, &to, read).unwrap();
    let expected: Vec<u8> = (0..3 * 4096 + 5).map(|at| if at / 4096 == 1 { 0 } else { 7 }).collect();
    assert!(fs::read(&to).unwrap() == expected);
    let failure = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
    assert!(checksum::is_damage(&failure(rusqlite::ffi::SQLITE_IOERR_READ)));
    assert!(!checksum::is_damage(&failure(rusqlite::ffi::SQLITE_IOERR_WRITE)) && !checksum::is_damage(&failure(rusqlite::ffi::SQLITE_FULL)));
}

#[test]
fn a_table_full_of_damage_is_told_in_few_findings() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EmbeddedStore::open(dir.path()).unwrap();
    let line = |n: u64| LedgerValue { scope: "source", name: format!("s{n}").into(), counter: "journaled".into(), value: n };
    store.commit_blocking(&Commit { ledger: (0..350).map(line).collect(), ..commit(0, 1) }).unwrap();
    store.connection.execute_batch("UPDATE ledger SET value = value + 1").unwrap();
    let findings = check::check(&store.connection);
    assert!(findings.len() == check::FINDINGS_MAX + 1 && findings.last().unwrap().contains("250 more"), "{}", findings.len());
}
