//! Reading vectors. Inputs stay raw bytes, because order of keys and forms of numbers matter to what is hashed.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};
use std::path::Path;

/// One vector.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// Unique within the suite.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// Its folder.
    pub suite: String,
    /// Upstream behaviour that may be an accident.
    #[serde(default)]
    pub quirk: bool,
    /// Why it may be.
    #[serde(default)]
    pub quirk_reason: String,
    /// Seconds.
    pub clock_start: i64,
    /// Configuration at the start.
    pub config: Map<String, Json>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One step of a vector.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Seconds; the clock stands still at it.
    pub at: i64,
    /// What is done.
    pub op: String,
    /// For people.
    #[serde(default)]
    pub note: String,
    /// What it is done with.
    #[serde(default)]
    pub input: Option<Box<RawValue>>,
    /// What upstream did.
    pub expect: Map<String, Json>,
}

impl Vector {
    /// `suite/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.suite, self.name)
    }

    /// Reads a vector's text.
    pub fn parse(text: &str) -> Result<Vector, serde_json::Error> {
        serde_json::from_str(text)
    }
}

impl Step {
    /// The input as a list of raw items; empty without an input.
    pub fn items(&self) -> Result<Vec<&RawValue>, String> {
        match &self.input {
            Some(input) => serde_json::from_str(input.get()).map_err(|e| format!("input is not a list: {e}")),
            None => Ok(Vec::new()),
        }
    }
}

/// The suites that a folder may hold; other folders beside them are not looked at.
pub const SUITES: [&str; 5] = ["event-clean", "builder", "lifecycle", "detect-trigger", "pipeline"];

/// Reads all vectors of a folder, or of one suite, sorted by name.
pub fn read_all(dir: &Path, suite: Option<&str>) -> Result<Vec<Vector>> {
    let mut vectors = Vec::new();
    if let Some(unknown) = suite.filter(|name| !SUITES.contains(name)) {
        anyhow::bail!("no suite is called {unknown}; there are {}", SUITES.join(", "));
    }
    for name in SUITES.iter().filter(|name| suite.is_none_or(|wanted| wanted == **name)) {
        let folder = dir.join(name);
        if !folder.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|ext| ext == "json") {
                let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                vectors.push(Vector::parse(&text).with_context(|| format!("{} is not a vector", path.display()))?);
            }
        }
    }
    vectors.sort_by_key(Vector::full_name);
    Ok(vectors)
}
