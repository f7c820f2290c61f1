//! Real services for the tests: fetched once by the system's package manager into a cache, never installed, so that
//! nothing is started and nothing outside the cache changes.

use crate::steps::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where services are kept between runs.
const CACHE: &str = "/var/cache/testservices";

/// The path of a Prometheus server: `ALERTMILL_TEST_PROMETHEUS` if set, else Debian's package, unpacked into the cache.
pub fn prometheus() -> Result<PathBuf, String> {
    if let Some(own) = std::env::var_os("ALERTMILL_TEST_PROMETHEUS") {
        return Ok(PathBuf::from(own));
    }
    let dir = Path::new(CACHE).join("prometheus");
    let binary = dir.join("usr/bin/prometheus");
    if binary.exists() {
        println!("xtask: Prometheus is in the cache");
        return Ok(binary);
    }
    println!("xtask: fetching Debian's package `prometheus` into {CACHE} (about 20 MB; it is unpacked there, not installed)");
    let unpacked = dir.with_extension("new");
    let _ = std::fs::remove_dir_all(&unpacked);
    std::fs::create_dir_all(&unpacked).map_err(|e| format!("{CACHE} cannot be written: {e}; set ALERTMILL_TEST_PROMETHEUS to a Prometheus binary instead"))?;
    // The list of packages may be older than what the mirror still holds: then it is refreshed once.
    if download(&unpacked).is_err() {
        run(Command::new("apt-get").args(["-qq", "update"]))?;
        download(&unpacked)
            .map_err(|why| format!("Debian's package `prometheus` could not be fetched ({why}); install Prometheus and set ALERTMILL_TEST_PROMETHEUS"))?;
    }
    let package = std::fs::read_dir(&unpacked)
        .map_err(|e| e.to_string())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or("apt-get download left no package")?;
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked))?;
    let _ = std::fs::remove_file(package);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::rename(&unpacked, &dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    Ok(binary)
}

fn download(into: &Path) -> Result<(), String> {
    run(Command::new("apt-get").args(["-qq", "download", "prometheus"]).current_dir(into))
}
