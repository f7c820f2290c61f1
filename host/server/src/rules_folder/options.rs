//! `NN-name.toml`: options of the rule beside its module.

use alertmill_engine::RuleOptions;
use std::path::Path;

/// Reads the options file; one that is not there means all defaults. `Err` is a code and what is wrong, with its line.
pub fn read(path: &Path) -> Result<RuleOptions, (&'static str, String)> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err((super::UNREADABLE, e.to_string())),
    };
    let fail = |why: String| ("options", why);
    let table: toml::Table = toml::from_str(&text).map_err(|e| fail(e.to_string()))?;
    let value = serde_json::to_value(table).map_err(|e| fail(e.to_string()))?;
    RuleOptions::from_value(value).map_err(|refusal| fail(refusal.to_string()))
}
