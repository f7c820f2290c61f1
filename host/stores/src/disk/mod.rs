//! The few file operations of whoever writes segment files, the journal and the event documents, behind a trait, so that
//! tests can let each of them fail.

#[cfg(test)]
pub(crate) mod faulty;

use crate::durable;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Makes segment files.
pub(crate) trait Disk: Send {
    /// Makes a preallocated file that begins with `content`, in the place of whatever has that name. The name appears only
    /// when all of it is durable: a segment of the journal replaces what those before it hold of the same ordinals, so it
    /// must never be seen without its records.
    fn create(&self, path: &Path, bytes: u64, content: &[u8]) -> io::Result<Box<dyn SegmentFile>>;
}

/// A segment that is being written.
pub(crate) trait SegmentFile: Send {
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
        // One that could not be removed after a failure would be in the way for ever.
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = durable::create_new(&unfinished)?;
        let fill = || {
            durable::preallocate(&file, bytes)?;
            FileExt::write_all_at(&file, content, 0)?;
            file.sync_all()?;
            std::fs::rename(&unfinished, path)?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        match fill() {
            Ok(()) => Ok(Box::new(file)),
            Err(error) => {
                // Its records are with whoever asked, who says that they were not taken: neither name may stay.
                let _ = std::fs::remove_file(&unfinished);
                let _ = std::fs::remove_file(path);
                Err(error)
            }
        }
    }
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
