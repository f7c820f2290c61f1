//! Tables of the configuration: each file becomes content by digest, and is swapped by a generation like a rule.

use super::{Look, NOT_KEPT, Problem, RulesFolder, Stamp, UNREADABLE, stamp};
use alertmill_core::record::RuleSet;
use alertmill_core::value::Text;
use alertmill_engine::Table;
use std::sync::Arc;

/// A table that was read, until its file changes.
pub(super) struct Kept {
    stamp: Stamp,
    outcome: Result<(Text, Arc<Table>), Problem>,
}

impl RulesFolder {
    /// Reads the tables whose files changed. One that became bad stays as it is in force.
    pub(super) fn look_at_tables(&mut self, in_force: &RuleSet, look: &mut Look) -> Vec<(Text, Arc<Table>)> {
        let mut loaded = Vec::new();
        let names: Vec<String> = self.tables.keys().cloned().collect();
        for name in names {
            match self.table(&name) {
                Ok((digest, table)) => {
                    look.tables.push((Text::new(&name), digest));
                    loaded.push((Text::new(&name), table));
                }
                Err(problem) => {
                    let last_good = in_force.tables.iter().find(|(known, _)| *known == name);
                    if let Some((known, digest)) = last_good {
                        loaded.extend(self.kept_table(known, digest));
                        look.tables.push((known.clone(), digest.clone()));
                    }
                    look.problems.push(problem);
                }
            }
        }
        loaded
    }

    fn table(&mut self, name: &str) -> Result<(Text, Arc<Table>), Problem> {
        let now = stamp(&self.tables[name].file);
        if let Some(kept) = self.table_cache.get(name).filter(|kept| kept.stamp == now) {
            return kept.outcome.clone();
        }
        let outcome = self.read_table(name);
        if outcome.as_ref().is_err_and(Problem::may_pass) {
            self.table_cache.remove(name);
        } else {
            self.table_cache.insert(name.to_owned(), Kept { stamp: now, outcome: outcome.clone() });
        }
        outcome
    }

    fn read_table(&self, name: &str) -> Result<(Text, Arc<Table>), Problem> {
        let table = &self.tables[name];
        let fail = |code: &str, why: String| self.problem(&table.file, name, code, format!("table `{name}`: {why}"));
        let bytes = std::fs::read(&table.file).map_err(|e| fail(UNREADABLE, e.to_string()))?;
        let parsed = Table::parse(&bytes, Some(&table.key)).map_err(|why| fail("table-invalid", why))?;
        // Kept in a form that says itself which column is the key, so that a replay needs no configuration.
        let digest = self.modules.put(&parsed.to_csv()).map_err(|e| fail(NOT_KEPT, e.to_string()))?;
        Ok((Text::from(digest), Arc::new(parsed)))
    }

    fn kept_table(&self, name: &Text, digest: &Text) -> Option<(Text, Arc<Table>)> {
        let bytes = self.modules.get(digest).ok().flatten()?;
        Table::parse(&bytes, None).ok().map(|table| (name.clone(), Arc::new(table)))
    }
}
