//! What each hook adds to a call: which rows it is for, how they cross, and what its answer means. `chain` does the rest, which is the
//! same for all of them.

use crate::contracts::{DedupeKey, Output, PayloadRef};
use crate::failure::CallFailure;
use crate::instance::Warm;
use crate::interface::Hook;
use crate::limits::Limits;
use crate::lower::Projection;
use crate::manifest::{HookPlan, NormalizePlan};
use crate::patch::{self, Applied};
use crate::rule::Rule;
use crate::{keys, normalize};
use alertmill_core::fields::{Field, RuleField, RuleRow};
use alertmill_core::payload::{Normalized, Payload};
use alertmill_core::row::{DedupeAnswer, DedupeRule, Row, RuleFailure};
use alertmill_core::value::Text;
use alertmill_core::verdict::Place;
use std::sync::Arc;

/// One hook of one rule at one worker, over rows of one kind.
pub(crate) trait Judge<R> {
    /// What a call answers.
    type Answer;

    /// Whether the rule is asked about this row.
    fn is_for(&self, row: &R) -> bool;
    /// Makes the rows that `chosen` names ready to cross; false as soon as they have more than `bytes_max` bytes.
    fn fill(&mut self, rows: &[R], chosen: &[u32], bytes_max: usize) -> bool;
    /// The call.
    fn call(&self, warm: &mut Warm, rows: &[R], chosen: &[u32], limit_ms: u64) -> Result<Self::Answer, CallFailure>;
    /// Checks an answer as a whole, then writes it on the rows.
    fn accept(&self, rule: &Text, rows: &mut [R], chosen: &[u32], answer: Self::Answer) -> Result<Applied, CallFailure>;
    /// What an answer holds, roughly, bytes.
    fn bytes_of(answer: &Self::Answer) -> usize;
    /// Keys that it made of these rows, for [`Watch`](crate::watch::Watch) to look at.
    fn keys<'a>(&self, _rows: &'a [R], _chosen: &'a [u32]) -> impl Iterator<Item = &'a str> {
        std::iter::empty()
    }
    /// Whose it is.
    fn tenant(row: &R) -> &Text;
    /// Where it stands in the journal.
    fn place(row: &R) -> Place;
    /// Pass-through: the row goes on as this rule found it, with the failure written on it.
    fn fail(row: &mut R, failure: RuleFailure);
    /// Dead-letter: the row goes no further.
    fn reject(row: &mut R, failure: RuleFailure);
    /// The version before is to judge it; where the failure is written.
    fn note(row: &mut R, failure: &RuleFailure) -> usize;
    /// That version has judged it, or has written its own failure behind this one.
    fn stood_in(row: &mut R, failure: RuleFailure, at: usize, version: &Text);
}

fn stood_in(failures: &mut [RuleFailure], at: usize, version: &Text) {
    if let [failure] = &mut failures[at..] {
        failure.judged_by = Some(version.clone());
    }
}

/// Changes events or new alerts.
pub(crate) struct Enriching<F> {
    plan: HookPlan<F>,
    projection: Projection,
    hook: Hook,
    event_bytes: usize,
}

impl<F: RuleField> Enriching<F> {
    pub fn new(hook: Hook, plan: &HookPlan<F>, limits: &Limits) -> Enriching<F> {
        Enriching { projection: Projection::new(&plan.reads), plan: plan.clone(), hook, event_bytes: limits.event_bytes as usize }
    }
}

impl<F: RuleField> Judge<F::Row> for Enriching<F> {
    type Answer = Output;

    /// What was dropped is out.
    fn is_for(&self, row: &F::Row) -> bool {
        !row.is_dropped() && self.plan.when.holds(row)
    }

    fn fill(&mut self, rows: &[F::Row], chosen: &[u32], bytes_max: usize) -> bool {
        self.projection.fill(&self.plan.reads, rows, chosen, bytes_max)
    }

    fn call(&self, warm: &mut Warm, _: &[F::Row], _: &[u32], limit_ms: u64) -> Result<Output, CallFailure> {
        self.projection.lend(|batch| match self.hook {
            Hook::EnrichAlert => warm.enrich_alerts(batch, limit_ms),
            _ => warm.enrich(batch, limit_ms),
        })
    }

    fn accept(&self, rule: &Text, rows: &mut [F::Row], chosen: &[u32], output: Output) -> Result<Applied, CallFailure> {
        let output = patch::check(&self.plan, chosen.len() as u32, output)?;
        Ok(patch::apply(&self.plan, self.event_bytes, rule, rows, chosen, output))
    }

    fn bytes_of(output: &Output) -> usize {
        patch::bytes_of(output)
    }

    fn tenant(row: &F::Row) -> &Text {
        row.tenant()
    }

    fn place(row: &F::Row) -> Place {
        row.place()
    }

    fn fail(row: &mut F::Row, failure: RuleFailure) {
        row.failures_mut().push(failure);
    }

    fn reject(row: &mut F::Row, failure: RuleFailure) {
        row.failures_mut().push(failure);
        row.reject();
    }

    fn note(row: &mut F::Row, failure: &RuleFailure) -> usize {
        row.failures_mut().push(failure.clone());
        row.failures_mut().len() - 1
    }

    fn stood_in(row: &mut F::Row, _: RuleFailure, at: usize, version: &Text) {
        stood_in(row.failures_mut(), at, version);
    }
}

/// Makes keys of events.
pub(crate) struct Keying {
    rule: Arc<DedupeRule>,
    plan: HookPlan<Field>,
    projection: Projection,
}

impl Keying {
    pub fn new(rule: &Rule, plan: &HookPlan<Field>) -> Keying {
        let rule = DedupeRule::new(rule.info.name.clone(), rule.version_on_rows.clone(), rule.limits().open_keys);
        Keying { rule, projection: Projection::new(&plan.reads), plan: plan.clone() }
    }
}

impl Judge<Row> for Keying {
    type Answer = Vec<DedupeKey>;

    /// The first key stays.
    fn is_for(&self, row: &Row) -> bool {
        !row.is_dropped() && row.dedupe == DedupeAnswer::Default && self.plan.when.holds(row)
    }

    fn fill(&mut self, rows: &[Row], chosen: &[u32], bytes_max: usize) -> bool {
        self.projection.fill(&self.plan.reads, rows, chosen, bytes_max)
    }

    fn call(&self, warm: &mut Warm, _: &[Row], _: &[u32], limit_ms: u64) -> Result<Vec<DedupeKey>, CallFailure> {
        self.projection.lend(|batch| warm.dedupe(batch, limit_ms))
    }

    fn accept(&self, _: &Text, rows: &mut [Row], chosen: &[u32], keys: Vec<DedupeKey>) -> Result<Applied, CallFailure> {
        keys::check(&keys, chosen.len())?;
        Ok(keys::apply(keys, &self.rule, rows, chosen))
    }

    fn bytes_of(keys: &Vec<DedupeKey>) -> usize {
        keys::bytes_of(keys)
    }

    fn keys<'a>(&self, rows: &'a [Row], chosen: &'a [u32]) -> impl Iterator<Item = &'a str> {
        chosen.iter().filter_map(|index| match &rows[*index as usize].dedupe {
            DedupeAnswer::Key(key) => Some(key.as_str()),
            _ => None,
        })
    }

    fn tenant(row: &Row) -> &Text {
        row.tenant()
    }

    fn place(row: &Row) -> Place {
        row.place()
    }

    fn fail(row: &mut Row, failure: RuleFailure) {
        row.failures.push(failure);
    }

    fn reject(row: &mut Row, failure: RuleFailure) {
        row.failures.push(failure);
        row.rejected = true;
    }

    fn note(row: &mut Row, failure: &RuleFailure) -> usize {
        row.failures.push(failure.clone());
        row.failures.len() - 1
    }

    fn stood_in(row: &mut Row, _: RuleFailure, at: usize, version: &Text) {
        stood_in(&mut row.failures, at, version);
    }
}

/// Makes events of payloads.
pub(crate) struct Normalizing {
    plan: NormalizePlan,
}

impl Normalizing {
    pub fn new(plan: &NormalizePlan) -> Normalizing {
        Normalizing { plan: plan.clone() }
    }
}

/// A payload on its way through the normalize rules.
pub(crate) struct PayloadRow<'a> {
    pub payload: &'a Payload,
    pub answer: Normalized,
}

impl<'a> Judge<PayloadRow<'a>> for Normalizing {
    type Answer = Vec<Result<Normalized, CallFailure>>;

    /// The first rule that is for it judges it, even if it fails.
    fn is_for(&self, row: &PayloadRow<'a>) -> bool {
        row.answer == Normalized::Unclaimed && self.plan.when.holds_for(row.payload)
    }

    fn fill(&mut self, rows: &[PayloadRow<'a>], chosen: &[u32], bytes_max: usize) -> bool {
        chosen.iter().map(|index| normalize::bytes_of(rows[*index as usize].payload)).sum::<usize>() <= bytes_max
    }

    fn call(&self, warm: &mut Warm, rows: &[PayloadRow<'a>], chosen: &[u32], limit_ms: u64) -> Result<Self::Answer, CallFailure> {
        let payloads = || chosen.iter().map(|index| rows[*index as usize].payload);
        let headers: Vec<Vec<(&str, &str)>> = payloads().map(normalize::headers_of).collect();
        let lent: Vec<PayloadRef<'_>> = payloads().zip(&headers).map(|(payload, headers)| normalize::lend(payload, headers)).collect();
        normalize::by_payload(warm.normalize(&lent, limit_ms)?, chosen.len())
    }

    fn accept(&self, _: &Text, rows: &mut [PayloadRow<'a>], chosen: &[u32], answers: Self::Answer) -> Result<Applied, CallFailure> {
        let mut applied = Applied::default();
        for (at, (answer, index)) in (0..).zip(answers.into_iter().zip(chosen)) {
            match answer {
                Ok(events) => {
                    applied.changed += 1;
                    rows[*index as usize].answer = events;
                }
                Err(failure) => applied.failed.push((at, failure)),
            }
        }
        Ok(applied)
    }

    fn bytes_of(answers: &Self::Answer) -> usize {
        normalize::bytes_made(answers)
    }

    fn tenant<'r>(row: &'r PayloadRow<'a>) -> &'r Text {
        &row.payload.tenant
    }

    fn place(row: &PayloadRow<'a>) -> Place {
        Place { ordinal: row.payload.ordinal, index: 0 }
    }

    /// There is nothing that could go on.
    fn fail(row: &mut PayloadRow<'a>, failure: RuleFailure) {
        row.answer = Normalized::Failed(failure);
    }

    fn reject(row: &mut PayloadRow<'a>, failure: RuleFailure) {
        row.answer = Normalized::Failed(failure);
    }

    /// What comes of it are events, which say nothing of it.
    fn note(_: &mut PayloadRow<'a>, _: &RuleFailure) -> usize {
        0
    }

    fn stood_in(row: &mut PayloadRow<'a>, failure: RuleFailure, _: usize, _: &Text) {
        // That version is not for it, and no other rule may have it either.
        if row.answer == Normalized::Unclaimed {
            row.answer = Normalized::Failed(failure);
        }
    }
}
