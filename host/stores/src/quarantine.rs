//! Damaged files that were set aside, and the reports that say what was in them: `quarantine/` for the state, and
//! `journal/quarantine/` for segments of the journal. Kept for whoever wants to look, and bounded.

use crate::durable::{self, StoreError};
use crate::event_segments::RetiredFiles;
use crate::folder::DataFolder;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The folder, in the data folder and in that of the journal.
pub const FOLDER: &str = "quarantine";

/// One file that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Seconds since 1970 when it was set aside.
    pub at_s: i64,
}

/// Every file, oldest first. Folders are somebody else's: none is ever set aside.
pub fn list(data_dir: &Path) -> Result<Vec<SetAside>, StoreError> {
    let mut found = Vec::new();
    for dir in [data_dir.join(FOLDER), data_dir.join(DataFolder::JOURNAL).join(FOLDER)] {
        for name in durable::names_with_suffix(&dir, "")? {
            let path = dir.join(name);
            let Ok(metadata) = path.symlink_metadata() else { continue };
            if metadata.is_dir() {
                continue;
            }
            // The time of the last change of the file's entry: linking it here was one, and no copy keeps it.
            let changed_s = std::os::unix::fs::MetadataExt::ctime(&metadata);
            let written_s = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |at| at.as_secs() as i64);
            found.push(SetAside { bytes: metadata.len(), path, at_s: changed_s.max(written_s) });
        }
    }
    found.sort_by(|a, b| (a.at_s, &a.path).cmp(&(b.at_s, &b.path)));
    Ok(found)
}

/// Removes files set aside before `older_than_s` (seconds), and the oldest while all have more than `bytes_max`. Gives what
/// went, and why the first of those did not go that cannot be removed; the others do not wait for it.
pub fn bound(data_dir: &Path, bytes_max: u64, older_than_s: i64) -> (RetiredFiles, Option<StoreError>) {
    let remove = |path: &Path| durable::remove_files(durable::parent_of(path), &[path.to_path_buf()]);
    match list(data_dir) {
        Ok(files) => bound_with(files, bytes_max, older_than_s, remove),
        Err(error) => (RetiredFiles::default(), Some(error)),
    }
}

fn bound_with(files: Vec<SetAside>, bytes_max: u64, older_than_s: i64, remove: impl Fn(&Path) -> Result<(), StoreError>) -> (RetiredFiles, Option<StoreError>) {
    let mut total: u64 = files.iter().map(|file| file.bytes).sum();
    let (mut gone, mut failed) = (RetiredFiles::default(), None);
    for file in files {
        let is_old = file.at_s < older_than_s;
        if !is_old && total <= bytes_max {
            break;
        }
        if let Err(error) = remove(&file.path) {
            failed = failed.or(Some(error));
            continue;
        }
        total -= file.bytes;
        *(if is_old { &mut gone.by_age } else { &mut gone.by_size }) += 1;
    }
    (gone, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_by_size_and_all_of_them_by_age() {
        let dir = tempfile::tempdir().unwrap();
        for (folder, name) in [("quarantine", "a"), ("journal/quarantine", "b"), ("quarantine", "c")] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join(name), [0; 100]).unwrap();
        }
        let names = || list(dir.path()).unwrap().iter().map(|file| file.path.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>();
        assert_eq!(names().len(), 3);
        assert_eq!(bound(dir.path(), 300, 0).0, RetiredFiles::default());
        assert_eq!(bound(dir.path(), 250, 0).0, RetiredFiles { by_age: 0, by_size: 1 });
        assert_eq!(bound(dir.path(), 250, i64::MAX).0, RetiredFiles { by_age: 2, by_size: 0 });
        assert!(names().is_empty());
    }

    #[test]
    fn a_folder_stays_and_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("quarantine/a");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(dir.path().join("quarantine/b"), [0; 100]).unwrap();
        let (gone, failed) = bound(dir.path(), 0, i64::MAX);
        assert!(gone == RetiredFiles { by_age: 1, by_size: 0 } && failed.is_none(), "{gone:?} {failed:?}");
        assert!(folder.exists() && list(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn one_that_cannot_go_is_said_and_the_others_go() {
        let file = |name: &str, at_s: i64| SetAside { path: name.into(), bytes: 100, at_s };
        let removed = std::cell::RefCell::new(Vec::new());
        let remove = |path: &Path| match path.ends_with("stuck") {
            true => Err(StoreError::io("remove", path)(std::io::Error::other("it is stuck"))),
            false => {
                removed.borrow_mut().push(path.to_path_buf());
                Ok(())
            }
        };
        let files = || vec![file("stuck", 1), file("old", 2), file("middle", 3), file("new", 4)];
        let (gone, failed) = bound_with(files(), 200, 3, remove);
        assert_eq!((gone, removed.take()), (RetiredFiles { by_age: 1, by_size: 1 }, vec!["old".into(), "middle".into()]));
        assert!(failed.is_some_and(|error| error.to_string().contains("stuck")));
    }
}
