//! A module's way from who built it to who runs it, with the commands that a user types: keys, signatures, artifacts.

use alertmill_e2e::{Done, binary, rule_file};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn run(dir: &Path, args: &[&str]) -> Done {
    Done::of(Command::new(binary()).args(args).current_dir(dir).env_remove("ALERTMILL_SERVER"))
}

#[track_caller]
fn json(dir: &Path, args: &[&str]) -> Value {
    run(dir, &[args, &["-o", "json"]].concat()).json()
}

#[track_caller]
fn refused(dir: &Path, args: &[&str], code: i32, word: &str) {
    run(dir, args).ends(code, word);
}

#[test]
fn modules_are_signed_checked_and_carried_by_commands() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    for (to, module) in [("says-a.wasm", "test/says"), ("says-b.wasm", "test/says-b")] {
        std::fs::copy(rule_file(module), dir.join(to)).expect("a module");
    }

    // Keys.
    let made = json(dir, &["rule", "keygen", "platform.key"]);
    let mode = std::fs::metadata(dir.join("platform.key")).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    refused(dir, &["rule", "keygen", "platform.key"], 5, "never written over");
    let other = json(dir, &["rule", "keygen", "other.key"]);
    assert_ne!(made["key_id"], other["key_id"]);

    // Signing and checking.
    let signed = json(dir, &["rule", "sign", "says-a.wasm", "--key", "platform.key", "--publisher", "the platform team"]);
    assert_eq!((&signed["name"], &signed["version"], &signed["signatures"]), (&"says".into(), &"1.0.0".into(), &1.into()));
    let key = made["key"].as_str().expect("a key");
    assert_eq!(json(dir, &["rule", "verify", "says-a.wasm", "--key", key])["key_id"], made["key_id"]);
    assert_eq!(run(dir, &["rule", "verify", "says-a.wasm", "--key", "other.key.pub", "--key", "platform.key.pub"]).code, 0);
    refused(dir, &["rule", "verify", "says-a.wasm", "--key", "other.key.pub"], 7, "publisher-unknown");
    refused(dir, &["rule", "verify", "says-b.wasm", "--key", key], 7, "signature-missing");
    refused(dir, &["rule", "verify", "says-b.wasm", "--key", key, "--sig", "says-a.wasm.sig"], 7, "signature-invalid");
    refused(dir, &["rule", "verify", "says-a.wasm", "--key", "platform.key"], 2, "secret key");
    refused(dir, &["rule", "sign", "says-b.wasm", "--key", "platform.key.pub"], 2, "cannot sign");
    // A second signature beside the first.
    assert_eq!(json(dir, &["rule", "sign", "says-a.wasm", "--key", "other.key"])["signatures"], 2);
    assert_eq!(run(dir, &["rule", "verify", "says-a.wasm", "--key", "other.key.pub"]).code, 0);

    // As an artifact, and out of it again.
    let exported = json(dir, &["rule", "export", "says-a.wasm", "--oci", "dist"]);
    assert_eq!((&exported["reference"], &exported["is_signed"]), (&"oci:dist:1.0.0".into(), &true.into()));
    refused(dir, &["rule", "fetch", "oci:dist:9.9.9", "-f", "x.wasm"], 3, "1.0.0");
    refused(dir, &["rule", "fetch", "dist", "-f", "x.wasm"], 2, "bad-reference");
    refused(dir, &["rule", "fetch", "oci://169.254.169.254/x", "-f", "x.wasm"], 7, "address-refused");
    assert!(!dir.join("x.wasm").exists());
    let fetched = json(dir, &["rule", "fetch", "oci:dist:1.0.0", "-f", "10-says.wasm"]);
    assert_eq!(fetched["digest"], exported["digest"]);
    assert_eq!(json(dir, &["rule", "verify", "10-says.wasm", "--key", key])["key_id"], made["key_id"]);
}
