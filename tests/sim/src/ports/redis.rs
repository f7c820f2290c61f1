//! Redis: batches behind a marker, and the ways in which it forgets. With them, waiting for something to ship.

use crate::faults::FaultKind;
use crate::plant::Plant;
use crate::services::{Cache, Late};
use crate::weather::Part;
use crate::world::{Call, World};
use alertmill_core::ports::PortError;
use alertmill_core::services::{Applied, Marker, REST_MAX_MS, Rest, ShipNews, ShipWatcher, SnapshotBatch, Snapshots};

pub struct FakeRedis<'w>(pub &'w World);

impl FakeRedis<'_> {
    async fn ask(&self, tag: u64) -> Result<(), PortError> {
        if self.0.call(Part::Redis, tag).await == Call::Refused || self.0.draws(FaultKind::CacheBefore) {
            return Err(PortError::Unavailable("simulated: no Redis".to_owned()));
        }
        Ok(())
    }
}

impl Snapshots for FakeRedis<'_> {
    async fn marker(&mut self) -> Result<Option<Marker>, PortError> {
        self.ask(50).await?;
        let state = self.0.state();
        match state.setup.plant {
            Some(Plant::SnapshotTrusted) => Ok(state.disk.outbox.markers.settled),
            _ => Ok(state.services.cache.marker),
        }
    }

    async fn apply(&mut self, batch: &SnapshotBatch) -> Result<Applied, PortError> {
        self.ask(51).await?;
        let mut guard = self.0.state();
        let state = &mut *guard;
        let trusts = state.setup.plant == Some(Plant::SnapshotTrusted);
        if !state.draws(FaultKind::CacheLost) {
            let applied = state.services.cache.apply(batch, trusts);
            state.trace.word(u64::from(applied == Applied::Done));
            return Ok(applied);
        }
        match state.rng.below(3) {
            0 => drop(state.services.cache.apply(batch, trusts)),
            1 => {
                let at_ms = state.now_ms() + state.rng.below(20_000) as i64;
                state.services.late.push(Late::Batch { at_ms, batch: batch.clone() });
            }
            _ => {}
        }
        Err(PortError::Unclear("simulated: answer lost".to_owned()))
    }

    async fn clear(&mut self, next: Marker) -> Result<(), PortError> {
        self.ask(52).await?;
        self.0.state().services.cache.marker = None;
        self.ask(53).await?;
        self.0.state().services.cache = Cache { marker: Some(next), ..Cache::default() };
        match self.0.draws(FaultKind::CacheLost) {
            true => Err(PortError::Unclear("simulated: answer lost".to_owned())),
            false => Ok(()),
        }
    }
}

/// Redis forgets, now and then, whether anybody asks it for something or not.
pub async fn forgetting(world: &World) {
    loop {
        let ms = 1_000 + world.state().rng.below(60_000);
        let due_ms = world.state().now_ms() + ms as i64;
        // It happens to another machine: nothing in ours takes a step, and with nothing else to come it never does.
        std::future::poll_fn(|_| if world.state().now_ms() >= due_ms { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }).await;
        let mut guard = world.state();
        let state = &mut *guard;
        if state.draws(FaultKind::CacheWiped) {
            (state.services.cache, state.services.replica) = (Cache::default(), Cache::default());
        } else if state.draws(FaultKind::CacheFailover) {
            state.services.cache = state.services.replica.clone();
        } else {
            if state.rng.chance(50) {
                state.services.replica = state.services.cache.clone();
            }
            continue;
        }
        state.progress = true;
    }
}

/// Rests until something was committed. A look at the cache that would find nothing new is left out.
pub struct FakeRest<'w> {
    pub world: &'w World,
    /// Whoever rests looks at the cache then.
    pub looks_at_cache: bool,
}

impl Rest for FakeRest<'_> {
    async fn rest(&mut self, position: u64) {
        let changed = self.world.until(|state| {
            let is_other = self.looks_at_cache && state.services.cache.marker != state.disk.outbox.markers.settled;
            (state.disk.tables.position != position || is_other).then_some(is_other)
        });
        if changed.await {
            let ms = self.world.state().rng.below(REST_MAX_MS);
            self.world.wait(ms).await;
        }
    }
}

/// Counts what shipping did.
pub struct News<'w>(pub &'w World);

impl ShipWatcher for News<'_> {
    fn heard(&mut self, news: ShipNews) {
        let mut state = self.0.state();
        match news {
            ShipNews::Stored(n) => state.services.stored += n,
            ShipNews::AlreadyThere(n) => state.services.already_there += n,
            ShipNews::Conflicts(n) => state.services.conflicts += n,
            ShipNews::BaseRaised(_) => state.services.bases_raised += 1,
            ShipNews::Rebuilt => state.services.rebuilt += 1,
            ShipNews::Refused(_) | ShipNews::Later(_) | ShipNews::Unclear => {}
        }
    }
}
