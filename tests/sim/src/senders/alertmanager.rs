//! Two Prometheus servers that watch the same things and see them begin some seconds apart. Each re-sends what it holds
//! for true, so nothing is repeated here after a failure; an episode ends with a resolved alert, or with silence.

use super::door::{Request, post};
use crate::faults::FaultKind;
use crate::ports::FakeJournal;
use crate::rng::Rng;
use crate::setup::Load;
use crate::world::{BEGIN_MS, World};
use alertmill_core::pipeline::expiry::day_utc;
use alertmill_core::record::Door;

const SERIES: u64 = 3;
/// Milliseconds between two sends of a server.
const INTERVAL_MS: u64 = 4_000;
/// An alert is good for so long without a re-send.
const LASTS_MS: i64 = 12_000;
/// A resolved alert is sent for so long.
const RESOLVED_FOR_MS: i64 = 12_000;
const DAY_MS: i64 = 86_400_000;

/// Something was wrong with a series from `from_ms` to `to_ms`.
struct Episode {
    name: String,
    from_ms: i64,
    to_ms: i64,
    /// It ends with a resolved alert, else the server just falls silent.
    resolves: bool,
    /// From then on for a while this server cannot be reached by the rule that watches: no re-send comes.
    gap_ms: std::ops::Range<i64>,
}

fn episodes(seed: u64, replica: u64, load: Load) -> Vec<Episode> {
    let mut all = Vec::new();
    for series in 0..SERIES {
        // The things that happen are the same for both servers; when each saw them is its own.
        let mut rng = Rng::new(seed ^ 0xa1e7 ^ (series << 40));
        let mut from_ms = BEGIN_MS;
        for k in 0..load.events.div_ceil(10) {
            from_ms += rng.below(25_000) as i64;
            let to_ms = from_ms + 3_000 + rng.below(50_000) as i64;
            let (resolves, seen_after_ms) = (rng.chance(60), [rng.below(1_500), rng.below(5_000)][replica as usize]);
            let gap = to_ms - rng.below(50_000) as i64;
            let gap_ms = if Rng::new(seed ^ series ^ (k << 9) ^ replica).chance(40) { gap..gap + 25_000 } else { 0..0 };
            all.push(Episode { name: format!("am{series}"), from_ms: from_ms + seen_after_ms as i64, to_ms, resolves, gap_ms });
            from_ms = to_ms;
        }
    }
    all
}

/// Runs one server until nothing is left to say.
pub async fn run(world: &World, journal: &FakeJournal<'_>, seed: u64, replica: u64, load: Load) {
    let episodes = episodes(seed, replica, load);
    let over_ms = episodes.iter().map(|episode| episode.to_ms + RESOLVED_FOR_MS).max().unwrap_or(BEGIN_MS);
    loop {
        let now_ms = world.state().now_ms();
        if now_ms > over_ms {
            break;
        }
        let alerts: Vec<String> = episodes.iter().filter_map(|episode| alert(episode, now_ms)).collect();
        if !alerts.is_empty() {
            let request = request(&alerts);
            post(world, journal, &request).await;
            if world.draws(FaultKind::Duplicate) {
                post(world, journal, &request).await;
            }
        }
        let jitter_ms = world.state().rng.below(500);
        world.wait(INTERVAL_MS + jitter_ms).await;
    }
    if replica == 1 && seed.is_multiple_of(2) {
        come_back(world, journal, &episodes).await;
    }
}

/// A server that was cut off for a day still holds for true what it saw then: around the moment when the store may forget
/// that it was ever told.
async fn come_back(world: &World, journal: &FakeJournal<'_>, episodes: &[Episode]) {
    for episode in episodes.iter().step_by(3) {
        let back_ms = episode.from_ms + DAY_MS - 60_000;
        let away_ms = back_ms - world.state().now_ms();
        world.wait(away_ms.max(0) as u64).await;
        while world.state().now_ms() < back_ms + 150_000 {
            let ends_ms = world.state().now_ms() + LASTS_MS;
            post(world, journal, &request(&[posted(episode, ends_ms)])).await;
            let ms = 3_000 + world.state().rng.below(40_000);
            world.wait(ms).await;
        }
    }
}

fn request(alerts: &[String]) -> Request {
    Request { door: Door::Alertmanager, source: "prometheus", key: None, body: format!("[{}]", alerts.join(",")) }
}

fn alert(episode: &Episode, now_ms: i64) -> Option<String> {
    let fires = (episode.from_ms..episode.to_ms).contains(&now_ms) && !episode.gap_ms.contains(&now_ms);
    let resolved = episode.resolves && episode.from_ms < episode.to_ms && (episode.to_ms..episode.to_ms + RESOLVED_FOR_MS).contains(&now_ms);
    let ends_ms = match (fires, resolved) {
        (true, _) => now_ms + LASTS_MS,
        (_, true) => episode.to_ms,
        _ => return None,
    };
    Some(posted(episode, ends_ms))
}

fn posted(episode: &Episode, ends_ms: i64) -> String {
    format!(
        r#"{{"labels":{{"alertname":"{}","severity":"warning"{}}},"annotations":{{"since_ms":"{}"}},"startsAt":"{}","endsAt":"{}"}}"#,
        episode.name,
        // Some generations drop it, or cannot judge it.
        match episode.name.as_bytes() {
            [.., b'2'] => r#","noise":"yes""#,
            [.., b'1'] if episode.to_ms % 3 == 0 => r#","poison":"yes""#,
            _ => "",
        },
        episode.from_ms,
        rfc3339(episode.from_ms),
        rfc3339(ends_ms)
    )
}

fn rfc3339(ms: i64) -> String {
    let (s, day) = (ms.div_euclid(1000), day_utc(ms.div_euclid(1000)));
    let of_day = s.rem_euclid(86_400);
    format!("{}-{}-{}T{:02}:{:02}:{:02}.{:03}Z", &day[..4], &day[4..6], &day[6..], of_day / 3600, of_day / 60 % 60, of_day % 60, ms.rem_euclid(1000))
}
