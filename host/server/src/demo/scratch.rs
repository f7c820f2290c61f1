//! The demo's own world: a folder that goes away, with the shipped rules in `rules.d/` and an owner table.

use crate::config::{Config, Table};
use crate::rules_folder::shipped;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What the second version of the severity rule is told.
const SWAPPED: &str = "[[config.exceptions]]\ntag = \"env\"\nvalues = [\"production\"]\neffect = { at_least = 1 }\n";

const HOSTS: &str = include_str!("../../../../samples/hosts.csv");

/// The folder.
pub struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// Makes it.
    pub fn new() -> std::io::Result<Scratch> {
        let scratch = Scratch { dir: tempfile::Builder::new().prefix("alertmill-demo-").tempdir()? };
        std::fs::create_dir(scratch.rules_dir())?;
        std::fs::write(scratch.path().join("hosts.csv"), HOSTS)?;
        shipped::write_to(&scratch.rules_dir())?;
        Ok(scratch)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Its `rules.d`.
    pub fn rules_dir(&self) -> PathBuf {
        self.path().join("rules.d")
    }

    /// Names of the rules, in order.
    pub fn rules(&self) -> Vec<&'static str> {
        shipped::names()
    }

    /// A free port, embedded stores, everything inside the folder.
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".to_owned();
        config.data.dir = self.path().join("data");
        config.rules.dir = self.rules_dir();
        let hosts = Table { file: self.path().join("hosts.csv"), key: "host".to_owned(), ..Table::default() };
        config.tables.insert("hosts".to_owned(), hosts);
        config
    }

    /// Gives the severity rule another configuration, as an operator would while everything runs.
    pub fn swap_rule(&self) -> std::io::Result<()> {
        std::fs::write(self.rules_dir().join("20-severity-by-labels.toml"), SWAPPED)
    }
}
