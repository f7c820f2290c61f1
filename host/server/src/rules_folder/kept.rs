//! The last good version of a rule whose file is not used. It goes on only together with tables that it can run with: the
//! file of a table may have changed in the meantime, and a generation that cannot be loaded would hold up every other change.

use super::{Problem, RulesFolder};
use crate::tables::TableSet;
use alertmill_core::record::{RuleEntry, RuleSet};
use alertmill_core::value::Text;
use alertmill_engine::{Refusal, RuleInfo, RuleOptions};
use std::path::Path;

/// Whether a rule in force runs with these tables, until one of both changes.
pub(super) struct Checked {
    entry: RuleEntry,
    tables: Vec<(Text, Text)>,
    outcome: Result<RuleInfo, Refusal>,
    /// The tables that it reads, once somebody asked.
    reads: Option<Vec<Text>>,
}

/// What becomes of a version in force.
#[allow(clippy::large_enum_variant, reason = "one at a time, and it lives for a moment")]
pub(super) enum Kept {
    /// It goes on.
    Runs(Option<RuleInfo>),
    /// It needs these tables, by name and digest, as they are in force.
    Needs(Vec<(Text, Text)>, Problem),
    /// It cannot run whatever is kept.
    Not(Problem),
}

impl RulesFolder {
    /// Whether a version in force, whose file or folder is at `path`, goes on with these tables.
    pub(super) fn last_good(&mut self, path: &Path, entry: &RuleEntry, in_force: &RuleSet, tables: &TableSet) -> Kept {
        let name = entry.name.as_str();
        let why = match self.runs_with(entry, tables) {
            Ok(info) => return Kept::Runs(Some(info)),
            // No word about rule or table; the next look asks again.
            Err(why) if may_pass(&why) => return Kept::Runs(None),
            Err(why) => why,
        };
        let mut changed: Vec<(Text, Text)> = in_force.tables.iter().filter(|table| !tables.digests.contains(table)).cloned().collect();
        if !changed.is_empty() {
            match self.reads(entry, tables) {
                Ok(reads) => changed.retain(|(table, _)| reads.contains(table)),
                Err(why) if may_pass(&why) => return Kept::Runs(None),
                // It does not even say what it is: no table helps.
                Err(_) => changed.clear(),
            }
        }
        if changed.is_empty() {
            let message = format!("version {} that was in force cannot run any more: {why}; repair the file", entry.version);
            return Kept::Not(self.problem(path, name, why.code(), message));
        }
        let names = changed.iter().map(|(table, _)| format!("`{table}`")).collect::<Vec<_>>().join(", ");
        let message = format!("what changed in {names} is not used yet: rule `{name}` cannot run with it: {why}; repair the table or the rule");
        Kept::Needs(changed, self.problem(path, name, super::TABLE_HELD_BACK, message))
    }

    fn runs_with(&mut self, entry: &RuleEntry, tables: &TableSet) -> Result<RuleInfo, Refusal> {
        if let Some(known) = self.kept.iter().find(|known| known.entry == *entry && known.tables == tables.digests) {
            return known.outcome.clone();
        }
        let outcome = self.content(&entry.digest).and_then(|bytes| {
            let options = RuleOptions::from_entry(entry)?;
            self.engine.load(&bytes, Some(&entry.name), &options, &tables.loaded).map(|rule| rule.info().clone())
        });
        if !outcome.as_ref().is_err_and(may_pass) {
            self.kept.push(Checked { entry: entry.clone(), tables: tables.digests.clone(), outcome: outcome.clone(), reads: None });
        }
        outcome
    }

    /// Forgets what was said of rules and tables that no look asks about any more.
    pub(super) fn forget_checks(&mut self, in_force: &RuleSet) {
        // Two sets of tables are compared at most: those in the files, and with some held back.
        const KEPT_MAX: usize = 256;
        self.kept.retain(|known| in_force.rules.contains(&known.entry));
        let more = self.kept.len().saturating_sub(KEPT_MAX);
        self.kept.drain(..more);
    }

    /// Names of the tables that a rule in force reads. Asked once: its module is compiled for it.
    fn reads(&mut self, entry: &RuleEntry, tables: &TableSet) -> Result<Vec<Text>, Refusal> {
        let at = self.kept.iter().position(|known| known.entry == *entry && known.tables == tables.digests);
        if let Some(reads) = at.and_then(|at| self.kept[at].reads.clone()) {
            return Ok(reads);
        }
        // Its own limits: a module that needs more than the default ones is refused under those.
        let info = self.engine.inspect_named(&self.content(&entry.digest)?, &entry.name, &RuleOptions::from_entry(entry)?)?;
        let reads: Vec<Text> = info.tables.iter().map(|name| Text::new(name.as_str())).collect();
        if let Some(at) = at {
            self.kept[at].reads = Some(reads.clone());
        }
        Ok(reads)
    }

    /// As if no look had asked yet.
    #[cfg(test)]
    pub(super) fn forget_reads(&mut self) {
        self.kept.iter_mut().for_each(|known| known.reads = None);
    }

    fn content(&self, digest: &str) -> Result<Vec<u8>, Refusal> {
        let missing = || Refusal::ContentMissing(format!("sha256:{digest} is not among the modules of the data folder"));
        self.modules.get(digest).map_err(|e| Refusal::ContentMissing(e.to_string()))?.ok_or_else(missing)
    }
}

/// Whether a refusal says nothing about rule or table, and the next look may hear another word.
fn may_pass(why: &Refusal) -> bool {
    matches!(why, Refusal::ContentMissing(_) | Refusal::InitTimeout { .. } | Refusal::CompileUnavailable(_))
}
