//! The same journal in one life, one record a batch, without a fault: what crashed lives must have come to, to the byte.

use super::witness::Witness;
use super::{fold_config, understand_config};
use crate::disk::{EventRow, Tables, verdicts_of};
use crate::failure::{Failure, Promise};
use crate::ports::{FakeAlertChain, FakeChain};
use crate::world::State;
use alertmill_core::event::Uid;
use alertmill_core::pipeline::fold::Fold;
use alertmill_core::pipeline::prepare::prepare;
use alertmill_core::ports::{AlertWrite, EventRole, LogWrite, Restored};
use alertmill_core::rules::{AlertChain, RuleChain};
use alertmill_core::verdict::Halted;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::Arc;

pub struct Golden {
    pub tables: Tables,
    /// Where in the journal an event is, by uid and second of receipt: ordinal and place in the record.
    places: BTreeMap<(Uid, i64), (u64, u32)>,
}

/// Folds the whole journal.
pub fn refold(state: &State, seed: u64) -> Result<Golden, Failure> {
    let (mut tables, mut places) = (Tables::default(), BTreeMap::new());
    let mut fold = Fold::restore(&Restored::default(), fold_config(seed)).map_err(|e| Failure::other(e.to_string()))?;
    let known = verdicts_of(&state.disk.journal.records);
    for record in &state.disk.journal.records {
        let generation = tables.rule_sets.last().map_or(0, |set| set.generation);
        let (mut chain, mut alert_rules) = (FakeChain::new(generation, None), FakeAlertChain::of(generation, None));
        for known in known.iter().filter(|known| known.generation == generation) {
            chain.know(&known.verdicts);
            alert_rules.iter_mut().for_each(|rules| rules.know(&known.verdicts));
        }
        let prepared = prepare(&mut [record.replayed()], generation, &mut chain, &understand_config()).map_err(halts)?;
        // What is rejected is stored nowhere.
        for row in prepared.rows.iter().filter(|row| !row.rejected) {
            for uid in row.uid_if_reopened.into_iter().chain([row.event.uid]) {
                places.entry((uid, record.received_at_ms.div_euclid(1000))).or_insert((row.ordinal, row.index));
            }
        }
        // It never forgets.
        let known_until_s = prepared.rows.iter().map(|row| tables.stored.get(&row.event.uid).copied()).collect();
        tables.apply(&fold.apply_with(prepared, known_until_s, alert_rules.as_mut().map(|rules| rules as &mut dyn AlertChain)));
    }
    Ok(Golden { tables, places })
}

/// Every row at which the pipeline halted has its verdict in the journal, or nothing behind it could be folded.
fn halts(halted: Halted) -> Failure {
    Failure::broken(Promise::I8, format!("what was decided is not in the journal: {halted}"))
}

/// I4: events are stored, and listed with each alert, in the order of the journal.
pub fn in_order(ours: &Tables, golden: &Golden) -> Result<(), Failure> {
    rising(ours.events.iter(), golden)?;
    ours.lists.values().try_for_each(|list| rising(list.events.iter().filter_map(|(at, _)| ours.events.get(*at)), golden))
}

fn rising<'r>(rows: impl Iterator<Item = &'r EventRow>, golden: &Golden) -> Result<(), Failure> {
    let mut last = (0, 0);
    for place in rows.filter_map(|row| golden.places.get(&(row.uid, row.received_s))) {
        if *place < last {
            return Err(Failure::broken(Promise::I4, format!("the event of (record, place) {place:?} comes behind that of {last:?}")));
        }
        last = *place;
    }
    Ok(())
}

/// I7: each event carries the stamp of the rules in force at its record, and an alert that of its last counted event, and of the
/// alert rules in force at the one that opened it.
pub fn one_generation(ours: &Tables, golden: &Golden, witness: &Witness) -> Result<(), Failure> {
    witness.numbers_rise()?;
    let in_force = |row: &EventRow| golden.places.get(&(row.uid, row.received_s)).map(|(ordinal, _)| witness.generation_at(*ordinal));
    for row in &ours.events {
        let (stamped, expected) = (stamp(row.document()), in_force(row));
        if stamped != expected {
            return Err(Failure::broken(Promise::I7, format!("event {:?} was judged by generation {stamped:?}, {expected:?} was in force", row.uid)));
        }
    }
    for (seq, alert) in &ours.alerts {
        let opened = ours.lists.get(seq).into_iter().flat_map(|list| &list.events).find(|(_, role)| *role == EventRole::Opened);
        if let Some(in_force) = opened.and_then(|(at, _)| ours.events.get(*at)).and_then(in_force) {
            let (stamped, expected) = (alert_stamp(&String::from_utf8_lossy(&alert.document)), FakeAlertChain::are_in(in_force).then_some(in_force));
            if stamped != expected {
                let why = format!("alert {seq} went through the alert rules of generation {stamped:?}, those of {expected:?} were in force when it was opened");
                return Err(Failure::broken(Promise::I7, why));
            }
        }
        let last = ours.lists.get(seq).into_iter().flat_map(|list| &list.events).rfind(|(_, role)| *role != EventRole::Milder);
        if let Some(expected) = last.and_then(|(at, _)| ours.events.get(*at)).and_then(in_force).filter(|expected| *expected != alert.rule_generation) {
            return Err(Failure::broken(
                Promise::I7,
                format!("alert {seq} says generation {}, its last event was judged by {expected}", alert.rule_generation),
            ));
        }
    }
    Ok(())
}

/// The generation that stamped an event's document.
fn stamp(document: &str) -> Option<u64> {
    number_behind(document, r#""key":"generation","value":"#)
}

/// The generation whose alert rules stamped an alert's document.
fn alert_stamp(document: &str) -> Option<u64> {
    number_behind(document, r#""alert_rules":""#)
}

fn number_behind(document: &str, key: &str) -> Option<u64> {
    let rest = &document[document.find(key)? + key.len()..];
    rest[..rest.bytes().take_while(u8::is_ascii_digit).count()].parse().ok()
}

/// I8: every table is the same.
pub fn same(ours: &Tables, golden: &Tables) -> Result<(), Failure> {
    // Documents first, since they read best.
    each("alert documents", ours.alerts.values().map(document), golden.alerts.values().map(document))?;
    each("alert states", ours.alerts.values().map(alert_state), golden.alerts.values().map(alert_state))?;
    each("alerts", ours.alerts.iter(), golden.alerts.iter())?;
    each("event documents", ours.events.iter().map(|row| row.document()), golden.events.iter().map(|row| row.document()))?;
    each("events", ours.events.iter(), golden.events.iter())?;
    each("event lists", ours.lists.iter(), golden.lists.iter())?;
    each("logs", ours.logs.iter().map(log), golden.logs.iter().map(log))?;
    each("dead letters", ours.dead_letters.iter(), golden.dead_letters.iter())?;
    each("ledger", ours.ledger.iter(), golden.ledger.iter())?;
    each("rule versions", ours.rule_versions.iter(), golden.rule_versions.iter())?;
    each("audit entries", ours.audit.iter(), golden.audit.iter())?;
    each("rule sets", ours.rule_sets.iter(), golden.rule_sets.iter())?;
    each("open verdicts", ours.open_verdicts.iter(), golden.open_verdicts.iter())?;
    let places = |t: &Tables| std::iter::once((t.position, t.received_at_ms, t.started_at_ms));
    each("position", places(ours), places(golden))
}

/// Bytes that are JSON, as they read.
#[derive(PartialEq)]
struct Json<'b>(&'b [u8]);

fn document(alert: &Arc<AlertWrite>) -> Json<'_> {
    Json(&alert.document)
}

fn alert_state(alert: &Arc<AlertWrite>) -> Json<'_> {
    Json(&alert.state)
}

fn log(log: &LogWrite) -> (u64, &str, i64, Json<'_>) {
    (log.seq, log.op_type, log.create_time, Json(&log.document))
}

impl Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}

fn each<T: PartialEq + Debug>(what: &str, mut ours: impl ExactSizeIterator<Item = T>, mut golden: impl ExactSizeIterator<Item = T>) -> Result<(), Failure> {
    let (n, expected) = (ours.len(), golden.len());
    while let (Some(a), Some(b)) = (ours.next(), golden.next()) {
        if a != b {
            return Err(Failure::broken(Promise::I8, format!("{what} differ\n{}", first_difference(&format!("{a:?}"), &format!("{b:?}")))));
        }
    }
    match n == expected {
        true => Ok(()),
        false => Err(Failure::broken(Promise::I8, format!("{n} {what}, {expected} in one fold"))),
    }
}

/// Where two long texts begin to differ, with how they begin.
fn first_difference(a: &str, b: &str) -> String {
    let at = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let part = |text: &str| {
        let (head, around): (String, String) =
            (text.chars().take(60.min(at)).collect(), text.chars().skip(at.saturating_sub(60).max(60.min(at))).take(160).collect());
        format!("{head} .. {around} ..").replace('\\', "")
    };
    format!("      ours {}\n  one fold {}", part(a), part(b))
}
