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
        let unfinished = path.with_extension(UNFINISHED);
        let file = create_anew(&unfinished)?;
        let fill = || {
            durable::preallocate(&file, bytes)?;
            FileExt::write_all_at(&file, content, 0)?;
            file.sync_all()?;
            name(&unfinished, path)
        };
        match fill() {
            Ok(()) => Ok(Box::new(file)),
            Err(error) => Err(forget(error, &unfinished, path)),
        }
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
        written.and_then(|()| name(unfinished, path)).map_err(|error| forget(error, unfinished, path))
    }
}

/// One that could not be removed after a failure would be in the way for ever.
fn create_anew(unfinished: &Path) -> io::Result<File> {
    match std::fs::remove_file(unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => durable::create_new(unfinished),
    }
}

fn name(unfinished: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(unfinished, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
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
