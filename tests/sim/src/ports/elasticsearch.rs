//! Elasticsearch: versions, `create`, items that are put off or refused, answers that are lost while some of it was done.

use crate::failure::Failure;
use crate::faults::FaultKind;
use crate::services::Late;
use crate::weather::Part;
use crate::world::{Call, State, World};
use alertmill_core::ports::PortError;
use alertmill_core::services::{BulkItem, DocumentPlace, Documents, FoundDocument, ItemOutcome, WriteOp};

pub struct FakeElasticsearch<'w>(pub &'w World);

/// What was on its way arrives within it.
const LATE_MS: u64 = 60_000;

impl Documents for FakeElasticsearch<'_> {
    async fn bulk(&mut self, items: &[BulkItem<'_>]) -> Result<Vec<ItemOutcome>, PortError> {
        let world = self.0;
        if world.call(Part::Elasticsearch, 40).await == Call::Refused || world.draws(FaultKind::BulkBefore) {
            return Err(PortError::Unavailable("simulated: no Elasticsearch".to_owned()));
        }
        let outcomes = {
            let mut guard = world.state();
            let state = &mut *guard;
            if state.draws(FaultKind::BulkLost) { lose(state, items) } else { items.iter().map(|item| one(state, item)).collect::<Result<Vec<_>, _>>().map(Ok) }
        };
        // It takes as long to answer.
        world.call(Part::Elasticsearch, 41).await;
        let answer = outcomes.unwrap_or_else(|failure| {
            world.state().broken.get_or_insert(failure);
            Ok(Vec::new())
        });
        let stored = answer.as_ref().map_or(u64::MAX, |outcomes| outcomes.iter().filter(|outcome| **outcome == ItemOutcome::Stored).count() as u64);
        world.state().trace.word(stored);
        answer
    }

    async fn read_back(&mut self, places: &[DocumentPlace]) -> Result<Vec<Option<FoundDocument>>, PortError> {
        let world = self.0;
        if world.call(Part::Elasticsearch, 42).await == Call::Refused || world.draws(FaultKind::ReadBackBefore) {
            return Err(PortError::Unavailable("simulated: no Elasticsearch".to_owned()));
        }
        let state = world.state();
        let found = |(version, document): &(u64, Vec<u8>)| FoundDocument { version: *version, document: document.clone() };
        Ok(places.iter().map(|place| state.services.documents.get(place).map(found)).collect())
    }
}

type Outcomes = Result<Result<Vec<ItemOutcome>, PortError>, Failure>;

/// The answer is lost: each item is done, will be done, or never will.
fn lose(state: &mut State, items: &[BulkItem<'_>]) -> Outcomes {
    let chances = [state.rng.below(101), state.rng.below(101)];
    for item in items {
        if state.rng.chance(chances[0]) {
            state.services.write(&item.place, item.op, item.document, &state.disk)?;
        } else if state.rng.chance(chances[1]) {
            let at_ms = state.now_ms() + state.rng.below(LATE_MS) as i64;
            state.services.late.push(Late::Item { at_ms, place: item.place.clone(), op: item.op, document: item.document.to_vec() });
        }
    }
    Ok(Err(PortError::Unclear("simulated: answer lost".to_owned())))
}

fn one(state: &mut State, item: &BulkItem<'_>) -> Result<ItemOutcome, Failure> {
    if state.draws(FaultKind::BulkBusy) {
        return Ok(ItemOutcome::Later);
    }
    if state.draws(FaultKind::BulkRefused) {
        return Ok(ItemOutcome::Refused("simulated: no such field".to_owned()));
    }
    if let WriteOp::Index { version } = item.op
        && state.draws(FaultKind::Stranger)
    {
        let above = version + state.rng.below(3) * 1_000_000_000_000;
        state.services.documents.insert(item.place.clone(), (above, b"{\"stranger\":true}".to_vec()));
    }
    state.services.write(&item.place, item.op, item.document, &state.disk)
}
