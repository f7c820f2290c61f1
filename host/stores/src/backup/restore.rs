//! A data folder from a backup. Everything is checked before the target is touched, and checked again as it is written.

use super::keep::{Found, sync_folders};
use super::manifest::{FileEntry, MANIFEST, MANIFEST_DIGEST, Manifest, copy_hashing};
use super::{BackupError, journal_tail, tar};
use crate::durable::{self, FolderLock, StoreError};
use crate::folder::DataFolder;
use crate::modules::{self, ModuleFiles};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Of the backup.
    pub manifest: Manifest,
    /// The last record that the folder holds; those behind the state's position are replayed by the first start.
    pub journal_last: u64,
}

/// In a folder that is not whole yet.
const UNFINISHED: &str = "restore-unfinished";
/// In the root of some file systems; nobody but root may look into it.
pub(super) const LOST_AND_FOUND: &str = "lost+found";
/// The backup's manifest, in the restored folder.
const RESTORED: &str = "restored.json";

/// A folder that a restore was filling when it was killed is no data folder.
pub(crate) fn refuse_unfinished(dir: &Path) -> Result<(), StoreError> {
    if dir.join(UNFINISHED).exists() { Err(StoreError::Unfinished { path: dir.to_path_buf() }) } else { Ok(()) }
}

/// Makes `data_dir` of the backup at `from`, a folder or a tar archive. It must be not there, empty, or what a restore left that
/// was cut off. With `journal`, a journal's folder that goes on where the backup ends, its records are taken over and replayed by
/// the first start.
pub fn restore(from: &Path, data_dir: &Path, journal: Option<&Path>) -> Result<Restored, BackupError> {
    let is_there = is_to_be_filled(data_dir)?;
    let source = Source::of(from)?;
    // What is there is held and marked before the long look at the backup: nobody begins to work in it meanwhile.
    let in_place = is_there.then(|| Target::in_place(data_dir)).transpose()?;
    let manifest = source.check()?;
    let target = in_place.map_or_else(|| Target::beside(data_dir), Ok)?;
    let mark = target.dir.join(UNFINISHED);
    source.extract(&manifest, &target.dir)?;
    let mut journal_last = manifest.journal_last;
    if let Some(journal) = journal {
        journal_last = take_over(journal, &target.dir, &manifest)?;
    }
    let note = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
    durable::write_atomically(&target.dir.join(RESTORED), &note)?;
    sync_folders(&target.dir)?;
    std::fs::remove_file(&mark).map_err(StoreError::io("remove", &mark))?;
    durable::sync_dir(&target.dir)?;
    target.finish(data_dir)?;
    Ok(Restored { manifest, journal_last })
}

fn is_empty(dir: &Path) -> bool {
    let is_nobodys =
        |entry: io::Result<std::fs::DirEntry>| entry.is_ok_and(|entry| [LOST_AND_FOUND, DataFolder::LOCK].iter().any(|name| entry.file_name() == *name));
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.all(is_nobodys))
}

/// Whether there is a folder to be filled; refuses anything else but nothing.
fn is_to_be_filled(data_dir: &Path) -> Result<bool, BackupError> {
    match data_dir.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Ok(found) if found.is_dir() && (is_empty(data_dir) || data_dir.join(UNFINISHED).exists()) => Ok(true),
        _ => Err(BackupError::Refused(format!("{} is not an empty folder; restore into one that is empty or not there", data_dir.display()))),
    }
}

/// What is filled.
struct Target {
    dir: PathBuf,
    /// It is the data folder itself, as a mounted volume must be: nothing can take the name of one.
    is_in_place: bool,
    is_finished: bool,
    /// No server and no other restore works there meanwhile.
    _lock: FolderLock,
}

impl Target {
    /// The folder that is there, emptied of what a restore left.
    fn in_place(data_dir: &Path) -> Result<Target, BackupError> {
        Target::held(data_dir.to_path_buf(), true, &[UNFINISHED])
    }

    /// Takes the folder, unless it is somebody's: neither empty nor one with a mark in it. Empties and marks it.
    fn held(dir: PathBuf, is_in_place: bool, marks: &[&str]) -> Result<Target, BackupError> {
        let lock = FolderLock::take(&dir.join(DataFolder::LOCK))?;
        let mark = dir.join(UNFINISHED);
        // Nobody may have come before the lock was ours.
        if !is_empty(&dir) && !marks.iter().any(|name| dir.join(name).exists()) {
            return Err(BackupError::Refused(format!(
                "{} is not empty, and no restore left what is in it; restore into a folder that is empty or not there",
                dir.display()
            )));
        }
        if !mark.exists() {
            durable::create_new(&mark).map_err(StoreError::io("create", &mark))?;
            durable::sync_dir(&dir)?;
        }
        let target = Target { dir, is_in_place, is_finished: false, _lock: lock };
        remove_all_but_mark(&target.dir)?;
        Ok(target)
    }

    /// A folder beside the one that is not there.
    fn beside(data_dir: &Path) -> Result<Target, BackupError> {
        let name = data_dir.file_name().ok_or_else(|| BackupError::Refused(format!("{} is no name for a data folder", data_dir.display())))?;
        durable::make_dir(durable::parent_of(data_dir))?;
        let dir = data_dir.with_file_name(format!(".{}.restoring", name.to_string_lossy()));
        if dir.exists() && !is_empty(&dir) && ![UNFINISHED, RESTORED].iter().any(|name| dir.join(name).exists()) {
            return Err(BackupError::Refused(format!("{} is in the way, and no restore made it; move it away", dir.display())));
        }
        durable::make_dir(&dir)?;
        Target::held(dir, false, &[UNFINISHED, RESTORED])
    }

    fn finish(mut self, data_dir: &Path) -> Result<(), BackupError> {
        if !self.is_in_place {
            std::fs::rename(&self.dir, data_dir).map_err(StoreError::io("name", data_dir))?;
            durable::sync_dir(durable::parent_of(data_dir))?;
        }
        self.is_finished = true;
        Ok(())
    }
}

/// The mark goes last: what is cut off again is still known for half a folder. The lock is ours.
fn remove_all_but_mark(dir: &Path) -> Result<(), StoreError> {
    for name in durable::names_with_suffix(dir, "")?.iter().filter(|name| ![UNFINISHED, LOST_AND_FOUND, DataFolder::LOCK].contains(&name.as_str())) {
        let path = dir.join(name);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(StoreError::io("remove", &path))?;
    }
    Ok(())
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_finished && !self.is_in_place {
            let _ = std::fs::remove_dir_all(&self.dir);
        } else if !self.is_finished && remove_all_but_mark(&self.dir).is_ok() {
            let _ = std::fs::remove_file(self.dir.join(UNFINISHED));
        }
    }
}

enum Source {
    Folder(PathBuf),
    Tar(PathBuf),
}

impl Source {
    fn of(from: &Path) -> Result<Source, BackupError> {
        let found = from.metadata().map_err(StoreError::io("look at", from))?;
        Ok(if found.is_dir() { Source::Folder(from.to_path_buf()) } else { Source::Tar(from.to_path_buf()) })
    }

    /// Gives every file to `take`.
    fn read(&self, mut take: impl FnMut(&str, &mut dyn Read) -> io::Result<()>) -> Result<(), BackupError> {
        match self {
            Source::Tar(path) => {
                let file = File::open(path).map_err(StoreError::io("open", path))?;
                let read = tar::read(io::BufReader::with_capacity(256 << 10, file), |name, _, content| take(name, content));
                read.map_err(|error| BackupError::Refused(format!("{} is no whole backup: {error}", path.display())))
            }
            Source::Folder(dir) => {
                for name in files_below(dir)? {
                    let path = dir.join(&name);
                    let read = File::open(&path).and_then(|mut file| take(&name, &mut file));
                    read.map_err(|error| BackupError::Refused(format!("{}: {error}", path.display())))?;
                }
                Ok(())
            }
        }
    }

    fn check(&self) -> Result<Manifest, BackupError> {
        let mut found = Found::default();
        self.read(|name, content| found.take(name, content, &mut io::sink()))?;
        found.check()
    }

    fn extract(&self, manifest: &Manifest, to: &Path) -> Result<(), BackupError> {
        self.read(|name, content| {
            if name == MANIFEST || name == MANIFEST_DIGEST {
                return io::copy(content, &mut io::sink()).map(drop);
            }
            let path = to.join(name);
            if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
                use std::os::unix::fs::DirBuilderExt;
                std::fs::DirBuilder::new().mode(0o700).create(folder)?;
            }
            let mut out = durable::create_new(&path)?;
            let (bytes, sha256) = copy_hashing(content, &mut out)?;
            out.sync_all()?;
            let is_same = manifest.files.contains(&FileEntry { name: name.to_owned(), bytes, sha256 });
            if is_same { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "it changed while it was restored")) }
        })
    }
}

/// Names of all files of a backup that is a folder.
fn files_below(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut files = Vec::new();
    for name in durable::names_with_suffix(dir, "")? {
        if dir.join(&name).is_dir() {
            files.extend(durable::names_with_suffix(&dir.join(&name), "")?.into_iter().map(|file| format!("{name}/{file}")));
        } else {
            files.push(name);
        }
    }
    Ok(files)
}

/// Takes the modules and tables that the records taken over name and the backup has not, from the folder beside their journal.
/// Without them the first start could never go on.
fn take_modules(journal: &Path, taken: &Path, position: u64, target: &Path) -> Result<(), BackupError> {
    let mut named = modules::Named::default();
    journal_tail::each(taken, position, |payload| named.by(payload))?;
    let own = ModuleFiles::open(&target.join(DataFolder::MODULES))?;
    let beside = journal.canonicalize().map_err(StoreError::io("look at", journal))?.with_file_name(DataFolder::MODULES);
    let theirs = beside.is_dir().then(|| ModuleFiles::open(&beside)).transpose()?;
    let mut missing = Vec::new();
    for digest in named.all() {
        if own.get(&digest)?.is_some() {
            continue;
        }
        match theirs.as_ref().map(|theirs| theirs.get(&digest)).transpose() {
            Ok(Some(Some(content))) => own.put(&content).map(drop)?,
            Ok(_) => missing.push(format!("{digest}: it is not there")),
            Err(StoreError::Damaged { what, .. }) => missing.push(format!("{digest}: {what}")),
            Err(other) => return Err(other.into()),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let (journal, beside, missing) = (journal.display(), beside.display(), missing.join("; "));
    Err(BackupError::Refused(format!(
        "{journal}: its records name rule modules or tables that neither the backup nor {beside} has: {missing}; put them there (a file's name is the SHA-256 of its content), or restore without --journal"
    )))
}

/// Puts the records of another copy of the same journal in the place of the backup's, if they go on where it ends.
fn take_over(journal: &Path, target: &Path, manifest: &Manifest) -> Result<u64, BackupError> {
    let own = target.join(DataFolder::JOURNAL);
    let refused = |why: String| BackupError::Refused(format!("{}: {why}", journal.display()));
    let read = |dir: &Path| std::fs::read(dir.join(journal_tail::IDENTITY)).map_err(StoreError::io("read", &dir.join(journal_tail::IDENTITY)));
    if read(journal)? != read(&own)? {
        return Err(refused("it is another journal: its identity is not the backup's".to_owned()));
    }
    // What a process appends there meanwhile would be in no copy.
    let _lock = journal_tail::hold(journal)?;
    let taken = target.join("journal-taken");
    durable::make_dir(&taken)?;
    let (position, last) = (manifest.position, manifest.journal_last);
    let theirs = journal_tail::copy_comparing(journal, position, None, &taken, last)?;
    if let Some(gap) = theirs.missing {
        return Err(refused(format!("records {} to {} cannot be read", gap.first, gap.last)));
    }
    // Nothing later tells of its end; a new watermark would say that it is whole.
    if let Some(acked) = journal_tail::acknowledged(journal)?.filter(|acked| *acked > theirs.last) {
        return Err(refused(format!("records {} to {acked} were acknowledged and are not there", theirs.last + 1)));
    }
    if theirs.last < last {
        return Err(refused(format!("it ends with record {}, and the backup with {last}", theirs.last)));
    }
    take_modules(journal, &taken, position, target)?;
    let compared = target.join("journal-compared");
    durable::make_dir(&compared)?;
    let ours = journal_tail::copy_comparing(&own, position, None, &compared, last)?;
    std::fs::remove_dir_all(&compared).map_err(StoreError::io("remove", &compared))?;
    if ours.crc_until != theirs.crc_until {
        return Err(refused(format!("its records {} to {last} are not those of the backup", position + 1)));
    }
    let old: Vec<PathBuf> = journal_tail::names(&own)?.iter().map(|name| own.join(name)).collect();
    durable::remove_files(&own, &old)?;
    for name in journal_tail::names(&taken)?.into_iter().chain([journal_tail::WATERMARK.to_owned()]) {
        std::fs::rename(taken.join(&name), own.join(&name)).map_err(StoreError::io("move", &taken.join(&name)))?;
    }
    std::fs::remove_dir_all(&taken).map_err(StoreError::io("remove", &taken))?;
    durable::sync_dir(&own)?;
    Ok(theirs.last)
}
