//! The promises (ARCHITECTURE.md, Promises), checked on the simulated disk: what a commit changed right after it, whole
//! tables after every restart and at the end. I10 is kept by the engine and tested there.

mod converged;
mod golden;
mod witness;

pub use converged::{after_batch, due_ms, is_even, late};

use crate::commands;
use crate::disk::Tables;
use crate::failure::{Failure, Promise};
use crate::world::State;
use alertmill_core::alert::LifecycleConfig;
use alertmill_core::identity::{Algorithm, UidKey};
use alertmill_core::pipeline::fold::FoldConfig;
use alertmill_core::pipeline::understand::UnderstandConfig;
use alertmill_core::ports::{Commit, EventRole};
use std::collections::BTreeSet;

/// The understanding that all simulated lives share.
pub fn understand_config() -> UnderstandConfig {
    UnderstandConfig { uid_key: UidKey([7; 16]), algorithm: Algorithm::Keyed }
}

/// A life cycle so short that alerts time out within a run; some seeds hold recoveries back, some log each event.
pub fn fold_config(seed: u64) -> FoldConfig {
    let recover_window_s = if seed % 4 == 1 { 8 } else { 0 };
    FoldConfig {
        lifecycle: LifecycleConfig { close_after_s: 30, recover_window_s, lasting_grace_ms: 15_000 },
        converge_each: seed % 5 == 2,
        ..FoldConfig::default()
    }
}

/// What must hold after a commit, looked for in what it changed: the rest was looked at when it changed, or at the start.
pub fn after_commit(state: &mut State, commit: &Commit) -> Result<(), Failure> {
    let State { disk, checked, .. } = state;
    let tables = &disk.tables;
    checked.count(Promise::I2);
    if let Some(uid) = tables.stored_twice {
        return Err(Failure::broken(Promise::I2, format!("event {uid:?} is stored twice")));
    }
    for seq in commit.alerts.iter().map(|alert| alert.seq).chain(commit.alert_events.iter().map(|list| list.seq)) {
        counts(tables, seq, tables.lists.get(&seq).map_or(0, |list| list.counted))?;
    }
    checked.count(Promise::I3);
    if let Some(fingerprint) = tables.open_twice {
        return Err(Failure::broken(Promise::I3, format!("{fingerprint:?} has two open alerts")));
    }
    checked.count(Promise::I4);
    if commit.to <= commit.from {
        return Err(Failure::broken(Promise::I4, format!("a commit leads from record {} to {}", commit.from, commit.to)));
    }
    // What it waits for fires by itself: `life` sees to it that none is late.
    checked.add(Promise::I8, commit.logs.iter().filter(|log| log.op_type.starts_with("SYSTEM_")).count() as u64);
    checked.count(Promise::I6);
    let mut done = None;
    for value in commit.ledger.iter().filter(|value| value.scope == "source") {
        // The values of one source follow each other.
        if done.replace(&value.name) != Some(&value.name) {
            balance(tables, &value.name)?;
        }
    }
    Ok(())
}

/// I9: while nothing is folded, time goes by in few records: a store that is stuck for long must not fill the journal.
pub fn clocks_waiting(state: &mut State) {
    const CLOCKS_MAX: u64 = 200;
    state.checked.count(Promise::I9);
    let waiting = state.life.clocks_waiting;
    if waiting > CLOCKS_MAX {
        state.broken.get_or_insert(Failure::broken(Promise::I9, format!("{waiting} clock records wait to be folded")));
    }
}

/// What must hold when a crash has left what it left: the journal has all that was acknowledged, and all that the state, which
/// may have fallen back, has not folded.
pub fn after_restart(state: &mut State) -> Result<(), Failure> {
    state.checked.count(Promise::I1);
    let (journal, position) = (&state.disk.journal, state.disk.tables.position);
    let last = (journal.records.len() + journal.cached.len()) as u64;
    if last < state.acknowledged_to {
        return Err(Failure::broken(Promise::I1, format!("record {} was acknowledged, the journal ends with {last}", state.acknowledged_to)));
    }
    if last < position {
        return Err(Failure::broken(Promise::I1, format!("the state is at record {position}, the journal ends with {last}")));
    }
    if journal.first_held() > position + 1 {
        let first = journal.first_held();
        return Err(Failure::broken(Promise::I1, format!("the state is at record {position}, the journal begins with {first}")));
    }
    whole(state)
}

/// What must hold of the tables as they are, nothing taken for granted: after a restart, and at the end.
pub fn whole(state: &mut State) -> Result<(), Failure> {
    let State { disk, checked, .. } = state;
    let tables = &disk.tables;
    checked.count(Promise::I2);
    checked.count(Promise::I3);
    let mut open = BTreeSet::new();
    for (seq, alert) in &tables.alerts {
        let events = tables.lists.get(seq).map_or(&[][..], |list| &list.events);
        counts(tables, *seq, events.iter().filter(|(_, role)| *role != EventRole::Milder).count() as u64)?;
        if alert.end_time.is_none() && !open.insert(alert.fingerprint) {
            return Err(Failure::broken(Promise::I3, format!("{:?} has two open alerts", alert.fingerprint)));
        }
    }
    let named = tables.events.iter().map(|row| row.uid);
    if disk.event_files.len() < tables.events.len() || named.zip(&disk.event_files).any(|(uid, written)| uid != *written) {
        return Err(Failure::broken(Promise::I1, "a row names a document that is not in the files of events"));
    }
    if open.len() != tables.open.len() || tables.events.iter().any(|row| !tables.stored.contains_key(&row.uid)) {
        return Err(Failure::other("the simulated store's own indexes are wrong"));
    }
    checked.count(Promise::I6);
    let sources: BTreeSet<_> = tables.ledger.keys().filter(|(scope, ..)| *scope == "source").map(|(_, name, _)| name).collect();
    sources.into_iter().try_for_each(|source| balance(tables, source))
}

fn counts(tables: &Tables, seq: u64, counted: u64) -> Result<(), Failure> {
    let says = tables.alerts.get(&seq).map_or(0, |alert| alert.event_count);
    match says == counted {
        true => Ok(()),
        false => Err(Failure::broken(Promise::I2, format!("alert {seq} says {says} events, its list has {counted}"))),
    }
}

fn balance(tables: &Tables, source: &alertmill_core::value::Text) -> Result<(), Failure> {
    match tables.imbalance(source) {
        (0, 0) => Ok(()),
        (door, fold) => Err(Failure::broken(Promise::I6, format!("source {source} is off by {door} at the door and {fold} in the fold"))),
    }
}

/// What must hold when faults have stopped and everything is folded and timed out. Each promise has a witness of its own,
/// read from the journal's bytes; the comparison of whole tables comes last, since every bug shows there too.
pub fn finally(state: &mut State, seed: u64) -> Result<(), Failure> {
    whole(state)?;
    let mut pairs = state.disk.journal.records.windows(2);
    if let Some(pair) = pairs.find(|pair| pair[1].ordinal != pair[0].ordinal + 1 || pair[1].received_at_ms < pair[0].received_at_ms) {
        return Err(Failure::other(format!("record {} follows {} in the journal, or its time went back", pair[1].ordinal, pair[0].ordinal)));
    }
    let golden = golden::refold(state, seed)?;
    let witness = witness::Witness::of(&state.disk.journal.records);
    commands::check(state)?;
    let State { disk, checked, acknowledged, .. } = state;
    let tables = &disk.tables;
    checked.add(Promise::I1, acknowledged.len() as u64);
    witness.durable(tables, acknowledged)?;
    checked.add(Promise::I4, tables.events.len() as u64);
    golden::in_order(tables, &golden)?;
    checked.count(Promise::I2);
    witness.once(tables)?;
    checked.count(Promise::I6);
    witness.accounted(tables, &golden.tables.letters_done)?;
    checked.add(Promise::I7, tables.events.len() as u64);
    golden::one_generation(tables, &golden, &witness)?;
    checked.count(Promise::I8);
    golden::same(tables, &golden.tables)?;
    converged::converged(state)
}
