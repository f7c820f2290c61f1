//! The template of a rule, as an author gets it: copied out with the SDK beside it, tested, built, wrapped. What nobody compiles
//! stops compiling.

use crate::rules::{TARGET, run, wrap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the template into `out`, in a folder that is thrown away first; gives the component.
pub fn build(root: &Path, rules: &Path, out: &Path) -> Result<PathBuf, String> {
    let scratch = rules.join("target/template");
    let (rule, target) = (scratch.join("my-rule"), scratch.join("target"));
    if rule.exists() {
        fs::remove_dir_all(&rule).map_err(|error| format!("{}: {error}", rule.display()))?;
    }
    let sdk = root.join("guest/rust");
    copy(&sdk.join("template"), &rule)?;
    copy(&sdk, &rule.join("sdk"))?;
    // The versions that the SDK is tested with, so that nothing is looked up.
    copy_file(&sdk.join("Cargo.lock"), &rule.join("Cargo.lock"))?;
    let cargo = |args: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(args).current_dir(&rule).env("CARGO_TARGET_DIR", &target).env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        run(&mut command)
    };
    cargo(&["test", "--quiet"])?;
    cargo(&["build", "--quiet", "--release", "--target", TARGET])?;
    let component = out.join("my-rule.wasm");
    wrap(rules, &target.join(TARGET).join("release/my_rule.wasm"), &component, &[])?;
    Ok(component)
}

/// Copies a folder without what was built in it, and the SDK without the template inside.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", from.display());
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, name) = (entry.path(), entry.file_name());
        if name == "target" || name == "template" {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            copy_file(&path, &to.join(name))?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(|_| ()).map_err(|error| format!("{}: {error}", from.display()))
}
