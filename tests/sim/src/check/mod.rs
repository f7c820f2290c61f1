//! The promises (ARCHITECTURE.md, Promises), checked on the simulated disk. I5 needs a second store; I9 and I10 are kept
//! outside of what is simulated and tested there.

mod golden;
mod witness;

use crate::failure::{Failure, Promise};
use crate::world::State;
use alertmill_core::alert::LifecycleConfig;
use alertmill_core::identity::{Algorithm, UidKey};
use alertmill_core::ledger::Ledger;
use alertmill_core::pipeline::fold::FoldConfig;
use alertmill_core::pipeline::understand::UnderstandConfig;
use alertmill_core::ports::EventRole;
use std::collections::BTreeSet;

/// The understanding that all simulated lives share.
pub fn understand_config() -> UnderstandConfig {
    UnderstandConfig { uid_key: UidKey([7; 16]), algorithm: Algorithm::Keyed }
}

/// A life cycle so short that alerts time out within a run; some seeds hold recoveries back, some log each event.
pub fn fold_config(seed: u64) -> FoldConfig {
    let recover_window_s = if seed % 4 == 1 { 8 } else { 0 };
    FoldConfig { lifecycle: LifecycleConfig { close_after_s: 30, recover_window_s, lasting_grace_ms: 15_000 }, converge_each: seed % 5 == 2 }
}

/// What must hold after every commit and every restart.
pub fn always(state: &State) -> Result<(), Failure> {
    let tables = &state.disk.tables;
    if let Some(uid) = tables.stored_twice {
        return Err(Failure::broken(Promise::I2, format!("event {uid:?} is stored twice")));
    }
    let mut open = BTreeSet::new();
    for (seq, alert) in &tables.alerts {
        let counted = tables.lists.get(seq).into_iter().flatten().filter(|(_, role)| *role != EventRole::Milder).count() as u64;
        if counted != alert.event_count {
            return Err(Failure::broken(Promise::I2, format!("alert {seq} says {} events, its list has {counted}", alert.event_count)));
        }
        if alert.end_time.is_none() && !open.insert(alert.fingerprint) {
            return Err(Failure::broken(Promise::I3, format!("{:?} has two open alerts", alert.fingerprint)));
        }
    }
    let rows: Vec<_> = tables.ledger.iter().map(|((s, n, c), v)| (s.as_str().into(), n.as_str().into(), c.as_str().into(), *v)).collect();
    let ledger = Ledger::restore(&rows);
    for source in ledger.sources() {
        let (door, fold) = ledger.imbalance(&source);
        if (door, fold) != (0, 0) {
            return Err(Failure::broken(Promise::I6, format!("source {source} is off by {door} at the door and {fold} in the fold")));
        }
    }
    let mut records = state.disk.journal.windows(2);
    match records.find(|pair| pair[1].ordinal != pair[0].ordinal + 1 || pair[1].received_at_ms < pair[0].received_at_ms) {
        Some(pair) => Err(Failure::other(format!("record {} follows {} in the journal", pair[1].ordinal, pair[0].ordinal))),
        None => Ok(()),
    }
}

/// What must hold when faults have stopped and everything is folded and timed out. Each promise has a witness of its own,
/// read from the journal's bytes; the comparison of whole tables comes last, since every bug shows there too.
pub fn finally(state: &State, seed: u64) -> Result<(), Failure> {
    let golden = golden::refold(state, seed)?;
    let witness = witness::Witness::of(&state.disk.journal);
    let tables = &state.disk.tables;
    witness.durable(state)?;
    golden::in_order(tables, &golden)?;
    witness.once(tables)?;
    witness.accounted(tables)?;
    golden::one_generation(tables, &golden, &witness)?;
    golden::same(tables, &golden.tables)
}
