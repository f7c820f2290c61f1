//! The doors: one file a protocol. What they share: read the body within bounds ([`crate::http::body`]), decode it
//! ([`plan`]), take room for all of it ([`Intake`]), append its good items as records and answer when all are durable
//! ([`submit`]).
//!
//! Nothing is answered with a 2xx that was not appended.

pub mod alertmanager;
pub mod counters;
pub mod events;
mod intake;
mod plan;
pub mod sources;
mod submit;
#[cfg(test)]
mod tests;

pub use counters::DoorMetrics;
pub use intake::Intake;
pub use sources::SourceConfig;
pub(crate) use submit::not_begun as refused_by_journal;

use crate::http::{BodyLimits, Budget, Problem, ProblemCode};
use crate::telemetry::DoorSnapshot;
use alertmill_core::decode::ITEMS_PER_REQUEST_MAX;
use alertmill_core::record::Door;
use alertmill_core::value::Text;
use axum::Router;
use axum::http::HeaderMap;
use counters::Counters;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// What the doors are configured with.
#[derive(Clone, Debug)]
pub struct DoorConfig {
    /// Bounds of a body.
    pub body: BodyLimits,
    /// Items of one request.
    pub items_max: usize,
    /// Source of `POST /api/v1/events` when the request names none; none closes the door.
    pub events_source: Option<Text>,
    /// Source of `POST /am/api/v2/alerts` when the request names none; none closes the door.
    pub alertmanager_source: Option<Text>,
    /// Sources of `POST /api/v1/sources/{source}`, by name.
    pub sources: BTreeMap<Text, SourceConfig>,
    /// Large bodies that are decoded at the same time.
    pub decoders: usize,
    /// How long the second and later records of a request wait for a journal that takes nothing.
    pub later_records_wait: Duration,
}

impl Default for DoorConfig {
    fn default() -> DoorConfig {
        DoorConfig {
            body: BodyLimits::default(),
            items_max: ITEMS_PER_REQUEST_MAX,
            events_source: Some(Text::new_static("events")),
            alertmanager_source: Some(Text::new_static("alertmanager")),
            sources: BTreeMap::new(),
            decoders: std::thread::available_parallelism().map_or(1, usize::from),
            later_records_wait: Duration::from_secs(60),
        }
    }
}

/// The doors' state. `J` is the journal.
#[derive(Debug)]
pub struct Doors<J> {
    journal: J,
    budget: Budget,
    config: DoorConfig,
    counters: Counters,
    decoders: Semaphore,
    started: jiff::Timestamp,
}

impl<J: Intake> Doors<J> {
    /// Doors before a journal. `budget` bounds the bytes of requests that are not answered yet; other routes may share it.
    pub fn new(journal: J, budget: Budget, config: DoorConfig) -> Arc<Doors<J>> {
        let configured = [(Door::Events, &config.events_source), (Door::Alertmanager, &config.alertmanager_source)];
        let own = configured.into_iter().filter_map(|(door, source)| Some((door.name(), source.clone()?)));
        let counters = Counters::new(own.chain(config.sources.keys().map(|source| (sources::DOOR, source.clone()))));
        let decoders = Semaphore::new(config.decoders.max(1));
        Arc::new(Doors { journal, budget, config, counters, decoders, started: jiff::Timestamp::now() })
    }

    /// What each source's door counted, for `/metrics`.
    pub fn snapshot(&self) -> Vec<DoorSnapshot> {
        self.counters.snapshot()
    }

    /// Bytes of requests that are not answered yet.
    pub fn bytes_in_flight(&self) -> usize {
        self.budget.used()
    }

    /// The tenant that the request's token stands for. There are no tokens yet, so everyone is `system`.
    fn tenant(&self, _headers: &HeaderMap) -> Text {
        Text::new_static("system")
    }
}

/// Routes of all open doors: `POST /api/v1/events`, `POST /api/v1/sources/{source}`, `POST /am/api/v2/alerts`, `GET /am/api/v2/status`, `GET /am/-/healthy`,
/// `GET /am/-/ready`. Anything else is for the router that this one is merged into.
pub fn router<J: Intake>(doors: &Arc<Doors<J>>) -> Router {
    let mut router = sources::router(doors.clone());
    if doors.config.events_source.is_some() {
        router = router.merge(events::router(doors.clone()));
    }
    if doors.config.alertmanager_source.is_some() {
        router = router.merge(alertmanager::router(doors.clone()));
    }
    router
}

async fn post_only() -> Problem {
    ProblemCode::Method.problem("this path takes POST")
}

async fn get_only() -> Problem {
    ProblemCode::Method.problem("this path takes GET")
}
