//! What the tests need of the machine. Real services are fetched once by the system's package manager into a cache, never
//! installed, so that nothing is started and nothing outside the cache changes.

use crate::steps::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where services are kept between runs.
const CACHE: &str = "/var/cache/testservices";

/// Whether disks can be mounted, and processes stopped at their system calls: said before anything is built.
pub fn privileged() -> Result<(), String> {
    let user = Command::new("id").arg("-u").output().map_err(|e| format!("id -u: {e}"))?;
    match user.stdout.trim_ascii() {
        b"0" => Ok(()),
        _ => Err("some tests mount disks of their own; run `cargo xtask test` as root (in a container with --privileged), \
                  or the tests of one crate with `cargo test --release -p alertmill-core`"
            .to_owned()),
    }
}

/// The path of a Prometheus server: `ALERTMILL_TEST_PROMETHEUS` if set, else Debian's package, unpacked into the cache.
pub fn prometheus() -> Result<PathBuf, String> {
    match std::env::var_os("ALERTMILL_TEST_PROMETHEUS") {
        Some(own) => Ok(PathBuf::from(own)),
        None => fetched("prometheus", "usr/bin/prometheus", 20, "set ALERTMILL_TEST_PROMETHEUS to a Prometheus binary instead"),
    }
}

/// The path of strace: `ALERTMILL_TEST_STRACE` if set, else the one on the PATH, else Debian's package, unpacked into the cache.
pub fn strace() -> Result<PathBuf, String> {
    match std::env::var_os("ALERTMILL_TEST_STRACE").map(PathBuf::from).or_else(|| on_path("strace")) {
        Some(own) => Ok(own),
        None => fetched("strace", "usr/bin/strace", 1, "install strace, or set ALERTMILL_TEST_STRACE"),
    }
}

/// The path of `mkfs.ext4`, for tests on a file system of their own: the one on the PATH or where administrators' tools are, else
/// Debian's package `e2fsprogs`, unpacked into the cache. `mount` and `losetup` are part of every Debian.
pub fn mkfs_ext4() -> Result<PathBuf, String> {
    let own = ["/usr/sbin", "/sbin"].into_iter().map(|dir| Path::new(dir).join("mkfs.ext4")).find(|path| path.exists());
    match on_path("mkfs.ext4").or(own) {
        Some(own) => Ok(own),
        None => fetched("e2fsprogs", "sbin/mkfs.ext4", 2, "install e2fsprogs"),
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// A program of a Debian package that is unpacked in the cache, fetched if it is not there yet.
fn fetched(package: &str, program: &str, megabytes: u32, otherwise: &str) -> Result<PathBuf, String> {
    let dir = Path::new(CACHE).join(package);
    let binary = dir.join(program);
    if binary.exists() {
        println!("xtask: {package} is in the cache");
        return Ok(binary);
    }
    println!("xtask: fetching Debian's package `{package}` into {CACHE} (about {megabytes} MB; it is unpacked there, not installed)");
    let unpacked = dir.with_extension("new");
    let _ = std::fs::remove_dir_all(&unpacked);
    std::fs::create_dir_all(&unpacked).map_err(|e| format!("{CACHE} cannot be written: {e}; {otherwise}"))?;
    // The list of packages may be older than what the mirror still holds: then it is refreshed once.
    if download(package, &unpacked).is_err() {
        run(Command::new("apt-get").args(["-qq", "update"]))?;
        download(package, &unpacked).map_err(|why| format!("Debian's package `{package}` could not be fetched ({why}); {otherwise}"))?;
    }
    let deb = std::fs::read_dir(&unpacked)
        .map_err(|e| e.to_string())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or("apt-get download left no package")?;
    run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&unpacked))?;
    let _ = std::fs::remove_file(deb);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::rename(&unpacked, &dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    if binary.exists() { Ok(binary) } else { Err(format!("Debian's package `{package}` has no {program}; {otherwise}")) }
}

fn download(package: &str, into: &Path) -> Result<(), String> {
    run(Command::new("apt-get").args(["-qq", "download", package]).current_dir(into))
}
