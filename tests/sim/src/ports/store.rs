//! The store: whole commits or nothing, sometimes with the answer lost, and the uids that it knows.

use crate::check;
use crate::faults::FaultKind;
use crate::plant::Plant;
use crate::weather::Part;
use crate::world::{Call, World};
use alertmill_core::event::Uid;
use alertmill_core::pipeline::conductor::Committed;
use alertmill_core::pipeline::fold::REMEMBER_S;
use alertmill_core::ports::{Commit, KnownUids, LocalStore, PortError};
use std::borrow::Cow;

pub struct FakeStore<'w>(pub &'w World);

impl LocalStore for FakeStore<'_> {
    /// Half of the time the disk is so slow that the fold goes on meanwhile.
    fn begin(&mut self, commit: &Commit) -> bool {
        let mut state = self.0.state();
        let begins = state.rng.chance(50) && state.disk.tables.position == commit.from;
        if begins {
            state.disk.write_events(commit);
            state.life.begun = Some((commit.from, commit.to));
        }
        begins
    }

    async fn commit(&mut self, commit: &Commit) -> Result<(), PortError> {
        let world = self.0;
        {
            let mut state = self.0.state();
            state.trace.commit(commit);
            let begun = state.life.begun.take();
            if begun.is_some_and(|begun| begun != (commit.from, commit.to)) {
                return Err(PortError::Fatal(format!("commit {}..{} comes where another one was begun: {begun:?}", commit.from, commit.to)));
            }
        }
        if world.call(Part::Store, 6).await == Call::Refused || world.draws(FaultKind::CommitBefore) {
            return Err(world.refusal("no commit"));
        }
        let position = world.state().disk.tables.position;
        if position == commit.from {
            world.state().disk.write_events(commit);
            world.call(Part::Store, 7).await;
            if world.draws(FaultKind::CommitHalf) {
                return Err(world.refusal("documents written, no rows"));
            }
            save(world, commit);
        } else if position != commit.to {
            return Err(PortError::Fatal(format!("commit {}..{} on position {position}", commit.from, commit.to)));
        }
        match world.draws(FaultKind::CommitAfter) {
            true => Err(PortError::Unclear("simulated: answer lost".to_owned())),
            false => Ok(()),
        }
    }
}

fn save(world: &World, commit: &Commit) {
    let mut guard = world.state();
    let state = &mut *guard;
    if state.setup.plant == Some(Plant::SkippedSave) && state.rng.chance(10) {
        state.disk.commit_without_events(commit);
    } else {
        state.disk.commit(&planted(commit, state.setup.plant));
    }
    if state.setup.plant == Some(Plant::RejectedRemembered) {
        let rejected = commit.dead_letters.iter().filter_map(|letter| state.life.rejected.get(&(letter.ordinal, letter.index)));
        let until_s = commit.received_at_ms.div_euclid(1_000) + REMEMBER_S;
        state.disk.tables.uids.extend(rejected.map(|uid| (*uid, until_s)));
    }
    if state.setup.plant == Some(Plant::UidsForgottenEarly) {
        let now_ms = state.disk.tables.received_at_ms;
        state.disk.tables.forget_uids_before(now_ms);
    }
    state.commits += 1;
    state.life.clocks_waiting = 0;
    state.progress = true;
    if let Err(failure) = check::after_commit(state, commit) {
        state.broken.get_or_insert(failure);
    }
}

/// The commit, or what a planted bug leaves of it.
fn planted(commit: &Commit, plant: Option<Plant>) -> Cow<'_, Commit> {
    match plant {
        Some(Plant::LettersNotRemoved) => Cow::Owned(Commit { letters_done: Vec::new(), ..commit.clone() }),
        Some(Plant::RedrivenNotCounted) => {
            let ledger = commit.ledger.iter().filter(|value| value.counter != "redriven").cloned().collect();
            Cow::Owned(Commit { ledger, ..commit.clone() })
        }
        _ => Cow::Borrowed(commit),
    }
}

impl KnownUids for FakeStore<'_> {
    /// What the time of the state has passed may be forgotten or not: nothing may depend on it.
    fn known_until_s(&mut self, uids: &[Uid]) -> Result<Vec<Option<i64>>, PortError> {
        if self.0.draws(FaultKind::KnownBefore) {
            return Err(self.0.refusal("uids cannot be read"));
        }
        let mut guard = self.0.state();
        let state = &mut *guard;
        let now_s = state.disk.tables.received_at_ms.div_euclid(1000);
        let (known, rng) = (&state.disk.tables.uids, &mut state.rng);
        let answers: Vec<Option<i64>> = uids.iter().map(|uid| known.get(uid).copied().filter(|until_s| *until_s >= now_s || rng.chance(50))).collect();
        answers.iter().for_each(|until_s| state.trace.word(until_s.unwrap_or_default() as u64));
        Ok(answers)
    }
}

/// Learns when the next time-out is due, and what became of commands.
pub struct Watcher<'w>(pub &'w World);

impl Committed for Watcher<'_> {
    fn committed(&mut self, commit: &Commit) {
        let mut state = self.0.state();
        let forgets = state.setup.plant == Some(Plant::LostTimer) && state.rng.chance(10);
        state.life.next_due_ms = commit.next_due_ms.filter(|_| !forgets);
        state.life.redriven.extend(commit.redriven.iter().map(|redriven| (redriven.ordinal, redriven.letters.clone())));
        state.life.decided.extend(commit.commands.iter().map(|decided| (decided.ordinal, decided.decisions.clone())));
        state.progress = true;
    }
}
