//! Rule modules and tables by digest: a file is named by the SHA-256 of its content and never changes. A generation's
//! files are here, synced, before its record is journaled, so a replay never needs anything else.

use crate::durable::{self, StoreError};
use alertmill_core::record::RecordBody;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The folder of modules and tables.
#[derive(Clone, Debug)]
pub struct ModuleFiles {
    dir: PathBuf,
}

/// SHA-256 of a content, 64 lower-case hex digits.
pub fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Digests of all modules and tables that an encoded record names; none when it begins no generation.
pub(crate) fn named_by(payload: &[u8]) -> Vec<String> {
    match RecordBody::decode(payload) {
        Ok(RecordBody::RuleSet(set)) => {
            set.rules.iter().map(|rule| &rule.digest).chain(set.tables.iter().map(|(_, digest)| digest)).map(ToString::to_string).collect()
        }
        _ => Vec::new(),
    }
}

impl ModuleFiles {
    /// Opens the folder, or makes it.
    pub fn open(dir: &Path) -> Result<ModuleFiles, StoreError> {
        durable::make_dir(dir)?;
        Ok(ModuleFiles { dir: dir.to_path_buf() })
    }

    /// Stores a content, if it is not there yet; it is durable when this returns. Gives its digest.
    pub fn put(&self, content: &[u8]) -> Result<String, StoreError> {
        let digest = digest(content);
        let path = self.dir.join(&digest);
        // A file that a disk has spoiled since is written anew.
        if std::fs::read(&path).is_ok_and(|found| found == content) {
            // Its content was synced before it got this name; whether the name was, before a kill, nobody knows.
            durable::sync_dir(&self.dir)?;
            return Ok(digest);
        }
        durable::write_atomically(&path, content)?;
        Ok(digest)
    }

    /// The content of a digest; `None` when it is not here. Its digest is checked.
    pub fn get(&self, digest: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if !is_digest(digest) {
            return Ok(None);
        }
        let path = self.dir.join(digest);
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let found = self::digest(&content);
        if found != digest {
            return Err(StoreError::Damaged { path, what: format!("its content has digest {found}"), remedy: "upload the module or table again" });
        }
        Ok(Some(content))
    }

    /// When a content was stored; `None` when it is not here.
    pub fn kept_at(&self, digest: &str) -> Option<SystemTime> {
        std::fs::metadata(self.dir.join(digest)).and_then(|file| file.modified()).ok().filter(|_| is_digest(digest))
    }

    /// Digests of all files, sorted.
    pub fn list(&self) -> Result<Vec<String>, StoreError> {
        let names = durable::names_with_suffix(&self.dir, "")?;
        Ok(names.into_iter().filter(|name| is_digest(name)).collect())
    }

    /// Removes all files but those that `is_used` names; gives the number removed. Generations that the journal may still
    /// replay are in use.
    pub fn remove_unused(&self, is_used: impl Fn(&str) -> bool) -> Result<usize, StoreError> {
        let gone: Vec<PathBuf> = self.list()?.into_iter().filter(|digest| !is_used(digest)).map(|digest| self.dir.join(digest)).collect();
        durable::remove_files(&self.dir, &gone)?;
        Ok(gone.len())
    }
}

fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_found_by_its_digest_only() {
        let dir = tempfile::tempdir().unwrap();
        let files = ModuleFiles::open(dir.path()).unwrap();
        let a = files.put(b"module a").unwrap();
        let b = files.put(b"module b").unwrap();
        assert_eq!(files.put(b"module a").unwrap(), a);
        assert_eq!(files.get(&a).unwrap().unwrap(), b"module a");
        assert_eq!(files.get("../state.sqlite").unwrap(), None);
        assert_eq!(files.remove_unused(|digest| digest == b).unwrap(), 1);
        assert_eq!((files.get(&a).unwrap(), files.list().unwrap()), (None, vec![b]));
    }

    #[test]
    fn a_spoiled_file_is_an_error_until_it_is_put_again() {
        let dir = tempfile::tempdir().unwrap();
        let files = ModuleFiles::open(dir.path()).unwrap();
        let a = files.put(b"module a").unwrap();
        std::fs::write(dir.path().join(&a), b"module x").unwrap();
        assert!(files.get(&a).unwrap_err().to_string().contains("upload"));
        files.put(b"module a").unwrap();
        assert_eq!(files.get(&a).unwrap().unwrap(), b"module a");
    }
}
