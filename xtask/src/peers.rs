//! `benches/peers`: a workspace of its own that is built by hand only, because it takes longer than everything else together. What
//! it says of our side is a file of the binary (`host/server/src/bench/rule_rows.rs`) and so compiled with it; what can rot
//! beside that is checked here without a build.

use crate::steps::{cargo, run};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

/// Crates whose version is what is measured on our side.
const SHARED: [&str; 3] = ["smol_str", "wasmparser", "wasmtime"];

/// Builds it and the plugin that it loads, from their committed versions, and runs it.
pub fn bench(root: &Path, turns: &[String]) -> Result<(), String> {
    check(root)?;
    let folder = root.join("benches/peers");
    let plugin = ["build", "--release", "--locked", "--target", "wasm32-unknown-unknown", "--target-dir", "target"];
    cargo(&folder.join("plugin"), &plugin)?;
    run(Command::new(env!("CARGO")).args(["run", "--release", "--locked", "--"]).args(turns).current_dir(folder))
}

/// Its form, and that it measures the versions that the binary is made of.
pub fn check(root: &Path) -> Result<(), String> {
    let folder = root.join("benches/peers");
    let (ours, theirs) = (versions(&root.join("Cargo.lock"))?, versions(&folder.join("Cargo.lock"))?);
    let of_shared = |(name, _): &&(String, String)| SHARED.contains(&name.as_str());
    let missing: Vec<String> =
        ours.iter().filter(of_shared).filter(|known| !theirs.contains(known)).map(|(name, version)| format!("{name} {version}")).collect();
    if !missing.is_empty() {
        let update = "run `cargo update -p NAME@OLD --precise NEW` there";
        return Err(format!("benches/peers/Cargo.lock lacks {}, which the binary is made of: {update}", missing.join(", ")));
    }
    // A toolchain may come without rustfmt.
    let has_rustfmt = Command::new(env!("CARGO")).args(["fmt", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !has_rustfmt.is_ok_and(|status| status.success()) {
        println!("xtask: no rustfmt here, so the form of benches/peers is not checked");
        return Ok(());
    }
    [&folder, &folder.join("plugin")].into_iter().try_for_each(|dir| cargo(dir, &["fmt", "--check"]))
}

/// Names and versions in a lock file.
fn versions(lock: &Path) -> Result<BTreeSet<(String, String)>, String> {
    let text = std::fs::read_to_string(lock).map_err(|e| format!("{}: {e}", lock.display()))?;
    let value = |line: &str, key: &str| Some(line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned());
    let pairs = text.lines().zip(text.lines().skip(1));
    Ok(pairs.filter_map(|(name, version)| Some((value(name, "name")?, value(version, "version")?))).collect())
}
