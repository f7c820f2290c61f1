//! Somebody who has dead letters tried again, each until it is answered, also over crashes of the server; now and then from a list
//! that is old. And somebody who uploads versions of rules and removes them.

use crate::faults::FaultKind;
use crate::intake::Room;
use crate::ports::FakeJournal;
use crate::rng::Rng;
use crate::world::{State, World};
use alertmill_core::letter::{ArrivalBy, DeadLetter, LetterFate, Redrive, RedrivenLetter};
use alertmill_core::ports::Journal;
use alertmill_core::record::RecordBody;
use alertmill_core::version_change::{VersionAction, VersionChange};

/// As long as an operator waits for the fold.
const DECIDED_WITHIN_MS: i64 = 10_000;
/// Versions that come or go in a run.
const VERSIONS: u64 = 6;

/// What they remember.
#[derive(Default)]
pub struct Redriver {
    /// How often something was looked for.
    looks: u64,
    /// What is to be tried again, until that is answered.
    at_hand: Option<Redrive>,
    /// What was tried again once.
    old: Vec<Redrive>,
    /// How many changes of versions were answered.
    versions: u64,
}

/// Has letters tried again.
pub async fn redrive(world: &World, journal: &FakeJournal<'_>, seed: u64) {
    world.until(|state| state.life.started.then_some(())).await;
    loop {
        let (redrive, pause_ms) = {
            let mut guard = world.state();
            let state = &mut *guard;
            if state.redriver.looks >= state.setup.load.events / 2 {
                return;
            }
            let mut rng = Rng::new(seed ^ 0x4ed4_1fe5 ^ (state.redriver.looks << 32));
            let redrive = state.redriver.at_hand.take().or_else(|| wanted(state, &mut rng));
            state.redriver.at_hand.clone_from(&redrive);
            state.redriver.looks += u64::from(redrive.is_none());
            // Never 0: it may be refused without any time going by, again and again.
            (redrive, 1 + rng.below(5_000))
        };
        world.wait(pause_ms).await;
        let Some(redrive) = redrive else { continue };
        let Some(fates) = hand_over(world, journal, &redrive).await else { continue };
        if fates.len() != redrive.letters.len() || fates.iter().any(|fate| fate.outcomes.is_empty()) {
            world.state().broken.get_or_insert(crate::Failure::other(format!("{} letters were tried again: {fates:?}", redrive.letters.len())));
        }
        if world.draws(FaultKind::LostAnswer) {
            continue;
        }
        let mut state = world.state();
        state.redriver.looks += 1;
        state.redriver.at_hand = None;
        state.redriver.old.push(redrive);
    }
}

/// Some of the letters that are there, or that were; a payload alone.
fn wanted(state: &State, rng: &mut Rng) -> Option<Redrive> {
    if !state.redriver.old.is_empty() && rng.chance(20) {
        return Some(state.redriver.old[rng.below(state.redriver.old.len() as u64) as usize].clone());
    }
    let letters = &state.disk.tables.dead_letters;
    let first = letters.get(rng.below(letters.len().max(1) as u64) as usize)?;
    let is_payload = |letter: &DeadLetter| letter.arrival.as_ref().is_some_and(|arrival| arrival.by == ArrivalBy::Payload);
    let more = letters.iter().filter(|letter| !is_payload(letter) && (letter.ordinal, letter.index) > (first.ordinal, first.index));
    let wanted = [first].into_iter().chain(more.take(if is_payload(first) { 0 } else { rng.below(3) as usize }));
    let letters = wanted.filter_map(|letter| {
        let arrival = letter.arrival.clone()?;
        let DeadLetter { ordinal, index, received_at_ms, source, item, .. } = letter.clone();
        Some(RedrivenLetter { ordinal, index, received_at_ms, source, arrival, item: item.into() })
    });
    Some(Redrive { tenant: "system".into(), operator: "redriver".into(), comment: "".into(), letters: letters.collect() })
}

/// What the server does with it. None when it is to be repeated.
async fn hand_over(world: &World, journal: &FakeJournal<'_>, redrive: &Redrive) -> Option<Vec<LetterFate>> {
    let mut room = Room::take(world, redrive.size_bytes()).ok()?;
    let appended = journal.append(RecordBody::Redrive(redrive.clone()), None).await.ok()?;
    room.appended(appended.ordinal, 0);
    drop(room);
    let until_ms = world.state().now_ms() + DECIDED_WITHIN_MS;
    world
        .until(|state| {
            if let Some(fates) = state.life.redriven.remove(&appended.ordinal) {
                return Some(Some(fates));
            }
            state.wake_at(until_ms);
            (state.now_ms() >= until_ms).then_some(None)
        })
        .await
}

/// Uploads versions of two rules and removes some, each until it is answered.
pub async fn publish(world: &World, journal: &FakeJournal<'_>, seed: u64) {
    world.until(|state| state.life.started.then_some(())).await;
    loop {
        let (change, pause_ms) = {
            let state = world.state();
            let n = state.redriver.versions;
            if n >= VERSIONS {
                return;
            }
            let mut rng = Rng::new(seed ^ 0x0b11_54e4 ^ (n << 32));
            let of = if rng.chance(30) { rng.below(n + 1) } else { n };
            let action = if of < n { VersionAction::Removed } else { VersionAction::Uploaded };
            let name = if of.is_multiple_of(2) { "judge" } else { "stamp" };
            let change =
                VersionChange { action, name: name.into(), digest: format!("{of:064x}").into(), operator: "publisher".into(), ..VersionChange::default() };
            (change, 1 + rng.below(12_000))
        };
        world.wait(pause_ms).await;
        if journal.append(RecordBody::RuleVersion(change), None).await.is_ok() {
            world.state().redriver.versions += 1;
        }
    }
}
