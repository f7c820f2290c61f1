//! The rules of one generation, bound to one worker: core's `RuleChain`, and `AlertChain` for the fold.

use crate::batch_rows::BatchRows;
use crate::failure::{CallFailure, FailureKind};
use crate::hooks::{Enriching, Judge, Keying, Normalizing, PayloadRow};
use crate::instance::Warm;
use crate::interface::Hook;
use crate::limits::{BATCH_BYTES_MAX, Limit};
use crate::log::one_line;
use crate::patch::MESSAGE_BYTES_MAX;
use crate::rule::Rule;
use crate::stats::{Began, Used};
use crate::strikes::STRIKES_MAX;
use crate::watch::Seen;
use crate::cpu;
use alertmill_core::alert_fields::AlertField;
use alertmill_core::fields::Field;
use alertmill_core::payload::{Normalized, Payload};
use alertmill_core::row::{AlertRow, Row, RuleFailure};
use alertmill_core::rules::{AlertChain, RuleChain, RuleTally};
use alertmill_core::value::Text;
use alertmill_core::verdict::{Halted, Policy};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that the failing calls of one batch may take in any case: 256 rows that all crash take a tenth of it.
const FAILING_TIME_MIN: Duration = Duration::from_millis(500);

/// One worker's rules over payloads and events, in order.
pub(crate) struct Chain(Vec<Member>);

/// One of them, with its hooks: they share its instance.
struct Member {
    runner: Runner,
    normalize: Option<Turn<Normalizing>>,
    enrich: Option<Turn<Enriching<Field>>>,
    dedupe: Option<Turn<Keying>>,
}

impl Chain {
    pub fn new(rules: &[Arc<Rule>]) -> Chain {
        Chain(rules.iter().map(Member::new).collect())
    }
}

impl Member {
    fn new(rule: &Arc<Rule>) -> Member {
        let (plans, limits) = (&rule.plans, rule.limits());
        Member {
            runner: Runner::new(rule),
            normalize: plans.normalize.as_ref().map(|plan| Turn::new(Normalizing::new(plan), plan.batch_rows)),
            enrich: plans.enrich.as_ref().map(|plan| Turn::new(Enriching::new(Hook::EnrichEvent, plan, limits), plan.batch_rows)),
            dedupe: plans.dedupe.as_ref().map(|plan| Turn::new(Keying::new(plan), plan.batch_rows)),
        }
    }
}

impl RuleChain for Chain {
    fn normalize(&mut self, payloads: &[Payload], tally: &mut Vec<RuleTally>) -> Result<Vec<Normalized>, Halted> {
        let mut rows: Vec<PayloadRow<'_>> = payloads.iter().map(|payload| PayloadRow { payload, answer: Normalized::Unclaimed }).collect();
        for Member { runner, normalize, .. } in &mut self.0 {
            normalize.iter_mut().for_each(|turn| runner.run(turn, &mut rows, tally));
        }
        Ok(rows.into_iter().map(|row| row.answer).collect())
    }

    fn enrich_events(&mut self, rows: &mut [Row], tally: &mut Vec<RuleTally>) -> Result<(), Halted> {
        for Member { runner, enrich, .. } in &mut self.0 {
            enrich.iter_mut().for_each(|turn| runner.run(turn, rows, tally));
        }
        Ok(())
    }

    fn dedupe(&mut self, rows: &mut [Row], tally: &mut Vec<RuleTally>) -> Result<(), Halted> {
        for Member { runner, dedupe, .. } in &mut self.0 {
            dedupe.iter_mut().for_each(|turn| runner.run(turn, rows, tally));
        }
        Ok(())
    }
}

/// The fold's rules over new alerts, in order.
pub(crate) struct Alerts(Vec<(Runner, Turn<Enriching<AlertField>>)>);

impl Alerts {
    /// `None` when no rule has this hook.
    pub fn of(rules: &[Arc<Rule>]) -> Option<Alerts> {
        let of_rule = |rule: &Arc<Rule>| {
            let plan = rule.plans.enrich_alert.as_ref()?;
            Some((Runner::new(rule), Turn::new(Enriching::new(Hook::EnrichAlert, plan, rule.limits()), plan.batch_rows)))
        };
        let alerts: Vec<_> = rules.iter().filter_map(of_rule).collect();
        (!alerts.is_empty()).then_some(Alerts(alerts))
    }
}

impl AlertChain for Alerts {
    fn enrich_alerts(&mut self, rows: &mut [AlertRow], tally: &mut Vec<RuleTally>) -> Result<(), Halted> {
        for (runner, turn) in &mut self.0 {
            runner.run(turn, rows, tally);
        }
        Ok(())
    }
}

/// One rule at one worker.
struct Runner {
    rule: Arc<Rule>,
    warm: Option<Warm>,
    /// Why the next instance is to be made.
    next: Began,
}

/// What one turn over some rows does.
#[derive(Default)]
struct Pass {
    tally: RuleTally,
    slow_calls: u64,
}

/// One hook's turn in it.
struct Turn<J> {
    judge: J,
    chosen: Vec<u32>,
    batch_rows: BatchRows,
}

impl<J> Turn<J> {
    fn new(judge: J, batch_rows: usize) -> Turn<J> {
        Turn { judge, chosen: Vec::new(), batch_rows: BatchRows::new(batch_rows) }
    }
}

impl Runner {
    fn new(rule: &Arc<Rule>) -> Runner {
        Runner { rule: rule.clone(), warm: None, next: Began::Start }
    }

    fn run<R, J: Judge<R>>(&mut self, turn: &mut Turn<J>, rows: &mut [R], tallies: &mut Vec<RuleTally>) {
        let mut chosen = std::mem::take(&mut turn.chosen);
        chosen.clear();
        chosen.extend((0..).zip(&*rows).filter(|(_, row)| turn.judge.is_for(row)).map(|(index, _)| index));
        let tally = RuleTally { rule: self.rule.info.name.clone(), rows: chosen.len() as u64, ..RuleTally::default() };
        let mut pass = Pass { tally, slow_calls: 0 };
        let mut at = 0;
        while at < chosen.len() {
            let end = chosen.len().min(at + turn.batch_rows.now());
            self.run_batch(turn, rows, &chosen[at..end], &mut pass);
            at = end;
        }
        let Pass { tally, slow_calls } = pass;
        self.rule.standing.stats.applied(tally.changed, tally.dropped);
        if !chosen.is_empty() {
            let seen = Seen { rows: tally.rows, dropped: tally.dropped, failed: tally.failed, calls: tally.calls, slow_calls };
            self.rule.standing.watch.add(Instant::now(), &seen, turn.judge.keys(rows, &chosen));
        }
        match tallies.iter_mut().find(|known| known.rule == tally.rule) {
            Some(known) => add(known, &tally),
            None => tallies.push(tally),
        }
        turn.chosen = chosen;
    }

    /// One batch; if its call fails, its halves, and so on until the poison row is alone. The time that failing calls may
    /// take is bounded: beyond it the rows that are left are not judged.
    fn run_batch<R, J: Judge<R>>(&mut self, turn: &mut Turn<J>, rows: &mut [R], batch: &[u32], pass: &mut Pass) {
        let mut parts: Vec<Range<usize>> = Vec::new();
        parts.push(0..batch.len());
        let mut left = (Duration::from_millis(self.rule.limits().time_ms) * STRIKES_MAX as u32).max(FAILING_TIME_MIN);
        let mut has_stalled = false;
        while let Some(part) = parts.pop() {
            let chosen = &batch[part.clone()];
            let started = Instant::now();
            if self.rule.standing.strikes.is_out(started) {
                let why = CallFailure::new(FailureKind::StruckOut, "not called: the rule failed too long or too often within a minute");
                self.fail(&turn.judge, rows, chosen, &why, &mut pass.tally);
                continue;
            }
            let cpu_before = cpu::thread_time();
            let (failure, reused) = match self.attempt(turn, rows, chosen, pass) {
                Attempt::Done => continue,
                Attempt::TooManyBytes => {
                    split(&mut parts, part);
                    continue;
                }
                Attempt::Failed { failure, reused } => (failure, reused),
            };
            let took = started.elapsed();
            // The machine stood still, or had no processor for us: the rule is not at fault for time that it did not have. Asked once
            // more, and no more often: on a machine that is always busy a loop would never end.
            let is_late = matches!(failure.kind, FailureKind::Deadline | FailureKind::Init);
            if is_late && !has_stalled && (cpu::thread_time() - cpu_before) * 2 < took {
                has_stalled = true;
                parts.push(part);
                continue;
            }
            left = left.saturating_sub(took);
            if is_late || left.is_zero() {
                self.strike(&failure);
            }
            if failure.kind == FailureKind::Deadline {
                turn.batch_rows.too_slow(chosen.len());
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
                self.fail(&turn.judge, rows, chosen, &failure, &mut pass.tally);
            } else if left.is_zero() {
                let why = CallFailure::new(FailureKind::StruckOut, format!("not judged: failing calls took too long; the last one: {}", failure.message));
                self.fail(&turn.judge, rows, chosen, &why, &mut pass.tally);
                parts.drain(..).for_each(|part| self.fail(&turn.judge, rows, &batch[part], &why, &mut pass.tally));
            } else {
                split(&mut parts, part);
            }
        }
    }

    fn attempt<R, J: Judge<R>>(&mut self, turn: &mut Turn<J>, rows: &mut [R], chosen: &[u32], pass: &mut Pass) -> Attempt {
        // A row cannot be cut.
        let bytes_max = if chosen.len() == 1 { usize::MAX } else { BATCH_BYTES_MAX };
        if !turn.judge.fill(rows, chosen, bytes_max) {
            return Attempt::TooManyBytes;
        }
        // Taken out while it runs: an instance that failed is never called again.
        let reused = self.warm.is_some();
        let stats = &self.rule.standing.stats;
        let mut warm = match self.warm.take().map_or_else(|| self.rule.start(self.next), Ok) {
            Ok(warm) => warm,
            Err(failure) => {
                failure.limit.iter().for_each(|limit| stats.hit(*limit));
                self.next = Began::Failed;
                return Attempt::Failed { failure, reused };
            }
        };
        // What the next one is made for, unless this one is kept.
        self.next = Began::Failed;
        let limits = self.rule.limits();
        let started = Instant::now();
        let answer = turn.judge.call(&mut warm, rows, chosen, limits.time_ms);
        let took = started.elapsed();
        let mut used = Used { nanos: took.as_nanos() as u64, ..warm.used() };
        match &answer {
            Ok(answer) => {
                used.output_bytes = J::bytes_of(answer) as u64;
                if warm.take_memory_denied() {
                    stats.hit(Limit::MemoryBytes);
                }
            }
            Err(failure) => failure.limit.iter().for_each(|limit| stats.hit(*limit)),
        }
        pass.tally.calls += 1;
        pass.tally.nanos += used.nanos;
        pass.slow_calls += u64::from(stats.call(chosen.len() as u64, &used, limits.slow_ms));
        match answer.and_then(|answer| turn.judge.accept(&self.rule.info.name, rows, chosen, answer)) {
            Err(failure) => Attempt::Failed { failure, reused },
            Ok(applied) => {
                match warm.worn_out(limits) {
                    Some(why) => self.next = why,
                    None => self.warm = Some(warm),
                }
                turn.batch_rows.answered(chosen.len(), took, Duration::from_millis(limits.time_ms));
                pass.tally.changed += applied.changed;
                pass.tally.dropped += applied.dropped;
                for (row, failure) in &applied.failed {
                    failure.limit.iter().for_each(|limit| stats.hit(*limit));
                    self.fail(&turn.judge, rows, &chosen[*row as usize..][..1], failure, &mut pass.tally);
                }
                Attempt::Done
            }
        }
    }

    fn strike(&self, failure: &CallFailure) {
        if self.rule.standing.strikes.add(Instant::now()) {
            let (rule, version) = (self.rule.info.name.as_str(), self.rule.info.version.as_str());
            tracing::error!(rule, version, kind = failure.kind.as_str(), "rule struck out for a minute: {}", one_line(&failure.message));
        }
    }

    /// Pass-through, for each of these rows.
    fn fail<R, J: Judge<R>>(&self, judge: &J, rows: &mut [R], chosen: &[u32], failure: &CallFailure, tally: &mut RuleTally) {
        let mut message = one_line(&failure.message);
        if message.len() > MESSAGE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        }
        let failure_on_row = RuleFailure {
            rule: self.rule.info.name.clone(),
            version: self.rule.version_on_rows.clone(),
            kind: Text::new_static(failure.kind.as_str()),
            message: Text::from(message),
            hook: judge.hook(),
            policy: Policy::PassThrough,
            judged_by: None,
        };
        for index in chosen {
            J::fail(&mut rows[*index as usize], failure_on_row.clone());
        }
        tally.failed += chosen.len() as u64;
        self.rule.standing.stats.failed(failure.kind, chosen.len() as u64);
    }
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
