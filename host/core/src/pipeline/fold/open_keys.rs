//! How many alerts the keys of each rule hold open. A rule that makes a key of its own for every event would open an alert for
//! each; beyond its budget the events' own keys decide (docs/semantics.md, Fingerprint).

use super::{Fold, Slot};
use crate::event::Status;
use crate::pipeline::dedupe::{default_key, key_by_default};
use crate::pipeline::expiry::is_expired;
use crate::row::{DedupeRule, Row, RuleFailure};
use crate::value::Text;
use crate::verdict::{Hook, Policy};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Open alerts by the rule that made their key; those that a rule had no part in are not counted.
#[derive(Default)]
pub(super) struct OpenKeys(BTreeMap<Text, u32>);

impl OpenKeys {
    pub fn opened(&mut self, rule: &Text) {
        if !rule.is_empty() {
            *self.0.entry(rule.clone()).or_default() += 1;
        }
    }

    pub fn ended(&mut self, rule: &Text) {
        let Some(open) = self.0.get_mut(rule) else { return };
        *open -= 1;
        if *open == 0 {
            self.0.remove(rule);
        }
    }

    fn are_used_up(&self, rule: &DedupeRule) -> bool {
        self.0.get(&rule.name).copied().unwrap_or(0) >= rule.open_keys_max
    }
}

impl Fold {
    /// Whether an event may look at an alert that is new: at that of its fingerprint, or of the one that it falls back to.
    pub(super) fn concerns_new_alert(&self, row: &Row) -> bool {
        self.is_new(&row.fingerprint) || self.wants_room(row).is_some() && self.is_new(&default_key(row, self.config.algorithm).0)
    }

    /// The rule whose key would open an alert too many, if the event is not too old to open one.
    fn wants_room<'a>(&self, row: &'a Row) -> Option<&'a Arc<DedupeRule>> {
        let rule = row.dedupe_rule.as_ref().filter(|rule| self.open_keys.are_used_up(rule))?;
        let is_open = matches!(self.slot(&row.fingerprint), Some(Slot::Open { .. } | Slot::New { .. }));
        (row.event.status == Status::Abnormal && row.dropped.is_none() && !is_open).then_some(rule)
    }

    /// The rule whose key would open an alert too many.
    pub(super) fn beyond_budget(&self, row: &Row) -> Option<Arc<DedupeRule>> {
        let rule = self.wants_room(row)?;
        (!is_expired(&row.event, self.now_s(), self.expiry_bound(&row.fingerprint))).then(|| rule.clone())
    }

    /// The event's own keys decide.
    pub(super) fn fall_back(&self, row: &mut Row, rule: &DedupeRule) {
        key_by_default(row, self.config.algorithm);
        row.failures.push(RuleFailure {
            rule: rule.name.clone(),
            version: rule.version.clone(),
            kind: Text::new_static("key-budget"),
            message: Text::from(format!("its keys have {} alerts open, as many as limits.open_keys allows; the event's own keys decide", rule.open_keys_max)),
            hook: Hook::Dedupe,
            policy: Policy::PassThrough,
            judged_by: None,
        });
    }
}
