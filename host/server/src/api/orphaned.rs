//! How many open alerts a change of rules would orphan: their latest event would get another fingerprint, so what comes next
//! opens another alert beside them, and they end by time or by an operator. Part of what a dry run answers.
//!
//! The newest open alerts are looked at, as many as time allows, and of each its latest event as it is stored. See
//! [`rekey`](alertmill_core::pipeline::rekey) for what that can say and what not.

use alertmill_core::alert::event_of;
use alertmill_core::event::Status;
use alertmill_core::identity::Algorithm;
use alertmill_core::pipeline::rekey::rekeyed;
use alertmill_core::rule_set::RuleSet;
use alertmill_engine::Engine;
use alertmill_stores::embedded::{AlertFilter, EmbeddedReader};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Alerts that are looked at, in steps of so many.
const LOOKED_AT_MAX: usize = 1_000;
const STEP: usize = 100;
/// After this no further step is begun.
const WITHIN: Duration = Duration::from_secs(5);

/// What a dry run says of open alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Orphaned {
    /// Their latest event would reach them no more.
    count: u64,
    /// What is stored of their latest event does not say it.
    unknown: u64,
    /// How many were looked at, the newest ones.
    looked_at: u64,
    /// How many are open.
    open: u64,
}

/// Asks the rules in force and the ones that would be. `Err` says why it cannot be known. Blocks.
pub fn orphaned(engine: &Engine, reader: &EmbeddedReader, algorithm: Algorithm, (now, then): (&RuleSet, &RuleSet), open: u64) -> Result<Orphaned, String> {
    let begun = Instant::now();
    let mut orphaned = Orphaned { open, ..Orphaned::default() };
    let trial = |set: &RuleSet| engine.trial(set).map_err(|error| error.to_string());
    let (mut now, mut then) = (trial(now)?, trial(then)?);
    let (filter, mut cursor) = (AlertFilter { status: vec![Status::Abnormal], ..AlertFilter::default() }, None);
    while orphaned.looked_at < LOOKED_AT_MAX as u64 && begun.elapsed() < WITHIN {
        let page = reader.list_alerts(&filter, STEP, cursor, true).map_err(|error| error.to_string())?;
        let read = page.iter().filter_map(|alert| Some((event_of(alert.document.as_deref()?)?, alert.fingerprint)));
        let alerts: Vec<_> = read.collect();
        let counted = rekeyed(&alerts, &mut *now, &mut *then, algorithm);
        orphaned.count += counted.orphaned;
        orphaned.unknown += counted.unknown + (page.len() - alerts.len()) as u64;
        orphaned.looked_at += page.len() as u64;
        cursor = page.last().map(|alert| alert.seq);
        if page.len() < STEP {
            break;
        }
    }
    // Some may have been opened since the others were counted.
    orphaned.open = orphaned.open.max(orphaned.looked_at);
    Ok(orphaned)
}
