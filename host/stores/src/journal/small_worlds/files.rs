//! Whole files are gone, empty, longer than they were, or of another version.

use super::*;
use crate::durable::StoreError;
use alertmill_proof::Tier;

/// Three files; the last one is not sealed. Nor is the one before it when a kill came right behind the change.
fn files(middle_sealed: bool) -> Vec<Written> {
    let first = Written::new(0xe1, 1, 4096, true);
    let middle = Written::new(0xe2, first.last() + 1, 4096, middle_sealed);
    let last = Written::new(0xe3, middle.last() + 1, 4096, false);
    vec![first, middle, last]
}

/// Changes a folder of three files, opens it, and compares what is missing and how many files are set aside.
#[track_caller]
fn try_it(what: &str, change: impl Fn(&Path, &[Written]), missing: impl Fn(&[Written]) -> Vec<Gap>, fenced: usize) -> JournalReport {
    try_one(what, files(true), &change, &missing, fenced)
}

#[track_caller]
fn try_one(what: &str, files: Vec<Written>, change: &impl Fn(&Path, &[Written]), missing: &impl Fn(&[Written]) -> Vec<Gap>, fenced: usize) -> JournalReport {
    let dir = scratch();
    files.iter().for_each(|file| file.put(dir.path()));
    let acked = files[2].last();
    put_watermark(dir.path(), acked);
    change(dir.path(), &files);
    let report = open_and_check(dir.path(), acked, &missing(&files), what);
    assert_eq!(report.fenced.len(), fenced, "{what}: {:?}", report.fenced);
    report
}

fn path(dir: &Path, file: &Written) -> std::path::PathBuf {
    dir.join(file.segment.name())
}

fn of(file: &Written) -> Vec<Gap> {
    gap(file.segment.first, file.last())
}

#[test]
fn each_kind_of_lost_or_mistaken_file_is_reported_exactly() {
    let nothing = |_: &[Written]| Vec::new();
    for i in 0..3 {
        let what = format!("file {i} is gone");
        let gone = |dir: &Path, files: &[Written]| std::fs::remove_file(path(dir, &files[i])).unwrap();
        // A file that no seal reached does not know where it ended: it is set aside with what the watermark says is missing.
        try_one(&format!("{what}; the middle is not sealed"), files(false), &gone, &|files| of(&files[i]), usize::from(i == 2));
        try_one(&what, files(true), &gone, &|files| of(&files[i]), 0);
        let what = format!("file {i} is empty");
        try_it(&what, |dir, files| std::fs::write(path(dir, &files[i]), b"").unwrap(), |files| of(&files[i]), 1);
        let what = format!("file {i} is zeros");
        try_it(&what, |dir, files| std::fs::write(path(dir, &files[i]), vec![0; 4096]).unwrap(), |files| of(&files[i]), 1);
        let what = format!("file {i} ends in zeros where its second half was");
        let zeroed = |dir: &Path, files: &[Written]| {
            let mut bytes = files[i].bytes.clone();
            bytes[2048..].fill(0);
            std::fs::write(path(dir, &files[i]), bytes).unwrap();
        };
        let whole = |files: &[Written]| files[i].frames.iter().filter(|frame| frame.end <= 2048).count() as u64;
        try_it(&what, zeroed, |files| gap(files[i].segment.first + whole(files), files[i].last()), 1);
        let what = format!("file {i} goes on with garbage");
        let longer = |dir: &Path, files: &[Written]| {
            let garbage: Vec<u8> = (0..10_000u32).map(|n| ((n * n) >> 3) as u8).collect();
            std::fs::write(path(dir, &files[i]), [files[i].bytes.clone(), garbage].concat()).unwrap();
        };
        let report = try_it(&what, longer, nothing, 0);
        assert_eq!(report.torn_bytes > 0, i == 2, "{what}");
    }
    let all_gone = |dir: &Path, files: &[Written]| files.iter().for_each(|file| std::fs::remove_file(path(dir, file)).unwrap());
    let (dir, written) = (scratch(), files(true));
    put_watermark(dir.path(), written[2].last());
    all_gone_is_said(dir.path(), &written);
    try_it("all files are gone", all_gone, |files| gap(1, files[2].last()), 0);
    try_it("a half-made file is left", |dir, _| std::fs::write(dir.join("x.unfinished"), b"half").unwrap(), nothing, 0);
    try_it("somebody's file lies there", |dir, _| std::fs::write(dir.join("notes.journal"), b"mine").unwrap(), nothing, 0);
    alertmill_proof::record("journal-worlds", Tier::Ci, &[("worlds", &(3 * 6 + 3)), ("reported_exactly", &(3 * 6 + 3)), ("silently_lost", &0)]);
}

/// The key of the uids is gone too, and a journal that had a past does not take that for a first start.
fn all_gone_is_said(dir: &Path, files: &[Written]) {
    let (_journal, _reader, report) = JournalDir::open(dir, JournalOptions::default()).unwrap();
    assert!(report.identity_replaced && report.gaps == gap(1, files[2].last()), "{report:?}");
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_stays_as_it_is() {
    let (dir, files) = (scratch(), files(true));
    files.iter().for_each(|file| file.put(dir.path()));
    let mut bytes = files[1].bytes.clone();
    segment::set_format(&mut bytes, segment::FORMAT + 1);
    std::fs::write(path(dir.path(), &files[1]), &bytes).unwrap();
    let refused = JournalDir::open(dir.path(), JournalOptions::default()).err().unwrap();
    assert!(matches!(refused, StoreError::Newer { found: 2, known: 1, .. }) && refused.to_string().contains("run the newer version"), "{refused}");
    assert!(std::fs::read(path(dir.path(), &files[1])).unwrap() == bytes && !dir.path().join("quarantine").exists());
}
