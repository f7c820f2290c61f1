//! The watched rules folder and the engine as the API shows them.

use super::reads::{RuleReads, RuleRow, RuleStats};
use crate::rules::RuleKeeper;
use crate::rules_folder::{is_enabled, unneeded_grants, unneeded_in_words};
use alertmill_engine::{Engine, RuleInfo, RuleStatsSnapshot};
use std::sync::Arc;

/// What runs, and what was refused.
pub struct WatchedRules {
    keeper: Arc<RuleKeeper>,
    engine: Engine,
}

impl WatchedRules {
    /// Shows these.
    pub fn new(keeper: Arc<RuleKeeper>, engine: Engine) -> WatchedRules {
        WatchedRules { keeper, engine }
    }
}

impl RuleReads for WatchedRules {
    fn rules(&self) -> Vec<RuleRow> {
        let shown = self.keeper.shown();
        let stats = self.engine.stats();
        let stats_of = |digest: &str| stats.iter().find(|rule| rule.digest == digest);
        let running = shown.set.rules.iter().map(|entry| {
            let info = shown.infos.iter().find(|info| info.digest == entry.digest);
            let stats = stats_of(&entry.digest);
            let unneeded = info.map(|info| unneeded_grants(entry, info)).unwrap_or_default();
            RuleRow {
                name: entry.name.to_string(),
                version: entry.version.to_string(),
                digest: format!("sha256:{}", entry.digest),
                generation: shown.set.generation,
                hooks: info.map(hooks).unwrap_or_default(),
                state: state(is_enabled(entry), stats.is_some_and(|s| s.struck_out)).to_owned(),
                stand_ins: info.map(|info| info.stand_ins.clone()).unwrap_or_default(),
                detail: unneeded_in_words(&unneeded),
                unneeded_grants: unneeded.into_iter().map(str::to_owned).collect(),
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

fn state(is_enabled: bool, is_struck_out: bool) -> &'static str {
    match (is_enabled, is_struck_out) {
        (false, _) => "disabled",
        (true, true) => "struck-out",
        (true, false) => "active",
    }
}

fn hooks(info: &RuleInfo) -> Vec<String> {
    info.hooks.iter().map(|hook| hook.hook.to_owned()).collect()
}

fn numbers(stats: &RuleStatsSnapshot) -> RuleStats {
    RuleStats { calls: stats.calls, rows: stats.rows, failures: stats.failures.iter().map(|(_, n)| n).sum(), seconds: stats.nanos as f64 / 1e9 }
}
