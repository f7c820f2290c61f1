//! How a module stands under one name: its counters, strikes and share of the log. They are the module's, not those of one way
//! to bind it: a table that is refreshed every half minute would otherwise forgive a looping rule each time.

use crate::log::{LogGate, one_line};
use crate::manifest::RuleInfo;
use crate::stats::{RuleStats, RuleStatsSnapshot};
use crate::strikes::Strikes;
use crate::watch::Watch;
use alertmill_core::value::Text;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Shared by all bindings and workers of one module under one name.
pub(crate) struct Standing {
    name: Text,
    version: Text,
    digest: Text,
    pub stats: RuleStats,
    pub strikes: Strikes,
    pub watch: Watch,
    pub log: Arc<LogGate>,
}

/// A version of a rule that is not called any more, because it failed too often or too long, and that no generation holds in
/// quarantine yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struck {
    /// Which rule.
    pub rule: Text,
    /// Its version.
    pub version: Text,
    /// SHA-256 of its file.
    pub digest: Text,
    /// Kind of the failure that was too much.
    pub kind: &'static str,
    /// In words.
    pub message: String,
}

impl Standing {
    /// Of a module that was not seen before.
    pub fn new(info: &RuleInfo) -> Standing {
        Standing {
            name: info.name.clone(),
            version: info.version.clone(),
            digest: info.digest.clone(),
            stats: RuleStats::default(),
            strikes: Strikes::default(),
            watch: Watch::new(info.name.clone(), info.version.clone()),
            log: Arc::new(LogGate::new(info.name.clone(), info.version.clone())),
        }
    }

    fn struck(&self, now: Instant) -> Option<Struck> {
        let why = self.strikes.out(now).filter(|_| !self.strikes.is_quarantined())?;
        let (rule, version, digest) = (self.name.clone(), self.version.clone(), self.digest.clone());
        Some(Struck { rule, version, digest, kind: why.kind.as_str(), message: one_line(&why.message) })
    }

    pub fn snapshot(&self, now: Instant) -> RuleStatsSnapshot {
        RuleStatsSnapshot {
            rule: self.name.clone(),
            version: self.version.clone(),
            digest: self.digest.clone(),
            strikes: self.strikes.total(),
            struck_out: self.strikes.out(now).is_some(),
            quarantined: self.strikes.is_quarantined(),
            log_lines_dropped: self.log.dropped(),
            alarms: self.watch.alarms(now),
            ..self.stats.snapshot()
        }
    }
}

/// Those of all modules that some generation names.
#[derive(Default)]
pub(crate) struct Standings(Mutex<HashMap<(Text, Text), Arc<Standing>>>);

impl Standings {
    /// The one of this name and digest, if a generation has it.
    pub fn known(&self, info: &RuleInfo) -> Option<Arc<Standing>> {
        self.all().get(&(info.name.clone(), info.digest.clone())).cloned()
    }

    /// The one of this name and digest, for a rule of a generation.
    pub fn of(&self, info: &RuleInfo) -> Arc<Standing> {
        self.all().entry((info.name.clone(), info.digest.clone())).or_insert_with(|| Arc::new(Standing::new(info))).clone()
    }

    /// Those that are struck out and not in quarantine.
    pub fn struck(&self, now: Instant) -> Vec<Struck> {
        let mut all: Vec<Struck> = self.all().values().filter_map(|standing| standing.struck(now)).collect();
        all.sort_by(|a, b| (&a.rule, &a.digest).cmp(&(&b.rule, &b.digest)));
        all
    }

    /// The fold had no room for a key of this rule, in whatever version.
    pub fn overflowed(&self, rule: &str, now: Instant) {
        self.all().iter().filter(|((name, _), _)| name == rule).for_each(|(_, standing)| standing.watch.overflowed(now));
    }

    /// Forgets what no rule uses and no generation names. Strikes that still count outlive that: going back to a version is
    /// no way out of them.
    pub fn retain(&self, now: Instant, is_named: impl Fn(&str, &str) -> bool) {
        self.all().retain(|(name, digest), standing| Arc::strong_count(standing) > 1 || is_named(name, digest) || standing.strikes.any(now));
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(Text, Text), Arc<Standing>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
