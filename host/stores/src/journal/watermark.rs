//! The watermark: a small file beside the segments that says how far senders were answered. A frame tells that the groups before
//! its own were durable, and nothing tells it of the last group, nor of a last file that is gone: without this file such a
//! loss would look like a write that a crash cut.
//!
//! It is written after each group, before anyone is answered, which costs a write into memory; so it is exact after a kill. It
//! is synced when the journal rests, and once in a while under load; so after a loss of power it is a little behind, and never
//! ahead of what is durable. Its failure loses nothing and refuses nobody.
//!
//! Two slots, a block apart, are written in turns from sync to sync: magic, format u32, crc u32, ordinal u64, little endian.

use crate::disk::{Disk, SegmentFile};
use crate::durable::StoreError;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Its name in the journal's folder.
pub(super) const NAME: &str = "watermark";
const MAGIC: &[u8; 8] = b"ALRTMARK";
const FORMAT: u32 = 1;
const SLOT_BYTES: usize = 24;
const SLOTS_APART: usize = 4096;

/// It is synced when no group came for so long.
const AT_REST: Duration = Duration::from_millis(50);
/// And under load when it was not for so long,
const AT_LEAST_EVERY: Duration = Duration::from_secs(1);
/// or, where syncs are slow, when so many times the duration of the last one went by: it takes a hundredth of the time.
const SHARE: u32 = 100;

fn encode(ordinal: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(MAGIC);
    slot[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    slot[16..].copy_from_slice(&ordinal.to_le_bytes());
    let crc = crc_of(&slot);
    slot[12..16].copy_from_slice(&crc.to_le_bytes());
    slot
}

/// A whole file of its own, for a copy of a journal.
pub(super) fn content(ordinal: u64) -> Vec<u8> {
    let mut content = encode(ordinal).to_vec();
    content.resize(2 * SLOTS_APART, 0);
    content
}

fn crc_of(slot: &[u8; SLOT_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&slot[..12]), &slot[16..])
}

/// The ordinal in a slot, or the newer format that it has.
fn decode(slot: &[u8; SLOT_BYTES]) -> Option<Result<u64, u32>> {
    let number = |at: usize| u32::from_le_bytes([slot[at], slot[at + 1], slot[at + 2], slot[at + 3]]);
    if &slot[..8] != MAGIC || number(12) != crc_of(slot) {
        return None;
    }
    match number(8) {
        FORMAT => Some(Ok(u64::from(number(16)) | u64::from(number(20)) << 32)),
        newer => Some(Err(newer)),
    }
}

/// The last ordinal that was acknowledged for certain; `None` when there is no watermark that can be read.
pub(super) fn read(dir: &Path) -> Result<Option<u64>, StoreError> {
    let path = dir.join(NAME);
    let Ok(bytes) = std::fs::read(&path) else { return Ok(None) };
    let mut highest = None;
    for at in [0, SLOTS_APART] {
        match bytes.get(at..).and_then(|rest| rest.first_chunk()).and_then(decode) {
            Some(Ok(ordinal)) => highest = highest.max(Some(ordinal)),
            Some(Err(found)) => return Err(StoreError::Newer { path, found, known: FORMAT }),
            None => {}
        }
    }
    Ok(highest)
}

/// The writer's side.
pub(super) struct Watermark {
    file: Option<Box<dyn SegmentFile>>,
    slot: usize,
    /// When the oldest and the newest ordinal that is not synced were written.
    unsynced: Option<(Instant, Instant)>,
    sync_took: Duration,
    /// What all of it has cost so far.
    pub spent: Duration,
    /// How often it was synced.
    pub syncs: u64,
}

impl Watermark {
    /// None yet; nothing is written before [`Watermark::renew`].
    pub fn new() -> Watermark {
        Watermark { file: None, slot: 0, unsynced: None, sync_took: Duration::ZERO, spent: Duration::ZERO, syncs: 0 }
    }

    /// Makes a new file in the place of the old one, unless there is one that works. All up to `ordinal` is durable.
    pub fn renew(&mut self, disk: &dyn Disk, dir: &Path, ordinal: u64) {
        if self.file.is_none() {
            match disk.replace(&dir.join(NAME), (2 * SLOTS_APART) as u64, &encode(ordinal)) {
                Ok(file) => (self.file, self.slot, self.unsynced) = (Some(file), 1, None),
                Err(error) => self.failed(&error),
            }
        }
    }

    /// All up to `ordinal` is durable.
    pub fn advance(&mut self, ordinal: u64) {
        let Some(file) = &self.file else { return };
        let began = Instant::now();
        match file.write_all_at(&encode(ordinal), (self.slot * SLOTS_APART) as u64) {
            Ok(()) => {
                let now = Instant::now();
                self.unsynced = Some((self.unsynced.map_or(now, |(since, _)| since), now));
                self.spent += now - began;
            }
            Err(error) => self.failed(&error),
        }
    }

    /// How long the journal must rest until it is to be synced; `None` when there is nothing to sync.
    pub fn rests_for(&self) -> Option<Duration> {
        self.unsynced.map(|(_, written)| AT_REST.saturating_sub(written.elapsed()))
    }

    /// Whether it is to be synced although the journal does not rest.
    pub fn is_overdue(&self) -> bool {
        self.unsynced.is_some_and(|(since, _)| since.elapsed() >= AT_LEAST_EVERY.max(self.sync_took * SHARE))
    }

    /// Syncs what was written.
    pub fn sync(&mut self) {
        let (Some(file), Some(_)) = (&self.file, self.unsynced) else { return };
        let began = Instant::now();
        match file.sync_data() {
            Ok(()) => {
                (self.sync_took, self.unsynced, self.slot) = (began.elapsed(), None, 1 - self.slot);
                (self.spent, self.syncs) = (self.spent + self.sync_took, self.syncs + 1);
            }
            Err(error) => self.failed(&error),
        }
    }

    /// The file is never used again. What it says stays true: what is durable only grows.
    fn failed(&mut self, error: &io::Error) {
        tracing::warn!(%error, "the journal's watermark cannot be written; the next segment tries again, and records are safe without it");
        (self.file, self.unsynced) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn what_was_written_last_is_read_and_damage_falls_back_to_the_sync_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        assert_eq!(read(dir.path()).unwrap(), None);
        let mut watermark = Watermark::new();
        watermark.advance(1);
        assert!(read(dir.path()).unwrap().is_none() && watermark.rests_for().is_none(), "there is no file yet");
        watermark.renew(&RealDisk, dir.path(), 7);
        assert_eq!((read(dir.path()).unwrap(), watermark.rests_for()), (Some(7), None));
        for ordinal in [8, 9] {
            watermark.advance(ordinal);
            assert!(read(dir.path()).unwrap() == Some(ordinal) && watermark.rests_for().is_some() && !watermark.is_overdue());
        }
        watermark.sync();
        assert_eq!(watermark.rests_for(), None);
        watermark.advance(10);
        let bytes = std::fs::read(&path).unwrap();
        for bit in 0..SLOT_BYTES * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            assert_eq!(read(dir.path()).unwrap(), Some(9), "bit {bit} of the newest slot");
        }
        for end in 0..SLOT_BYTES {
            std::fs::write(&path, &bytes[..end]).unwrap();
            assert_eq!(read(dir.path()).unwrap(), None, "cut at {end}");
        }
        let mut newer = bytes.clone();
        newer[8] = 2;
        let crc = crc_of(newer.first_chunk().unwrap());
        newer[12..16].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(&path, newer).unwrap();
        assert!(matches!(read(dir.path()), Err(StoreError::Newer { found: 2, known: 1, .. })));
    }
}
