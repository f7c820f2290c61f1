//! Who sends what. What is sent depends on seed, sender and number only, so that a retry after a crash is the same event.

mod alertmanager;
mod door;
pub mod hooks;
mod items;

pub use door::{has_key, mark_of, number_behind, since_ms, text_behind, time_s};

use crate::faults::FaultKind;
use crate::ports::FakeJournal;
use crate::rng::Rng;
use crate::setup::Load;
use crate::world::{BEGIN_MS, World};
use alertmill_core::record::Door;
use door::{Answer, Request, post};
use items::Kind;

const HOUR_MS: i64 = 3_600_000;

/// Senders: two of plain events, one whose items have all kinds of faults, one that sends no times, two Prometheus servers, one
/// whose bodies rules make events of.
pub const SENDERS: u64 = 7;

/// Runs sender `n` to its end. `sent` is what it remembers over crashes of the server: it is another process.
pub async fn run(world: &World, journal: &FakeJournal<'_>, seed: u64, n: u64, load: Load, sent: &mut u64) {
    match n {
        0 | 1 => send_events(world, journal, seed, n, Kind::Hosts, load, sent).await,
        2 => send_events(world, journal, seed, n, Kind::Mixed, load, sent).await,
        3 => send_events(world, journal, seed, n, Kind::Timeless, load, sent).await,
        4 | 5 => alertmanager::run(world, journal, seed, n - 4, load).await,
        _ => hooks::run(world, journal, seed, n, load, sent).await,
    }
}

/// A client that sends its events in order and repeats each until it is told that it is safe.
async fn send_events(world: &World, journal: &FakeJournal<'_>, seed: u64, sender: u64, kind: Kind, load: Load, sent: &mut u64) {
    while *sent < load.events {
        let (request, n, pause_ms) = request(seed, sender, kind, load, *sent);
        let mut tries = 0;
        while post(world, journal, &request).await == Answer::Again {
            world.state().saw(FaultKind::Retry);
            world.wait(50 << tries.min(8)).await;
            tries += 1;
        }
        *sent += n;
        world.wait(pause_ms).await;
        if world.draws(FaultKind::Duplicate) {
            post(world, journal, &request).await;
        }
    }
    if (seed + sender).is_multiple_of(3) {
        come_back(world, journal, seed, sender, kind, load).await;
    }
}

/// The request whose first item is number `from`, how many items it has, and for how long its sender then rests.
fn request(seed: u64, sender: u64, kind: Kind, load: Load, from: u64) -> (Request, u64, u64) {
    let mut rng = Rng::new(seed ^ (sender << 32) ^ from);
    let n = (1 + rng.below(4)).min(load.events - from);
    let key = (kind == Kind::Timeless && rng.chance(50)).then(|| format!("s{sender}-key-{from}"));
    let items: Vec<String> = (from..from + n).map(|k| kind.item(&mut Rng::new(seed ^ (sender << 32) ^ (k << 8) ^ 1), sender, k, key.is_some())).collect();
    let request = Request { door: Door::Events, source: kind.source(), key, body: format!("[{}]", items.join(",")) };
    (request, n, rng.below(4_000))
}

/// A sender that was cut off for a day repeats what it sent, around the second from which on most of it is not known any
/// more: a record before is a retry, one behind is not, whatever the store has forgotten by then.
async fn come_back(world: &World, journal: &FakeJournal<'_>, seed: u64, sender: u64, kind: Kind, load: Load) {
    let forgotten_ms = (BEGIN_MS + 25 * HOUR_MS - 1) / HOUR_MS * HOUR_MS;
    // The journal's clock may be beside the true one.
    let left_ms = |world: &World| forgotten_ms - world.state().clocks.journal_ms();
    world.wait((left_ms(world) - 10_000).max(0) as u64).await;
    let mut from = 0;
    while from < load.events && left_ms(world) > -15_000 {
        let (request, n, _) = request(seed, sender, kind, load, from);
        for _ in 0..3 {
            post(world, journal, &request).await;
            let ms = world.state().rng.below(4_000);
            world.wait(ms).await;
        }
        from += n;
    }
}
