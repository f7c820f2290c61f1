//! From a planned request to durable records and settled numbers.

use super::Doors;
use super::counters::DoorMetrics;
use super::plan::Plan;
use crate::http::{Lease, Problem, ProblemCode};
use alertmill_core::ports::{Journal, PortError};
use alertmill_core::record::{DoorCounts, RecordBody};
use std::sync::Arc;

impl<J: Journal + 'static> Doors<J> {
    /// Appends all records of a plan, in order, and comes back when the last is durable. What this began is finished even if
    /// the sender goes away meanwhile, so that the numbers of a request are never torn.
    pub(super) async fn submit(self: &Arc<Self>, plan: Plan, metrics: Arc<DoorMetrics>, mut lease: Lease) -> Result<Plan, Problem> {
        let held = lease.bytes() + plan.parsed_bytes;
        if !lease.grow_to(held) {
            return Err(ProblemCode::Overloaded.problem("too many bytes are in flight; send it again a little later"));
        }
        if plan.records.is_empty() {
            settle(&plan, &metrics);
            metrics.keep(plan.counts);
            return Ok(plan);
        }
        let doors = self.clone();
        let work = tokio::spawn(async move {
            let result = doors.append(plan, &metrics).await;
            drop(lease);
            result
        });
        work.await.unwrap_or_else(|_| Err(ProblemCode::Unclear.problem("the request was cut off inside; repeat it")))
    }

    async fn append(&self, mut plan: Plan, metrics: &DoorMetrics) -> Result<Plan, Problem> {
        // The first record carries the numbers that have no record of their own.
        let mut extra = metrics.take_kept();
        extra.received += plan.counts.refused + plan.counts.duplicates;
        extra.refused += plan.counts.refused;
        extra.duplicates += plan.counts.duplicates;
        for (i, (mut items, parsed)) in std::mem::take(&mut plan.records).into_iter().enumerate() {
            if i == 0 {
                items.counts.received += extra.received;
                items.counts.refused += extra.refused;
                items.counts.duplicates += extra.duplicates;
            }
            if let Err(error) = self.journal.append(RecordBody::Items(items), Some(parsed)).await {
                if i == 0 && matches!(error, PortError::Unavailable(_) | PortError::DiskRefused(_) | PortError::TooLarge(_)) {
                    // Nothing of this request is taken, and the sender comes again: only what was kept before still counts.
                    metrics.keep(DoorCounts {
                        received: extra.received - plan.counts.refused - plan.counts.duplicates,
                        refused: extra.refused - plan.counts.refused,
                        duplicates: extra.duplicates - plan.counts.duplicates,
                    });
                }
                return Err(problem(error));
            }
        }
        settle(&plan, metrics);
        Ok(plan)
    }
}

fn settle(plan: &Plan, metrics: &DoorMetrics) {
    metrics.settled(plan.counts, plan.refused.iter().map(|(_, refusal)| refusal.code));
}

fn problem(error: PortError) -> Problem {
    match error {
        PortError::Unavailable(why) => ProblemCode::Overloaded.problem(why),
        PortError::DiskRefused(why) => ProblemCode::Unavailable.problem(why),
        PortError::TooLarge(why) => ProblemCode::BodyTooLarge.problem(why),
        PortError::Unclear(why) => ProblemCode::Unclear.problem(why),
        PortError::Fatal(why) => {
            // The other half's words may name files, and those are the operator's to know.
            tracing::error!(%why, "the journal takes nothing any more");
            ProblemCode::Unavailable.problem("nothing is taken any more until the server is restarted; its log and /readyz say why")
        }
    }
}
