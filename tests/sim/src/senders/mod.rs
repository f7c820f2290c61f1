//! Who sends what. What is sent depends on seed, sender and number only, so that a retry after a crash is the same event.

mod alertmanager;
mod door;
mod items;

pub use door::{mark_of, since_ms};

use crate::faults::FaultKind;
use crate::ports::FakeJournal;
use crate::rng::Rng;
use crate::setup::Load;
use crate::world::World;
use alertmill_core::record::Door;
use door::{Answer, Request, post};
use items::Kind;

/// Senders: two of plain events, one whose items have all kinds of faults, one that sends no times, two Prometheus servers.
pub const SENDERS: u64 = 6;

/// Runs sender `n` to its end. `sent` is what it remembers over crashes of the server: it is another process.
pub async fn run(world: &World, journal: &FakeJournal<'_>, seed: u64, n: u64, load: Load, sent: &mut u64) {
    match n {
        0 | 1 => send_events(world, journal, seed, n, Kind::Hosts, load, sent).await,
        2 => send_events(world, journal, seed, n, Kind::Mixed, load, sent).await,
        3 => send_events(world, journal, seed, n, Kind::Timeless, load, sent).await,
        _ => alertmanager::run(world, journal, seed, n - 4, load).await,
    }
}

/// A client that sends its events in order and repeats each until it is told that it is safe.
async fn send_events(world: &World, journal: &FakeJournal<'_>, seed: u64, sender: u64, kind: Kind, load: Load, sent: &mut u64) {
    while *sent < load.events {
        let mut rng = Rng::new(seed ^ (sender << 32) ^ *sent);
        let n = (1 + rng.below(4)).min(load.events - *sent);
        let key = (kind == Kind::Timeless && rng.chance(50)).then(|| format!("s{sender}-key-{sent}"));
        let items: Vec<String> = (*sent..*sent + n).map(|k| kind.item(&mut Rng::new(seed ^ (sender << 32) ^ (k << 8) ^ 1), sender, k, key.is_some())).collect();
        let request = Request { door: Door::Events, source: kind.source(), key, body: format!("[{}]", items.join(",")) };
        let mut tries = 0;
        while post(world, journal, &request).await == Answer::Again {
            world.state().saw(FaultKind::Retry);
            world.wait(50 << tries.min(8)).await;
            tries += 1;
        }
        *sent += n;
        world.wait(rng.below(4_000)).await;
        if world.draws(FaultKind::Duplicate) {
            post(world, journal, &request).await;
        }
    }
}
