//! The port to the rule engine: what the pipeline asks of user rules. Core knows neither WASM nor components.

use crate::payload::{Normalized, Payload};
use crate::row::{AlertRow, Row};
use crate::value::Text;
use crate::verdict::{Halted, Verdict};

/// A rule-set generation: a monotone number that a journal record begins.
pub type Generation = u64;

/// The rules of one generation, in order, bound to one worker. Rows that a failing rule could not judge go on by the
/// rule's policy, with the failure written on the row; a chain never loses a row and never reorders rows. `Halted` comes from a
/// rule with the policy `stop`: the rows are then as they may be in the middle, and the caller begins anew with those it had.
/// Rows of several tenants may come at once: no rule gets those of two in one call, nor what it kept of another's.
pub trait RuleChain: Send {
    /// One answer for each payload, in order: that of the first normalize rule that is for it.
    fn normalize(&mut self, payloads: &[Payload], tally: &mut Vec<RuleTally>) -> Result<Vec<Normalized>, Halted>;
    /// Runs every enrich rule in order over all rows.
    fn enrich_events(&mut self, rows: &mut [Row], tally: &mut Vec<RuleTally>) -> Result<(), Halted>;
    /// Runs the dedupe rules in order; for each row the first answer other than `Default` stays.
    fn dedupe(&mut self, rows: &mut [Row], tally: &mut Vec<RuleTally>) -> Result<(), Halted>;
    /// What was decided before of rows that come now: their rules are not asked, the policy is applied with the same failure.
    fn know(&mut self, _verdicts: &[Verdict]) {}
    /// What the calls since the last time decided that another run might decide otherwise; empty nearly always, and always when
    /// all that the rules say follows from the rows.
    fn take_verdicts(&mut self) -> Vec<Verdict> {
        Vec::new()
    }
}

/// The rules over alerts of one generation, in order, bound to the fold. What holds for [`RuleChain`] holds here.
pub trait AlertChain: Send {
    /// Whether a rule may halt: only then does the fold keep the alerts as they were.
    fn may_halt(&self) -> bool {
        true
    }
    /// Runs every alert rule in order over alerts that were just opened and are not stored yet.
    fn enrich_alerts(&mut self, rows: &mut [AlertRow], tally: &mut Vec<RuleTally>) -> Result<(), Halted>;
    /// As [`RuleChain::know`].
    fn know(&mut self, _verdicts: &[Verdict]) {}
    /// As [`RuleChain::take_verdicts`].
    fn take_verdicts(&mut self) -> Vec<Verdict> {
        Vec::new()
    }
}

/// Gives the chain of a generation. Before a generation's record is journaled its modules are in the data folder, so
/// this never depends on what lies in `rules.d/` now.
pub trait RuleSets: Send + Sync {
    /// A record that begins this generation was read from the journal; `open` of it comes next.
    fn begins(&self, _set: &crate::record::RuleSet) {}
    /// Opens a generation for one worker.
    fn open(&self, generation: Generation) -> Result<Box<dyn RuleChain>, RuleSetUnavailable>;
    /// Opens a generation's alert rules for the fold; `None` when it has none.
    fn open_alerts(&self, generation: Generation) -> Result<Option<Box<dyn AlertChain>>, RuleSetUnavailable>;
}

/// A generation that cannot be opened: the pipeline waits and tries again, it never goes on with other rules.
#[derive(Debug, Clone, thiserror::Error)]
#[error("rule-set generation {generation} cannot be opened: {why}")]
pub struct RuleSetUnavailable {
    /// Which.
    pub generation: Generation,
    /// Module, digest and cause.
    pub why: String,
}

/// What one rule did to one batch; summed into the ledger by the fold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleTally {
    /// Which rule.
    pub rule: Text,
    /// Rows it was asked about (`when` held).
    pub rows: u64,
    /// Rows it changed or keyed.
    pub changed: u64,
    /// Rows it took out.
    pub dropped: u64,
    /// Rows it failed on.
    pub failed: u64,
    /// Calls into the module.
    pub calls: u64,
    /// Nanoseconds inside the calls; telemetry only, never part of a document.
    pub nanos: u64,
}

/// No rules at all.
pub struct NoRules;

impl RuleChain for NoRules {
    fn normalize(&mut self, payloads: &[Payload], _: &mut Vec<RuleTally>) -> Result<Vec<Normalized>, Halted> {
        Ok(payloads.iter().map(|_| Normalized::Unclaimed).collect())
    }
    fn enrich_events(&mut self, _: &mut [Row], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
        Ok(())
    }
    fn dedupe(&mut self, _: &mut [Row], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
        Ok(())
    }
}

impl RuleSets for NoRules {
    fn open(&self, _: Generation) -> Result<Box<dyn RuleChain>, RuleSetUnavailable> {
        Ok(Box::new(NoRules))
    }
    fn open_alerts(&self, _: Generation) -> Result<Option<Box<dyn AlertChain>>, RuleSetUnavailable> {
        Ok(None)
    }
}
