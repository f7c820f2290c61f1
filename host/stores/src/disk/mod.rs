//! The few file operations of whoever writes segment files, the journal and the event documents, behind a trait, so that
//! tests can let each of them fail.

mod aside;
#[cfg(test)]
pub(crate) mod faulty;

pub(crate) use aside::{Aside, Pending};

use crate::durable;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Makes segment files.
pub(crate) trait Disk: Send + Sync {
    /// Makes a preallocated file that begins with `content`, in the place of whatever has that name. The name appears only
    /// when all of it is durable: a segment of the journal replaces what those before it hold of the same ordinals, so it
    /// must never be seen without its records.
    fn create(&self, path: &Path, bytes: u64, content: &[u8]) -> io::Result<Box<dyn SegmentFile>>;

    /// As [`create`](Disk::create), for a file whose old content is true as well: when it fails, the old or the new one is there.
    fn replace(&self, path: &Path, bytes: u64, content: &[u8]) -> io::Result<Box<dyn SegmentFile>>;

    /// Makes a preallocated file of zeros under a name that does not count, ahead of the time when it is wanted.
    fn prepare(&self, unfinished: &Path, bytes: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// As [`create`](Disk::create), with a file that was prepared: two syncs instead of the making of a file. After a failure
    /// neither name is there, and the file is not to be used.
    fn finish(&self, prepared: &dyn SegmentFile, unfinished: &Path, path: &Path, content: &[u8]) -> io::Result<()>;
}

/// A segment that is being written.
pub(crate) trait SegmentFile: Send + Sync {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    fn sync_data(&self) -> io::Result<()>;
    fn set_len(&self, bytes: u64) -> io::Result<()>;
}

/// Extension of a segment that does not count yet.
pub(crate) const UNFINISHED: &str = "unfinished";

pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path, bytes: u64, content: &[u8]) -> io::Result<Box<dyn SegmentFile>> {
        make(path, bytes, content, &sync_folder_of).map_err(|error| forget(error, &path.with_extension(UNFINISHED), path))
    }

    fn replace(&self, path: &Path, bytes: u64, content: &[u8]) -> io::Result<Box<dyn SegmentFile>> {
        replace_with(path, bytes, content, &sync_folder_of)
    }

    fn prepare(&self, unfinished: &Path, bytes: u64) -> io::Result<Box<dyn SegmentFile>> {
        let file = create_anew(unfinished)?;
        let filled = durable::preallocate(&file, bytes).and_then(|()| file.sync_all());
        match filled {
            Ok(()) => Ok(Box::new(file)),
            Err(error) => Err(forget(error, unfinished, unfinished)),
        }
    }

    fn finish(&self, prepared: &dyn SegmentFile, unfinished: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
        let written = prepared.write_all_at(content, 0).and_then(|()| prepared.sync_data());
        written.and_then(|()| name(unfinished, path, &sync_folder_of)).map_err(|error| forget(error, unfinished, path))
    }
}

/// One that could not be removed after a failure would be in the way for ever.
fn create_anew(unfinished: &Path) -> io::Result<File> {
    match std::fs::remove_file(unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => durable::create_new(unfinished),
    }
}

fn make(path: &Path, bytes: u64, content: &[u8], sync_folder_of: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<Box<dyn SegmentFile>> {
    let unfinished = path.with_extension(UNFINISHED);
    let file = create_anew(&unfinished)?;
    durable::preallocate(&file, bytes)?;
    FileExt::write_all_at(&file, content, 0)?;
    file.sync_all()?;
    name(&unfinished, path, sync_folder_of)?;
    Ok(Box::new(file))
}

fn replace_with(path: &Path, bytes: u64, content: &[u8], sync_folder_of: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<Box<dyn SegmentFile>> {
    let unfinished = path.with_extension(UNFINISHED);
    make(path, bytes, content, sync_folder_of).map_err(|error| forget(error, &unfinished, &unfinished))
}

fn name(unfinished: &Path, path: &Path, sync_folder_of: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    std::fs::rename(unfinished, path)?;
    sync_folder_of(path)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(durable::parent_of(path))?.sync_all()
}

/// Its records are with whoever asked, who says that they were not taken: neither name may stay.
fn forget(error: io::Error, unfinished: &Path, path: &Path) -> io::Error {
    let _ = std::fs::remove_file(unfinished);
    let _ = std::fs::remove_file(path);
    error
}

impl SegmentFile for File {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }
    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replaced_is_never_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        RealDisk.replace(&path, 3, b"one").unwrap();
        let refused = || Err(io::Error::other("the folder cannot be synced"));
        assert!(replace_with(&path, 3, b"two", &|_| refused()).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        // Before it has its name: its temporary one is taken by a folder.
        std::fs::create_dir(path.with_extension(UNFINISHED)).unwrap();
        assert!(RealDisk.replace(&path, 5, b"three").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }
}
