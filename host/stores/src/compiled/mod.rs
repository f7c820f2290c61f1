//! Compiled code of modules, so that a start need not compile them again. It is run as it is: whoever writes it is this process.
//! So a file counts only if nobody but this process's user can have written it ([`guard`]), and if it carries a code
//! (HMAC-SHA256) that only who knows the key can have made; the key lies beside the folder, not in it. What does not is
//! *distrusted*: said, not used, and replaced when the module is compiled anew.
//!
//! Everything here can be made again, so that nothing here stops a start: what fails costs time.

mod guard;
#[cfg(test)]
mod tests;

use crate::durable::{self, StoreError};
use crate::folder::DataFolder;
use guard::{check, is_private};
use hmac::{Hmac, KeyInit, Mac};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fdatasync, fstat, futimens, openat, renameat, statat, unlinkat,
};
use sha2::Sha256;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Begins each file; the last byte is the format.
const MAGIC: [u8; 8] = *b"ALMCODE\x01";
const MAC_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + MAC_BYTES;
const KEY_BYTES: usize = 32;

/// What is there of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its code, as this installation put it.
    Code(Vec<u8>),
    /// Nothing.
    Missing,
    /// Something that others may have written; why, and what to do.
    Distrusted(String),
}

/// The folder of compiled code.
#[derive(Debug)]
pub struct CompiledFiles {
    path: PathBuf,
    bytes_max: u64,
    folder: Result<Folder, String>,
    putting: Mutex<()>,
}

/// Held open, so that nobody can put another folder in its place.
#[derive(Debug)]
struct Folder {
    dir: OwnedFd,
    key: [u8; KEY_BYTES],
}

impl CompiledFiles {
    /// The folder and its key in a data folder, made if they are not there. One that cannot be used, or trusted, says so when it
    /// is asked. `bytes_max` bounds the files together.
    pub fn open(data_dir: &Path, bytes_max: u64) -> CompiledFiles {
        let path = data_dir.join(DataFolder::COMPILED);
        let folder = Folder::open(&path, &data_dir.join(DataFolder::COMPILED_KEY));
        CompiledFiles { path, bytes_max, folder, putting: Mutex::default() }
    }

    /// The code of a module for a compiler and processor, both as hexadecimal digits.
    pub fn get(&self, digest: &str, compat: &str) -> Found {
        match self.trusted().and_then(|folder| folder.get(&name(digest, compat), digest, compat)) {
            Ok(Some(code)) => Found::Code(code),
            Ok(None) => Found::Missing,
            Err(why) => Found::Distrusted(why),
        }
    }

    /// Keeps code; then what was not used for longest goes until all fits. Code that alone is too large is not kept. `Err` says why
    /// it could not be, in words.
    pub fn put(&self, digest: &str, compat: &str, code: &[u8]) -> Result<(), String> {
        let folder = self.trusted()?;
        if code.len() as u64 + HEAD_BYTES as u64 > self.bytes_max {
            return Err(format!("{} bytes of code are more than rules.compiled_size has room for", code.len()));
        }
        let name = name(digest, compat);
        let _putting = self.putting.lock().unwrap_or_else(PoisonError::into_inner);
        let put = folder.put(&name, &mac(&folder.key, digest, compat, code), code).and_then(|()| folder.bound(self.bytes_max, &name));
        put.map_err(|e| format!("{} cannot be written: {e}", self.path.join(name).display()))
    }

    /// The folder, if others still cannot write to it.
    fn trusted(&self) -> Result<&Folder, String> {
        let folder = self.folder.as_ref().map_err(Clone::clone)?;
        check(&self.path, &fstat(&folder.dir).map_err(|e| unusable(&self.path, e.into()))?, FileType::Directory)?;
        Ok(folder)
    }
}

fn name(digest: &str, compat: &str) -> String {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(hex(digest) && hex(compat), "a digest is no path: {digest:?}, {compat:?}");
    format!("{digest}.{compat}.code")
}

/// Over all that says what the code is: a file under another module's name is no code of that module.
fn mac(key: &[u8; KEY_BYTES], digest: &str, compat: &str, code: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in [&MAGIC, digest.as_bytes(), b".", compat.as_bytes(), b".", &(code.len() as u64).to_le_bytes(), code] {
        mac.update(part);
    }
    mac
}

fn unusable(path: &Path, e: io::Error) -> String {
    format!("{} cannot be used: {e}", path.display())
}

/// A file of the folder.
struct Kept {
    name: String,
    bytes: u64,
    used_at: (i64, u64),
}

impl Folder {
    fn open(path: &Path, key: &Path) -> Result<Folder, String> {
        durable::make_dir(path).map_err(|e: StoreError| e.to_string())?;
        let dir = openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let dir = dir.map_err(|e| unusable(path, e.into()))?;
        check(path, &fstat(&dir).map_err(|e| unusable(path, e.into()))?, FileType::Directory)?;
        Ok(Folder { dir, key: key_at(key)? })
    }

    fn get(&self, name: &str, digest: &str, compat: &str) -> Result<Option<Vec<u8>>, String> {
        let path = Path::new(name);
        // A pipe or a device must not hold up who opens it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(e) => return Err(unusable(path, e.into())),
        };
        check(path, &fstat(&file).map_err(|e| unusable(path, e.into()))?, FileType::RegularFile)?;
        let mut file = File::from(file);
        let mut bytes = Vec::new();
        // Read before it is judged: what is judged must not change afterwards.
        file.read_to_end(&mut bytes).map_err(|e| unusable(path, e))?;
        let not_ours = || format!("{name} is not what this installation wrote: it was changed, or damaged");
        let code = bytes.strip_prefix(&MAGIC).and_then(|rest| rest.split_first_chunk::<MAC_BYTES>()).ok_or_else(not_ours)?;
        mac(&self.key, digest, compat, code.1).verify_slice(code.0).map_err(|_| not_ours())?;
        // When it was last used, for whoever makes room; that it cannot be noted costs nothing.
        let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let _ = futimens(&file, &Timestamps { last_access: omit, last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW } });
        bytes.drain(..HEAD_BYTES);
        Ok(Some(bytes))
    }

    fn put(&self, name: &str, mac: &Hmac<Sha256>, code: &[u8]) -> io::Result<()> {
        let temporary = format!("{name}.tmp");
        let _ = unlinkat(&self.dir, &temporary, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.dir, &temporary, flags, Mode::RUSR | Mode::WUSR)?);
        let mut write = || -> io::Result<()> {
            file.write_all(&MAGIC)?;
            file.write_all(&mac.clone().finalize().into_bytes())?;
            file.write_all(code)?;
            // Half a file after a loss of power would look like somebody's work.
            fdatasync(&file)?;
            Ok(renameat(&self.dir, &temporary, &self.dir, name)?)
        };
        write().inspect_err(|_| {
            let _ = unlinkat(&self.dir, &temporary, AtFlags::empty());
        })
    }

    fn files(&self) -> io::Result<Vec<Kept>> {
        let mut files = Vec::new();
        for entry in Dir::read_from(&self.dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let Ok(stat) = statat(&self.dir, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            // What is no file of ours is not ours to remove.
            if !is_private(&stat, FileType::RegularFile) {
                continue;
            }
            files.push(Kept { name, bytes: stat.st_size as u64, used_at: (stat.st_mtime, stat.st_mtime_nsec) });
        }
        Ok(files)
    }

    /// The longest unused go, but not `newest`.
    fn bound(&self, bytes_max: u64, newest: &str) -> io::Result<()> {
        let mut files = self.files()?;
        files.sort_by_key(|file| (file.name == newest, file.used_at));
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        for file in files {
            if bytes <= bytes_max {
                break;
            }
            unlinkat(&self.dir, &file.name, AtFlags::empty())?;
            bytes -= file.bytes;
        }
        Ok(())
    }
}

/// The key in this file; made if there is none.
fn key_at(path: &Path) -> Result<[u8; KEY_BYTES], String> {
    let open = || openat(CWD, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    let file = match open() {
        Err(rustix::io::Errno::NOENT) => {
            let key = durable::random_bytes::<KEY_BYTES>().map_err(|e| e.to_string())?;
            durable::write_atomically(path, &key).map_err(|e| e.to_string())?;
            open()
        }
        other => other,
    };
    let file = file.map_err(|e| unusable(path, e.into()))?;
    let stat = fstat(&file).map_err(|e| unusable(path, e.into()))?;
    check(path, &stat, FileType::RegularFile)?;
    if !guard::is_secret(&stat) {
        return Err(format!("{} can be read by others; remove it, and a new one is made", path.display()));
    }
    let mut key = Vec::new();
    File::from(file).read_to_end(&mut key).map_err(|e| unusable(path, e))?;
    key.try_into().map_err(|key: Vec<u8>| format!("{} has {} bytes and not {KEY_BYTES}; remove it, and a new one is made", path.display(), key.len()))
}
