//! Builds the rules in `rules/` into `rules/dist/`, or checks that what is committed there still is what the sources say.
//!
//! Needs nothing but cargo and rustup: the target is added when it is missing, and the wrapping is done by
//! `rules/componentize`, built on the spot. Paths of this machine are mapped away, so that `dist` tells nobody where it was built.

use crate::template;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const TARGET: &str = "wasm32-unknown-unknown";
const TOOLCHAIN: &str = "1.95.0";
/// Crates that become `dist/NAME.wasm`; the binary embeds the shipped ones, and `alertmill bench` the others.
const RULES: &[&str] = &["owner-from-table", "severity-by-labels", "dedupe-by-tags", "webhook-by-paths", "label-alerts", "r1-enrich", "r2-dedupe"];
/// Sources in `misbehaving/src` that become `dist/test/NAME.wasm`.
const MISBEHAVING: &[&str] = &[
    "addresses",
    "alerts",
    "all-hooks",
    "bloats",
    "by-hand",
    "crowds",
    "drops",
    "errors",
    "exceeds",
    "fills",
    "floods",
    "grows",
    "init-error",
    "leaks",
    "lies",
    "lies-dedupe",
    "no-lifecycle",
    "normalizes",
    "remembers",
    "says",
    "says-b",
    "spins",
    "spins-init",
    "traps",
    "traps-init",
    "undeclared-import",
    "writes-tags",
];
/// Modules that say nothing of their component types, or import more than the contract has: the world that is joined, and the files that it
/// is in.
const WORLDS: &[(&str, &[&str])] = &[("undeclared-import", &["clock", "misbehaving/wit/clock.wit"]), ("by-hand", &["dedupe", "../wit/v0.1/alertmill.wit"])];
/// `by-hand` in another world: with the contract's types of its own.
const NO_IMPORTS: &[&str] = &["no-imports", "../wit/v0.1/alertmill.wit", "misbehaving/wit/no_imports.wit"];
/// A version that no host offers, as long as the real one so that it can take its place in the bytes.
const REAL_VERSION: &str = "@0.1.0";
const WRONG_VERSION: &str = "@0.2.0";

/// Modules that are kept as they are when a version of the contract is frozen: their name there, and their name below `dist`.
const FROZEN: &[(&str, &str)] = &[
    ("all-hooks", "test/all-hooks"),
    ("by-hand", "test/by-hand"),
    ("dedupe", "dedupe-by-tags"),
    ("enrich", "severity-by-labels"),
    ("enrich-alert", "label-alerts"),
    ("logs", "test/floods"),
    ("no-imports", "test/no-imports"),
    ("normalize", "webhook-by-paths"),
    ("tables", "owner-from-table"),
];

/// Builds every module of `root/rules`. With `check` it builds beside the committed ones, and the template too, and compares what
/// they import and export, what they say of themselves and what they answer; other bytes are reported but are no error, since
/// another machine's linker may order things otherwise.
pub fn build(root: &Path, check: bool) -> Result<(), String> {
    let rules = root.join("rules");
    add_target()?;
    run(cargo(&rules).args(["build", "--quiet", "--locked", "--package", "componentize"]))?;
    compile(root, &rules)?;
    let dist = rules.join("dist");
    let out = if check { rules.join("target/check") } else { dist.clone() };
    let files = wrap_all(&rules, &out)?;
    for file in &files {
        refuse_own_paths(root, file)?;
    }
    let sums = tool(&rules, "sums", &files)?;
    remove_others(&out, &files)?;
    if check {
        compare(&rules, &dist, &files, &sums)?;
        template::build(root, &rules, &out)?;
        return ask(root, &out);
    }
    write(&dist.join("SHA256SUMS"), sums.as_bytes())?;
    println!("{} modules in {}", files.len(), dist.display());
    Ok(())
}

/// Copies modules of `rules/dist`, and the contract itself, to `tests/contract/VERSION`, where nothing changes afterwards.
pub fn freeze(root: &Path, version: &str) -> Result<(), String> {
    let wit = root.join("wit").join(version).join("alertmill.wit");
    if version.is_empty() || !wit.is_file() {
        return Err(format!("there is no contract `{version}`: name a folder of `wit`, as `--freeze v0.1`"));
    }
    let to = root.join("tests/contract").join(version);
    let sums_file = to.join("SHA256SUMS");
    if sums_file.exists() {
        return Err(format!("{} is there: what is frozen is never made again", sums_file.display()));
    }
    fs::create_dir_all(&to).map_err(|error| format!("{}: {error}", to.display()))?;
    let rules = root.join("rules");
    let mut files = vec![to.join("alertmill.wit")];
    write(&files[0], &read(&wit)?)?;
    for (name, built) in FROZEN {
        let file = to.join(format!("{name}.wasm"));
        write(&file, &read(&rules.join("dist").join(format!("{built}.wasm")))?)?;
        files.push(file);
    }
    files.sort();
    run(cargo(&rules).args(["build", "--quiet", "--locked", "--package", "componentize"]))?;
    write(&sums_file, tool(&rules, "sums", &files)?.as_bytes())?;
    println!("{} is frozen: {} modules in {}", version, FROZEN.len(), to.display());
    Ok(())
}

fn add_target() -> Result<(), String> {
    let sysroot = output(Command::new("rustc").arg(format!("+{TOOLCHAIN}")).args(["--print", "sysroot"]))?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).is_dir() {
        return Ok(());
    }
    println!("adding the Rust target {TARGET} to toolchain {TOOLCHAIN} (once, by rustup)");
    run(Command::new("rustup").args(["target", "add", TARGET, "--toolchain", TOOLCHAIN]))
}

/// A cargo command on the rules' own workspace and target folder, whatever the caller's environment says.
fn cargo(rules: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(rules).env("CARGO_TARGET_DIR", rules.join("target")).env_remove("RUSTFLAGS");
    command.env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

fn compile(root: &Path, rules: &Path) -> Result<(), String> {
    let flags = remapped_paths(root).into_iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let flags = flags.collect::<Vec<_>>().join("\u{1f}");
    let build = || {
        let mut command = cargo(rules);
        command.args(["build", "--locked", "--release", "--target", TARGET]).env("CARGO_ENCODED_RUSTFLAGS", &flags);
        command
    };
    run(build().args(RULES.iter().flat_map(|rule| ["--package", rule])))?;
    run(build().args(["--package", "misbehaving", "--examples"]))
}

/// The last prefix that fits wins, so the more general come first.
fn remapped_paths(root: &Path) -> Vec<(PathBuf, &'static str)> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| home.as_ref().map(|home| home.join(".cargo")));
    let homes = home.into_iter().map(|home| (home, "home"));
    let cargo_homes = cargo_home.into_iter().flat_map(|home| {
        let mut paths = vec![(home.clone(), "cargo")];
        // The folder of unpacked crates is named after the registry's address.
        let unpacked = fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten();
        paths.extend(unpacked.map(|folder| (folder.path(), "crates")));
        paths
    });
    homes.chain(cargo_homes).chain([(root.to_path_buf(), "alertmill")]).collect()
}

/// Wraps all modules into `out`; gives their paths, sorted.
fn wrap_all(rules: &Path, out: &Path) -> Result<Vec<PathBuf>, String> {
    let test = out.join("test");
    fs::create_dir_all(&test).map_err(|error| format!("{}: {error}", test.display()))?;
    let built = rules.join("target").join(TARGET).join("release");
    let mut files = Vec::new();
    for rule in RULES {
        let to = out.join(format!("{rule}.wasm"));
        wrap(rules, &built.join(module_file(rule)), &to, &[])?;
        files.push(to);
    }
    for name in MISBEHAVING {
        let to = test.join(format!("{name}.wasm"));
        let world = WORLDS.iter().find(|(known, _)| known == name).map_or(&[][..], |(_, world)| world);
        wrap(rules, &built.join("examples").join(module_file(name)), &to, world)?;
        files.push(to);
    }
    let no_imports = test.join("no-imports.wasm");
    wrap(rules, &built.join("examples/by_hand.wasm"), &no_imports, NO_IMPORTS)?;
    files.push(no_imports);
    let core_module = test.join("core-module.wasm");
    run(tool_command(rules).arg("tidy").arg(built.join("examples/says.wasm")).arg(&core_module))?;
    files.push(core_module);
    files.push(write_wrong_version(&test)?);
    files.sort();
    Ok(files)
}

fn module_file(name: &str) -> String {
    format!("{}.wasm", name.replace('-', "_"))
}

/// Makes a component of a compiled rule; `also` is what `componentize` takes beside the two paths.
pub fn wrap(rules: &Path, module: &Path, to: &Path, also: &[&str]) -> Result<(), String> {
    run(tool_command(rules).arg("wrap").arg(module).arg(to).args(also))
}

fn write_wrong_version(test: &Path) -> Result<PathBuf, String> {
    let mut bytes = read(&test.join("says.wasm"))?;
    let length = REAL_VERSION.len();
    for start in 0..bytes.len() - length {
        if bytes[start..].starts_with(REAL_VERSION.as_bytes()) {
            bytes[start..start + length].copy_from_slice(WRONG_VERSION.as_bytes());
        }
    }
    let to = test.join("wrong-version.wasm");
    write(&to, &bytes)?;
    Ok(to)
}

fn refuse_own_paths(root: &Path, file: &Path) -> Result<(), String> {
    let bytes = read(file)?;
    for (path, _) in remapped_paths(root) {
        let Some(path) = path.to_str().filter(|path| path.len() > 1) else { continue };
        let own = format!("{path}/");
        if bytes.windows(own.len()).any(|window| window == own.as_bytes()) {
            return Err(format!("{} contains the path {path} of this machine", file.display()));
        }
    }
    Ok(())
}

fn compare(rules: &Path, dist: &Path, built: &[PathBuf], sums: &str) -> Result<(), String> {
    let committed = modules(dist)?;
    let facts = |files: &[PathBuf]| tool(rules, "facts", files);
    let (was, is) = (facts(&committed)?, facts(built)?);
    let differences: Vec<String> = was
        .lines()
        .filter(|fact| !is.lines().any(|other| other == *fact))
        .map(|fact| format!("only in rules/dist: {fact}"))
        .chain(is.lines().filter(|fact| !was.lines().any(|other| other == *fact)).map(|fact| format!("only in the sources: {fact}")))
        .collect();
    if !differences.is_empty() {
        return Err(format!("{}\nrun `cargo xtask rules` and commit rules/dist", differences.join("\n")));
    }
    let listed = String::from_utf8_lossy(&read(&dist.join("SHA256SUMS"))?).into_owned();
    if listed != tool(rules, "sums", &committed)? {
        return Err("rules/dist/SHA256SUMS does not fit the files beside it".to_string());
    }
    let (listed, built_sums) = (by_name(&listed), by_name(sums));
    let same = listed.iter().filter(|(name, sum)| built_sums.get(*name) == Some(sum)).count();
    println!("{} modules say the same as their sources; {same} of them byte for byte", committed.len());
    Ok(())
}

/// Has the engine load the modules just built: they say of themselves what the committed ones say, and answer as the cases of
/// rules and template want. In the profile and with the features of all tests, so that nothing is compiled twice.
fn ask(root: &Path, built: &Path) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--release", "--workspace", "--test", "cases"]).current_dir(root).env("ALERTMILL_RULES_DIST", built);
    run(&mut command).map_err(|why| format!("{why}\nif only rules/dist is old: run `cargo xtask rules` and commit it"))
}

fn by_name(sums: &str) -> BTreeMap<&str, &str> {
    sums.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name, sum)).collect()
}

/// The modules below a `dist` folder, sorted.
fn modules(dist: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for folder in [dist.to_path_buf(), dist.join("test")] {
        let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let paths = entries.flatten().map(|entry| entry.path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "wasm")));
    }
    files.sort();
    Ok(files)
}

fn remove_others(dist: &Path, files: &[PathBuf]) -> Result<(), String> {
    for stale in modules(dist)?.iter().filter(|path| !files.contains(path)) {
        fs::remove_file(stale).map_err(|error| format!("{}: {error}", stale.display()))?;
    }
    Ok(())
}

fn tool_command(rules: &Path) -> Command {
    let mut command = Command::new(rules.join("target/debug/componentize"));
    command.current_dir(rules);
    command
}

fn tool(rules: &Path, task: &str, files: &[PathBuf]) -> Result<String, String> {
    output(tool_command(rules).arg(task).args(files))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// Runs a command; what it prints is seen.
pub fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}")) }
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{command:?}: {error}"))
}
