//! What API, command line and metrics show of tables.

use super::{Outcome, Source, Standing, Tables};
use crate::rules_folder::Problem;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// One table. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TableRow {
    /// Name.
    pub name: String,
    /// The file, or the URL without its query.
    pub source: String,
    /// The column that is looked up.
    pub key: String,
    /// What is in force, as `sha256:..`; this and the next four are null while nothing is.
    pub digest: Option<String>,
    /// The generation since which it is; after a start, the one that was found.
    pub generation: Option<u64>,
    /// Rows.
    pub rows: Option<usize>,
    /// Bytes in memory.
    pub bytes: Option<usize>,
    /// Names of columns, the key first.
    pub columns: Option<Vec<String>>,
    /// When the source last gave other content, since the process started.
    pub fetched_at: Option<u64>,
    /// When the source was last asked, since the process started.
    pub checked_at: Option<u64>,
    /// When a URL is fetched next.
    pub next_at: Option<u64>,
    /// Seconds since the source said that what is in force is right.
    pub age_s: Option<u64>,
    /// Whether that is longer ago than `stale_after_s`.
    pub stale: bool,
    /// Keys that rules looked up and found, since the process started.
    pub hits: u64,
    /// And those that are not in the table.
    pub misses: u64,
    /// How often the source was read, by what came of it, since the process started.
    pub refreshes: BTreeMap<&'static str, u64>,
    /// Why the source's last content is not in force.
    pub problem: Option<TableProblem>,
}

/// What is wrong with a table's source.
#[derive(Clone, Debug, Serialize)]
pub struct TableProblem {
    /// Stable code.
    pub code: String,
    /// What is wrong, where, what to do.
    pub message: String,
}

impl Tables {
    /// All of them, by name.
    pub fn rows(&self) -> Vec<TableRow> {
        let look_ups = self.0.engine.look_ups();
        let row = |source: &Source| {
            let (hits, misses) = look_ups.iter().find(|(name, ..)| *name == source.name).map_or((0, 0), |(_, hits, misses)| (*hits, *misses));
            TableRow { hits, misses, ..source.row(SystemTime::now()) }
        };
        self.0.sources.iter().map(row).collect()
    }

    /// The row of a key in a table: columns and cells. Outer none: there is no such table, or nothing of it is in force.
    pub fn cells(&self, name: &str, key: &str) -> Option<Option<Vec<(String, String)>>> {
        let source = self.0.sources.iter().find(|source| source.name == name)?;
        let table = source.state().in_force.as_ref()?.table.clone()?;
        Some(table.row(key).map(|cells| cells.into_iter().map(|(column, cell)| (column.to_owned(), cell.to_owned())).collect()))
    }
}

impl Source {
    pub(super) fn row(&self, now: SystemTime) -> TableRow {
        let state = self.state();
        let problem = |problem: &Problem| TableProblem { code: problem.code.clone(), message: problem.message.clone() };
        let in_force = state.in_force.as_ref();
        let table = in_force.and_then(|in_force| in_force.table.as_ref());
        let age_s = in_force.and_then(|in_force| in_force.confirmed_at).map(|at| now.duration_since(at).unwrap_or_default().as_secs());
        let stale_after_s = self.config.stale_after_s;
        TableRow {
            name: self.name.to_string(),
            source: self.shown.clone(),
            key: self.config.key.clone(),
            digest: in_force.map(|in_force| format!("sha256:{}", in_force.digest)),
            generation: in_force.map(|in_force| in_force.generation),
            rows: table.map(|table| table.len()),
            bytes: table.map(|table| table.bytes()),
            columns: table.map(|table| table.columns().to_vec()),
            fetched_at: state.fetched_at.map(ms),
            checked_at: state.checked_at.map(ms),
            next_at: state.next_at.map(ms),
            age_s,
            stale: stale_after_s > 0 && age_s.is_some_and(|age| age > stale_after_s),
            refreshes: Outcome::ALL.iter().map(|outcome| (outcome.name(), state.outcomes[*outcome as usize])).collect(),
            problem: match (&state.problem, &state.standing) {
                (Some(latest), _) | (None, Standing::Refused(latest)) => Some(problem(latest)),
                (None, _) => None,
            },
            ..TableRow::default()
        }
    }
}

fn ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
