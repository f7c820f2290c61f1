//! A program that posts bodies of its own form, of which rules make events: a word, then a line for each event. What the fake
//! rules make of a body is said here, so that the checks can say it too; that core does right by it is what they look for.

use super::door::{Answer, mark_of, post_payload};
use super::items::Kind;
use crate::faults::FaultKind;
use crate::ports::FakeJournal;
use crate::rng::Rng;
use crate::setup::Load;
use crate::world::World;
use alertmill_core::record::{Door, DoorCounts, RawPayload};

/// Every generation has a rule for it.
const HOOKS: &str = "hooks";
/// Only every other generation has a rule for it.
const STRAYS: &str = "strays";
/// A body that every third generation's rule fails on begins with it.
const POISON: &str = "poison";
/// A severity that no event may have.
const BAD: &str = r#""severity":9"#;

/// What the rules of a generation make of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No rule is for it.
    Unclaimed,
    /// The rule fails.
    Failed,
    /// An event of each line.
    Events,
}

pub fn fate(generation: u64, source: &str, body: &[u8]) -> Fate {
    match source {
        STRAYS if generation % 2 == 1 => Fate::Unclaimed,
        _ if body.starts_with(POISON.as_bytes()) && generation % 3 == 1 => Fate::Failed,
        _ => Fate::Events,
    }
}

/// The lines that are events.
pub fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|b| *b == b'\n').filter(|line| line.starts_with(b"{"))
}

/// Whether a line becomes an event that is refused.
pub fn is_bad(line: &[u8]) -> bool {
    line.windows(BAD.len()).any(|part| part == BAD.as_bytes())
}

/// Posts payload by payload and repeats each until it is safe.
pub async fn run(world: &World, journal: &FakeJournal<'_>, seed: u64, sender: u64, load: Load, sent: &mut u64) {
    while *sent < load.events {
        let (payload, pause_ms) = payload(seed, sender, *sent);
        let marks: Vec<String> = lines(&payload.body).map(|line| mark_of(Door::Events, line).to_owned()).collect();
        let mut tries = 0;
        while post_payload(world, journal, &payload, &marks).await == Answer::Again {
            world.state().saw(FaultKind::Retry);
            world.wait(50 << tries.min(8)).await;
            tries += 1;
        }
        *sent += 1;
        world.wait(pause_ms).await;
        if world.draws(FaultKind::Duplicate) {
            post_payload(world, journal, &payload, &marks).await;
        }
    }
}

/// Payload `k`, and for how long its sender then rests.
fn payload(seed: u64, sender: u64, k: u64) -> (RawPayload, u64) {
    let mut rng = Rng::new(seed ^ (sender << 32) ^ (k << 8) ^ 3);
    let source = if rng.chance(25) { STRAYS } else { HOOKS };
    let word = if rng.chance(20) { POISON } else { "hook" };
    let is_timed = rng.chance(50);
    let key = (!is_timed && rng.chance(60)).then(|| format!("s{sender}-key-{k}"));
    let kind = if is_timed { Kind::Hosts } else { Kind::Timeless };
    let mut body = word.to_owned();
    for line in 0..rng.below(4) {
        let item = kind.item(&mut rng, sender, k * 4 + line, key.is_some());
        let item = if rng.chance(12) { item.replace(r#"],"dedupe_keys""#, r#",{"key":"poison","value":"yes"}],"dedupe_keys""#) } else { item };
        let severity = item.find(r#""severity":"#).map(|at| &item[at..at + BAD.len()]).unwrap_or(BAD);
        let item = if rng.chance(15) { item.replace(severity, BAD) } else { item };
        body += "\n";
        body += &item;
    }
    let payload = RawPayload {
        tenant: "system".into(),
        source: source.into(),
        idempotency_key: key.as_deref().map(Into::into),
        counts: DoorCounts::default(),
        content_type: "text/plain".into(),
        headers: vec![("x-word".into(), word.into())],
        body: body.into_bytes().into(),
    };
    (payload, rng.below(4_000))
}
