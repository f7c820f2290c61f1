//! One immutable file of sorted uids that all end in the same hour, with its filter and fences in memory. A look-up that
//! passes the filter reads one page.
//!
//! `NAME.uids`, little endian: magic, format u32, crc of the keys u32, end of the hour i64 (s), count u64; then keys of 16
//! bytes, big endian, ascending.

use super::filter::Filter;
use crate::durable::{self, StoreError};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"ALRTUIDS";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 32;
const KEY_BYTES: usize = 16;
/// Keys between two fences: one page of the file.
const PAGE_KEYS: usize = 256;
const BUFFER_BYTES: usize = 256 << 10;

pub(super) struct Run {
    pub path: PathBuf,
    pub count: u64,
    file: File,
    filter: Filter,
    fences: Vec<u128>,
    /// Of each page, so that one that went bad since the file was opened is not taken for an answer.
    page_crcs: Vec<u32>,
    /// Of all keys, as its head says; the manifest says it too, so that no other file passes for this one.
    pub crc: u32,
}

impl Run {
    /// False: certainly not in it.
    pub fn may_hold(&self, key: u128) -> bool {
        self.filter.may_hold(key)
    }

    /// Looks a uid up in the file.
    pub fn holds(&self, key: u128) -> io::Result<bool> {
        let Some(page) = self.fences.partition_point(|fence| *fence <= key).checked_sub(1) else { return Ok(false) };
        let first = page * PAGE_KEYS;
        let keys = PAGE_KEYS.min(self.count as usize - first);
        let mut buffer = [0; PAGE_KEYS * KEY_BYTES];
        let bytes = &mut buffer[..keys * KEY_BYTES];
        self.file.read_exact_at(bytes, (HEADER_BYTES + first * KEY_BYTES) as u64)?;
        if self.page_crcs.get(page) != Some(&crc32c::crc32c(bytes)) {
            let why = format!("page {page} has a wrong checksum");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let (keys, _) = bytes.as_chunks::<KEY_BYTES>();
        Ok(keys.binary_search(&key.to_be_bytes()).is_ok())
    }

    pub fn memory_bytes(&self) -> usize {
        self.filter.bytes() + self.fences.len() * size_of::<u128>() + self.page_crcs.len() * size_of::<u32>()
    }

    /// Opens a file and reads all of it; `None` when it is damaged, or is not the one with this end and checksum.
    pub fn open(path: &Path, end_s: i64, crc: u32) -> Result<Option<Run>, StoreError> {
        match Keys::open(path) {
            Ok(mut keys) if keys.end_s == end_s && keys.crc_said == crc => {
                let mut building = Building::new(keys.count);
                let whole = (|| -> io::Result<bool> {
                    while let Some(key) = keys.next()? {
                        building.take(key);
                    }
                    Ok(keys.crc == keys.crc_said)
                })();
                match whole {
                    Ok(true) => Ok(Some(building.run(path, keys.file.into_inner(), crc))),
                    _ => Ok(None),
                }
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(StoreError::io("open", path)(error)),
            Err(_) => Ok(None),
        }
    }

    /// Writes sorted keys; the file is durable once its folder is synced.
    pub fn write(path: &Path, end_s: i64, keys: &[u128]) -> Result<Run, StoreError> {
        let mut keys = keys.iter().copied();
        Run::write_from(path, end_s, keys.len() as u64, || Ok(keys.next())).map_err(StoreError::io("write", path))
    }

    /// Writes two runs as one, without holding either in memory.
    pub fn merge(path: &Path, end_s: i64, a: &Run, b: &Run) -> Result<Run, StoreError> {
        let merge = || -> io::Result<Run> {
            let (mut a, mut b) = (Keys::open(&a.path)?, Keys::open(&b.path)?);
            let count = a.count + b.count;
            let (mut next_a, mut next_b) = (a.next()?, b.next()?);
            let merged = Run::write_from(path, end_s, count, || {
                let (x, y) = (next_a, next_b);
                // A key in both goes in once.
                if x.is_some_and(|x| y.is_none_or(|y| x <= y)) {
                    next_a = a.next()?;
                }
                if y.is_some_and(|y| x.is_none_or(|x| y <= x)) {
                    next_b = b.next()?;
                }
                Ok(x.into_iter().chain(y).min())
            })?;
            // Damage must not be given a checksum of its own.
            if a.crc != a.crc_said || b.crc != b.crc_said {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a file to be merged has a wrong checksum; restart: the start makes it anew"));
            }
            Ok(merged)
        };
        merge().map_err(StoreError::io("write", path))
    }

    fn write_from(path: &Path, end_s: i64, count: u64, mut next: impl FnMut() -> io::Result<Option<u128>>) -> io::Result<Run> {
        // A file of this name can only be left over from a crash before it was named in the manifest.
        let _ = std::fs::remove_file(path);
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, durable::create_new(path)?);
        out.write_all(&[0; HEADER_BYTES])?;
        let (mut building, mut crc) = (Building::new(count), 0);
        while let Some(key) = next()? {
            let bytes = key.to_be_bytes();
            crc = crc32c::crc32c_append(crc, &bytes);
            out.write_all(&bytes)?;
            building.take(key);
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        header[12..16].copy_from_slice(&crc.to_le_bytes());
        header[16..24].copy_from_slice(&end_s.to_le_bytes());
        header[24..].copy_from_slice(&building.count.to_le_bytes());
        file.write_all_at(&header, 0)?;
        file.sync_all()?;
        Ok(building.run(path, file, crc))
    }
}

/// What memory keeps of a file, while its keys go by.
struct Building {
    filter: Filter,
    fences: Vec<u128>,
    page_crcs: Vec<u32>,
    count: u64,
}

impl Building {
    fn new(keys: u64) -> Building {
        let pages = keys as usize / PAGE_KEYS + 1;
        Building { filter: Filter::with_capacity(keys), fences: Vec::with_capacity(pages), page_crcs: Vec::with_capacity(pages), count: 0 }
    }

    fn take(&mut self, key: u128) {
        if self.count.is_multiple_of(PAGE_KEYS as u64) {
            self.fences.push(key);
            self.page_crcs.push(0);
        }
        if let Some(crc) = self.page_crcs.last_mut() {
            *crc = crc32c::crc32c_append(*crc, &key.to_be_bytes());
        }
        self.filter.insert(key);
        self.count += 1;
    }

    fn run(self, path: &Path, file: File, crc: u32) -> Run {
        Run { path: path.to_path_buf(), count: self.count, file, filter: self.filter, fences: self.fences, page_crcs: self.page_crcs, crc }
    }
}

/// The keys of a file, one after the other.
struct Keys {
    file: BufReader<File>,
    end_s: i64,
    count: u64,
    left: u64,
    crc_said: u32,
    crc: u32,
}

impl Keys {
    fn open(path: &Path) -> io::Result<Keys> {
        let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header)?;
        let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or_default());
        let (format, crc_said) = (word(8) as u32, (word(8) >> 32) as u32);
        let count = word(24);
        let length = file.get_ref().metadata()?.len();
        if &header[..8] != MAGIC || format != FORMAT || length != count.saturating_mul(KEY_BYTES as u64).saturating_add(HEADER_BYTES as u64) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a uid file"));
        }
        Ok(Keys { file, end_s: word(16) as i64, count, left: count, crc_said, crc: 0 })
    }

    fn next(&mut self) -> io::Result<Option<u128>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut key = [0; KEY_BYTES];
        self.file.read_exact(&mut key)?;
        self.crc = crc32c::crc32c_append(self.crc, &key);
        self.left -= 1;
        Ok(Some(u128::from_be_bytes(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(from: u32, step: usize, n: usize) -> Vec<u128> {
        (0..n).map(|i| (u128::from(from) + (i * step) as u128) << 90).collect()
    }

    #[test]
    fn runs_merge_and_open_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = |n: u32| dir.path().join(format!("{n}.uids"));
        let (even, third) = (keys(2, 2, 3_000), keys(3, 3, 3_000));
        let a = Run::write(&path(1), 7_200, &even).unwrap();
        let b = Run::write(&path(2), 7_200, &third).unwrap();
        let merged = Run::merge(&path(3), 7_200, &a, &b).unwrap();
        let opened = Run::open(&path(3), 7_200, merged.crc).unwrap().unwrap();
        assert!(Run::open(&path(3), 7_200, a.crc).unwrap().is_none(), "another file in its place");
        assert_eq!(opened.count, merged.count);
        for n in 0..10_000u32 {
            let key = u128::from(n) << 90;
            let expected = even.contains(&key) || third.contains(&key);
            assert_eq!((merged.holds(key).unwrap(), opened.holds(key).unwrap()), (expected, expected), "{n}");
        }
    }

    #[test]
    fn a_flipped_bit_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.uids");
        let run = Run::write(&path, 7_200, &keys(1, 1, 3)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).unwrap();
            // The keys that are looked up now are not those that were written.
            assert_eq!(run.holds(1 << 90).is_err(), bit / 8 >= HEADER_BYTES, "bit {bit}");
            assert!(Run::open(&path, 7_200, run.crc).unwrap().is_none(), "bit {bit}");
        }
    }
}
