//! Our own HTTP API, `/api/v1`, and the routes beside it: `/healthz`, `/readyz`, `/version`, `/metrics`.

pub mod reads;

pub use reads::{AlertFilter, AlertReads, AlertRow, DeadLetterRow, Dependency, EventRow, Health, Page, ReadError, RuleReads, RuleRow, RuleStats};

use crate::telemetry::Metrics;
use std::sync::Arc;

/// What the routes answer from.
#[derive(Clone)]
pub struct Api {
    /// The store.
    pub reads: Arc<dyn AlertReads>,
    /// The rules.
    pub rules: Arc<dyn RuleReads>,
    /// Readiness.
    pub health: Arc<dyn Health>,
    /// `/metrics`.
    pub metrics: Arc<Metrics>,
}
