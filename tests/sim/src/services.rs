//! Elasticsearch and Redis: other machines, which a crash of ours does not touch.

use crate::disk::Disk;
use crate::failure::{Failure, Promise};
use crate::rng::Rng;
use crate::world::{BEGIN_MS, State};
use alertmill_core::services::{Applied, DocumentPlace, ItemOutcome, Marker, SnapshotBatch, SnapshotWrite, WriteOp};
use alertmill_core::value::Text;
use std::collections::BTreeMap;

/// How long after the last trouble services may differ from the state, milliseconds.
pub const CONVERGED_WITHIN_MS: i64 = 30_000;

/// A write of a call whose answer was lost, on its way until then.
pub enum Late {
    Item { at_ms: i64, place: DocumentPlace, op: WriteOp, document: Vec<u8> },
    Batch { at_ms: i64, batch: SnapshotBatch },
}

/// What services hold.
pub struct Services {
    /// Whether any are configured. A state that nothing is shipped from is synced less often, and loses more with the power.
    pub are_on: bool,
    pub documents: BTreeMap<DocumentPlace, (u64, Vec<u8>)>,
    pub cache: Cache,
    /// What a replica of the cache holds.
    pub replica: Cache,
    pub late: Vec<Late>,
    /// Until then a service was away or stalled.
    pub troubled_until_ms: i64,
    /// Since then nothing but shipping has anything to do, and nothing goes wrong.
    pub quiet_since_ms: Option<i64>,
    /// The planted bug: documents that are too old are written all the same.
    pub ignores_versions: bool,
    pub stored: u64,
    pub already_there: u64,
    pub conflicts: u64,
    pub bases_raised: u64,
    pub rebuilt: u64,
}

/// Redis.
#[derive(Clone, Default)]
pub struct Cache {
    pub keys: BTreeMap<Text, Vec<u8>>,
    pub marker: Option<Marker>,
}

impl Services {
    pub fn new(seed: u64, ignores_versions: bool) -> Services {
        Services {
            are_on: Rng::new(seed ^ 0x5e71_ce50).chance(60),
            documents: BTreeMap::new(),
            cache: Cache::default(),
            replica: Cache::default(),
            late: Vec::new(),
            troubled_until_ms: BEGIN_MS,
            quiet_since_ms: None,
            ignores_versions,
            stored: 0,
            already_there: 0,
            conflicts: 0,
            bases_raised: 0,
            rebuilt: 0,
        }
    }

    /// Elasticsearch takes one item, and an observer sees to it that what it then holds is right.
    pub fn write(&mut self, place: &DocumentPlace, op: WriteOp, document: &[u8], disk: &Disk) -> Result<ItemOutcome, Failure> {
        let there = self.documents.get(place);
        let version = match op {
            WriteOp::Create if there.is_some() => return Ok(ItemOutcome::AlreadyThere),
            WriteOp::Create => 1,
            WriteOp::Index { version } => match there {
                Some((held, _)) if *held >= version && self.ignores_versions => held + 1,
                Some((held, _)) if *held >= version => return Ok(ItemOutcome::VersionConflict),
                _ => version,
            },
        };
        if let WriteOp::Index { .. } = op {
            let revision = disk.history.revision_of(&place.id, document, disk.synced_position());
            let Some((seq, revision)) = revision else {
                return Err(Failure::broken(Promise::I5, format!("Elasticsearch was given an alert {} that no synced state held", place.id)));
            };
            let before = there.and_then(|(_, held)| disk.history.revision_of(&place.id, held, u64::MAX));
            if let Some((_, before)) = before.filter(|(_, before)| *before > revision) {
                return Err(Failure::broken(Promise::I5, format!("alert {seq} went back from revision {before} to {revision} in Elasticsearch")));
            }
        }
        self.documents.insert(place.clone(), (version, document.to_vec()));
        Ok(ItemOutcome::Stored)
    }
}

impl Cache {
    /// Redis takes a batch, if it is the next one.
    pub fn apply(&mut self, batch: &SnapshotBatch, trusts: bool) -> Applied {
        if self.marker != Some(batch.expected) && !trusts {
            return Applied::Otherwise(self.marker);
        }
        for write in &batch.writes {
            match write {
                SnapshotWrite::Set { key, document } => drop(self.keys.insert(key.clone(), document.clone())),
                SnapshotWrite::Remove { key } => drop(self.keys.remove(key)),
            }
        }
        self.marker = Some(batch.next);
        Applied::Done
    }
}

/// What was on its way arrives when its time has come.
pub fn deliver_late(state: &mut State) -> Result<(), Failure> {
    let now_ms = state.now_ms();
    let is_due = |late: &Late| matches!(late, Late::Item { at_ms, .. } | Late::Batch { at_ms, .. } if *at_ms <= now_ms);
    let (due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut state.services.late).into_iter().partition(is_due);
    state.services.late = rest;
    if !due.is_empty() {
        state.services.troubled_until_ms = now_ms.max(state.services.troubled_until_ms);
    }
    for late in due {
        match late {
            Late::Item { place, op, document, .. } => drop(state.services.write(&place, op, &document, &state.disk)?),
            Late::Batch { batch, .. } => {
                state.services.cache.apply(&batch, false);
            }
        }
    }
    Ok(())
}

/// When the next of it arrives.
pub fn next_late_ms(state: &State) -> Option<i64> {
    let at = |late: &Late| match late {
        Late::Item { at_ms, .. } | Late::Batch { at_ms, .. } => *at_ms,
    };
    state.services.late.iter().map(at).min()
}
