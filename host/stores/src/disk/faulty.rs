//! A disk whose operations fail or wait when a test says so.

use super::{Disk, RealDisk, SegmentFile};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Which of the operations of one kind fail, counted from 1.
#[derive(Default, Clone)]
pub(crate) struct Failing {
    at: Vec<u32>,
    seen: Arc<AtomicU32>,
}

impl Failing {
    pub fn at(numbers: &[u32]) -> Failing {
        Failing { at: numbers.to_vec(), seen: Arc::default() }
    }

    fn is_next(&self) -> bool {
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        self.at.contains(&number)
    }
}

#[derive(Default, Clone)]
pub(crate) struct FaultyDisk {
    pub syncs: Failing,
    /// Creations, and names given to prepared files.
    pub creates: Failing,
    pub prepares: Failing,
    /// A file was written or synced after its sync had failed.
    pub used_after_failure: Arc<AtomicBool>,
    /// Writes, syncs and creations of the journal's watermark fail as long as it is set; the numbers do not count them.
    pub watermark_fails: Arc<AtomicBool>,
    /// How often the watermark was synced.
    pub watermark_syncs: Arc<AtomicU32>,
    /// Syncs wait as long as it is set.
    pub hold: Arc<AtomicBool>,
}

struct FaultyFile {
    file: Box<dyn SegmentFile>,
    disk: FaultyDisk,
    failed: AtomicBool,
}

/// Lets other threads go on until `is_over`; a test that waits in vain fails instead of running for ever.
pub(crate) fn yield_until(what: &str, is_over: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_over() {
        assert!(Instant::now() < deadline, "waited a minute for {what}");
        std::thread::yield_now();
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path, bytes: u64, content: &[u8]) -> io::Result<Box<dyn SegmentFile>> {
        if self.creates.is_next() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(self.faulty(RealDisk.create(path, bytes, content)?))
    }

    fn replace(&self, path: &Path, bytes: u64, content: &[u8]) -> io::Result<Box<dyn SegmentFile>> {
        refuse(&self.watermark_fails)?;
        Ok(Box::new(FaultyWatermark { file: RealDisk.replace(path, bytes, content)?, disk: self.clone() }))
    }

    fn prepare(&self, unfinished: &Path, bytes: u64) -> io::Result<Box<dyn SegmentFile>> {
        if self.prepares.is_next() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(self.faulty(RealDisk.prepare(unfinished, bytes)?))
    }

    fn finish(&self, prepared: &dyn SegmentFile, unfinished: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
        if self.creates.is_next() {
            std::fs::remove_file(unfinished)?;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        RealDisk.finish(prepared, unfinished, path, content)
    }
}

impl FaultyDisk {
    fn faulty(&self, file: Box<dyn SegmentFile>) -> Box<dyn SegmentFile> {
        Box::new(FaultyFile { file, disk: self.clone(), failed: AtomicBool::new(false) })
    }
}

struct FaultyWatermark {
    file: Box<dyn SegmentFile>,
    disk: FaultyDisk,
}

fn refuse(fails: &AtomicBool) -> io::Result<()> {
    if fails.load(Ordering::SeqCst) { Err(io::Error::other("input/output error")) } else { Ok(()) }
}

impl SegmentFile for FaultyWatermark {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        refuse(&self.disk.watermark_fails)?;
        self.file.write_all_at(bytes, at)
    }
    fn sync_data(&self) -> io::Result<()> {
        refuse(&self.disk.watermark_fails)?;
        self.disk.watermark_syncs.fetch_add(1, Ordering::SeqCst);
        self.file.sync_data()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
}

impl FaultyFile {
    fn use_it(&self) {
        if self.failed.load(Ordering::SeqCst) {
            self.disk.used_after_failure.store(true, Ordering::SeqCst);
        }
    }
}

impl SegmentFile for FaultyFile {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.use_it();
        self.file.write_all_at(bytes, at)
    }
    fn sync_data(&self) -> io::Result<()> {
        yield_until("the test to let go", || !self.disk.hold.load(Ordering::SeqCst));
        self.use_it();
        if self.disk.syncs.is_next() {
            self.failed.store(true, Ordering::SeqCst);
            return Err(io::Error::other("input/output error"));
        }
        self.file.sync_data()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
}
