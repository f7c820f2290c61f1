//! What the README's commands and CI call. Standard library only, so that it builds in seconds on a new machine.
//!
//! - `cargo xtask demo [...]`: the main job, on a scratch folder;
//! - `cargo xtask test [--deep]`: all tests; `--deep` adds the long ones, whose figures go to `docs/`;
//! - `cargo xtask sim --seeds N [--plant BUG]`, `cargo xtask rules [--check | --freeze VERSION]`, `cargo xtask bench`, `cargo xtask lint`,
//!   `cargo xtask guarantees`.

mod guarantees;
mod peers;
mod rules;
mod services;
mod steps;
mod template;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask demo [--once]        feed real sample data through the whole system and print what happened
cargo xtask test [--deep]        all tests; --deep adds the long ones (kills, 20M uids)
cargo xtask sim --seeds N        the simulator; --from SEED, --plant early-acknowledge
cargo xtask rules [--check]      build the shipped rules into rules/dist; --check builds and compares
cargo xtask rules --freeze V     keep modules of contract V in tests/contract for ever; once for each version
cargo xtask guarantees           take over what the last test runs counted into docs/guarantees.md
cargo xtask bench                measure the project's goals in one run
cargo xtask bench peers [TURNS]  the bench rules beside VRL, Lua, Rhai and Extism; builds them first
cargo xtask lint                 rustfmt and clippy";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let root = root();
    let done = match args.first().map(String::as_str) {
        Some("demo") => steps::demo(&root, rest),
        Some("test") => steps::test(&root, rest),
        Some("sim") => steps::sim(&root, rest),
        Some("bench") => steps::bench(&root, rest),
        Some("guarantees") => guarantees::update(&root),
        Some("lint") => steps::lint(&root),
        Some("rules") => match rest.first().map(String::as_str) {
            Some("--freeze") => rules::freeze(&root, rest.get(1).map_or("", String::as_str)),
            option => rules::build(&root, option == Some("--check")),
        },
        Some("help" | "--help" | "-h") | None => {
            println!("{HELP}");
            Ok(())
        }
        Some(other) => Err(format!("unknown command `{other}`\n{HELP}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder, wherever the command was called.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}
