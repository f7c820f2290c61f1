//! Rules whose answers show which generation ran; they change, drop and fail rows, key them apart or together, and grade alerts.

use super::judge::Judge;
use crate::faults::FaultKind;
use crate::plant::Plant;
use crate::senders::{has_key, hooks, mark_of, number_behind, text_behind};
use crate::weather::Part;
use crate::world::World;
use alertmill_core::alert_fields::AlertField;
use alertmill_core::event::{Event, Tag};
use alertmill_core::payload::{NewEvent, Normalized, Payload};
use alertmill_core::record::{Door, RuleSet};
use alertmill_core::row::{AlertRow, DedupeAnswer, DedupeRule, Dropped, Row, RuleFailure};
use alertmill_core::rules::{AlertChain, Generation, RuleChain, RuleSetUnavailable, RuleSets, RuleTally};
use alertmill_core::value::Value;
use alertmill_core::verdict::{Halted, Hook, Place, Policy, Verdict};
use std::sync::Mutex;

pub struct FakeRules<'w> {
    world: &'w World,
    /// The planted bug: what the first chain of this life is opened as.
    instead: Mutex<Option<Generation>>,
}

impl<'w> FakeRules<'w> {
    pub fn new(world: &'w World) -> FakeRules<'w> {
        let state = world.state();
        let instead = (state.setup.plant == Some(Plant::HalfGeneration)).then(|| state.disk.journal.newest_generation());
        FakeRules { world, instead: Mutex::new(instead) }
    }
}

impl FakeRules<'_> {
    /// Now and then it cannot be opened.
    fn refuses(&self, generation: Generation) -> Result<(), RuleSetUnavailable> {
        let refused = self.world.is_away(Part::Rules) || self.world.draws(FaultKind::RulesBefore);
        self.world.state().trace.word(generation << 1 | u64::from(refused));
        match refused {
            true => Err(RuleSetUnavailable { generation, why: "simulated: module cannot be read".to_owned() }),
            false => Ok(()),
        }
    }
}

impl RuleSets for FakeRules<'_> {
    fn open_alerts(&self, generation: Generation) -> Result<Option<Box<dyn AlertChain>>, RuleSetUnavailable> {
        self.refuses(generation)?;
        let state = self.world.state();
        let now = (state.setup.plant == Some(Plant::AlertRulesOfNow)).then(|| state.disk.journal.newest_generation());
        Ok(FakeAlertChain::of(now.unwrap_or(generation), Some(self.world.clone())).map(|chain| Box::new(chain) as Box<dyn AlertChain>))
    }

    fn begins(&self, set: &RuleSet) {
        let mut state = self.world.state();
        state.life.generation = state.life.generation.max(set.generation);
    }

    fn open(&self, generation: Generation) -> Result<Box<dyn RuleChain>, RuleSetUnavailable> {
        self.refuses(generation)?;
        let instead = self.instead.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        Ok(Box::new(FakeChain::new(instead.unwrap_or(generation), Some(self.world.clone()))))
    }
}

/// The rules of a generation.
pub struct FakeChain {
    generation: Generation,
    judge: Judge,
}

impl FakeChain {
    /// Without a world they are never slow.
    pub fn new(generation: Generation, world: Option<World>) -> FakeChain {
        FakeChain { generation, judge: Judge::new("judge", Hook::EnrichEvent, generation, world) }
    }
}

fn normalize(generation: Generation, payload: &Payload) -> Normalized {
    match hooks::fate(generation, &payload.source, &payload.body) {
        hooks::Fate::Unclaimed => Normalized::Unclaimed,
        hooks::Fate::Failed => Normalized::Failed(unjudged()),
        hooks::Fate::Events => Normalized::Events(hooks::lines(&payload.body).map(event).collect()),
    }
}

/// The failure of a rule over payloads.
fn unjudged() -> RuleFailure {
    let (version, kind, message) = ("1.0.0".into(), "trap".into(), "simulated".into());
    RuleFailure { rule: "hooks".into(), version, kind, message, hook: Hook::Normalize, policy: Policy::PassThrough, judged_by: None }
}

/// The event that a line tells of.
fn event(line: &[u8]) -> NewEvent {
    NewEvent {
        event_id: Some(mark_of(Door::Events, line).into()),
        alert_name: "disk full".into(),
        status: Some(text_behind(line, r#""status":""#).into()),
        time: number_behind(line, r#""time":"#).and_then(|time| time.try_into().ok()),
        severity: number_behind(line, r#""severity":"#).and_then(|severity| severity.try_into().ok()),
        bk_biz_id: Some(2),
        tags: ["poison", "slow"]
            .into_iter()
            .filter(|tag| has_key(line, tag))
            .map(|tag| (tag.into(), "yes".into()))
            .chain([("host".into(), text_behind(line, r#""key":"host","value":""#).into())])
            .collect(),
        dedupe_keys: vec!["tags.host".into()],
        ..NewEvent::default()
    }
}

fn has_tag(event: &Event, key: &str) -> bool {
    event.tag(key).is_some()
}

impl RuleChain for FakeChain {
    fn normalize(&mut self, payloads: &[Payload], tally: &mut Vec<RuleTally>) -> Result<Vec<Normalized>, Halted> {
        let normalized: Vec<Normalized> = payloads.iter().map(|payload| normalize(self.generation, payload)).collect();
        let failed = normalized.iter().filter(|judged| matches!(judged, Normalized::Failed(_))).count() as u64;
        tally.push(RuleTally { rule: "hooks".into(), rows: payloads.len() as u64, failed, ..RuleTally::default() });
        Ok(normalized)
    }

    fn enrich_events(&mut self, rows: &mut [Row], tally: &mut Vec<RuleTally>) -> Result<(), Halted> {
        let n = rows.len() as u64;
        let (mut judge, stamp) = (
            RuleTally { rule: "judge".into(), rows: n, ..RuleTally::default() },
            RuleTally { rule: "stamp".into(), rows: n, changed: n, ..RuleTally::default() },
        );
        for row in rows {
            row.event.tags.push(Tag::new("generation", self.generation as i64));
            let has = |tag| has_tag(&row.event, tag);
            // The words of its condition.
            if !JUDGED.into_iter().any(has) {
                continue;
            }
            let answer = self.judge.ask(row.place(), has("poison"), has("slow"))?;
            if let Some(failure) = answer {
                judge.failed += 1;
                row.rejected = failure.policy == Policy::DeadLetter;
                row.event.tags.extend(failure.judged_by.as_ref().map(|version| Tag::new("judged_by", version.as_str())));
                row.failures.push(failure);
            } else if has("noise") && self.generation.is_multiple_of(2) {
                judge.dropped += 1;
                row.dropped = Some(Dropped { rule: "judge".into(), reason: "noise".into() });
            } else if has("grade") {
                judge.changed += 1;
                row.event.severity = Value::Int(1 + self.generation as i64 % 3);
            }
        }
        tally.extend([stamp, judge]);
        Ok(())
    }

    fn dedupe(&mut self, rows: &mut [Row], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
        for row in rows.iter_mut().filter(|row| !row.rejected) {
            if has_tag(&row.event, "unique") {
                row.dedupe = DedupeAnswer::Unique;
                row.dedupe_rule = Some(DedupeRule::new("alone", "1.0.0", OPEN_KEYS));
            } else if let Some(host) = row.event.tag("host").and_then(|v| v.as_text()).filter(|_| self.generation % 2 == 1) {
                row.dedupe = DedupeAnswer::Key(host.trim_end_matches(char::is_numeric).into());
                row.dedupe_rule = Some(DedupeRule::new("by-host", "1.0.0", OPEN_KEYS));
            }
        }
        Ok(())
    }

    fn know(&mut self, verdicts: &[Verdict]) {
        self.judge.know(verdicts);
    }

    fn take_verdicts(&mut self) -> Vec<Verdict> {
        self.judge.take_verdicts()
    }
}

/// Alerts that the keys of each rule may hold open, so few that it matters.
const OPEN_KEYS: u32 = 1;

/// Tags of the rows that the rule `judge` is for.
pub const JUDGED: [&str; 4] = ["poison", "slow", "noise", "grade"];

/// The rules over alerts of a generation.
pub struct FakeAlertChain {
    generation: Generation,
    judge: Judge,
}

impl FakeAlertChain {
    /// Some generations have none.
    pub fn of(generation: Generation, world: Option<World>) -> Option<FakeAlertChain> {
        let judge = Judge::new("grade-alerts", Hook::EnrichAlert, generation, world);
        FakeAlertChain::are_in(generation).then_some(FakeAlertChain { generation, judge })
    }

    /// Whether a generation has any.
    pub fn are_in(generation: Generation) -> bool {
        generation % 4 != 3
    }
}

impl AlertChain for FakeAlertChain {
    fn may_halt(&self) -> bool {
        self.judge.may_halt()
    }

    fn know(&mut self, verdicts: &[Verdict]) {
        self.judge.know(verdicts);
    }

    fn take_verdicts(&mut self) -> Vec<Verdict> {
        self.judge.take_verdicts()
    }

    fn enrich_alerts(&mut self, rows: &mut [AlertRow], tally: &mut Vec<RuleTally>) -> Result<(), Halted> {
        let n = rows.len() as u64;
        let mut grade = RuleTally { rule: "grade-alerts".into(), rows: n, ..RuleTally::default() };
        for row in rows {
            let stamp = AlertField::Extra(vec!["alert_rules".into()]);
            stamp.write_text(row, &self.generation.to_string()).expect("a short text");
            let at = Place { ordinal: row.alert.seq >> 14, index: (row.alert.seq & 0x3fff) as u32 };
            let failure = self.judge.ask(at, has_tag(&row.alert.event, "poison"), has_tag(&row.alert.event, "slow"))?;
            if failure.is_some() {
                grade.failed += 1;
                row.failures.extend(failure);
            } else if has_tag(&row.alert.event, "grade-alert") {
                grade.changed += 1;
                let severity = AlertField::parse_write("severity").expect("a field of alerts");
                severity.write_integer(row, 1 + self.generation as i64 % 3).expect("a severity");
            }
        }
        tally.extend([RuleTally { rule: "stamp-alerts".into(), rows: n, changed: n, ..RuleTally::default() }, grade]);
        Ok(())
    }
}
