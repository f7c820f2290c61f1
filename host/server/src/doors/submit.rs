//! From a planned request to durable records and settled numbers.

use super::counters::DoorMetrics;
use super::plan::Plan;
use super::{Doors, Intake};
use crate::http::{Lease, Problem, ProblemCode};
use alertmill_core::item::Item;
use alertmill_core::ports::{Appended, PortError};
use alertmill_core::record::{DoorCounts, RecordBody};
use std::sync::Arc;
use tokio::time::Instant;

impl<J: Intake> Doors<J> {
    /// Appends all records of a plan, in order, and comes back when the last is durable. What this began is finished even if
    /// the sender goes away meanwhile, so that the numbers of a request are never torn.
    pub(super) async fn submit(self: &Arc<Self>, plan: Plan, metrics: Arc<DoorMetrics>, mut lease: Lease) -> Result<Plan, Problem> {
        let held = lease.bytes() + plan.parsed_bytes;
        if !lease.grow_over(held) {
            return Err(ProblemCode::Overloaded.problem("too many bytes are in flight; send it again a little later"));
        }
        if plan.records.is_empty() {
            settle(&plan, &metrics);
            metrics.keep(plan.counts);
            return Ok(plan);
        }
        self.all_fit(&plan)?;
        let room = self.journal.reserve(plan.body_bytes + plan.parsed_bytes).map_err(not_begun)?;
        let doors = self.clone();
        let work = tokio::spawn(async move {
            let result = doors.append(plan, room, &metrics).await;
            drop(lease);
            result
        });
        work.await.unwrap_or_else(|_| Err(ProblemCode::Unclear.problem("the request was cut off inside; repeat it")))
    }

    /// Refuses a request with a record that the journal never takes before the first one is durable: half of it would be
    /// stored, and its sender could only repeat it for ever.
    fn all_fit(&self, plan: &Plan) -> Result<(), Problem> {
        let bytes_max = self.journal.record_bytes_max();
        match plan.records.iter().filter_map(|(body, _)| over(body, bytes_max)).next() {
            Some(bytes) => Err(not_begun(PortError::TooLarge(format!("a record of {bytes} bytes is over {bytes_max}; send fewer items at once")))),
            None => Ok(()),
        }
    }

    async fn append(&self, mut plan: Plan, mut room: J::Room, metrics: &DoorMetrics) -> Result<Plan, Problem> {
        // The first record carries the numbers that have no record of their own.
        let kept = metrics.take_kept();
        let mut durable = 0;
        for (i, (mut body, parsed)) in std::mem::take(&mut plan.records).into_iter().enumerate() {
            let count = body.items() as u64;
            let appended = if i == 0 {
                if let Some(counts) = body.counts_mut() {
                    counts.received += kept.received + plan.counts.refused + plan.counts.duplicates;
                    counts.refused += kept.refused + plan.counts.refused;
                    counts.duplicates += kept.duplicates + plan.counts.duplicates;
                }
                self.journal.append_in(&mut room, body, parsed).await
            } else {
                self.append_later(&mut room, body, parsed).await
            };
            match appended {
                Ok(_) => durable += count,
                Err(error) if i == 0 && error.changed_nothing() => {
                    // Nothing of this request is taken, and the sender comes again: only what was kept before still counts.
                    metrics.keep(kept);
                    return Err(not_begun(error));
                }
                Err(error) => {
                    if durable > 0 {
                        settle_part(&plan, durable, metrics);
                    }
                    return Err(half_done(&error, durable, plan.good()));
                }
            }
        }
        settle(&plan, metrics);
        Ok(plan)
    }

    /// Appends a record behind durable ones of the same request. A journal that takes nothing now is waited for: "send it
    /// again" would make items without time or key count twice.
    async fn append_later(&self, room: &mut J::Room, body: RecordBody, mut parsed: Option<Vec<Item>>) -> Result<Appended, PortError> {
        let until = Instant::now() + self.config.later_records_wait;
        loop {
            match self.journal.append_in(room, body.clone(), parsed.take()).await {
                Err(error) if error.may_pass() && Instant::now() < until => self.journal.changed().await,
                other => return other,
            }
        }
    }
}

/// Bytes of the record when they are over the bound. Encoding copies all items, so it is done only where more than they can
/// come to is over it.
fn over(body: &RecordBody, bytes_max: usize) -> Option<usize> {
    const HEAD_MAX: usize = 256;
    const SPAN_MAX: usize = 16;
    let texts = |tenant: &str, source: &str, key: Option<&str>| tenant.len() + source.len() + key.map_or(0, str::len);
    let most = match body {
        RecordBody::Items(items) => {
            let spans: usize = items.spans.iter().map(|span| span.bytes.len() + SPAN_MAX).sum();
            texts(&items.tenant, &items.source, items.idempotency_key.as_deref()) + spans
        }
        RecordBody::Payload(payload) => {
            texts(&payload.tenant, &payload.source, payload.idempotency_key.as_deref()) + payload.content_type.len() + payload.size_bytes()
        }
        // No door makes any of these.
        _ => 0,
    };
    if HEAD_MAX + most <= bytes_max {
        return None;
    }
    let mut payload = Vec::new();
    body.encode(&mut payload);
    Some(payload.len()).filter(|bytes| *bytes > bytes_max)
}

fn settle(plan: &Plan, metrics: &DoorMetrics) {
    metrics.settled(plan.counts, plan.refused.iter().map(|(_, refusal)| refusal.code));
}

/// Counts what is durable of a request whose later records are not; the first record carries refusals and repeats.
fn settle_part(plan: &Plan, durable: u64, metrics: &DoorMetrics) {
    let DoorCounts { refused, duplicates, .. } = plan.counts;
    let counts = DoorCounts { received: durable + refused + duplicates, refused, duplicates };
    metrics.settled(counts, plan.refused.iter().map(|(_, refusal)| refusal.code));
}

/// Of this request nothing is journaled.
pub(crate) fn not_begun(error: PortError) -> Problem {
    match error {
        PortError::Unavailable(why) | PortError::Full(why) => ProblemCode::Overloaded.problem(why),
        PortError::DiskRefused(why) => ProblemCode::Unavailable.problem(why),
        PortError::TooLarge(why) => ProblemCode::BodyTooLarge.problem(why),
        PortError::Unclear(why) => ProblemCode::Unclear.problem(why),
        PortError::Fatal(why) => ProblemCode::Unavailable.problem(ended(&why)),
    }
}

/// What a sender is told of a journal that has stopped: its own words may name files, and those are the operator's to know.
fn ended(why: &str) -> &'static str {
    tracing::error!(%why, "the journal takes nothing any more");
    "nothing is taken any more until the server is restarted; its log and /readyz say why"
}

/// A record was handed to the journal and its fate is not known, or earlier ones are durable.
fn half_done(error: &PortError, durable: u64, good: u64) -> Problem {
    let words = match error {
        PortError::Fatal(why) => ended(why).to_owned(),
        other => other.to_string(),
    };
    let remedy = "repeat it with the same event ids and times, or the same Idempotency-Key, and nothing counts twice";
    ProblemCode::Unclear.problem(format!("{words}; {durable} of {good} items are certainly stored: {remedy}"))
}
