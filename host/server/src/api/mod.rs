//! Our own HTTP API, `/api/v1`, and the routes beside it: `/healthz`, `/readyz`, `/version`, `/metrics`.

mod alerts;
mod answer;
pub mod backups;
mod commands;
pub mod cursor;
mod dead_letters;
mod edge;
mod embedded;
mod orphaned;
mod pipeline;
pub mod query;
pub mod reads;
mod redrive;
mod repeats;
pub mod resume;
mod rules;
pub mod rules_write;
pub mod storage;
mod system;
pub mod tables;
#[cfg(test)]
mod tests;
pub mod time;
mod versions;

pub use commands::{CommandCounters, Commands, Handed, Redriving};
pub use edge::finish;
pub use reads::{
    AlertFilter, AlertReads, AlertRow, DeadLetterRow, Dependency, EventRow, Health, Page, ReadError, RuleFallback, RuleReads, RuleRow, RuleStats, RuleUse,
};
pub use rules::WatchedRules;

use crate::http::Budget;
use crate::telemetry::Metrics;
use alertmill_core::command::Action;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::routing::{get, post};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Reads of the store at the same time; further ones wait.
const READERS: usize = 16;

/// What the routes answer from.
#[derive(Clone)]
pub struct Api {
    reads: Arc<dyn AlertReads>,
    rules: Arc<dyn RuleReads>,
    health: Arc<dyn Health>,
    metrics: Arc<Metrics>,
    readers: Arc<Semaphore>,
    commands: Arc<dyn Commands>,
    counters: Arc<CommandCounters>,
    budget: Budget,
    redriven: Arc<repeats::Repeats<redrive::Answered>>,
}

impl Api {
    /// Answers from these. `operating` takes commands.
    pub fn new(reads: Arc<dyn AlertReads>, rules: Arc<dyn RuleReads>, health: Arc<dyn Health>, metrics: Arc<Metrics>, operating: Operating) -> Self {
        let Operating { commands, counters, budget } = operating;
        Api { reads, rules, health, metrics, readers: Arc::new(Semaphore::new(READERS)), commands, counters, budget, redriven: Arc::default() }
    }
}

/// What commands of operators need.
pub struct Operating {
    /// Where they go.
    pub commands: Arc<dyn Commands>,
    /// Where they are counted.
    pub counters: Arc<CommandCounters>,
    /// Bounds the bytes of their bodies, with those of the doors.
    pub budget: Budget,
}

/// The routes. Merge the doors' routes into it, then call [`finish`].
pub fn router(api: Api) -> Router {
    let mut router = Router::new();
    for action in Action::ALL {
        let command = move |State(api): State<Api>, request: Request<Body>| commands::command(api, *action, request);
        router = router.route(&format!("/api/v1/alerts:{}", action.name()), post(command));
    }
    router
        .route("/api", get(system::versions))
        .route("/api/v1/alerts", get(alerts::list))
        .route("/api/v1/alerts/{id}", get(alerts::get))
        .route("/api/v1/alerts/{id}/events", get(alerts::events))
        .route("/api/v1/alerts/{id}/logs", get(alerts::logs))
        .route("/api/v1/dead-letters", get(dead_letters::list))
        .route("/api/v1/dead-letters/{id}", get(dead_letters::get))
        .route("/api/v1/dead-letters:redrive", post(redrive::redrive))
        .route("/api/v1/pipeline/ledger", get(pipeline::ledger))
        .route("/api/v1/rules", get(pipeline::rules))
        .route("/healthz", get(system::healthz))
        .route("/metrics", get(system::metrics))
        .route("/readyz", get(system::readyz))
        .route("/version", get(system::version))
        .with_state(api)
}
