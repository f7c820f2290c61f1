//! A fake rule that cannot judge some rows: what it makes of them follows from the row and the generation, unless it is slow, or
//! somebody decides otherwise. That, and only that, is a verdict, and the golden run has it from the journal.

use crate::faults::FaultKind;
use crate::world::World;
use alertmill_core::row::RuleFailure;
use alertmill_core::rules::Generation;
use alertmill_core::verdict::{Halted, Hook, Place, Policy, Verdict};

/// So often it may be slow before it is not called any more.
const STRIKES: u32 = 2;
/// The version that stands in where the policy says so.
pub const STAND_IN: &str = "0.9.0";
const VERSION: &str = "1.0.0";

/// What is done with a row that the rule of a generation could not judge.
pub fn policy(hook: Hook, generation: Generation) -> Policy {
    match (hook, generation % 4) {
        (Hook::EnrichAlert, 1) | (Hook::EnrichEvent, 3) => Policy::Stop,
        (Hook::EnrichEvent, 1) => Policy::PreviousVersion,
        (Hook::EnrichEvent, 2) => Policy::DeadLetter,
        _ => Policy::PassThrough,
    }
}

/// What a verdict makes of a row.
pub fn failure(verdict: &Verdict) -> RuleFailure {
    let Verdict { rule, version, hook, kind, message, policy, .. } = verdict.clone();
    // The event of an alert is counted, so the alert goes on.
    let policy = if (hook, policy) == (Hook::EnrichAlert, Policy::DeadLetter) { Policy::PassThrough } else { policy };
    RuleFailure { rule, version, kind, message, hook, policy, judged_by: (policy == Policy::PreviousVersion).then(|| STAND_IN.into()) }
}

/// The verdict that is known of a row.
pub fn known_of<'v>(known: impl IntoIterator<Item = &'v Verdict>, hook: Hook, at: Place) -> Option<&'v Verdict> {
    known.into_iter().find(|verdict| verdict.hook == hook && verdict.covers(at))
}

/// One rule at one hook.
pub struct Judge {
    rule: &'static str,
    hook: Hook,
    generation: Generation,
    /// Only a rule that runs can be slow.
    world: Option<World>,
    known: Vec<Verdict>,
    found: Vec<Verdict>,
    strikes: u32,
}

impl Judge {
    pub fn new(rule: &'static str, hook: Hook, generation: Generation, world: Option<World>) -> Judge {
        Judge { rule, hook, generation, world, known: Vec::new(), found: Vec::new(), strikes: 0 }
    }

    pub fn may_halt(&self) -> bool {
        policy(self.hook, self.generation) == Policy::Stop
    }

    pub fn know(&mut self, verdicts: &[Verdict]) {
        self.known.extend_from_slice(verdicts);
    }

    pub fn take_verdicts(&mut self) -> Vec<Verdict> {
        std::mem::take(&mut self.found)
    }

    /// Why it does not judge a row, if it does not.
    pub fn ask(&mut self, at: Place, is_poison: bool, is_slow: bool) -> Result<Option<RuleFailure>, Halted> {
        if let Some(known) = known_of(&self.known, self.hook, at) {
            return Ok(Some(failure(known)));
        }
        if self.strikes >= STRIKES {
            self.strikes = 0;
            return Ok(Some(self.come_to(self.verdict("struck-out", at, None))));
        }
        if is_poison {
            let verdict = self.verdict("trap", at, Some(at));
            return if self.may_halt() { Err(halted(verdict, false)) } else { Ok(Some(failure(&verdict))) };
        }
        if is_slow && self.world.as_ref().is_some_and(|world| world.draws(FaultKind::RuleSlow)) {
            let verdict = self.verdict("deadline", at, Some(at));
            if self.may_halt() {
                return Err(halted(verdict, true));
            }
            self.strikes += 1;
            return Ok(Some(self.come_to(verdict)));
        }
        Ok(None)
    }

    fn verdict(&self, kind: &'static str, from: Place, until: Option<Place>) -> Verdict {
        let policy = policy(self.hook, self.generation);
        Verdict { rule: self.rule.into(), version: VERSION.into(), hook: self.hook, kind: kind.into(), message: "simulated".into(), policy, from, until }
    }

    fn come_to(&mut self, verdict: Verdict) -> RuleFailure {
        let failure = failure(&verdict);
        self.known.push(verdict.clone());
        self.found.push(verdict);
        failure
    }
}

fn halted(verdict: Verdict, may_pass: bool) -> Halted {
    let Verdict { rule, version, hook, kind, message, from, .. } = verdict;
    Halted { rule, version, hook, at: from, kind, message, may_pass }
}
