//! Who can have written a file or a folder, by its owner and mode.

use rustix::fs::{FileType, Stat};
use std::path::Path;

const WRITTEN_BY_OTHERS: u32 = 0o022;
const READ_BY_OTHERS: u32 = 0o077;

/// Refuses what others can have written, in words with a remedy. `stat` is of what is open already, not of a path.
pub fn check(path: &Path, stat: &Stat, kind: FileType) -> Result<(), String> {
    let path = path.display();
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(format!("{path} is no {}; remove it", if kind == FileType::Directory { "folder" } else { "file" }));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(format!("{path} belongs to user {}, not to the user of this process; remove it", stat.st_uid));
    }
    if !is_private(stat, kind) {
        return Err(format!("{path} can be written by others (mode {:o}); remove it, as they may have written to it", stat.st_mode & 0o7777));
    }
    Ok(())
}

/// Whether only its owner, who is this process's user, can write it.
pub fn is_private(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind && stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & WRITTEN_BY_OTHERS == 0
}

/// Whether only its owner can read it.
pub fn is_secret(stat: &Stat) -> bool {
    stat.st_mode & READ_BY_OTHERS == 0
}
