use super::snapshot::Taking;
use super::{BackupError, Snapshot, restore};
use crate::embedded::EmbeddedOptions;
use crate::folder::{DataFolder, FolderOptions};
use crate::journal::JournalOptions;
use crate::modules::{self, ModuleFiles};
use alertmill_core::event::Uid;
use alertmill_core::identity::Algorithm;
use alertmill_core::pipeline::fold::{Fold, FoldConfig};
use alertmill_core::pipeline::prepare::prepare;
use alertmill_core::pipeline::understand::UnderstandConfig;
use alertmill_core::ports::{Commit, Journal, StoredEvent};
use alertmill_core::record::{RecordBody, RuleEntry, RuleSet};
use alertmill_core::rules::NoRules;
use alertmill_core::version_change::{VersionAction, VersionChange, VersionSignature};
use std::cell::Cell;
use std::io::ErrorKind;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const NOW_S: i64 = 1_790_000_000;

/// Writes one record of this body and waits until it is durable; gives its ordinal.
fn append(journal: &crate::JournalHandle, body: RecordBody) -> u64 {
    let mut appended = pin!(journal.append(body, None));
    loop {
        if let Poll::Ready(answer) = appended.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return answer.expect("it is taken").ordinal;
        }
        std::thread::yield_now();
    }
}

fn generation(number: u64, digest: &str, table: &str) -> RecordBody {
    let rule = RuleEntry { name: "says".into(), version: "1".into(), digest: digest.into(), config: "{}".into(), options: "{}".into(), ..RuleEntry::default() };
    RecordBody::RuleSet(RuleSet { generation: number, rules: vec![rule], tables: vec![("owners".into(), table.into())], ..RuleSet::default() })
}

/// Folds what is journaled now.
fn fold_all(dir: &Path) {
    fold_all_with(dir, FolderOptions::default());
}

fn fold_all_with(dir: &Path, options: FolderOptions) {
    let mut folder = DataFolder::open(dir, options).unwrap();
    let mut fold = Fold::restore(&folder.restored, FoldConfig::default()).unwrap();
    let understand = UnderstandConfig { uid_key: folder.journal.uid_key(), algorithm: Algorithm::Keyed };
    let last = folder.journal.counts().last_ordinal;
    let mut position = folder.restored.position;
    while position < last {
        let mut records = folder.records.next_blocking(1).unwrap();
        let commit = fold.apply(prepare(&mut records, folder.restored.rule_set.generation, &mut NoRules, &understand).unwrap(), Vec::new());
        position = commit.to;
        folder.store.commit_blocking(&commit).unwrap();
    }
}

fn start() -> RecordBody {
    RecordBody::Start { version: "test".into() }
}

#[test]
fn without_room_no_backup_is_begun_and_a_full_state_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    drop(DataFolder::open(dir.path(), FolderOptions::default()).unwrap());
    // Behind what the state knows, so nothing else minds it. It has no blocks.
    let huge = std::fs::File::create(dir.path().join("events/0000000009.events")).unwrap();
    huge.set_len(8 << 40).unwrap();
    let refused = Snapshot::take(dir.path(), || None).unwrap_err();
    assert!(matches!(refused, BackupError::NoRoom { needed, free, .. } if needed > free && needed >= 8 << 40), "{refused:?}");
    assert!(refused.to_string().contains("free space on that disk"), "{refused}");
    huge.set_len(0).unwrap();
    Snapshot::take(dir.path(), || None).unwrap();

    let full = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
    let full = crate::StoreError::Sqlite { what: "copy", path: dir.path().into(), error: full };
    assert!(full.is_full() && full.to_string().ends_with("; free space on that disk"), "{full}");
}

#[test]
fn what_a_backup_holds_is_seen_as_long_as_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    drop(DataFolder::open(dir.path(), FolderOptions::default()).unwrap());
    assert_eq!(super::held_by_backups(dir.path()), (0, 0));
    let snapshot = Snapshot::take(dir.path(), || None).unwrap();
    let (bytes, files) = super::held_by_backups(dir.path());
    let copied: u64 = snapshot.manifest.files.iter().filter(|file| !file.name.starts_with("modules/")).map(|file| file.bytes).sum();
    assert!(bytes >= copied && copied > 0 && files >= 4, "{bytes} of {copied}, {files} files");
    drop(snapshot);
    assert_eq!(super::held_by_backups(dir.path()), (0, 0));
}

/// Modules that a folder of this name has.
fn modules_of(data_dir: &Path) -> Vec<String> {
    ModuleFiles::open(&data_dir.join(DataFolder::MODULES)).unwrap().list().unwrap()
}

#[test]
fn a_generation_that_begins_while_a_backup_is_taken_is_in_it_with_its_module() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let folder = DataFolder::open(&data, FolderOptions::default()).unwrap();
    append(&folder.journal, start());
    let begun = Cell::new(None);
    // As the rules' loop does it: first the files, then the record.
    let snapshot = Snapshot::take(&data, || {
        let (module, table) = (folder.modules.put(b"a module").unwrap(), folder.modules.put(b"a table").unwrap());
        let last = append(&folder.journal, generation(1, &module, &table));
        begun.set(Some((last, module, table)));
        Some(last)
    });
    let snapshot = snapshot.unwrap();
    let (last, module, table) = begun.take().unwrap();
    assert_eq!(snapshot.manifest.journal_last, last);
    for digest in [module, table] {
        assert!(snapshot.manifest.files.iter().any(|file| file.name == format!("modules/{digest}")), "{:?}", snapshot.manifest.files);
    }
}

#[test]
fn records_that_are_taken_over_bring_the_modules_they_name_or_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, kept) = (scratch.path().join("data"), scratch.path().join("kept"));
    {
        let folder = DataFolder::open(&data, FolderOptions::default()).unwrap();
        append(&folder.journal, start());
    }
    fold_all(&data);
    super::keep(&Snapshot::take(&data, || None).unwrap(), &kept).unwrap();
    let (module, table) = {
        let folder = DataFolder::open(&data, FolderOptions::default()).unwrap();
        let digests = (folder.modules.put(b"a module").unwrap(), folder.modules.put(b"a table").unwrap());
        append(&folder.journal, generation(1, &digests.0, &digests.1));
        digests
    };
    let journal = data.join(DataFolder::JOURNAL);

    let restored = scratch.path().join("restored");
    restore(&kept, &restored, Some(&journal)).unwrap();
    let mut expected = vec![module.clone(), table.clone()];
    expected.sort();
    assert_eq!(modules_of(&restored), expected);

    // Damaged, or not there: the first start would wait for it for ever.
    let target = scratch.path().join("target");
    for spoil in [Some(b"another module".as_slice()), None] {
        match spoil {
            Some(content) => std::fs::write(data.join(DataFolder::MODULES).join(&module), content).unwrap(),
            None => std::fs::remove_file(data.join(DataFolder::MODULES).join(&module)).unwrap(),
        }
        let Err(BackupError::Refused(why)) = restore(&kept, &target, Some(&journal)) else { panic!("it was restored without its module") };
        assert!(why.contains(&module) && !why.contains(&table) && why.contains("modules"), "{why}");
        assert!(!target.exists());
    }
    assert_eq!(modules::digest(b"a module"), module);
}

fn upload(digest: &str, signature: &str) -> RecordBody {
    let signature = Some(VersionSignature { signer: "platform".into(), key_id: "k".into(), digest: signature.into() });
    RecordBody::RuleVersion(VersionChange { name: "says".into(), version: "2".into(), digest: digest.into(), signature, ..VersionChange::default() })
}

#[test]
fn a_restored_folder_activates_an_uploaded_version() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, kept) = (scratch.path().join("data"), scratch.path().join("kept"));
    let digests = {
        let folder = DataFolder::open(&data, FolderOptions::default()).unwrap();
        let digests = ["a module", "its signature", "another", "its own"].map(|content| folder.modules.put(content.as_bytes()).unwrap());
        append(&folder.journal, start());
        append(&folder.journal, upload(&digests[0], &digests[1]));
        digests
    };
    fold_all(&data);
    super::keep(&Snapshot::take(&data, || None).unwrap(), &kept).unwrap();
    {
        let folder = DataFolder::open(&data, FolderOptions::default()).unwrap();
        append(&folder.journal, upload(&digests[2], &digests[3]));
    }
    // What the backup has, and what the journal beside it says of since; that one brings its files, and is in the state once it is folded.
    let modules = ModuleFiles::open(&data.join(DataFolder::MODULES)).unwrap();
    let journal = data.join(DataFolder::JOURNAL);
    for (target, journal, known) in [("alone", None, 1), ("with-journal", Some(&journal), 2)] {
        let target = scratch.path().join(target);
        restore(&kept, &target, journal.map(|journal| journal.as_path())).unwrap();
        fold_all(&target);
        let folder = DataFolder::open(&target, FolderOptions::default()).unwrap();
        let versions = folder.store.reader().rule_versions(Some("says"), None, 9).unwrap();
        assert_eq!(versions.len(), known);
        for digest in versions.iter().flat_map(|version| version.change.digests()) {
            assert_eq!(folder.modules.get(digest).unwrap(), modules.get(digest).unwrap(), "its file is there");
        }
        assert_eq!(folder.store.reader().check_audit().unwrap().entries, known as u64);
    }
    // Without the files of a version that was uploaded since, the journal beside it is refused; of one that was removed they may be gone.
    std::fs::remove_file(data.join(DataFolder::MODULES).join(&digests[3])).unwrap();
    let other = scratch.path().join("older");
    let older = scratch.path().join("older-kept");
    {
        let folder = DataFolder::open(&other, FolderOptions::default()).unwrap();
        append(&folder.journal, start());
    }
    fold_all(&other);
    super::keep(&Snapshot::take(&other, || None).unwrap(), &older).unwrap();
    {
        let folder = DataFolder::open(&other, FolderOptions::default()).unwrap();
        append(&folder.journal, upload(&digests[2], &digests[3]));
    }
    let target = scratch.path().join("target");
    let Err(BackupError::Refused(why)) = restore(&older, &target, Some(&other.join(DataFolder::JOURNAL))) else { panic!("it was restored without its files") };
    assert!(why.contains(&digests[2]) && why.contains(&digests[3]), "{why}");
    {
        let folder = DataFolder::open(&other, FolderOptions::default()).unwrap();
        let removed = VersionChange { action: VersionAction::Removed, digest: digests[2].as_str().into(), ..VersionChange::default() };
        append(&folder.journal, RecordBody::RuleVersion(removed));
    }
    restore(&older, &target, Some(&other.join(DataFolder::JOURNAL))).unwrap();
}

#[test]
fn a_backup_without_hard_links_has_what_came_while_it_was_taken() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let folder = DataFolder::open(&data, FolderOptions::default()).unwrap();
    append(&folder.journal, start());
    let last = Cell::new(0);
    let durable_last = || {
        last.set(append(&folder.journal, start()));
        Some(last.get())
    };
    // As the kernel says it of such a file system.
    let no_links = |_: &Path, to: &Path| Err(if to.exists() { ErrorKind::AlreadyExists } else { ErrorKind::PermissionDenied }.into());
    let snapshot = Snapshot::take_linking(&data, durable_last, no_links).unwrap();
    assert_eq!((snapshot.manifest.journal_last, last.get()), (2, 2));
    assert!(snapshot.manifest.files.iter().all(|file| !file.name.ends_with(".again")), "{:?}", snapshot.manifest.files);
}

/// Small journal segments, all of which stay.
fn small_segments() -> FolderOptions {
    FolderOptions { journal: JournalOptions { segment_bytes: 4096, keep_bytes: 1 << 30, ..JournalOptions::default() }, ..FolderOptions::default() }
}

#[test]
fn damage_is_told_although_the_journal_goes_on_and_old_files_of_it_go() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    {
        let folder = DataFolder::open(&data, small_segments()).unwrap();
        (0..600).for_each(|_| _ = append(&folder.journal, start()));
    }
    fold_all_with(&data, small_segments());
    let folder = DataFolder::open(&data, small_segments()).unwrap();
    let journal = data.join(DataFolder::JOURNAL);
    let files = || crate::durable::names_with_suffix(&journal, ".journal").unwrap();
    let (first, last) = (append(&folder.journal, start()), append(&folder.journal, start()));
    assert!(first > folder.restored.position && last == first + 1 && files().len() > 6);
    let holder = journal.join(files().pop().unwrap());
    let mut bytes = std::fs::read(&holder).unwrap();
    // Behind the heads of the file and of its first frame.
    bytes[97] ^= 1;
    std::fs::write(&holder, bytes).unwrap();
    let tries = Cell::new(0);
    let refused = Snapshot::take(&data, || {
        tries.set(tries.get() + 1);
        // As retention does it.
        std::fs::remove_file(journal.join(&files()[0])).unwrap();
        let before = files().len();
        while files().len() == before {
            append(&folder.journal, start());
        }
        Some(append(&folder.journal, start()))
    });
    let refused = refused.expect_err("a record cannot be read");
    let expected = format!("journal: records {first} to {first} cannot be read");
    assert!(matches!(&refused, BackupError::Damaged(findings) if *findings == [expected.clone()]), "{refused:?}, not {expected}");
    assert_eq!(tries.get(), 1);
}

#[test]
fn a_file_that_came_and_went_while_a_backup_was_taken_is_no_damage() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let folder = DataFolder::open(&data, small_segments()).unwrap();
    append(&folder.journal, start());
    let journal = data.join(DataFolder::JOURNAL);
    let files = || crate::durable::names_with_suffix(&journal, ".journal").unwrap();
    let tries = Cell::new(0);
    let snapshot = Snapshot::take(&data, || {
        tries.set(tries.get() + 1);
        if tries.get() == 1 {
            while files().len() < 3 {
                append(&folder.journal, start());
            }
            files()[..2].iter().for_each(|name| std::fs::rename(journal.join(name), scratch.path().join(name)).unwrap());
        } else {
            for name in crate::durable::names_with_suffix(scratch.path(), ".journal").unwrap() {
                std::fs::rename(scratch.path().join(&name), journal.join(&name)).unwrap();
            }
        }
        Some(append(&folder.journal, start()))
    });
    assert_eq!((snapshot.unwrap().manifest.journal_last, tries.get()), (folder.journal.counts().last_ordinal, 2));
}

#[test]
fn an_event_file_that_goes_while_a_backup_is_taken_is_in_it_as_long_as_its_uids_need_it() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, backup) = (scratch.path().join("data"), scratch.path().join("backup"));
    let embedded = EmbeddedOptions { event_segment_bytes: 100, ..EmbeddedOptions::default() };
    let mut folder = DataFolder::open(&data, FolderOptions { embedded, ..FolderOptions::default() }).unwrap();
    let mut place = 0;
    for n in 1..=3u8 {
        let ordinal = append(&folder.journal, start());
        let mut commit = Commit { from: ordinal - 1, to: ordinal, received_at_ms: NOW_S * 1_000, event_heap: vec![b' '; 100], ..Commit::default() };
        commit.events.push(StoredEvent { uid: Uid([n; 16]), known_until_s: NOW_S + 86_400, index_time_s: NOW_S, document: 0..100 });
        folder.store.commit_blocking(&commit).unwrap();
        place = ordinal;
    }
    let name = |number: u32| format!("{}/{}", DataFolder::EVENTS, crate::event_segments::file_name(number));
    assert!((1..=3).all(|number| data.join(name(number)).exists()));
    let hard_link = |from: &Path, to: &Path| std::fs::hard_link(from, to);
    let mut taking = Taking::new(&data, backup.clone(), &hard_link);
    taking.begin().unwrap();
    // As retention does once its uids are in files, which these are not.
    std::fs::remove_file(data.join(name(1))).unwrap();
    let manifest = taking.finish(&|| Some(place)).unwrap();
    for number in 1..=3 {
        assert!(manifest.files.iter().any(|file| file.name == name(number)), "{number}: {:?}", manifest.files);
    }
    assert_eq!(std::fs::read_dir(&backup).unwrap().filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("held")).count(), 0);
    let restored = scratch.path().join("restored");
    restore(&backup, &restored, None).unwrap();
    let report = DataFolder::open(&restored, FolderOptions::default()).unwrap().store_report;
    assert_eq!((report.uids_read_again, report.uids_forgotten), (3, false));
}

#[test]
fn a_journal_that_lost_its_end_or_is_worked_in_is_not_taken_over() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, kept, target) = (scratch.path().join("data"), scratch.path().join("kept"), scratch.path().join("target"));
    drop(DataFolder::open(&data, small_segments()).unwrap());
    super::keep(&Snapshot::take(&data, || None).unwrap(), &kept).unwrap();
    let journal = data.join(DataFolder::JOURNAL);
    let folder = DataFolder::open(&data, small_segments()).unwrap();
    (0..300).for_each(|_| _ = append(&folder.journal, start()));
    let last = folder.journal.counts().last_ordinal;
    let locked = restore(&kept, &target, Some(&journal)).unwrap_err();
    assert!(matches!(&locked, BackupError::Store(crate::StoreError::Locked { path }) if path.starts_with(&journal)), "{locked:?}");
    drop(folder);
    let name = crate::durable::names_with_suffix(&journal, ".journal").unwrap().pop().unwrap();
    let (file, watermark) = (journal.join(&name), journal.join("watermark"));
    let (whole, says) = (std::fs::read(&file).unwrap(), std::fs::read(&watermark).unwrap());
    // The last record, before the footer; then all of its file.
    let mut damaged = whole.clone();
    damaged[whole.len() - 32 - 8] ^= 1;
    let refused = |missing: &str| match restore(&kept, &target, Some(&journal)) {
        Err(BackupError::Refused(why)) => assert!(why.contains(missing) && !target.exists(), "{why}, not {missing}"),
        other => panic!("{other:?}, although it misses {missing}"),
    };
    std::fs::write(&file, damaged).unwrap();
    refused(&format!("records {last} to {last}"));
    std::fs::remove_file(&watermark).unwrap();
    refused(&format!("records {last} to {last}"));
    std::fs::write(&watermark, says).unwrap();
    std::fs::remove_file(&file).unwrap();
    let first: u64 = name.split('-').next().unwrap().parse().unwrap();
    refused(&format!("records {first} to {last} were acknowledged"));
    std::fs::write(&file, whole).unwrap();
    assert_eq!(restore(&kept, &target, Some(&journal)).unwrap().journal_last, last);
}

#[test]
fn an_empty_folder_is_filled_where_it_is_as_a_mounted_volume_must_be() {
    use std::os::unix::fs::MetadataExt;
    let scratch = tempfile::tempdir().unwrap();
    let (data, kept, target) = (scratch.path().join("data"), scratch.path().join("kept"), scratch.path().join("target"));
    {
        let folder = DataFolder::open(&data, FolderOptions::default()).unwrap();
        append(&folder.journal, start());
    }
    super::keep(&Snapshot::take(&data, || None).unwrap(), &kept).unwrap();
    // As a new volume with a file system of its own has it.
    std::fs::create_dir_all(target.join("lost+found")).unwrap();
    let folder = target.metadata().unwrap().ino();
    let names = || crate::durable::names_with_suffix(&target, "").unwrap();

    // One that fails leaves it as it was, with a lock that nobody holds.
    let another = scratch.path().join("another");
    drop(DataFolder::open(&another, FolderOptions::default()).unwrap());
    let refused = restore(&kept, &target, Some(&another.join(DataFolder::JOURNAL))).unwrap_err();
    assert!(refused.to_string().contains("another journal"), "{refused}");
    assert_eq!((names(), target.metadata().unwrap().ino()), (vec!["lock".to_owned(), "lost+found".to_owned()], folder));

    // One that somebody works in is not filled, though nothing is in it yet; nor does a second restore come between.
    let works = crate::durable::FolderLock::take(&target.join(DataFolder::LOCK)).unwrap();
    std::fs::write(target.join("restore-unfinished"), b"").unwrap();
    let locked = restore(&kept, &target, None).unwrap_err();
    assert!(matches!(&locked, BackupError::Store(crate::StoreError::Locked { path }) if path.starts_with(&target)), "{locked:?}");
    assert!(target.join("restore-unfinished").exists());
    drop(works);

    // What one left that was killed is no data folder, and in nobody's way.
    std::fs::write(target.join("restore-unfinished"), b"").unwrap();
    std::fs::create_dir(target.join("journal")).unwrap();
    std::fs::write(target.join("journal/half"), b"half").unwrap();
    let cut_off = DataFolder::open(&target, FolderOptions::default()).err().unwrap();
    assert!(cut_off.to_string().contains("cut off"), "{cut_off}");

    assert_eq!(restore(&kept, &target, None).unwrap().journal_last, 1);
    assert_eq!(target.metadata().unwrap().ino(), folder);
    assert!(!target.join("journal/half").exists() && target.join("lost+found").is_dir());
    assert_eq!(DataFolder::open(&target, FolderOptions::default()).unwrap().journal_report.last_ordinal, 1);
    let refused = restore(&kept, &target, None).unwrap_err();
    assert!(refused.to_string().contains("not an empty folder"), "{refused}");
}
