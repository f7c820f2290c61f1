//! The promises (DESIGN section 3), checked on the simulated disk.

use crate::ports::{FakeRules, replayed};
use crate::world::{State, Tables};
use alertmill_core::identity::{Algorithm, UidKey};
use alertmill_core::ledger::Ledger;
use alertmill_core::pipeline::fold::{Fold, FoldConfig};
use alertmill_core::pipeline::prepare::{cut_at_generations, prepare};
use alertmill_core::pipeline::understand::UnderstandConfig;
use alertmill_core::ports::{EventRole, Restored};
use alertmill_core::rules::RuleSets;
use std::collections::BTreeSet;

/// The understanding that all simulated lives share.
pub fn understand_config() -> UnderstandConfig {
    UnderstandConfig { uid_key: UidKey([7; 16]), algorithm: Algorithm::Keyed }
}

/// What must hold at every moment.
pub fn always(state: &State) -> Result<(), String> {
    let tables = &state.disk.tables;
    let distinct: BTreeSet<_> = tables.events.iter().collect();
    if distinct.len() != tables.events.len() {
        return Err(format!("I2 counted once: {} of {} stored events are stored twice", tables.events.len() - distinct.len(), tables.events.len()));
    }
    for (seq, alert) in &tables.alerts {
        let counted = tables.lists.get(seq).into_iter().flatten().filter(|(_, role)| *role != EventRole::Milder).count() as u64;
        if counted != alert.event_count {
            return Err(format!("I2 counted once: alert {seq} says {} events, its list has {counted}", alert.event_count));
        }
    }
    let mut open = BTreeSet::new();
    for alert in tables.alerts.values().filter(|alert| alert.end_time.is_none()) {
        if !open.insert(alert.fingerprint) {
            return Err(format!("I3 one open alert: {:?} has two", alert.fingerprint));
        }
    }
    ledger_of(tables)?;
    for pair in state.disk.journal.windows(2) {
        if pair[1].ordinal != pair[0].ordinal + 1 || pair[1].received_at_ms < pair[0].received_at_ms {
            return Err(format!("journal: record {} follows {}", pair[1].ordinal, pair[0].ordinal));
        }
    }
    Ok(())
}

fn ledger_of(tables: &Tables) -> Result<(), String> {
    let rows: Vec<_> = tables.ledger.iter().map(|((s, n, c), v)| (s.as_str().into(), n.as_str().into(), c.as_str().into(), *v)).collect();
    let ledger = Ledger::restore(&rows);
    for source in ledger.sources() {
        let (door, fold) = ledger.imbalance(&source);
        if (door, fold) != (0, 0) {
            return Err(format!("I6 no silent loss: source {source} is off by {door} at the door and {fold} in the fold"));
        }
    }
    Ok(())
}

/// What must hold when faults have stopped and everything is folded.
pub fn finally(state: &State) -> Result<(), String> {
    let folded: BTreeSet<String> = state.disk.tables.alerts.keys().filter_map(|seq| state.disk.tables.lists.get(seq)).flatten().map(|(uid, _)| format!("{uid:?}")).collect();
    let golden = refold(state)?;
    for id in &state.acknowledged {
        if !golden.ids.contains(id) {
            return Err(format!("I1 acknowledged means durable: event {id} was acknowledged and is not in the journal"));
        }
    }
    if folded.len() < golden.folded {
        return Err(format!("I1: {} events are in alerts, {} should be", folded.len(), golden.folded));
    }
    for (seq, alert) in &golden.tables.alerts {
        let ours = state.disk.tables.alerts.get(seq).ok_or_else(|| format!("I8 deterministic: alert {seq} is missing"))?;
        if ours.document != alert.document {
            return Err(format!("I8 deterministic: alert {seq} differs\n ours {}\n one fold {}", String::from_utf8_lossy(&ours.document), String::from_utf8_lossy(&alert.document)));
        }
    }
    match state.disk.tables.alerts.len() == golden.tables.alerts.len() {
        true => Ok(()),
        false => Err(format!("I8 deterministic: {} alerts, {} in one fold", state.disk.tables.alerts.len(), golden.tables.alerts.len())),
    }
}

struct Golden {
    tables: Tables,
    ids: BTreeSet<String>,
    folded: usize,
}

/// Folds the whole journal in one life without a fault.
fn refold(state: &State) -> Result<Golden, String> {
    let mut tables = Tables::default();
    let mut fold = Fold::restore(&Restored::default(), FoldConfig::default()).map_err(|e| e.to_string())?;
    let (mut generation, mut ids) = (0, BTreeSet::new());
    for piece in cut_at_generations(state.disk.journal.iter().map(replayed).collect()) {
        let mut chain = FakeRules.open(generation).map_err(|e| e.to_string())?;
        let prepared = prepare(piece, generation, chain.as_mut(), &understand_config());
        ids.extend(prepared.rows.iter().filter_map(|row| row.event.event_id.as_text().map(str::to_owned)));
        let known = prepared.rows.iter().map(|row| tables.uids.contains(&row.event.uid)).collect();
        tables.apply(&fold.apply(prepared, known));
        generation = tables.rule_set.generation;
    }
    let folded = tables.lists.values().map(Vec::len).sum();
    Ok(Golden { tables, ids, folded })
}
