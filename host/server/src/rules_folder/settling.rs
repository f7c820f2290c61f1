//! When a changed file is whole. A look that came while somebody writes would see half a file: a cut TOML means defaults, and
//! half a CSV is a shorter table. So a changed file is taken only when two looks in a row saw it with the same size and time,
//! and it still has them after it was read. The first look takes what is there: nothing is in force that could wait.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Size and time of a file; `None` when it is not there.
pub(super) type Stamp = Option<(u64, SystemTime)>;

/// The stamp that a file has now.
pub(super) fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.len(), meta.modified().ok()?))
}

/// Stamps of this look and of the one before.
#[derive(Default)]
pub(super) struct Settling {
    looks: u64,
    before: BTreeMap<PathBuf, Stamp>,
    now: BTreeMap<PathBuf, Stamp>,
}

impl Settling {
    /// A look begins.
    pub fn begin(&mut self) {
        self.looks += 1;
        self.before = std::mem::take(&mut self.now);
    }

    /// Number of this look.
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// The stamp of a file in this look, and whether the file is whole.
    pub fn stamp(&mut self, path: &Path) -> (Stamp, bool) {
        let found = *self.now.entry(path.to_path_buf()).or_insert_with(|| stamp(path));
        (found, self.looks == 1 || self.before.get(path) == Some(&found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_whole_at_the_second_look_that_sees_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("a");
        let mut settling = Settling::default();
        let mut look = |content: Option<&str>| {
            if let Some(content) = content {
                std::fs::write(&file, content).expect("written");
            }
            settling.begin();
            settling.stamp(&file).1
        };
        assert!(look(Some("a")), "the first look takes what is there");
        assert!(look(None));
        assert!(!look(Some("ab")) && !look(Some("abc")), "still growing");
        assert!(look(None));
        std::fs::remove_file(&file).expect("removed");
        assert!(!look(None) && look(None), "a file that went away may come back");
    }
}
