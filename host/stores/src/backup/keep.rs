//! Where a backup is kept: a folder, or one file that ends in `.tar`. Under a temporary name until all of it is synced.

use super::manifest::{MANIFEST, MANIFEST_DIGEST, Manifest, copy_hashing, is_data_file};
use super::restore::LOST_AND_FOUND;
use super::{BackupError, Snapshot, tar};
use crate::durable::{self, StoreError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Keeps a snapshot at `to`, which must not be there.
pub fn keep(snapshot: &Snapshot, to: &Path) -> Result<(), BackupError> {
    let place = Place::take(to)?;
    if place.is_tar {
        let mut file = place.file()?;
        snapshot.write_tar(io::BufWriter::with_capacity(256 << 10, &mut file)).map_err(StoreError::io("write", &place.unfinished))?;
    } else {
        for (name, path) in snapshot.files() {
            let mut source = File::open(&path).map_err(StoreError::io("open", &path))?;
            place.copy(name, &mut source)?;
        }
    }
    place.finish()
}

/// Keeps a backup that comes as a tar archive at `to`, which must not be there; gives its manifest. Everything is checked
/// against the manifest before it gets its name.
pub fn receive(from: impl Read, to: &Path) -> Result<Manifest, BackupError> {
    let place = Place::take(to)?;
    let mut found = Found::default();
    let read = if place.is_tar {
        let mut file = place.file()?;
        let mut writer = io::BufWriter::with_capacity(256 << 10, &mut file);
        let read = tar::read(Tee { from, to: &mut writer }, |name, _, content| found.take(name, content, &mut io::sink()));
        read.and_then(|()| writer.flush())
    } else {
        tar::read(from, |name, _, content| {
            found.name_is_fine(name)?;
            let mut out = place.create(name)?;
            found.take(name, content, &mut out)?;
            out.sync_all()
        })
    };
    read.map_err(|error| BackupError::Refused(format!("the backup did not come whole: {error}")))?;
    let manifest = found.check()?;
    place.finish()?;
    Ok(manifest)
}

/// Digests of the files that came by, to be compared with the manifest.
#[derive(Default)]
pub(super) struct Found {
    files: BTreeMap<String, (u64, String)>,
    manifest: Vec<u8>,
    digest: Vec<u8>,
}

impl Found {
    pub fn name_is_fine(&self, name: &str) -> io::Result<()> {
        let is_fine = (is_data_file(name) || name == MANIFEST || name == MANIFEST_DIGEST) && !self.files.contains_key(name);
        if is_fine { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, format!("{name:?} has no place in a backup"))) }
    }

    pub fn take(&mut self, name: &str, content: &mut dyn Read, out: &mut dyn Write) -> io::Result<()> {
        self.name_is_fine(name)?;
        match name {
            MANIFEST | MANIFEST_DIGEST => {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                out.write_all(&bytes)?;
                *(if name == MANIFEST { &mut self.manifest } else { &mut self.digest }) = bytes;
            }
            _ => {
                let hashed = copy_hashing(content, out)?;
                self.files.insert(name.to_owned(), hashed);
            }
        }
        Ok(())
    }

    /// The manifest, when every file is as it says and there is no other.
    pub fn check(mut self) -> Result<Manifest, BackupError> {
        if self.manifest.is_empty() {
            return Err(BackupError::Refused(format!("{MANIFEST} is missing: the backup is not whole, or this is none")));
        }
        let manifest = Manifest::parse(&self.manifest, &self.digest)?;
        for file in &manifest.files {
            match self.files.remove(&file.name) {
                None => return Err(BackupError::Refused(format!("{} is missing", file.name))),
                Some((bytes, _)) if bytes != file.bytes => {
                    return Err(BackupError::Refused(format!("{} has {bytes} bytes, and had {}", file.name, file.bytes)));
                }
                Some((_, sha256)) if sha256 != file.sha256 => {
                    return Err(BackupError::Refused(format!("{} is damaged: its SHA-256 is {sha256}, and was {}", file.name, file.sha256)));
                }
                Some(_) => {}
            }
        }
        match self.files.keys().next() {
            Some(name) => Err(BackupError::Refused(format!("{name} is not named in {MANIFEST}"))),
            None => Ok(manifest),
        }
    }
}

struct Tee<R, W> {
    from: R,
    to: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.to.write_all(&buffer[..n])?;
        Ok(n)
    }
}

/// A place under a temporary name beside it; what is not finished is removed.
struct Place {
    to: PathBuf,
    unfinished: PathBuf,
    is_tar: bool,
    is_finished: bool,
}

impl Place {
    fn take(to: &Path) -> Result<Place, BackupError> {
        if to.symlink_metadata().is_ok() {
            return Err(BackupError::Refused(format!("{} is there already; name another place, or remove it", to.display())));
        }
        let Some(name) = to.file_name() else {
            return Err(BackupError::Refused(format!("{} is no name for a backup", to.display())));
        };
        let unfinished = to.with_file_name(format!(".{}.{}.unfinished", name.to_string_lossy(), std::process::id()));
        let place = Place { to: to.to_path_buf(), unfinished, is_tar: to.extension().is_some_and(|e| e == "tar"), is_finished: false };
        if !place.is_tar {
            durable::make_dir(&place.unfinished)?;
        }
        Ok(place)
    }

    fn file(&self) -> Result<File, StoreError> {
        durable::create_new(&self.unfinished).map_err(StoreError::io("create", &self.unfinished))
    }

    fn create(&self, name: &str) -> io::Result<File> {
        let path = self.unfinished.join(name);
        if let Some(folder) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).create(folder)?;
        }
        durable::create_new(&path)
    }

    fn copy(&self, name: &str, source: &mut dyn Read) -> Result<(), StoreError> {
        let copy = || -> io::Result<()> {
            let mut out = self.create(name)?;
            io::copy(source, &mut out)?;
            out.sync_all()
        };
        let mut copy = copy;
        copy().map_err(StoreError::io("write", &self.unfinished.join(name)))
    }

    /// Syncs everything, then gives it its name.
    fn finish(mut self) -> Result<(), BackupError> {
        if self.is_tar {
            File::open(&self.unfinished).and_then(|file| file.sync_all()).map_err(StoreError::io("sync", &self.unfinished))?;
        } else {
            sync_folders(&self.unfinished)?;
        }
        std::fs::rename(&self.unfinished, &self.to).map_err(StoreError::io("name", &self.to))?;
        self.is_finished = true;
        durable::sync_dir(durable::parent_of(&self.to))?;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = if self.is_tar { std::fs::remove_file(&self.unfinished) } else { std::fs::remove_dir_all(&self.unfinished) };
        }
    }
}

/// Syncs a folder and those in it.
pub(super) fn sync_folders(dir: &Path) -> Result<(), StoreError> {
    for name in durable::names_with_suffix(dir, "")? {
        let path = dir.join(name);
        if path.is_dir() && !path.ends_with(LOST_AND_FOUND) {
            durable::sync_dir(&path)?;
        }
    }
    durable::sync_dir(dir)
}
