//! The commands, as steps that say what they do and how long it took.

use crate::{guarantees, peers, rules, services};
use std::io::IsTerminal;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The main job: build, then `alertmill demo`. Without a terminal it ends when all is stored.
pub fn demo(root: &Path, args: &[String]) -> Result<(), String> {
    step("build alertmill (release; the first time compiles all dependencies, several minutes)", || cargo(root, &["build", "--release", "-p", "alertmill"]))?;
    let mut command = Command::new(root.join("target/release/alertmill"));
    command.arg("demo").args(args).current_dir(root);
    if !std::io::stdout().is_terminal() && !args.iter().any(|arg| arg == "--once") {
        command.arg("--once");
    }
    run(&mut command)
}

/// All tests, built once and in one profile.
pub fn test(root: &Path, args: &[String]) -> Result<(), String> {
    let deep = match args {
        [] => false,
        [arg] if arg == "--deep" => true,
        _ => return Err(format!("unknown arguments {args:?}; known: --deep")),
    };
    let began = Instant::now();
    guarantees::forget(root)?;
    step("services for the tests (a real Prometheus, strace, mkfs.ext4)", || {
        services::privileged()?;
        services::prometheus()?;
        services::strace()?;
        services::mkfs_ext4().map(|_| ())
    })?;
    step("benches/peers, which is built by hand only: its form, and its versions of what it shares with the binary", || peers::check(root))?;
    step("shipped rules and the template: build again, compare with rules/dist, run their cases", || rules::build(root, true))?;
    step("rules and SDK: their own tests", || {
        cargo(&root.join("guest/rust"), &["test", "--quiet"])?;
        cargo(&root.join("rules"), &["test", "--quiet", "--workspace"])
    })?;
    step("build alertmill", || cargo(root, &["build", "--release", "-p", "alertmill"]))?;
    step("unit, corpus, conformance, contract and end-to-end tests", || cargo(root, &["test", "--release", "--workspace"]))?;
    step("simulator: 2,000 seeds, each twice", || sim(root, &["--seeds".into(), "2000".into()]))?;
    step("guarantees: every proof ran, the page says what its sources say", || guarantees::all_ran(root).and_then(|()| guarantees::check(root)))?;
    if deep {
        step("the long tests", || cargo(root, &["test", "--release", "--workspace", "--", "--ignored", "--nocapture", "--test-threads", "1"]))?;
        step("simulator: 100,000 seeds, each twice", || sim(root, &["--seeds".into(), "100000".into()]))?;
    }
    println!("xtask: all tests passed in {} s", began.elapsed().as_secs());
    Ok(())
}

/// The simulator with the caller's arguments.
pub fn sim(root: &Path, args: &[String]) -> Result<(), String> {
    run(Command::new(env!("CARGO")).args(["run", "--release", "--quiet", "-p", "alertmill-sim", "--"]).args(args).current_dir(root))
}

/// The goals, measured in one run; with `peers`, the bench rules beside what others would use for them.
pub fn bench(root: &Path, args: &[String]) -> Result<(), String> {
    if let Some((_, turns)) = args.split_first().filter(|(first, _)| *first == "peers") {
        return peers::bench(root, turns);
    }
    cargo(root, &["build", "--release", "-p", "alertmill"])?;
    run(Command::new(root.join("target/release/alertmill")).arg("bench").args(args).current_dir(root))
}

/// Form and lints. Not part of `test`: clippy compiles every dependency a second time.
pub fn lint(root: &Path) -> Result<(), String> {
    cargo(root, &["fmt", "--all", "--check"])?;
    peers::check(root)?;
    cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// Cargo in a folder.
pub fn cargo(dir: &Path, args: &[&str]) -> Result<(), String> {
    run(Command::new(env!("CARGO")).args(args).current_dir(dir))
}

/// Runs a command with our own input and output.
pub fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}").replace('"', "");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` ended with {status}")),
        Err(e) => Err(format!("`{shown}` could not be started: {e}")),
    }
}

fn step(what: &str, work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    println!("xtask: {what}");
    let began = Instant::now();
    work().map_err(|why| format!("{what}: {why}"))?;
    println!("xtask: done in {} s: {what}", began.elapsed().as_secs());
    Ok(())
}
