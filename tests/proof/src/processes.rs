//! What proofs that stop processes at their system calls share: the tracer, how often a run makes each call, and folders.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// `strace` of this machine: `ALERTMILL_TEST_STRACE`, else the one on the PATH, else the one that `cargo xtask test` fetches.
/// Panics when there is none.
pub fn strace() -> PathBuf {
    if let Some(given) = std::env::var_os("ALERTMILL_TEST_STRACE") {
        return given.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("strace")).find(|file| file.exists());
    let strace = on_path.unwrap_or_else(|| "/var/cache/testservices/strace/usr/bin/strace".into());
    assert!(strace.exists(), "strace is not there; `cargo xtask test` fetches it; or install Debian's package `strace`, or set ALERTMILL_TEST_STRACE");
    strace
}

/// How often the busiest thread made each of `calls`, from the files in `logs` that `strace -ff` wrote, one a thread.
pub fn counts<'a>(calls: &[&'a str], logs: &Path) -> BTreeMap<&'a str, u64> {
    let mut most = BTreeMap::new();
    for entry in entries(logs) {
        let Ok(text) = std::fs::read_to_string(&entry) else { continue };
        for call in calls {
            let count = text.lines().filter(|line| line.starts_with(&format!("{call}("))).count() as u64;
            let slot = most.entry(*call).or_insert(0);
            *slot = count.max(*slot);
        }
    }
    most
}

/// Copies a folder with all that is in it. When somebody works in it, the copy is as the folder may lie there after a kill: it is
/// begun again whenever a file goes before it is copied.
#[track_caller]
pub fn copy(from: &Path, to: &Path) {
    assert!(from.is_dir(), "{} is no folder", from.display());
    while let Err(error) = try_copy(from, to) {
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{} to {}: {error}", from.display(), to.display());
        std::fs::remove_dir_all(to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    }
}

fn try_copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    let listed: Vec<_> = std::fs::read_dir(from)?.collect::<Result<_, _>>()?;
    for entry in listed {
        let (entry, target) = (entry.path(), to.join(entry.file_name()));
        if entry.is_dir() { try_copy(&entry, &target)? } else { std::fs::copy(&entry, &target).map(drop)? }
    }
    Ok(())
}

#[track_caller]
fn entries(dir: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    listed.map(|entry| entry.expect("an entry").path()).collect()
}
