//! Durable file operations: what must be synced in which order so that a file is there after power loss, and the error
//! that says what failed, on which path, and what to do. Everything in this crate that touches a path goes through here.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A store that cannot be opened or changed. Its words are whole, so that it names no source: a report of the chain of causes would say
/// the system's words twice.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused a file operation.
    #[error("cannot {what} {}: {error}; {}", path.display(), remedy_of(error))]
    Io {
        /// The operation, such as `create`.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// Another process works in the folder.
    #[error("{} is in use by another process (its lock is held); stop that process, or give this one its own data folder", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file holds what it cannot hold.
    #[error("{} is damaged: {what}; {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the place.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A newer version wrote the file.
    #[error("{} has format {found}, this version knows up to {known}; run the newer version, or restore a copy from before it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The last one known here.
        known: u32,
    },
    /// A version that was never released wrote the file.
    #[error("{} has format {found}, of a version that was never released; this one writes {known}: move the data folder away and begin anew", path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The one known here.
        known: u32,
    },
    /// A restore into the folder was cut off.
    #[error("{} is not a whole data folder: a restore into it was cut off; remove it and restore again", path.display())]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// SQLite refused a statement.
    #[error("{}: cannot {what}: {error}{}", path.display(), remedy_of_sqlite(error))]
    Sqlite {
        /// The operation.
        what: &'static str,
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        error: rusqlite::Error,
    },
}

impl StoreError {
    /// Whether the disk has no space left.
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::Io { error, .. } => matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
            StoreError::Sqlite { error, .. } => !remedy_of_sqlite(error).is_empty(),
            _ => false,
        }
    }

    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_path_buf();
        move |error| StoreError::Io { what, path, error }
    }
}

fn remedy_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space on that disk",
        io::ErrorKind::PermissionDenied => "let the user of this process own the data folder",
        io::ErrorKind::ReadOnlyFilesystem => "mount that file system for writing",
        _ => "check the disk and the kernel log",
    }
}

fn remedy_of_sqlite(error: &rusqlite::Error) -> &'static str {
    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) { "; free space on that disk" } else { "" }
}

/// Makes a folder of mode 0700 with its parents. Its name is durable when this returns, and so are those of the parents
/// that were made: each is synced into the one above it. One that is there already may have been made by a process that was
/// killed before it synced, so its name is synced too.
pub(crate) fn make_dir(path: &Path) -> Result<(), StoreError> {
    make_dir_with(path, &sync_dir)
}

fn make_dir_with(path: &Path, sync: &dyn Fn(&Path) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => return Ok(()),
    };
    if path.is_dir() {
        return match sync(parent) {
            // A parent that this process may not read, or nobody may write, is in somebody else's care.
            Err(StoreError::Io { error, .. }) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => Ok(()),
            synced => synced,
        };
    }
    if !parent.is_dir() {
        make_dir_with(parent, sync)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made.map_err(StoreError::io("create folder", path))?,
    }
    sync(parent)
}

/// The folder that a path's name is in.
pub(crate) fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Syncs a folder, so that names made or removed in it stay so.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(StoreError::io("sync folder", path))
}

/// Makes a file of mode 0600 that must not be there yet. Its name is durable after [`sync_dir`].
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Whether a hard link was refused because the file system has none, or no more of that file, or the place is on another one.
pub(crate) fn has_no_links(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied | io::ErrorKind::TooManyLinks | io::ErrorKind::CrossesDevices)
}

/// Replaces a file as a whole: after a crash it holds the old or the new content, never a mixture.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = dir.join(name);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(StoreError::io("write", path))?;
    sync_dir(dir)
}

/// Removes files, then syncs their folder once.
pub(crate) fn remove_files(dir: &Path, paths: &[PathBuf]) -> Result<(), StoreError> {
    let (_, failed) = remove_in_order(dir, paths);
    failed.map_or(Ok(()), Err)
}

/// Removes files in this order up to the first that cannot be removed, then syncs their folder once. Gives how many are
/// gone, also when it fails.
pub(crate) fn remove_in_order(dir: &Path, paths: &[PathBuf]) -> (usize, Option<StoreError>) {
    let mut gone = 0;
    let mut failed = None;
    for path in paths {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                failed = Some(StoreError::io("remove", path)(error));
                break;
            }
            _ => gone += 1,
        }
    }
    if gone > 0 {
        failed = failed.or(sync_dir(dir).err());
    }
    (gone, failed)
}

/// Gives a file its blocks, so that later writes need not wait for the file system to find them. Where the file system
/// cannot, the file only becomes that long.
pub(crate) fn preallocate(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes),
        other => other.map_err(io::Error::from),
    }
}

/// Names in a folder that end in `suffix`, sorted; a folder that is not there has none.
pub(crate) fn names_with_suffix(dir: &Path, suffix: &str) -> Result<Vec<String>, StoreError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(StoreError::io("list", dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(StoreError::io("list", dir))?.file_name();
        if let Some(name) = name.to_str().filter(|name| name.ends_with(suffix)) {
            names.push(name.to_string());
        }
    }
    names.sort();
    Ok(names)
}

/// Bytes that nobody can guess.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], StoreError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; N];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(StoreError::io("read", path))?;
    Ok(bytes)
}

/// A folder held by this process; let go when dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock file at `path`, or says at once that another process has it.
    pub fn take(path: &Path) -> Result<FolderLock, StoreError> {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        FolderLock::lock(open.map_err(StoreError::io("open lock", path))?, path)
    }

    /// As [`take`](FolderLock::take), of a folder that may only be read; without a lock file nobody works there.
    pub(crate) fn take_if_there(path: &Path) -> Result<Option<FolderLock>, StoreError> {
        match File::open(path) {
            Ok(file) => FolderLock::lock(file, path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("open lock", path)(error)),
        }
    }

    fn lock(file: File, path: &Path) -> Result<FolderLock, StoreError> {
        match file.try_lock() {
            Ok(()) => Ok(FolderLock { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.to_path_buf() }),
            Err(std::fs::TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn what_the_system_said_is_said_once() {
        let error = StoreError::io("open", Path::new("state.sqlite"))(io::Error::from_raw_os_error(2));
        assert!(error.to_string().contains("os error 2") && std::error::Error::source(&error).is_none(), "{error}");
    }

    #[test]
    fn every_level_of_a_folder_is_synced() {
        let dir = tempfile::tempdir().unwrap();
        let leaf = dir.path().join("a/b/c");
        let synced = Mutex::new(Vec::new());
        let note = |path: &Path| {
            synced.lock().unwrap().push(path.strip_prefix(dir.path()).unwrap().display().to_string());
            sync_dir(path)
        };
        make_dir_with(&leaf, &note).unwrap();
        assert_eq!(*synced.lock().unwrap(), ["", "a", "a/b"]);
        synced.lock().unwrap().clear();
        make_dir_with(&leaf, &note).unwrap();
        assert_eq!(*synced.lock().unwrap(), ["a/b"], "who made it may have been killed before the sync");
        assert!(make_dir(Path::new("/")).is_ok());
        std::fs::write(dir.path().join("file"), b"").unwrap();
        assert!(make_dir(&dir.path().join("file")).is_err());
    }
}
