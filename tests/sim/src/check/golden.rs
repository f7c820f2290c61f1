//! The same journal in one life, one record a batch, without a fault: what crashed lives must have come to, to the byte.

use super::witness::Witness;
use super::{fold_config, understand_config};
use crate::disk::{Tables, number_after};
use crate::failure::{Failure, Promise};
use crate::ports::FakeChain;
use crate::world::State;
use alertmill_core::event::Uid;
use alertmill_core::pipeline::fold::Fold;
use alertmill_core::pipeline::prepare::prepare;
use alertmill_core::ports::{EventRole, Restored};
use std::collections::BTreeMap;
use std::fmt::Debug;

pub struct Golden {
    pub tables: Tables,
    /// Where in the journal an event was first: ordinal and place in the record.
    places: BTreeMap<Uid, (u64, u32)>,
}

/// Folds the whole journal.
pub fn refold(state: &State, seed: u64) -> Result<Golden, Failure> {
    let (mut tables, mut places) = (Tables::default(), BTreeMap::new());
    let mut fold = Fold::restore(&Restored::default(), fold_config(seed)).map_err(|e| Failure::other(e.to_string()))?;
    for record in &state.disk.journal {
        let generation = tables.rule_set.generation;
        let prepared = prepare(vec![record.replayed()], generation, &mut FakeChain(generation), &understand_config());
        for row in &prepared.rows {
            for uid in row.uid_if_reopened.into_iter().chain([row.event.uid]) {
                places.entry(uid).or_insert((row.ordinal, row.index));
            }
        }
        let known = prepared.rows.iter().map(|row| tables.stored.contains(&row.event.uid)).collect();
        tables.apply(&fold.apply(prepared, known));
    }
    Ok(Golden { tables, places })
}

/// I4: events are stored, and listed with each alert, in the order of the journal.
pub fn in_order(ours: &Tables, golden: &Golden) -> Result<(), Failure> {
    let stored: Vec<Uid> = ours.events.iter().map(|row| row.uid).collect();
    let listed = ours.lists.values().map(|list| list.iter().map(|(uid, _)| *uid).collect());
    for uids in std::iter::once(stored).chain(listed) {
        let places: Vec<_> = uids.iter().filter_map(|uid| golden.places.get(uid)).collect();
        if let Some(pair) = places.windows(2).find(|pair| pair[1] < pair[0]) {
            return Err(Failure::broken(Promise::I4, format!("the event of (record, place) {:?} comes behind that of {:?}", pair[1], pair[0])));
        }
    }
    Ok(())
}

/// I7: each event carries the stamp of the rules in force at its record, and an alert that of its last counted event.
pub fn one_generation(ours: &Tables, golden: &Golden, witness: &Witness) -> Result<(), Failure> {
    let in_force = |uid: &Uid| golden.places.get(uid).map(|(ordinal, _)| witness.generation_at(*ordinal));
    for row in &ours.events {
        let (stamped, expected) = (number_after(row.document.as_bytes(), r#""key":"generation","value":"#), in_force(&row.uid));
        if stamped.map(|n| n as u64) != expected {
            return Err(Failure::broken(Promise::I7, format!("event {:?} was judged by generation {stamped:?}, {expected:?} was in force", row.uid)));
        }
    }
    for (seq, alert) in &ours.alerts {
        let last = ours.lists.get(seq).into_iter().flatten().rfind(|(_, role)| *role != EventRole::Milder);
        if let Some(expected) = last.and_then(|(uid, _)| in_force(uid)).filter(|expected| *expected != alert.rule_generation) {
            return Err(Failure::broken(
                Promise::I7,
                format!("alert {seq} says generation {}, its last event was judged by {expected}", alert.rule_generation),
            ));
        }
    }
    Ok(())
}

/// I8: every table is the same.
pub fn same(ours: &Tables, golden: &Tables) -> Result<(), Failure> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let documents = |t: &Tables| t.alerts.iter().map(|(seq, a)| (*seq, text(&a.document))).collect::<Vec<_>>();
    let states = |t: &Tables| t.alerts.iter().map(|(seq, a)| (*seq, text(&a.state))).collect::<Vec<_>>();
    let logs = |t: &Tables| t.logs.iter().map(|log| (log.seq, log.op_type, log.create_time, text(&log.document))).collect::<Vec<_>>();
    each("alert documents", &documents(ours), &documents(golden))?;
    each("alert states", &states(ours), &states(golden))?;
    each("alerts", &pairs(&ours.alerts), &pairs(&golden.alerts))?;
    each("event documents", &ours.events, &golden.events)?;
    each("event lists", &pairs(&ours.lists), &pairs(&golden.lists))?;
    each("logs", &logs(ours), &logs(golden))?;
    each("dead letters", &ours.dead_letters, &golden.dead_letters)?;
    each("ledger", &pairs(&ours.ledger), &pairs(&golden.ledger))?;
    each("rule set", std::slice::from_ref(&ours.rule_set), std::slice::from_ref(&golden.rule_set))?;
    let places = |t: &Tables| [(t.position, t.received_at_ms, t.started_at_ms)];
    each("position", &places(ours), &places(golden))
}

fn pairs<K: Clone, V: Clone>(map: &BTreeMap<K, V>) -> Vec<(K, V)> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn each<T: PartialEq + Debug>(what: &str, ours: &[T], golden: &[T]) -> Result<(), Failure> {
    let differs = ours.iter().zip(golden).find(|(a, b)| a != b);
    match differs {
        Some((a, b)) => Err(Failure::broken(Promise::I8, format!("{what} differ\n{}", first_difference(&format!("{a:?}"), &format!("{b:?}"))))),
        None if ours.len() != golden.len() => Err(Failure::broken(Promise::I8, format!("{} {what}, {} in one fold", ours.len(), golden.len()))),
        None => Ok(()),
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
