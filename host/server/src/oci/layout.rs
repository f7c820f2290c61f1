//! A layout directory: `oci-layout`, `index.json`, `blobs/sha256/HEX`.

use super::manifest::{Found, Index, Module, Pointer};
use super::{Artifact, Digest, Failure, Fetched, MANIFEST_MAX, Reference};
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The file that makes a directory a layout.
const MARK: &str = "oci-layout";
const MARK_MAX: u64 = 1 << 10;
const INDEX: &str = "index.json";
const VERSION: &str = "1.0.0";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    image_layout_version: String,
}

/// Reads the module under a tag, or the only one.
pub fn read(dir: &Path, tag: Option<&str>) -> Result<Fetched, Failure> {
    let mark_file = dir.join(MARK);
    let malformed = |why: String| Failure::Malformed { what: mark_file.display().to_string(), why };
    let mark: Mark = serde_json::from_slice(&read_file(&mark_file, MARK_MAX)?).map_err(|e| malformed(e.to_string()))?;
    if mark.image_layout_version != VERSION {
        return Err(malformed(format!("the layout's version is {:?}, and {VERSION} is what is read", mark.image_layout_version)));
    }
    let index = dir.join(INDEX);
    let manifest = Index::of_layout(&read_file(&index, MANIFEST_MAX)?, &index.display().to_string())?.tagged(tag)?;
    let found = Found::parse(&read_blob(dir, &manifest)?, &manifest.digest.to_string())?;
    let (module, digest) = match found {
        Found::Module(module) => (module, manifest.digest),
        Found::Index(index) => {
            let inner = index.only_module()?;
            (inner_module(&read_blob(dir, &inner)?, &inner.digest)?, inner.digest)
        }
    };
    let bytes = read_blob(dir, &module.layer)?;
    let reference = Reference::Layout { dir: dir.to_owned(), tag: tag.map(str::to_owned) };
    Ok(Fetched { module: bytes.into(), signature: module.signature, source: format!("{reference}@{digest}") })
}

/// A manifest that an index named: another index is not followed.
pub(super) fn inner_module(bytes: &[u8], digest: &Digest) -> Result<Module, Failure> {
    match Found::parse(bytes, &digest.to_string())? {
        Found::Module(module) => Ok(module),
        Found::Index(_) => Err(Failure::Malformed { what: digest.to_string(), why: "it is an index inside of an index".to_owned() }),
    }
}

/// Writes a module into a layout, which is made if it is not there; what else is in it stays, but for what had the tag. Gives the
/// manifest's digest.
pub fn write(dir: &Path, tag: Option<&str>, artifact: &Artifact) -> Result<Digest, Failure> {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(|e| io(&blobs, e))?;
    let index_file = dir.join(INDEX);
    let index = match read_file(&index_file, MANIFEST_MAX) {
        Ok(bytes) => Index::of_layout(&bytes, &index_file.display().to_string())?,
        Err(Failure::NotFound(_)) => Index::empty(),
        Err(failure) => return Err(failure),
    };
    for blob in [&artifact.module[..], &artifact.config, &artifact.manifest] {
        replace(&blobs.join(Digest::of(blob).hex()), blob)?;
    }
    replace(&dir.join(MARK), format!("{{\"imageLayoutVersion\":\"{VERSION}\"}}").as_bytes())?;
    replace(&index_file, &index.with(&artifact.manifest, tag).to_bytes())?;
    Ok(Digest::of(&artifact.manifest))
}

fn read_blob(dir: &Path, pointer: &Pointer) -> Result<Vec<u8>, Failure> {
    let path = ["blobs", "sha256"].iter().try_fold(dir.to_owned(), |path, name| {
        let path = path.join(name);
        let is_dir = std::fs::symlink_metadata(&path).map_err(|e| io(&path, e))?.is_dir();
        if is_dir { Ok(path) } else { Err(Failure::Io { path, why: "it is no directory; links are not followed in a layout".to_owned() }) }
    })?;
    let path = path.join(pointer.digest.hex());
    let file = open(&path)?;
    let length = file.metadata().map_err(|e| io(&path, e))?.len();
    if length != pointer.size {
        let why = format!("it has {length} bytes, and {} were announced", pointer.size);
        return Err(Failure::Changed { what: pointer.digest.to_string(), why });
    }
    let bytes = take(file, &path, pointer.size)?;
    pointer.check(&bytes)?;
    Ok(bytes)
}

fn read_file(path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
    let bytes = take(open(path)?, path, max)?;
    if bytes.len() as u64 > max {
        return Err(Failure::TooLarge { what: path.display().to_string(), size: bytes.len() as u64, max });
    }
    Ok(bytes)
}

/// At most one byte more than `max`.
fn take(file: File, path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(|e| io(path, e))?;
    Ok(bytes)
}

/// Opens a regular file: no link, and nothing that a reader would wait for.
fn open(path: &Path) -> Result<File, Failure> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::LOOP) => return Err(Failure::Io { path: path.to_owned(), why: "it is a link; links are not followed in a layout".to_owned() }),
        Err(e) => return Err(io(path, e.into())),
    };
    match file.metadata() {
        Ok(found) if found.is_file() => Ok(file),
        Ok(_) => Err(Failure::Io { path: path.to_owned(), why: "it is no regular file".to_owned() }),
        Err(e) => Err(io(path, e)),
    }
}

/// Writes beside and renames, so that nobody reads half a file.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    let mut beside = tempfile::Builder::new().permissions(mode).tempfile_in(folder).map_err(|e| io(path, e))?;
    beside.write_all(bytes).and_then(|()| beside.as_file().sync_all()).map_err(|e| io(path, e))?;
    beside.persist(path).map(|_| ()).map_err(|e| io(path, e.error))
}

fn io(path: &Path, e: std::io::Error) -> Failure {
    match e.kind() {
        std::io::ErrorKind::NotFound => Failure::NotFound(path.display().to_string()),
        _ => Failure::Io { path: PathBuf::from(path), why: e.to_string() },
    }
}
