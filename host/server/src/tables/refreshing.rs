//! When a URL is fetched: once at start, at intervals that are not those of other servers, later after failures, and at once
//! when somebody asks. One fetch of a table at a time, a few of all tables.

use super::{Source, Standing, Tables};
use crate::rules_folder::Problem;
use alertmill_core::value::Text;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Fetches at the same time.
const FETCHES_MAX: usize = 4;
/// After failures the pause doubles up to so many times `refresh_s`.
const BACK_OFF_MAX: u32 = 10;
/// While a content waits to be taken.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What came of a refresh that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refreshed {
    /// Whether other content is in force now than before.
    pub changed: bool,
    /// What is in force, 64 hex digits.
    pub digest: Text,
    /// The generation since which it is.
    pub generation: u64,
}

/// Why a refresh that was asked for did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRefreshed {
    /// No table has this name.
    Unknown,
    /// The source, or what it said, is not good.
    Problem(Problem),
    /// Not in time; it goes on.
    TooSlow,
}

impl Tables {
    /// Fetches tables until `stop` says so.
    pub fn fetch(&self, stop: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
        let permits = Arc::new(Semaphore::new(FETCHES_MAX));
        let urls = (0..self.0.sources.len()).filter(|at| !self.0.sources[*at].is_file());
        urls.map(|at| tokio::spawn(self.clone().keep_fetching(at, permits.clone(), stop.clone()))).collect()
    }

    /// Fetches each table once, for a check that does not go on.
    pub async fn fetch_once(&self) {
        for source in self.0.sources.iter().filter(|source| !source.is_file()) {
            // What was wrong is in its state.
            let _ = self.refetch(source).await;
        }
    }

    /// Comes back when each URL was tried once, or after `within`.
    pub async fn tried(&self, within: Duration) {
        let until = Instant::now() + within;
        for source in self.0.sources.iter().filter(|source| !source.is_file()) {
            let mut tried = source.tried.subscribe();
            if timeout_at(until, tried.wait_for(|tried| *tried)).await.is_err() {
                tracing::warn!(table = %source.name, "the first generation is begun without waiting longer for the table");
            }
        }
    }

    /// Asks the source now, and waits until what it says is in force.
    pub async fn refresh(&self, name: &str, within: Duration) -> Result<Refreshed, NotRefreshed> {
        let source = self.0.sources.iter().find(|source| source.name == name).ok_or(NotRefreshed::Unknown)?;
        match timeout_at(Instant::now() + within, self.refresh_to_the_end(source)).await {
            Ok(refreshed) => refreshed.map_err(NotRefreshed::Problem),
            Err(_) => Err(NotRefreshed::TooSlow),
        }
    }

    async fn refresh_to_the_end(&self, source: &Source) -> Result<Refreshed, Problem> {
        let before = source.state().in_force.as_ref().map(|in_force| in_force.digest.clone());
        if !source.is_file() {
            let (answer, answered) = oneshot::channel();
            // Nobody fetches any more when the process ends; then nobody answers either.
            if source.asks.send(answer).await.is_err() {
                std::future::pending::<()>().await;
            }
            match answered.await {
                Ok(said) => said?,
                Err(_) => std::future::pending().await,
            }
        }
        let mut ended = self.0.ended.subscribe();
        loop {
            let next = self.0.begun.load(Relaxed) + 1;
            self.0.wake.notify_one();
            // The sender is ours.
            let _ = ended.wait_for(|look| *look >= next).await;
            {
                let state = source.state();
                match (&state.standing, &state.problem, &state.in_force) {
                    (Standing::Refused(problem), _, _) | (Standing::Given, Some(problem), _) => return Err(problem.clone()),
                    (Standing::Given, None, Some(in_force)) => {
                        let (digest, generation) = (in_force.digest.clone(), in_force.generation);
                        return Ok(Refreshed { changed: before.as_ref() != Some(&digest), digest, generation });
                    }
                    // Also where a problem is known: it is of what the source said before.
                    _ => {}
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn keep_fetching(self, at: usize, permits: Arc<Semaphore>, mut stop: watch::Receiver<bool>) {
        let source = &self.0.sources[at];
        let Some(mut asked) = super::lock(&source.asked).take() else { return };
        let mut next = Some(Instant::now());
        let mut failures = 0;
        loop {
            let is_time = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            let mut waiting = Vec::new();
            tokio::select! {
                () = is_time => {}
                Some(ask) = asked.recv() => waiting.push(ask),
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let said = tokio::select! {
                said = async {
                    let _permit = permits.acquire().await;
                    // Whoever asked before it begins is answered by it.
                    while let Ok(ask) = asked.try_recv() {
                        waiting.push(ask);
                    }
                    self.refetch(source).await
                } => said,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            source.tried.send_replace(true);
            failures = if said.is_ok() { 0 } else { failures + 1 };
            let pause = pause(source.config.refresh_s, failures, RandomState::new().build_hasher().finish());
            next = pause.map(|pause| Instant::now() + pause);
            source.state().next_at = pause.map(|pause| SystemTime::now() + pause);
            // Who asked while it was fetched gets the next one; who is gone needs no answer.
            waiting.into_iter().for_each(|ask| drop(ask.send(said.clone())));
        }
    }

    /// Fetches a table and notes what came of it.
    async fn refetch(&self, source: &Source) -> Result<(), Problem> {
        let fetched = source.fetch().await;
        let (said, validators) = match fetched {
            Ok(Some((offer, validators))) => (Ok(Some(offer)), Some(validators)),
            Ok(None) => (Ok(None), None),
            Err(problem) => (Err(problem), None),
        };
        let answer = said.as_ref().map(|_| ()).map_err(Clone::clone);
        let outcome = {
            let mut state = source.state();
            if let Some(validators) = validators {
                state.validators = validators;
            }
            state.heard(said, SystemTime::now())
        };
        tracing::debug!(table = %source.name, outcome = outcome.name(), "a table was fetched");
        // Also what failed is looked at: a look is what says it.
        self.0.wake.notify_one();
        answer
    }
}

/// The pause before the next fetch; none when only somebody who asks makes one.
fn pause(refresh_s: u64, failures: u32, random: u64) -> Option<Duration> {
    let times = 1u32.checked_shl(failures).unwrap_or(u32::MAX).clamp(1, BACK_OFF_MAX);
    let jitter = 0.9 + 0.2 * (random % 1_000) as f64 / 999.0;
    (refresh_s > 0).then(|| Duration::from_secs_f64((refresh_s as f64 * f64::from(times) * jitter).min(1e9)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_a_little_and_grow_after_failures_up_to_a_bound() {
        for (failures, times) in [(0, 1.0), (1, 2.0), (2, 4.0), (3, 8.0), (4, 10.0), (40, 10.0)] {
            let of = |random| pause(60, failures, random).expect("an interval").as_secs_f64();
            let (least, most) = (of(0), of(999));
            assert!((least - 54.0 * times).abs() < 0.001 && (most - 66.0 * times).abs() < 0.001, "{failures}: {least} to {most}");
        }
        assert_eq!((pause(0, 0, 1), pause(0, 3, 1)), (None, None));
        assert!(pause(u64::MAX, 9, 999).is_some());
    }
}
