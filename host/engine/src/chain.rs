//! The rules of one generation, bound to one worker: core's `RuleChain`.

use crate::batch_rows::BatchRows;
use crate::failure::{CallFailure, FailureKind};
use crate::instance::Warm;
use crate::interface::Hook;
use crate::keys;
use crate::limits::BATCH_BYTES_MAX;
use crate::log::one_line;
use crate::lower::Projection;
use crate::manifest::HookPlan;
use crate::patch::{self, Applied, MESSAGE_BYTES_MAX};
use crate::rule::Rule;
use crate::strikes::STRIKES_MAX;
use alertmill_core::payload::{Normalized, Payload};
use alertmill_core::row::{DedupeAnswer, Row, RuleFailure};
use alertmill_core::rules::{RuleChain, RuleTally};
use alertmill_core::value::Text;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that the failing calls of one batch may take in any case: 256 rows that all crash take a tenth of it.
const FAILING_TIME_MIN: Duration = Duration::from_millis(500);

/// One worker's rules, each with a warm instance.
pub(crate) struct Chain {
    runners: Vec<Runner>,
}

impl Chain {
    pub fn new(rules: &[Arc<Rule>]) -> Chain {
        Chain { runners: rules.iter().map(|rule| Runner::new(rule.clone())).collect() }
    }
}

impl RuleChain for Chain {
    fn normalize(&mut self, payloads: &[Payload], _: &mut Vec<RuleTally>) -> Vec<Normalized> {
        payloads.iter().map(|_| Normalized::Unclaimed).collect()
    }

    fn enrich_events(&mut self, rows: &mut [Row], tally: &mut Vec<RuleTally>) {
        for runner in &mut self.runners {
            runner.run(Hook::EnrichEvent, rows, tally);
        }
    }

    fn dedupe(&mut self, rows: &mut [Row], tally: &mut Vec<RuleTally>) {
        for runner in &mut self.runners {
            runner.run(Hook::Dedupe, rows, tally);
        }
    }
}

/// One rule at one worker.
struct Runner {
    rule: Arc<Rule>,
    warm: Option<Warm>,
    enrich: Option<HookRunner>,
    dedupe: Option<HookRunner>,
}

/// One hook of it: the plan is copied out of the rule so that the instance can be borrowed beside it.
struct HookRunner {
    hook: Hook,
    plan: HookPlan,
    projection: Projection,
    chosen: Vec<u32>,
    batch_rows: BatchRows,
}

impl HookRunner {
    fn new(hook: Hook, plan: &HookPlan) -> HookRunner {
        HookRunner { hook, plan: plan.clone(), projection: Projection::new(&plan.reads), chosen: Vec::new(), batch_rows: BatchRows::new(plan.batch_rows) }
    }

    /// Chooses the rows that the rule is asked about: an event that was dropped is out, and the first key stays.
    fn choose(&mut self, rows: &[Row]) {
        self.chosen.clear();
        for (index, row) in rows.iter().enumerate() {
            let open = row.dropped.is_none() && (self.hook != Hook::Dedupe || row.dedupe == DedupeAnswer::Default);
            if open && (self.plan.when.is_empty() || self.plan.when.holds(row)) {
                self.chosen.push(index as u32);
            }
        }
    }
}

impl Runner {
    fn new(rule: Arc<Rule>) -> Runner {
        let enrich = rule.enrich.as_ref().map(|plan| HookRunner::new(Hook::EnrichEvent, plan));
        let dedupe = rule.dedupe.as_ref().map(|plan| HookRunner::new(Hook::Dedupe, plan));
        Runner { rule, warm: None, enrich, dedupe }
    }

    fn run(&mut self, hook: Hook, rows: &mut [Row], tallies: &mut Vec<RuleTally>) {
        let slot = if hook == Hook::Dedupe { &mut self.dedupe } else { &mut self.enrich };
        let Some(mut runner) = slot.take() else { return };
        runner.choose(rows);
        let chosen = std::mem::take(&mut runner.chosen);
        let mut tally = RuleTally { rule: self.rule.info.name.clone(), rows: chosen.len() as u64, ..RuleTally::default() };
        let mut at = 0;
        while at < chosen.len() {
            let end = chosen.len().min(at + runner.batch_rows.now());
            self.run_batch(&mut runner, rows, &chosen[at..end], &mut tally);
            at = end;
        }
        self.rule.standing.stats.applied(tally.changed, tally.dropped);
        match tallies.iter_mut().find(|known| known.rule == tally.rule) {
            Some(known) => add(known, &tally),
            None => tallies.push(tally),
        }
        runner.chosen = chosen;
        let slot = if hook == Hook::Dedupe { &mut self.dedupe } else { &mut self.enrich };
        *slot = Some(runner);
    }

    /// One batch; if its call fails, its halves, and so on until the poison row is alone. The time that failing calls may
    /// take is bounded: beyond it the rows that are left are not judged.
    fn run_batch(&mut self, runner: &mut HookRunner, rows: &mut [Row], batch: &[u32], tally: &mut RuleTally) {
        let mut parts: Vec<Range<usize>> = Vec::new();
        parts.push(0..batch.len());
        let mut left = (Duration::from_millis(self.rule.limits().time_ms) * STRIKES_MAX as u32).max(FAILING_TIME_MIN);
        while let Some(part) = parts.pop() {
            let chosen = &batch[part.clone()];
            let started = Instant::now();
            if self.rule.standing.strikes.is_out(started) {
                let why = CallFailure::new(FailureKind::StruckOut, "not called: the rule failed too long or too often within a minute");
                self.fail(rows, chosen, &why, tally);
                continue;
            }
            let (failure, reused) = match self.attempt(runner, rows, chosen, tally) {
                Attempt::Done => continue,
                Attempt::TooManyBytes => {
                    split(&mut parts, part);
                    continue;
                }
                Attempt::Failed { failure, reused } => (failure, reused),
            };
            left = left.saturating_sub(started.elapsed());
            if matches!(failure.kind, FailureKind::Deadline | FailureKind::Init) || left.is_zero() {
                self.strike(&failure);
            }
            if failure.kind == FailureKind::Deadline {
                runner.batch_rows.too_slow(chosen.len());
            }
            // What failed may be what earlier calls left in the instance, such as memory that was never given back. Where batches
            // were cut must not show, so a row is judged by a fresh instance before it is said to be at fault. A loop is not asked
            // again: it would cost its time twice.
            if chosen.len() == 1 && reused && failure.kind != FailureKind::Deadline && !left.is_zero() {
                parts.push(part);
                continue;
            }
            // Rows have no part in a failing `init`.
            if chosen.len() == 1 || failure.kind == FailureKind::Init {
                self.fail(rows, chosen, &failure, tally);
            } else if left.is_zero() {
                let why = CallFailure::new(FailureKind::StruckOut, format!("not judged: failing calls took too long; the last one: {}", failure.message));
                self.fail(rows, chosen, &why, tally);
                parts.drain(..).for_each(|part| self.fail(rows, &batch[part], &why, tally));
            } else {
                split(&mut parts, part);
            }
        }
    }

    fn attempt(&mut self, runner: &mut HookRunner, rows: &mut [Row], chosen: &[u32], tally: &mut RuleTally) -> Attempt {
        // A row cannot be cut.
        let bytes_max = if chosen.len() == 1 { usize::MAX } else { BATCH_BYTES_MAX };
        if !runner.projection.fill(&runner.plan.reads, rows, chosen, bytes_max) {
            return Attempt::TooManyBytes;
        }
        // Taken out while it runs: an instance that failed is never called again.
        let reused = self.warm.is_some();
        let mut warm = match self.warm.take().map_or_else(|| self.rule.start(), Ok) {
            Ok(warm) => warm,
            Err(failure) => return Attempt::Failed { failure, reused },
        };
        let limit_ms = self.rule.limits().time_ms;
        let started = Instant::now();
        let answer = runner.projection.lend(|batch| match runner.hook {
            Hook::Dedupe => warm.dedupe(batch, limit_ms).map(Answer::Keys),
            _ => warm.enrich(batch, limit_ms).map(Answer::Output),
        });
        let took = started.elapsed();
        let nanos = took.as_nanos() as u64;
        tally.calls += 1;
        tally.nanos += nanos;
        self.rule.standing.stats.call(chosen.len() as u64, nanos);
        match answer.and_then(|answer| self.accept(runner, rows, chosen, answer)) {
            Err(failure) => Attempt::Failed { failure, reused },
            Ok(applied) => {
                self.warm = Some(warm);
                runner.batch_rows.answered(chosen.len(), took, Duration::from_millis(limit_ms));
                tally.changed += applied.changed;
                tally.dropped += applied.dropped;
                for (row, failure) in &applied.failed {
                    self.fail(rows, &chosen[*row as usize..][..1], failure, tally);
                }
                Attempt::Done
            }
        }
    }

    fn accept(&self, runner: &HookRunner, rows: &mut [Row], chosen: &[u32], answer: Answer) -> Result<Applied, CallFailure> {
        let name = &self.rule.info.name;
        match answer {
            Answer::Output(output) => {
                let output = patch::check(&runner.plan, chosen.len() as u32, output)?;
                Ok(patch::apply(&runner.plan, name, rows, chosen, output))
            }
            Answer::Keys(keys) => {
                keys::check(&keys, chosen.len())?;
                Ok(keys::apply(keys, name, rows, chosen))
            }
        }
    }

    fn strike(&self, failure: &CallFailure) {
        if self.rule.standing.strikes.add(Instant::now()) {
            let (rule, version) = (self.rule.info.name.as_str(), self.rule.info.version.as_str());
            tracing::error!(rule, version, kind = failure.kind.as_str(), "rule struck out for a minute: {}", one_line(&failure.message));
        }
    }

    /// Pass-through: the row goes on as this rule found it, with the failure written on it.
    fn fail(&self, rows: &mut [Row], chosen: &[u32], failure: &CallFailure, tally: &mut RuleTally) {
        let mut message = one_line(&failure.message);
        if message.len() > MESSAGE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        }
        let failure_on_row = RuleFailure {
            rule: self.rule.info.name.clone(),
            version: self.rule.version_on_rows.clone(),
            kind: Text::new_static(failure.kind.as_str()),
            message: Text::from(message),
        };
        for index in chosen {
            rows[*index as usize].failures.push(failure_on_row.clone());
        }
        tally.failed += chosen.len() as u64;
        self.rule.standing.stats.failed(failure.kind, chosen.len() as u64);
    }
}

enum Answer {
    Output(crate::contract::Output),
    Keys(Vec<crate::contract::DedupeKey>),
}

enum Attempt {
    Done,
    TooManyBytes,
    Failed {
        failure: CallFailure,
        /// The instance had been called before.
        reused: bool,
    },
}

/// The first half is taken first, so that rows are judged in order.
fn split(parts: &mut Vec<Range<usize>>, part: Range<usize>) {
    let middle = part.start + part.len() / 2;
    parts.push(middle..part.end);
    parts.push(part.start..middle);
}

fn add(sum: &mut RuleTally, more: &RuleTally) {
    sum.rows += more.rows;
    sum.changed += more.changed;
    sum.dropped += more.dropped;
    sum.failed += more.failed;
    sum.calls += more.calls;
    sum.nanos += more.nanos;
}
