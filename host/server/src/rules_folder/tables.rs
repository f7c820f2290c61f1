//! Tables of the configuration: each file becomes content by digest, and is swapped by a generation like a rule.

use super::settling::{Stamp, stamp};
use super::{CHANGING, NOT_KEPT, Problem, RulesFolder, UNREADABLE};
use alertmill_core::record::RuleSet;
use alertmill_core::value::Text;
use alertmill_engine::Table;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A table that was read, until its file changes.
pub(super) struct Kept {
    stamp: Stamp,
    outcome: Result<(Text, Arc<Table>), Problem>,
}

impl Kept {
    /// Its content among the modules.
    pub fn digest(&self) -> Option<&Text> {
        self.outcome.as_ref().ok().map(|(digest, _)| digest)
    }

    /// Whether it says what a file of this stamp holds.
    fn says(&self, stamp: Stamp) -> bool {
        self.stamp == stamp && !self.outcome.as_ref().is_err_and(Problem::may_pass)
    }
}

/// The tables that rules are checked with, sorted by name.
#[derive(Clone, Default)]
pub(super) struct Tables {
    /// Name and digest.
    pub digests: Vec<(Text, Text)>,
    /// The same tables, to be read.
    pub loaded: Vec<(Text, Arc<Table>)>,
}

impl Tables {
    /// Puts a table in, in the place of the one of its name.
    pub fn put(&mut self, name: &Text, digest: &Text, table: Arc<Table>) {
        self.digests.retain(|(known, _)| known != name);
        self.loaded.retain(|(known, _)| known != name);
        let at = self.digests.partition_point(|(known, _)| known.as_str() < name.as_str());
        self.digests.insert(at, (name.clone(), digest.clone()));
        self.loaded.push((name.clone(), table));
    }
}

impl RulesFolder {
    /// Reads the tables whose files changed. One that became bad stays as it is in force.
    pub(super) fn look_at_tables(&mut self, in_force: &RuleSet, problems: &mut Vec<Problem>) -> Tables {
        let mut tables = Tables::default();
        let names: Vec<String> = self.tables.keys().cloned().collect();
        for name in names {
            let problem = match self.table(&name) {
                Ok((digest, table)) => {
                    tables.put(&Text::new(&name), &digest, table);
                    continue;
                }
                Err(problem) => problem,
            };
            let last_good = in_force.tables.iter().find(|(known, _)| *known == name);
            let stands_in = last_good.and_then(|(known, digest)| Some((known, digest, self.table_in_force(digest)?)));
            // One that is being written is nothing to speak of as long as its last version stands in.
            problems.extend(Some(problem).filter(|problem| problem.code != CHANGING || stands_in.is_none()));
            if let Some((known, digest, table)) = stands_in {
                tables.put(known, digest, table);
            }
        }
        tables
    }

    fn table(&mut self, name: &str) -> Result<(Text, Arc<Table>), Problem> {
        let file = self.tables[name].file.clone();
        let (now, is_whole) = self.settling.stamp(&file);
        if let Some(kept) = self.table_cache.get(name).filter(|kept| !is_whole || kept.says(now)) {
            self.is_unsettled |= !is_whole && kept.stamp != now;
            return kept.outcome.clone();
        }
        if is_whole {
            let outcome = self.read_table(name);
            if stamp(&file) == now {
                self.table_cache.insert(name.to_owned(), Kept { stamp: now, outcome: outcome.clone() });
                return outcome;
            }
        }
        self.is_unsettled = true;
        let being_written = || Err(self.problem(&file, name, CHANGING, format!("table `{name}`: the file is being written; it is taken when it is at rest")));
        self.table_cache.get(name).map_or_else(being_written, |kept| kept.outcome.clone())
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

    /// A table of the generation in force; read once for as long as looks ask for it.
    pub(super) fn table_in_force(&mut self, digest: &Text) -> Option<Arc<Table>> {
        let look = self.settling.looks();
        if let Some((used, table)) = self.in_force.get_mut(digest) {
            *used = look;
            return Some(table.clone());
        }
        let bytes = self.modules.get(digest).ok().flatten()?;
        let table = Arc::new(Table::parse(&bytes, None).ok()?);
        self.in_force.insert(digest.clone(), (look, table.clone()));
        Some(table)
    }

    /// Forgets tables in force that this look did not ask for.
    pub(super) fn forget_tables(&mut self) {
        let look = self.settling.looks();
        self.in_force.retain(|_, (used, _)| *used == look);
    }
}

/// Tables in force by digest, with the look that last asked for them.
pub(super) type InForce = BTreeMap<Text, (u64, Arc<Table>)>;
