//! One rule at one worker: chooses its rows, calls it, halves a batch that fails until the poison row is alone, and does with
//! that row what the rule's policy says.

use crate::batch_rows::BatchRows;
use crate::cpu::{Moment, Took};
use crate::failure::{CallFailure, FailureKind};
use crate::hooks::Judge;
use crate::limits::{BATCH_BYTES_MAX, Limit};
use crate::log::one_line;
use crate::patch::MESSAGE_BYTES_MAX;
use crate::pool::Pool;
use crate::rule::Rule;
use crate::stats::{Began, Used};
use crate::verdicts::Verdicts;
use crate::watch::Seen;
use alertmill_core::row::RuleFailure;
use alertmill_core::rules::RuleTally;
use alertmill_core::value::Text;
use alertmill_core::verdict::{Halted, Hook, Place, Policy, Verdict};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that the failing calls of one batch may take in any case: 256 rows that all crash take a tenth of it.
const FAILING_TIME_MIN: Duration = Duration::from_millis(500);

/// One rule with its instances, which its hooks share.
pub(crate) struct Runner {
    rule: Arc<Rule>,
    pool: Pool,
    /// The generation says that it is not to be called, and why.
    quarantine: Option<CallFailure>,
}

/// One hook's turn in it.
pub(crate) struct Turn<J> {
    judge: J,
    hook: Hook,
    /// What becomes of a row that it cannot judge.
    policy: Policy,
    chosen: Vec<u32>,
    batch_rows: BatchRows,
    verdicts: Verdicts,
}

impl<J> Turn<J> {
    pub fn new(judge: J, hook: Hook, batch_rows: usize, policy: Policy) -> Turn<J> {
        Turn { judge, hook, policy, chosen: Vec::new(), batch_rows: BatchRows::new(batch_rows), verdicts: Verdicts::default() }
    }

    /// Whether a row that it cannot judge halts the pipeline.
    pub fn may_halt(&self) -> bool {
        self.policy == Policy::Stop
    }

    pub fn know(&mut self, runner: &Runner, verdicts: &[Verdict]) {
        self.verdicts.know(&runner.rule.info.name, &runner.rule.version_on_rows, self.hook, verdicts);
    }

    pub fn take_verdicts(&mut self, into: &mut Vec<Verdict>) {
        self.verdicts.take(into);
    }
}

impl Runner {
    pub fn new(rule: &Arc<Rule>, quarantine: Option<CallFailure>) -> Runner {
        Runner { rule: rule.clone(), pool: Pool::default(), quarantine }
    }

    /// A verdict of an earlier process may say that the rule is out.
    pub fn know(&self, verdicts: &[Verdict]) {
        let is_out = |verdict: &&Verdict| {
            let is_ours = verdict.rule == self.rule.info.name && verdict.version == self.rule.version_on_rows;
            is_ours && verdict.until.is_none() && verdict.kind == FailureKind::StruckOut.as_str()
        };
        if let Some(verdict) = verdicts.iter().find(is_out) {
            self.rule.standing.strikes.was_out(Instant::now(), &CallFailure::new(FailureKind::StruckOut, verdict.message.as_str()));
        }
    }

    /// Judges the rows that it is for. Those that it cannot judge go to `previous`, if that is the policy and there is one.
    pub fn run<R, J: Judge<R>>(
        &mut self,
        turn: &mut Turn<J>,
        previous: Option<(&mut Runner, &mut Turn<J>)>,
        rows: &mut [R],
        tallies: &mut Vec<RuleTally>,
    ) -> Result<(), Halted> {
        let mut chosen = std::mem::take(&mut turn.chosen);
        chosen.clear();
        chosen.extend((0..).zip(&*rows).filter(|(_, row)| turn.judge.is_for(row)).map(|(index, _)| index));
        let passed = self.pass(turn, previous.is_some(), rows, &chosen);
        turn.chosen = chosen;
        let mut pass = passed?;
        if let Some((runner, turn)) = previous.filter(|_| !pass.left.is_empty()) {
            stand_in(runner, turn, rows, &mut pass)?;
        }
        match tallies.iter_mut().find(|known| known.rule == pass.tally.rule) {
            Some(known) => add(known, &pass.tally),
            None => tallies.push(pass.tally),
        }
        Ok(())
    }

    /// One pass over the rows that were chosen.
    fn pass<R, J: Judge<R>>(&mut self, turn: &mut Turn<J>, has_previous: bool, rows: &mut [R], chosen: &[u32]) -> Result<Pass, Halted> {
        let tally = RuleTally { rule: self.rule.info.name.clone(), rows: chosen.len() as u64, ..RuleTally::default() };
        let pass = Pass { tally, ..Pass::default() };
        let Some(first) = chosen.first() else { return Ok(pass) };
        let rule = self.rule.clone();
        let mut judging = Judging { rule: &rule, runner: self, turn, has_previous, rows, chosen, pass, reached_to: usize::MAX };
        let asked;
        if !judging.turn.verdicts.is_empty() {
            judging.turn.verdicts.forget_before(J::place(&judging.rows[*first as usize]));
            asked = judging.apply_known()?;
            judging.chosen = &asked;
        }
        judging.ask()?;
        let pass = judging.pass;
        let Pass { tally, slow_calls, .. } = &pass;
        rule.standing.stats.applied(tally.changed, tally.dropped);
        let seen = Seen { rows: tally.rows, dropped: tally.dropped, failed: tally.failed, calls: tally.calls, slow_calls: *slow_calls };
        rule.standing.watch.add(Instant::now(), &seen, turn.judge.keys(rows, chosen));
        Ok(pass)
    }
}

/// What one pass over some rows did.
#[derive(Default)]
struct Pass {
    tally: RuleTally,
    slow_calls: u64,
    /// Rows that are left to the version before, each with the failure of this one.
    left: Vec<(u32, RuleFailure)>,
}

/// The version before judges the rows that are left to it. What it fails on too goes on as it came, with both failures.
fn stand_in<R, J: Judge<R>>(runner: &mut Runner, turn: &mut Turn<J>, rows: &mut [R], pass: &mut Pass) -> Result<(), Halted> {
    let mut left = std::mem::take(&mut pass.left);
    left.sort_by_key(|(index, _)| *index);
    // The failure is on the row first, so that one of the other version comes behind it.
    let places: Vec<usize> = left.iter().map(|(index, failure)| J::note(&mut rows[*index as usize], failure)).collect();
    let chosen: Vec<u32> = left.iter().map(|(index, _)| *index).filter(|index| turn.judge.is_for(&rows[*index as usize])).collect();
    let done = runner.pass(turn, false, rows, &chosen)?;
    pass.tally.changed += done.tally.changed;
    pass.tally.dropped += done.tally.dropped;
    pass.tally.calls += done.tally.calls;
    pass.tally.nanos += done.tally.nanos;
    for ((index, failure), at) in left.into_iter().zip(places) {
        J::stood_in(&mut rows[index as usize], failure, at, &runner.rule.version_on_rows);
    }
    Ok(())
}

/// A rule at work on the rows of one pass.
struct Judging<'a, R, J: Judge<R>> {
    rule: &'a Rule,
    runner: &'a mut Runner,
    turn: &'a mut Turn<J>,
    has_previous: bool,
    rows: &'a mut [R],
    /// Which of them it is about; ranges below are of these.
    chosen: &'a [u32],
    pass: Pass,
    /// Up to where the last verdict reaches.
    reached_to: usize,
}

impl<R, J: Judge<R>> Judging<'_, R, J> {
    /// Does with rows that are decided about what was decided; gives the others.
    fn apply_known(&mut self) -> Result<Vec<u32>, Halted> {
        let mut asked = Vec::new();
        for (at, index) in self.chosen.iter().enumerate() {
            let Some(verdict) = self.turn.verdicts.about(self.place(at)) else {
                asked.push(*index);
                continue;
            };
            let failure = RuleFailure {
                rule: verdict.rule.clone(),
                version: verdict.version.clone(),
                kind: verdict.kind.clone(),
                message: verdict.message.clone(),
                hook: verdict.hook,
                policy: self.possible(verdict.policy),
                judged_by: None,
            };
            self.apply(at..at + 1, failure, true)?;
        }
        Ok(asked)
    }

    /// Asks the rule, in batches.
    fn ask(&mut self) -> Result<(), Halted> {
        if let Some(why) = self.runner.quarantine.clone() {
            return self.settle(0..self.chosen.len(), &why);
        }
        let mut at = 0;
        while at < self.chosen.len() {
            let end = self.one_tenants(at..self.chosen.len().min(at + self.turn.batch_rows.now()));
            if self.ask_batch(at..end)? == Asked::Out {
                break;
            }
            at = end;
        }
        Ok(())
    }

    /// Up to where the rows are of the tenant of the first.
    fn one_tenants(&self, rows: Range<usize>) -> usize {
        let tenant = |at: usize| J::tenant(&self.rows[self.chosen[at] as usize]);
        let first = tenant(rows.start);
        rows.clone().find(|at| tenant(*at) != first).unwrap_or(rows.end)
    }

    /// One batch; if its call fails, its halves, and so on until the poison row is alone. The time that failing calls may
    /// take is bounded: beyond it the rows that are left are not judged.
    fn ask_batch(&mut self, batch: Range<usize>) -> Result<Asked, Halted> {
        let options = self.rule.options();
        let mut left = (Duration::from_millis(options.limits.time_ms) * options.strikes).max(FAILING_TIME_MIN);
        let mut failing = Took::default();
        let mut stalled: Option<Took> = None;
        let mut at_fault = AtFault::default();
        let mut parts: Vec<Range<usize>> = Vec::new();
        parts.push(batch.clone());
        while let Some(part) = parts.pop() {
            let began = Moment::now();
            if let Some(why) = self.rule.standing.strikes.out(began.at) {
                self.strike_out(part.start, &why)?;
                return Ok(Asked::Out);
            }
            let (failure, reused) = match self.attempt(part.clone(), &mut at_fault)? {
                Attempt::Done => continue,
                Attempt::TooManyBytes => {
                    split(&mut parts, part);
                    continue;
                }
                Attempt::Failed { failure, reused } => (failure, reused),
            };
            let took = began.took();
            // The rule is not at fault for time that it did not have. Asked once more, and no more often: on a machine that is always
            // busy a loop would never end.
            let is_late = matches!(failure.limit, Some(Limit::TimeMs | Limit::InitMs));
            if is_late && stalled.is_none() && took.is_mostly_waiting() {
                stalled = Some(took);
                parts.push(part);
                continue;
            }
            failing += took;
            // A pipeline that waits for an operator is to say for which row.
            if self.turn.policy != Policy::Stop {
                left = left.saturating_sub(took.wall);
            }
            if is_late {
                // Both times count, for and against it.
                let mut both = took;
                both += stalled.as_mut().map(std::mem::take).unwrap_or_default();
                self.strike(&failure, both);
            } else if left.is_zero() {
                self.strike(&failure, failing);
            } else if failure.kind == FailureKind::Init {
                // It took next to no time, and would at every batch.
                self.strike(&failure, Took::default());
            }
            if failure.kind == FailureKind::Deadline {
                self.turn.batch_rows.too_slow(part.len());
            }
            // What failed may be what earlier calls left in the instance, such as memory that was never given back. Where batches
            // were cut must not show, so a row is judged by a fresh instance before it is said to be at fault. A loop is not asked
            // again: it would cost its time twice.
            if part.len() == 1 && reused && failure.kind != FailureKind::Deadline && !left.is_zero() {
                parts.push(part);
                continue;
            }
            // Rows have no part in a failing `init`.
            if part.len() == 1 || failure.kind == FailureKind::Init {
                at_fault.add(part.len(), &failure);
                self.settle(part, &failure)?;
            } else if left.is_zero() {
                let why = CallFailure::new(FailureKind::StruckOut, format!("not judged: failing calls took too long; the last one: {}", failure.message));
                self.settle(part.start..batch.end, &why)?;
                break;
            } else {
                split(&mut parts, part);
            }
        }
        self.hold_to_account(batch.len() as u64, at_fault);
        Ok(Asked::All)
    }

    fn attempt(&mut self, part: Range<usize>, at_fault: &mut AtFault) -> Result<Attempt, Halted> {
        let chosen = &self.chosen[part.clone()];
        // A row cannot be cut.
        let bytes_max = if chosen.len() == 1 { usize::MAX } else { BATCH_BYTES_MAX };
        if !self.turn.judge.fill(self.rows, chosen, bytes_max) {
            return Ok(Attempt::TooManyBytes);
        }
        let (rule, runner, judge) = (self.rule, &mut *self.runner, &self.turn.judge);
        let (limits, stats) = (rule.limits(), &rule.standing.stats);
        let tenants = || chosen.iter().map(|index| J::tenant(&self.rows[*index as usize]));
        let Some(tenant) = tenants().next() else { return Ok(Attempt::Done) };
        let seat = runner.pool.seat(tenant);
        // Taken out while it runs: an instance that failed is never called again.
        let reused = seat.warm.is_some();
        let started = seat.warm.take().map_or_else(|| rule.start(seat.next), Ok);
        // What the next one is made for, unless this one is kept.
        seat.next = Began::Failed;
        let mut warm = match started {
            Ok(warm) => warm,
            Err(failure) => {
                stats.hit(failure.limit);
                return Ok(Attempt::Failed { failure, reused });
            }
        };
        if let Err(failure) = warm.serve(tenants()) {
            return Ok(Attempt::Failed { failure, reused });
        }
        let started = Instant::now();
        let answer = judge.call(&mut warm, self.rows, chosen, limits.time_ms);
        let took = started.elapsed();
        let mut used = Used { nanos: took.as_nanos() as u64, ..warm.used() };
        match &answer {
            Ok(answer) => {
                used.output_bytes = J::bytes_of(answer) as u64;
                stats.hit(warm.take_memory_denied().then_some(Limit::MemoryBytes));
            }
            Err(failure) => stats.hit(failure.limit),
        }
        self.pass.tally.calls += 1;
        self.pass.tally.nanos += used.nanos;
        self.pass.slow_calls += u64::from(stats.call(chosen.len() as u64, &used, limits.slow_ms));
        let applied = match answer.and_then(|answer| judge.accept(&rule.info.name, self.rows, chosen, answer)) {
            Ok(applied) => applied,
            Err(failure) => return Ok(Attempt::Failed { failure, reused }),
        };
        match warm.worn_out(limits) {
            Some(why) => seat.next = why,
            None => seat.warm = Some(warm),
        }
        self.turn.batch_rows.answered(chosen.len(), took, Duration::from_millis(limits.time_ms));
        self.pass.tally.changed += applied.changed;
        self.pass.tally.dropped += applied.dropped;
        for (row, failure) in &applied.failed {
            stats.hit(failure.limit);
            at_fault.add(1, failure);
            let at = part.start + *row as usize;
            self.settle(at..at + 1, failure)?;
        }
        Ok(Attempt::Done)
    }

    /// For time that failing took.
    fn strike(&self, failure: &CallFailure, took: Took) {
        // It halts at its first failure, and whoever lets it go on has decided.
        if self.turn.policy != Policy::Stop && self.rule.standing.strikes.add(Instant::now(), failure, took, self.rule.options()) {
            self.say_out(failure);
        }
    }

    /// A rule that fails on most of its rows is put out too.
    fn hold_to_account(&self, rows: u64, at_fault: AtFault) {
        let why = || {
            let words = at_fault.last.as_ref().map_or("", |last| last.message.as_str());
            CallFailure::new(FailureKind::StruckOut, format!("it failed on more than half of its rows within a minute; the last time: {words}"))
        };
        if self.turn.policy != Policy::Stop && self.rule.standing.strikes.judged(Instant::now(), rows, at_fault.rows, why) {
            self.say_out(&why());
        }
    }

    fn say_out(&self, failure: &CallFailure) {
        let (rule, version) = (self.rule.info.name.as_str(), self.rule.info.version.as_str());
        tracing::error!(rule, version, kind = failure.kind.as_str(), "rule struck out: {}", one_line(&failure.message));
    }

    /// From this row on it is not asked any more in this generation.
    fn strike_out(&mut self, from: usize, why: &CallFailure) -> Result<(), Halted> {
        let failure = CallFailure::new(FailureKind::StruckOut, format!("not called: it failed too often or too long; the last time: {}", why.message));
        let on_row = self.on_row(&failure);
        if on_row.policy != Policy::Stop {
            self.turn.verdicts.reach(&on_row, self.place(from), None, false);
        }
        self.apply(from..self.chosen.len(), on_row, true)
    }

    /// Does what the policy says with rows that the rule did not judge.
    fn settle(&mut self, at: Range<usize>, failure: &CallFailure) -> Result<(), Halted> {
        let on_row = self.on_row(failure);
        let may_pass = failure.kind.may_pass();
        if may_pass && on_row.policy != Policy::Stop {
            let (from, until) = (self.place(at.start), self.place(at.end - 1));
            self.turn.verdicts.reach(&on_row, from, Some(until), self.reached_to == at.start);
            self.reached_to = at.end;
        }
        self.apply(at, on_row, may_pass)
    }

    /// Does what the failure says was to be done.
    fn apply(&mut self, at: Range<usize>, failure: RuleFailure, may_pass: bool) -> Result<(), Halted> {
        let count = at.len() as u64;
        self.pass.tally.failed += count;
        self.rule.standing.stats.failed(&failure.kind, failure.policy, count);
        if failure.policy == Policy::Stop {
            let RuleFailure { rule, version, kind, message, hook, .. } = failure;
            return Err(Halted { rule, version, hook, at: self.place(at.start), kind, message, may_pass });
        }
        for index in &self.chosen[at] {
            let row = &mut self.rows[*index as usize];
            match failure.policy {
                Policy::PreviousVersion => self.pass.left.push((*index, failure.clone())),
                Policy::DeadLetter => J::reject(row, failure.clone()),
                Policy::PassThrough | Policy::Stop => J::fail(row, failure.clone()),
            }
        }
        Ok(())
    }

    fn on_row(&self, failure: &CallFailure) -> RuleFailure {
        let mut message = one_line(&failure.message);
        if message.len() > MESSAGE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        }
        RuleFailure {
            rule: self.rule.info.name.clone(),
            version: self.rule.version_on_rows.clone(),
            kind: Text::new_static(failure.kind.as_str()),
            message: Text::from(message),
            hook: self.turn.hook,
            policy: self.possible(self.turn.policy),
            judged_by: None,
        }
    }

    /// The policy, or what takes its place where it cannot be had: of the rule's options or of a verdict, which an operator or an
    /// earlier process reached.
    fn possible(&self, policy: Policy) -> Policy {
        match policy {
            Policy::PreviousVersion if !self.has_previous => Policy::PassThrough,
            // The event of an alert is counted, so that it cannot become a dead letter any more.
            Policy::DeadLetter if self.turn.hook == Hook::EnrichAlert => Policy::PassThrough,
            policy => policy,
        }
    }

    fn place(&self, at: usize) -> Place {
        J::place(&self.rows[self.chosen[at] as usize])
    }
}

/// Whether all rows of a batch were settled, or it is out and with them all behind them.
#[derive(PartialEq, Eq)]
enum Asked {
    All,
    Out,
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

/// Rows that failed by a fault of the rule; what it refuses in words is none.
#[derive(Default)]
struct AtFault {
    rows: u64,
    last: Option<CallFailure>,
}

impl AtFault {
    fn add(&mut self, rows: usize, failure: &CallFailure) {
        if failure.kind != FailureKind::RowError {
            self.rows += rows as u64;
            self.last = Some(failure.clone());
        }
    }
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
