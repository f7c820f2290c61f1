//! Rule modules and tables by digest: a file is named by the SHA-256 of its content and never changes. A generation's
//! files are here, synced, before its record is journaled, so a replay never needs anything else.

use crate::durable::{self, StoreError};
use alertmill_core::record::{RecordBody, RuleEntry};
use alertmill_core::version_change::VersionAction;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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

/// Digests of the files that records name.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// Of modules and tables that generations run, or ran before: without them no replay goes on.
    pub run: BTreeSet<String>,
    /// Of versions that were uploaded and not removed, each with all its files.
    kept: BTreeMap<String, Vec<String>>,
}

impl Named {
    /// Adds what an encoded record names.
    pub fn by(&mut self, payload: &[u8]) {
        match RecordBody::decode(payload) {
            Ok(RecordBody::RuleSet(set)) => {
                let rules = set.rules.iter().flat_map(RuleEntry::digests);
                self.run.extend(rules.chain(set.tables.iter().map(|(_, digest)| digest)).map(ToString::to_string));
            }
            Ok(RecordBody::RuleVersion(change)) => {
                let digest = change.digest.to_string();
                match change.action {
                    VersionAction::Uploaded => drop(self.kept.insert(digest, change.digests().map(ToString::to_string).collect())),
                    VersionAction::Removed => drop(self.kept.remove(&digest)),
                }
            }
            _ => {}
        }
    }

    /// All of them.
    pub fn all(self) -> BTreeSet<String> {
        self.run.into_iter().chain(self.kept.into_values().flatten()).collect()
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
            // It is wanted again: nobody who looks for unused ones may take it for an old one.
            File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now())).map_err(StoreError::io("touch", &path))?;
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

    /// When a content was last put; `None` when it is not here.
    pub fn kept_at(&self, digest: &str) -> Option<SystemTime> {
        std::fs::metadata(self.dir.join(digest)).and_then(|file| file.modified()).ok().filter(|_| is_digest(digest))
    }

    /// Digests of all files, sorted.
    pub fn list(&self) -> Result<Vec<String>, StoreError> {
        let names = durable::names_with_suffix(&self.dir, "")?;
        Ok(names.into_iter().filter(|name| is_digest(name)).collect())
    }

    /// Removes all files but those that `is_used` names and those that were put within `young`, whose record may be on its way;
    /// gives the number removed. Generations that the journal may still replay are in use.
    pub fn remove_unused(&self, young: Duration, is_used: impl Fn(&str) -> bool) -> Result<usize, StoreError> {
        let is_young = |path: &Path| {
            let put = path.metadata().and_then(|file| file.modified());
            // One that is ahead of the clock is young as well.
            !young.is_zero() && put.is_ok_and(|put| SystemTime::now().duration_since(put).is_ok_and(|age| age < young) || put > SystemTime::now())
        };
        let unused = self.list()?.into_iter().filter(|digest| !is_used(digest)).map(|digest| self.dir.join(digest));
        let gone: Vec<PathBuf> = unused.filter(|path| !is_young(path)).collect();
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
        assert_eq!(files.remove_unused(Duration::ZERO, |digest| digest == b).unwrap(), 1);
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
