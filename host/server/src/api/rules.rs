//! The watched rules folder and the engine as the API shows them.

use super::reads::{RuleFallback, RuleReads, RuleRow, RuleStats, RuleUse};
use super::versions;
use crate::rules::RuleKeeper;
use crate::rules_folder::{is_enabled, unneeded_grants, unneeded_in_words};
use crate::tables::{TableRow, Tables};
use alertmill_core::rule_set::{RuleEntry, RuleVersion};
use alertmill_core::verdict::Policy;
use alertmill_engine::{Engine, RuleInfo, RuleOptions, RuleStatsSnapshot};
use std::sync::Arc;

/// What runs, and what was refused.
pub struct WatchedRules {
    keeper: Arc<RuleKeeper>,
    engine: Engine,
    tables: Tables,
    /// Whether there are publishers, of whom one has to sign what comes.
    are_signed: bool,
}

impl WatchedRules {
    /// Shows these.
    pub fn new(keeper: Arc<RuleKeeper>, engine: Engine, tables: Tables, are_signed: bool) -> WatchedRules {
        WatchedRules { keeper, engine, tables, are_signed }
    }

    /// What is not as it should be with a rule that runs.
    fn degraded(&self, entry: &RuleEntry, info: Option<&RuleInfo>, tables: &[TableRow]) -> Vec<String> {
        let mut degraded: Vec<String> = info.map(|info| stale(&info.tables, tables)).unwrap_or_default();
        if self.are_signed && self.keeper.is_signed(&entry.name, &entry.digest) == Some(false) {
            degraded.push("unsigned".to_owned());
        }
        degraded
    }
}

impl RuleReads for WatchedRules {
    fn rules(&self) -> Vec<RuleRow> {
        let shown = self.keeper.shown();
        let (stats, tables) = (self.engine.stats(), self.tables.rows());
        let running = shown.set.rules.iter().map(|entry| {
            let info = shown.infos.iter().find(|info| info.digest == entry.digest);
            let stats = stats.iter().find(|stats| (&stats.rule, &stats.digest) == (&entry.name, &entry.digest));
            let options = RuleOptions::from_entry(entry).ok();
            let unneeded = info.map(|info| unneeded_grants(entry, info)).unwrap_or_default();
            RuleRow {
                name: entry.name.to_string(),
                version: entry.version.to_string(),
                digest: format!("sha256:{}", entry.digest),
                generation: shown.set.generation,
                hooks: info.map(hooks).unwrap_or_default(),
                state: state(entry, stats.is_some_and(|s| s.struck_out)).to_owned(),
                stand_ins: info.map(|info| info.stand_ins.clone()).unwrap_or_default(),
                detail: unneeded_in_words(&unneeded),
                degraded: if is_enabled(entry) { self.degraded(entry, info, &tables) } else { Vec::new() },
                unneeded_grants: unneeded.into_iter().map(str::to_owned).collect(),
                on_failure: options.as_ref().map(|options| options.on_failure.as_str().to_owned()).unwrap_or_default(),
                fallback: entry
                    .previous
                    .as_ref()
                    .filter(|_| options.as_ref().is_some_and(|options| options.on_failure == Policy::PreviousVersion))
                    .map(fallback),
                quarantine: entry.quarantine.clone(),
                order: entry.order.to_string(),
                source: versions::source(entry).to_owned(),
                pinned: entry.pinned,
                held: versions::held(entry, &shown),
                previous: entry.previous.as_ref().map(fallback),
                etag: shown.etag(&entry.name).unwrap_or_default(),
                limits: options.map(|options| options.limits),
                alarms: stats.map(|stats| stats.alarms.clone()).unwrap_or_default(),
                stats: stats.map(numbers).unwrap_or_default(),
            }
        });
        let refused = shown.problems.iter().map(|problem| RuleRow {
            name: problem.name.clone(),
            state: "refused".to_owned(),
            detail: Some(format!("{}: {} ({})", problem.file.display(), problem.message, problem.code)),
            ..RuleRow::default()
        });
        running.chain(refused).collect()
    }
}

fn state(entry: &RuleEntry, is_struck_out: bool) -> &'static str {
    match versions::mode(entry) {
        "active" if is_struck_out => "struck-out",
        mode => mode,
    }
}

/// Which of the tables that a rule reads are older than they may be.
fn stale(reads: &[String], tables: &[TableRow]) -> Vec<String> {
    tables.iter().filter(|table| table.stale && reads.contains(&table.name)).map(|table| format!("table {} stale", table.name)).collect()
}

fn fallback(previous: &RuleVersion) -> RuleFallback {
    RuleFallback { version: previous.version.to_string(), digest: format!("sha256:{}", previous.digest) }
}

fn hooks(info: &RuleInfo) -> Vec<String> {
    info.hooks.iter().map(|hook| hook.hook.to_owned()).collect()
}

fn numbers(stats: &RuleStatsSnapshot) -> RuleStats {
    RuleStats {
        calls: stats.calls,
        rows: stats.rows,
        failures: stats.failures.iter().map(|(_, n)| n).sum(),
        seconds: stats.nanos as f64 / 1e9,
        slow_calls: stats.slow_calls,
        failures_by_kind: stats.failures.iter().copied().collect(),
        rows_by_policy: stats.rows_by_policy.iter().copied().collect(),
        limit_hits: stats.limit_hits.iter().copied().collect(),
        most: RuleUse {
            memory_bytes: stats.most.memory_bytes,
            time_ms: stats.most.nanos as f64 / 1e6,
            output_bytes: stats.most.output_bytes,
            lookups: stats.most.lookups,
            table_handles: stats.most.handles,
        },
        instances: stats.instances_by_reason.iter().copied().collect(),
        log_lines_dropped: stats.log_lines_dropped,
        strikes: stats.strikes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_engine::Used;

    #[test]
    fn a_rule_in_quarantine_is_neither_active_nor_merely_struck_out() {
        let quarantine = Some(alertmill_core::rule_set::Quarantine::default());
        let entry = |options: &str, quarantine| RuleEntry { options: options.into(), quarantine, ..RuleEntry::default() };
        for (entry, is_struck_out, wanted) in [
            (entry("", None), false, "active"),
            (entry("", None), true, "struck-out"),
            (entry("", quarantine.clone()), true, "quarantined"),
            (entry(r#"{"enabled":false}"#, quarantine), true, "disabled"),
        ] {
            assert_eq!(state(&entry, is_struck_out), wanted, "{entry:?}");
        }
    }

    #[test]
    fn a_rule_is_degraded_by_the_stale_tables_that_it_reads() {
        let table = |name: &str, stale| TableRow { name: name.to_owned(), stale, ..TableRow::default() };
        let tables = [table("hosts", true), table("owners", false), table("others", true)];
        assert_eq!(stale(&["owners".to_owned(), "hosts".to_owned()], &tables), ["table hosts stale"]);
        assert!(stale(&[], &tables).is_empty());
    }

    #[test]
    fn meters_are_shown_by_name() {
        let most = Used { memory_bytes: 1 << 20, nanos: 2_500_000, output_bytes: 9, lookups: 4, handles: 1 };
        let stats = RuleStatsSnapshot {
            calls: 3,
            failures: vec![("deadline", 2), ("trap", 5)],
            limit_hits: vec![("time_ms", 2)],
            rows_by_policy: vec![("dead-letter", 7)],
            instances_by_reason: vec![("start", 1), ("failed", 3)],
            most,
            ..RuleStatsSnapshot::default()
        };
        let json = serde_json::to_value(numbers(&stats)).expect("numbers");
        for (pointer, wanted) in [
            ("/failures", 7),
            ("/failures_by_kind/trap", 5),
            ("/limit_hits/time_ms", 2),
            ("/rows_by_policy/dead-letter", 7),
            ("/instances/failed", 3),
            ("/most/memory_bytes", 1 << 20),
            ("/most/table_handles", 1),
        ] {
            assert_eq!(json.pointer(pointer), Some(&wanted.into()), "{pointer} of {json}");
        }
        assert_eq!(json["most"]["time_ms"], 2.5);
    }
}
