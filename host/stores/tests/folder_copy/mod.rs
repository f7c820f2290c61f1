//! A copy of a data folder, as the tests of kills and damage work on.

use std::io::ErrorKind;
use std::path::Path;

/// Copies a folder with all that is in it. A store may work there: a file that it removes meanwhile is not in the copy.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else if let Err(error) = std::fs::copy(entry.path(), &to) {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{}: {error}", entry.path().display());
        }
    }
}
