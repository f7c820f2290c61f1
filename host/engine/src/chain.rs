//! The rules of one generation, bound to one worker: core's `RuleChain`, and `AlertChain` for the fold.

use crate::failure::CallFailure;
use crate::hooks::{Enriching, Keying, Normalizing, PayloadRow};
use crate::interface::Hook;
use crate::rule::Rule;
use crate::runner::{Runner, Turn};
use alertmill_core::alert_fields::AlertField;
use alertmill_core::fields::Field;
use alertmill_core::payload::{Normalized, Payload};
use alertmill_core::row::{AlertRow, Row};
use alertmill_core::rules::{AlertChain, RuleChain, RuleTally};
use alertmill_core::verdict::{Halted, Policy, Verdict};
use std::sync::Arc;

/// A rule at its place in a generation.
pub(crate) struct Placed {
    pub rule: Arc<Rule>,
    /// The version before, for the rows that this one cannot judge.
    pub previous: Option<Arc<Rule>>,
    /// It is not to be called, and why.
    pub quarantine: Option<CallFailure>,
}

impl Placed {
    /// With nothing behind it, for a trial: what it does there counts nowhere.
    pub fn alone(rule: &Rule) -> Placed {
        Placed { rule: rule.apart(), previous: None, quarantine: None }
    }

    /// The same for a trial, with what is behind it.
    pub fn apart(&self) -> Placed {
        Placed { rule: self.rule.apart(), previous: self.previous.as_ref().map(|rule| rule.apart()), quarantine: self.quarantine.clone() }
    }
}

/// One worker's rules over payloads and events, in order.
pub(crate) struct Chain(Vec<Member>);

/// One of them, with its hooks: they share its instance.
struct Member {
    runner: Runner,
    normalize: Option<Turn<Normalizing>>,
    enrich: Option<Turn<Enriching<Field>>>,
    dedupe: Option<Turn<Keying>>,
    previous: Option<Box<Member>>,
}

impl Chain {
    pub fn new(rules: &[Placed]) -> Chain {
        Chain(rules.iter().map(Member::new).collect())
    }

    /// Every rule, and the versions behind them.
    fn each(&mut self, mut each: impl FnMut(&mut Member)) {
        for member in &mut self.0 {
            each(member);
            member.previous.as_deref_mut().into_iter().for_each(&mut each);
        }
    }
}

impl Member {
    fn new(placed: &Placed) -> Member {
        // There is nobody behind it.
        let previous = placed.previous.as_ref().map(|rule| Box::new(Member::of(rule, Policy::PassThrough, None)));
        Member { previous, ..Member::of(&placed.rule, placed.rule.options().on_failure, placed.quarantine.clone()) }
    }

    fn of(rule: &Arc<Rule>, policy: Policy, quarantine: Option<CallFailure>) -> Member {
        let (plans, limits) = (&rule.plans, rule.limits());
        let enriching = |plan| Enriching::new(Hook::EnrichEvent, plan, limits);
        Member {
            runner: Runner::new(rule, quarantine),
            normalize: plans.normalize.as_ref().map(|plan| Turn::new(Normalizing::new(plan), Hook::Normalize, plan.batch_rows, policy)),
            enrich: plans.enrich.as_ref().map(|plan| Turn::new(enriching(plan), Hook::EnrichEvent, plan.batch_rows, policy)),
            dedupe: plans.dedupe.as_ref().map(|plan| Turn::new(Keying::new(rule, plan), Hook::Dedupe, plan.batch_rows, policy)),
            previous: None,
        }
    }
}

impl RuleChain for Chain {
    fn normalize(&mut self, payloads: &[Payload], tally: &mut Vec<RuleTally>) -> Result<Vec<Normalized>, Halted> {
        let mut rows: Vec<PayloadRow<'_>> = payloads.iter().map(|payload| PayloadRow { payload, answer: Normalized::Unclaimed }).collect();
        for Member { runner, normalize, previous, .. } in &mut self.0 {
            let Some(turn) = normalize else { continue };
            let previous = previous.as_mut().and_then(|member| Some((&mut member.runner, member.normalize.as_mut()?)));
            runner.run(turn, previous, &mut rows, tally)?;
        }
        Ok(rows.into_iter().map(|row| row.answer).collect())
    }

    fn enrich_events(&mut self, rows: &mut [Row], tally: &mut Vec<RuleTally>) -> Result<(), Halted> {
        for Member { runner, enrich, previous, .. } in &mut self.0 {
            let Some(turn) = enrich else { continue };
            let previous = previous.as_mut().and_then(|member| Some((&mut member.runner, member.enrich.as_mut()?)));
            runner.run(turn, previous, rows, tally)?;
        }
        Ok(())
    }

    fn dedupe(&mut self, rows: &mut [Row], tally: &mut Vec<RuleTally>) -> Result<(), Halted> {
        for Member { runner, dedupe, previous, .. } in &mut self.0 {
            let Some(turn) = dedupe else { continue };
            let previous = previous.as_mut().and_then(|member| Some((&mut member.runner, member.dedupe.as_mut()?)));
            runner.run(turn, previous, rows, tally)?;
        }
        Ok(())
    }

    fn know(&mut self, verdicts: &[Verdict]) {
        self.each(|Member { runner, normalize, enrich, dedupe, .. }| {
            runner.know(verdicts);
            normalize.iter_mut().for_each(|turn| turn.know(runner, verdicts));
            enrich.iter_mut().for_each(|turn| turn.know(runner, verdicts));
            dedupe.iter_mut().for_each(|turn| turn.know(runner, verdicts));
        });
    }

    fn take_verdicts(&mut self) -> Vec<Verdict> {
        let mut taken = Vec::new();
        self.each(|Member { normalize, enrich, dedupe, .. }| {
            normalize.iter_mut().for_each(|turn| turn.take_verdicts(&mut taken));
            enrich.iter_mut().for_each(|turn| turn.take_verdicts(&mut taken));
            dedupe.iter_mut().for_each(|turn| turn.take_verdicts(&mut taken));
        });
        taken
    }
}

/// The fold's rules over new alerts, in order.
pub(crate) struct Alerts(Vec<(OverAlerts, Option<OverAlerts>)>);

/// One of them, or the version behind it.
struct OverAlerts {
    runner: Runner,
    turn: Turn<Enriching<AlertField>>,
}

impl Alerts {
    /// `None` when no rule has this hook.
    pub fn of(rules: &[Placed]) -> Option<Alerts> {
        let of_rule = |placed: &Placed| {
            let rule = OverAlerts::of(&placed.rule, placed.rule.options().on_failure, placed.quarantine.clone())?;
            Some((rule, placed.previous.as_ref().and_then(|rule| OverAlerts::of(rule, Policy::PassThrough, None))))
        };
        let alerts: Vec<_> = rules.iter().filter_map(of_rule).collect();
        (!alerts.is_empty()).then_some(Alerts(alerts))
    }

    fn each(&mut self, mut each: impl FnMut(&mut OverAlerts)) {
        self.0.iter_mut().flat_map(|(rule, previous)| [rule].into_iter().chain(previous)).for_each(&mut each);
    }
}

impl OverAlerts {
    fn of(rule: &Arc<Rule>, policy: Policy, quarantine: Option<CallFailure>) -> Option<OverAlerts> {
        let plan = rule.plans.enrich_alert.as_ref()?;
        let judge = Enriching::new(Hook::EnrichAlert, plan, rule.limits());
        Some(OverAlerts { runner: Runner::new(rule, quarantine), turn: Turn::new(judge, Hook::EnrichAlert, plan.batch_rows, policy) })
    }
}

impl AlertChain for Alerts {
    fn may_halt(&self) -> bool {
        self.0.iter().any(|(rule, _)| rule.turn.may_halt())
    }

    fn enrich_alerts(&mut self, rows: &mut [AlertRow], tally: &mut Vec<RuleTally>) -> Result<(), Halted> {
        for (OverAlerts { runner, turn }, previous) in &mut self.0 {
            let previous = previous.as_mut().map(|previous| (&mut previous.runner, &mut previous.turn));
            runner.run(turn, previous, rows, tally)?;
        }
        Ok(())
    }

    fn know(&mut self, verdicts: &[Verdict]) {
        self.each(|OverAlerts { runner, turn }| {
            runner.know(verdicts);
            turn.know(runner, verdicts);
        });
    }

    fn take_verdicts(&mut self) -> Vec<Verdict> {
        let mut taken = Vec::new();
        self.each(|rule| rule.turn.take_verdicts(&mut taken));
        taken
    }
}
