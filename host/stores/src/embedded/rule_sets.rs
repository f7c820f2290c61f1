//! A rule set as the JSON text that the history keeps: that of its record.

use alertmill_core::record::RuleSet;

pub(super) fn to_json(set: &RuleSet) -> String {
    serde_json::to_string(set).unwrap_or_default()
}

pub(super) fn from_json(generation: u64, text: &str) -> Result<RuleSet, serde_json::Error> {
    serde_json::from_str(text).map(|set| RuleSet { generation, ..set })
}
