//! What a proof of a promise counted, written down so that `docs/guarantees.md` can be generated from it: one small file a
//! proof and tier under `target/proofs/`, which `cargo xtask guarantees` collects; and what proofs in several crates share
//! ([`processes`]). Standard library only.

pub mod processes;

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// How much of a proof was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// With every `cargo xtask test`.
    Ci,
    /// Longer, started by hand.
    Hand,
}

impl Tier {
    /// As in file names.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Ci => "ci",
            Tier::Hand => "hand",
        }
    }
}

/// Writes the figures of a proof that held: `proof` is its name in lower case with dashes, as in `docs/guarantees/text.md`;
/// a figure is a count or a measure with its unit last in the name, such as `seeds` or `longest_ms`. Also prints them.
/// Panics if they cannot be written, or have a name or value that is not one word or line.
#[track_caller]
pub fn record(proof: &str, tier: Tier, figures: &[(&str, &dyn Display)]) {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte));
    assert!(is_name(proof), "`{proof}` is no name of a proof");
    let mut text = String::new();
    for (name, value) in figures {
        let value = value.to_string();
        assert!(is_name(name) && !value.is_empty() && !value.contains('\n'), "`{name} = {value}` is no figure");
        text.push_str(&format!("{name} = {value}\n"));
    }
    println!("proof {proof} ({}): {}", tier.name(), text.trim_end().replace('\n', ", "));
    let file = dir().join(format!("{proof}.{}", tier.name()));
    let written = std::fs::create_dir_all(dir()).and_then(|()| std::fs::write(&file, text));
    written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

fn dir() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/proofs")).to_path_buf()
}
