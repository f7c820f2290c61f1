//! A rule set as the text that the history keeps: the JSON of its record on one line, and on a second one, if there are any, the
//! verdicts on its rules that have no end. They belong to the generation, so the next one begins without.

use super::checksum;
use alertmill_core::record::RuleSet;
use alertmill_core::verdict::Verdict;
use rusqlite::{Connection, OptionalExtension, params};

pub(super) fn to_text(set: &RuleSet) -> String {
    serde_json::to_string(set).unwrap_or_default()
}

pub(super) fn from_text(generation: u64, text: &str) -> Result<(RuleSet, Vec<Verdict>), serde_json::Error> {
    let (set, verdicts) = lines(text);
    let set = serde_json::from_str(set)?;
    let verdicts = verdicts.map_or(Ok(Vec::new()), serde_json::from_str)?;
    Ok((RuleSet { generation, ..set }, verdicts))
}

/// The set alone.
pub(super) fn set_of(text: &str) -> &str {
    lines(text).0
}

fn lines(text: &str) -> (&str, Option<&str>) {
    text.split_once('\n').map_or((text, None), |(set, verdicts)| (set, Some(verdicts)))
}

/// Writes the verdicts of the generation in force.
pub(super) fn write_open_verdicts(connection: &Connection, verdicts: &[Verdict]) -> rusqlite::Result<()> {
    let mut newest = connection.prepare_cached("SELECT generation, ordinal, received_at_ms, content FROM rule_sets ORDER BY generation DESC LIMIT 1")?;
    let row = newest.query_row([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?, row.get::<_, i64>(2)?, row.get::<_, String>(3)?)));
    // Without a generation there is no rule to say anything of.
    let Some((generation, ordinal, received_at_ms, before)) = row.optional()? else { return Ok(()) };
    let mut content = set_of(&before).to_owned();
    if !verdicts.is_empty() {
        content.push('\n');
        content.push_str(&serde_json::to_string(verdicts).unwrap_or_default());
    }
    let sum = checksum::of_rule_set(generation, ordinal, received_at_ms, &content);
    let mut update = connection.prepare_cached("UPDATE rule_sets SET content = ?1, sum = ?2 WHERE generation = ?3")?;
    update.execute(params![content, sum, generation]).map(drop)
}
