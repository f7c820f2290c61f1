//! A rule set as the JSON text that the history keeps.

use alertmill_core::record::{RuleEntry, RuleSet};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Stored {
    rules: Vec<StoredRule>,
    tables: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct StoredRule {
    name: String,
    version: String,
    digest: String,
    config: String,
    options: String,
}

pub(super) fn to_json(set: &RuleSet) -> String {
    let rule = |rule: &RuleEntry| StoredRule {
        name: rule.name.to_string(),
        version: rule.version.to_string(),
        digest: rule.digest.to_string(),
        config: rule.config.to_string(),
        options: rule.options.to_string(),
    };
    let tables = set.tables.iter().map(|(name, digest)| (name.to_string(), digest.to_string())).collect();
    serde_json::to_string(&Stored { rules: set.rules.iter().map(rule).collect(), tables }).unwrap_or_default()
}

pub(super) fn from_json(generation: u64, text: &str) -> Result<RuleSet, serde_json::Error> {
    let stored: Stored = serde_json::from_str(text)?;
    let rule = |rule: StoredRule| RuleEntry {
        name: rule.name.into(),
        version: rule.version.into(),
        digest: rule.digest.into(),
        config: rule.config.into(),
        options: rule.options.into(),
    };
    let tables = stored.tables.into_iter().map(|(name, digest)| (name.into(), digest.into())).collect();
    Ok(RuleSet { generation, rules: stored.rules.into_iter().map(rule).collect(), tables })
}
