//! Taking a backup: a consistent copy of a data folder under a temporary name in it, checked file by file, with its manifest.
//! Files that never change again are linked, so it costs the space of the state and of the newest event file.
//!
//! In this order: links to the event files that are there; uids as their manifest names them; the journal's files; the state at
//! a position P; event files up to where P says; the last durable record L; modules; records from P to L. Uids are never ahead
//! of P, and the events behind them are there although retention goes on; events and records are never behind P, and modules
//! never behind L.

use super::manifest::{FORMAT, FileEntry, MANIFEST, MANIFEST_DIGEST, Manifest, SHIPPED_VERSIONS, copy_hashing};
use super::{BackupError, journal_tail};
use crate::durable::{self, StoreError};
use crate::embedded::copy::{self, StateCopy};
use crate::event_segments;
use crate::folder::DataFolder;
use crate::{known_uids, modules};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// A copy under a temporary name. It is removed with the value.
#[derive(Debug)]
pub struct Snapshot {
    dir: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
}

const PREFIX: &str = "backup-";
const SUFFIX: &str = ".unfinished";
/// Files as they were when the backup began, in its folder: what goes meanwhile is still there.
const HELD_EVENTS: &str = "held-events";
const HELD_JOURNAL: &str = "held-journal";
/// Files of uids and of the journal that went between two steps; then it is tried again.
const TRIES: usize = 5;

/// Removes what a process left that was killed in the middle of a backup.
pub(crate) fn remove_leftovers(data_dir: &Path) -> Result<(), StoreError> {
    for name in durable::names_with_suffix(data_dir, SUFFIX)?.iter().filter(|name| name.starts_with(PREFIX)) {
        let path = data_dir.join(name);
        std::fs::remove_dir_all(&path).map_err(StoreError::io("remove", &path))?;
    }
    Ok(())
}

/// Bytes and number of the files that backups which are taken now hold in the data folder: copies, and files that would be
/// gone without them. What they only link is counted where it lies.
pub fn held_by_backups(data_dir: &Path) -> (u64, u64) {
    fn held(dir: &Path) -> (u64, u64) {
        let mut sum = (0, 0);
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let (bytes, files) = match metadata.is_dir() {
                true => held(&entry.path()),
                false if metadata.nlink() == 1 => (metadata.len(), 1),
                false => (0, 0),
            };
            sum = (sum.0 + bytes, sum.1 + files);
        }
        sum
    }
    let names = durable::names_with_suffix(data_dir, SUFFIX).unwrap_or_default();
    let of = names.iter().filter(|name| name.starts_with(PREFIX)).map(|name| held(&data_dir.join(name)));
    of.fold((0, 0), |sum, (bytes, files)| (sum.0 + bytes, sum.1 + files))
}

/// Refuses a backup for which the disk has no room: it copies the state, the newest event file and about one journal segment.
fn refuse_without_room(data_dir: &Path) -> Result<(), BackupError> {
    let size = |path: PathBuf| path.metadata().map_or(0, |file| file.len());
    let newest = |folder: &str, suffix: &str| -> Result<u64, StoreError> {
        let dir = data_dir.join(folder);
        Ok(durable::names_with_suffix(&dir, suffix)?.last().map_or(0, |name| size(dir.join(name))))
    };
    let state = size(data_dir.join(DataFolder::STATE)) + size(data_dir.join(format!("{}-wal", DataFolder::STATE)));
    let needed = state + newest(DataFolder::EVENTS, ".events")? + newest(DataFolder::JOURNAL, ".journal")?;
    let disk = rustix::fs::statvfs(data_dir).map_err(|error| StoreError::io("look at", data_dir)(error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= needed { Ok(()) } else { Err(BackupError::NoRoom { path: data_dir.to_path_buf(), needed, free }) }
}

impl Snapshot {
    /// Copies the data folder. `durable_last` is the last record that is known to be synced; without it, as of a folder where
    /// no process works, all that the journal holds. Refuses a folder with damage, and says all of it.
    pub fn take(data_dir: &Path, durable_last: impl Fn() -> Option<u64>) -> Result<Snapshot, BackupError> {
        Snapshot::take_linking(data_dir, durable_last, |from, to| std::fs::hard_link(from, to))
    }

    /// As [`take`](Snapshot::take) on a file system whose links `hard_link` makes.
    pub(super) fn take_linking(
        data_dir: &Path,
        durable_last: impl Fn() -> Option<u64>,
        hard_link: impl Fn(&Path, &Path) -> io::Result<()>,
    ) -> Result<Snapshot, BackupError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        refuse_without_room(data_dir)?;
        let mut tries = 1;
        loop {
            let name = format!("{PREFIX}{}-{}{SUFFIX}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
            let mut taking = Taking::new(data_dir, data_dir.join(name), &hard_link);
            match taking.take(&durable_last) {
                Err(BackupError::Moved) if tries < TRIES => tries += 1,
                Ok(manifest) => {
                    let dir = taking.to.0.clone();
                    std::mem::forget(taking.to);
                    return Ok(Snapshot { dir, manifest });
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// The files to be copied, manifest and its digest last: name and path.
    pub fn files(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        let names = self.manifest.files.iter().map(|file| file.name.as_str());
        names.chain([MANIFEST, MANIFEST_DIGEST]).map(|name| (name, self.dir.join(name)))
    }

    /// Writes all of it as a tar archive.
    pub fn write_tar(&self, out: impl io::Write) -> io::Result<()> {
        let mut tar = super::tar::TarWriter::new(out);
        let taken_s = self.manifest.taken_at_ms.div_euclid(1_000) as u64;
        for (name, path) in self.files() {
            let mut file = File::open(path)?;
            let bytes = file.metadata()?.len();
            tar.file(name, bytes, taken_s, &mut file)?;
        }
        tar.finish().map(drop)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// Once more when it is refused: it holds space until the next start otherwise.
fn remove(dir: &Path) {
    if std::fs::remove_dir_all(dir).is_err() {
        let _ = std::fs::remove_dir_all(dir);
    }
}

struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

pub(super) struct Taking<'a> {
    data: &'a Path,
    to: Removed,
    hard_link: &'a dyn Fn(&Path, &Path) -> io::Result<()>,
    findings: Vec<String>,
    events: u64,
}

impl<'a> Taking<'a> {
    pub(super) fn new(data: &'a Path, to: PathBuf, hard_link: &'a dyn Fn(&Path, &Path) -> io::Result<()>) -> Taking<'a> {
        Taking { data, to: Removed(to), hard_link, findings: Vec::new(), events: 0 }
    }

    fn take(&mut self, durable_last: &dyn Fn() -> Option<u64>) -> Result<Manifest, BackupError> {
        self.begin()?;
        self.finish(durable_last)
    }

    /// What goes first when a process works here.
    pub(super) fn begin(&mut self) -> Result<(), BackupError> {
        let folders = [DataFolder::EVENTS, DataFolder::UIDS, DataFolder::MODULES, DataFolder::JOURNAL, HELD_EVENTS, HELD_JOURNAL];
        for folder in folders {
            durable::make_dir(&self.to.0.join(folder))?;
        }
        self.hold_events()?;
        self.uids()?;
        self.hold_journal()
    }

    pub(super) fn finish(&mut self, durable_last: &dyn Fn() -> Option<u64>) -> Result<Manifest, BackupError> {
        let to = self.to.0.clone();
        let state = match copy::copy(&self.data.join(DataFolder::STATE), &to.join(DataFolder::STATE)) {
            Ok(state) => state,
            Err(StoreError::Damaged { path, what, .. }) => return Err(BackupError::Damaged(vec![format!("{}: {what}", path.display())])),
            Err(other) => return Err(other.into()),
        };
        self.findings.extend(state.findings.iter().map(|finding| format!("{}: {finding}", DataFolder::STATE)));
        self.events(&state)?;
        // Modules are there before the record that names them: so the records first, then the modules.
        let last = durable_last();
        self.modules()?;
        self.hold_journal()?;
        let journal_last = self.journal(&state, last)?;
        for held in [to.join(HELD_EVENTS), to.join(HELD_JOURNAL)] {
            std::fs::remove_dir_all(&held).map_err(StoreError::io("remove", &held))?;
        }
        if !self.findings.is_empty() {
            return Err(BackupError::Damaged(std::mem::take(&mut self.findings)));
        }
        self.manifest(&state, journal_last)
    }

    /// Links a file, or says that it is gone. Where the file system has no links it is copied, and copied again when it is asked
    /// for again: it may have grown.
    fn link(&self, from: &Path, to: &Path) -> Result<bool, StoreError> {
        match (self.hard_link)(from, to) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_one_file(from, to) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists || durable::has_no_links(&error) => {}
            Err(error) => return Err(StoreError::io("link", from)(error)),
        }
        let again = to.with_extension("again");
        match std::fs::copy(from, &again).and_then(|_| std::fs::rename(&again, to)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("copy", from)(error)),
        }
    }

    fn uids(&mut self) -> Result<(), BackupError> {
        let (from, to) = (self.data.join(DataFolder::UIDS), self.to.0.join(DataFolder::UIDS));
        let named = match known_uids::named_files(&from) {
            Ok(None) => return Ok(()),
            Ok(Some(named)) => named,
            Err(finding) => {
                self.findings.push(format!("{}/{finding}", DataFolder::UIDS));
                return Ok(());
            }
        };
        for (name, end_s, crc) in &named.files {
            if !self.link(&from.join(name), &to.join(name))? {
                return Err(BackupError::Moved);
            }
            if !known_uids::is_whole(&to.join(name), *end_s, *crc)? {
                self.findings.push(format!("{}/{name}: it is damaged, or another file in its place", DataFolder::UIDS));
            }
        }
        durable::write_atomically(&to.join(known_uids::MANIFEST), &named.bytes)?;
        Ok(())
    }

    /// The uids of an event file are read from it until they are in files of their own; then it may go, and the uids that are
    /// copied may be those of before. Where the file system has no links nothing is held.
    fn hold_events(&self) -> Result<(), BackupError> {
        let (from, to) = (self.data.join(DataFolder::EVENTS), self.to.0.join(HELD_EVENTS));
        for (_, name) in event_segments::files(&from)? {
            match (self.hard_link)(&from.join(&name), &to.join(&name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound || durable::has_no_links(&error) => {}
                linked => linked.map_err(StoreError::io("link", &from.join(&name)))?,
            }
        }
        Ok(())
    }

    /// They may be released as soon as the state has gone on.
    fn hold_journal(&self) -> Result<(), BackupError> {
        let (from, to) = (self.data.join(DataFolder::JOURNAL), self.to.0.join(HELD_JOURNAL));
        for name in journal_tail::names(&from)? {
            // One that was released meanwhile is not needed.
            self.link(&from.join(&name), &to.join(&name))?;
        }
        Ok(())
    }

    fn events(&mut self, state: &StateCopy) -> Result<(), BackupError> {
        let (from, to, held) = (self.data.join(DataFolder::EVENTS), self.to.0.join(DataFolder::EVENTS), self.to.0.join(HELD_EVENTS));
        let end = state.events_end;
        let there: BTreeMap<u32, String> = event_segments::files(&from)?.into_iter().chain(event_segments::files(&held)?).collect();
        for (number, name) in there.into_iter().filter(|(number, _)| *number <= end.segment) {
            let source = if from.join(&name).exists() { from.join(&name) } else { held.join(&name) };
            let target = to.join(&name);
            if number < end.segment {
                if !self.link(&source, &target)? && !self.link(&held.join(&name), &target)? {
                    continue;
                }
            } else if let Err(error) = copy_beginning(&source, &target, end.offset.into()) {
                match error.kind() {
                    io::ErrorKind::UnexpectedEof => {
                        self.findings.push(format!("{}/{name}: it ends before byte {}, where its rows end", DataFolder::EVENTS, end.offset))
                    }
                    _ => return Err(StoreError::io("copy", &source)(error).into()),
                }
                continue;
            }
            for (from, to) in event_segments::check_file(&target, number, end, &mut self.events)? {
                self.findings.push(format!("{}/{name}: bytes {from} to {to} are no whole rows", DataFolder::EVENTS));
            }
        }
        if end.segment > 0 && !to.join(event_segments::file_name(end.segment)).exists() && self.findings.is_empty() {
            self.findings.push(format!("{}/{}: it is not there", DataFolder::EVENTS, event_segments::file_name(end.segment)));
        }
        Ok(())
    }

    fn modules(&mut self) -> Result<(), BackupError> {
        let (from, to) = (self.data.join(DataFolder::MODULES), self.to.0.join(DataFolder::MODULES));
        for digest in modules::ModuleFiles::open(&from)?.list()? {
            if !self.link(&from.join(&digest), &to.join(&digest))? {
                continue;
            }
            let content = std::fs::read(to.join(&digest)).map_err(StoreError::io("read", &from.join(&digest)))?;
            if modules::digest(&content) != digest {
                self.findings.push(format!("{}/{digest}: its content has another digest", DataFolder::MODULES));
            }
        }
        Ok(())
    }

    fn journal(&mut self, state: &StateCopy, durable_last: Option<u64>) -> Result<u64, BackupError> {
        let (from, to) = (self.data.join(DataFolder::JOURNAL), self.to.0.join(DataFolder::JOURNAL));
        let held = &self.to.0.join(HELD_JOURNAL);
        let identity = from.join(journal_tail::IDENTITY);
        match std::fs::read(&identity) {
            Ok(content) if journal_tail::is_identity(&content) => durable::write_atomically(&to.join(journal_tail::IDENTITY), &content)?,
            Ok(_) => self.findings.push(format!("{}/{}: it has a wrong checksum", DataFolder::JOURNAL, journal_tail::IDENTITY)),
            Err(error) => self.findings.push(format!("{}/{}: {error}", DataFolder::JOURNAL, journal_tail::IDENTITY)),
        }
        let copied = journal_tail::copy(held, state.position, durable_last, &to)?;
        // Of a folder where nobody works, its watermark says how far it must reach.
        if let (None, Some(acked)) = (durable_last, journal_tail::acknowledged(&from)?)
            && copied.missing.is_none()
            && acked > copied.last
        {
            self.findings.push(format!("{}: records {} to {acked} were acknowledged and are not there", DataFolder::JOURNAL, copied.last + 1));
        }
        if let Some(gap) = copied.missing {
            // While a process works here, the records may be in a file that was made and released between two looks.
            let is_moved = durable_last.is_some() && journal_tail::holder_of(&from, gap.first)? != journal_tail::holder_of(held, gap.first)?;
            if is_moved {
                return Err(BackupError::Moved);
            }
            self.findings.push(format!("{}: records {} to {} cannot be read", DataFolder::JOURNAL, gap.first, gap.last));
        }
        Ok(copied.last)
    }

    fn manifest(&self, state: &StateCopy, journal_last: u64) -> Result<Manifest, BackupError> {
        let to = &self.to.0;
        let mut files = Vec::new();
        let mut names = vec![DataFolder::STATE.to_owned()];
        for folder in [DataFolder::EVENTS, DataFolder::UIDS, DataFolder::MODULES, DataFolder::JOURNAL] {
            names.extend(durable::names_with_suffix(&to.join(folder), "")?.into_iter().map(|name| format!("{folder}/{name}")));
        }
        for name in names {
            let path = to.join(&name);
            let hashed = File::open(&path).and_then(|mut file| copy_hashing(&mut file, &mut io::sink()));
            let (bytes, sha256) = hashed.map_err(StoreError::io("read", &path))?;
            files.push(FileEntry { name, bytes, sha256 });
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let manifest = Manifest {
            format: FORMAT,
            alertmill: env!("CARGO_PKG_VERSION").to_owned(),
            taken_at_ms: now.as_millis() as i64,
            position: state.position,
            received_at_ms: state.received_at_ms,
            journal_last,
            alerts: state.alerts,
            open_alerts: state.open_alerts,
            events: self.events,
            shipped_versions: SHIPPED_VERSIONS.to_owned(),
            files,
        };
        let (bytes, digest) = manifest.to_bytes();
        for (name, bytes) in [(MANIFEST, bytes), (MANIFEST_DIGEST, digest)] {
            durable::write_atomically(&to.join(name), &bytes)?;
        }
        Ok(manifest)
    }
}

/// Whether these are two names of one file.
fn is_one_file(one: &Path, other: &Path) -> bool {
    let of = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino()));
    matches!((of(one), of(other)), (Ok(one), Ok(other)) if one == other)
}

fn copy_beginning(from: &Path, to: &Path, bytes: u64) -> io::Result<()> {
    let mut out = durable::create_new(to)?;
    let copied = io::copy(&mut io::Read::take(File::open(from)?, bytes), &mut out)?;
    if copied == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
