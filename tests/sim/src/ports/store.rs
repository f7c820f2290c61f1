//! The store: whole commits or nothing, sometimes with the answer lost, and the uids that it knows.

use crate::failure::{Failure, Promise};
use crate::world::{Fault, World};
use alertmill_core::event::Uid;
use alertmill_core::pipeline::conductor::Committed;
use alertmill_core::pipeline::fold::Fold;
use alertmill_core::ports::{Commit, KnownUids, LocalStore, PortError};

pub struct FakeStore<'w>(pub &'w World);

impl LocalStore for FakeStore<'_> {
    async fn commit(&mut self, commit: &Commit) -> Result<(), PortError> {
        let fault = self.0.call(6).await;
        if fault == Fault::Before {
            return Err(self.0.refusal("no commit"));
        }
        let mut guard = self.0.state();
        let state = &mut *guard;
        let position = state.disk.tables.position;
        if position == commit.from {
            if commit.to <= commit.from {
                state.broken = Some(Failure::broken(Promise::I4, format!("a commit leads from record {} to {}", commit.from, commit.to)));
            }
            state.disk.commit(commit);
            state.unchecked = true;
            if state.rng.chance(30) {
                state.disk.checkpoint();
            }
        } else if position != commit.to {
            return Err(PortError::Fatal(format!("commit {}..{} on position {position}", commit.from, commit.to)));
        }
        match fault {
            Fault::After => Err(PortError::Unclear("simulated: answer lost".to_owned())),
            _ => Ok(()),
        }
    }
}

impl KnownUids for FakeStore<'_> {
    /// Beyond its time, by the clock of the journal, a uid may be known or not: nothing may depend on it.
    fn known(&mut self, uids: &[Uid]) -> Result<Vec<bool>, PortError> {
        if self.0.fails() {
            return Err(self.0.refusal("uids cannot be read"));
        }
        let mut guard = self.0.state();
        let state = &mut *guard;
        let now_s = state.disk.tables.received_at_ms.div_euclid(1000);
        let (known, rng) = (&state.disk.tables.uids, &mut state.rng);
        Ok(uids.iter().map(|uid| known.get(uid).is_some_and(|until_s| *until_s >= now_s || rng.chance(50))).collect())
    }
}

/// Learns when the next time-out is due.
pub struct Watcher<'w>(pub &'w World);

impl Committed for Watcher<'_> {
    fn committed(&mut self, commit: &Commit, _: &Fold) {
        self.0.state().next_due_ms = commit.next_due_ms;
        self.0.moved();
    }
}
