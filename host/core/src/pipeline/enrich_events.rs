//! Enriched: user rules over the rows, in order. The engine is behind the [`RuleChain`](crate::rules::RuleChain) port.

use crate::row::Row;
use crate::rules::{RuleChain, RuleTally};
use crate::verdict::Halted;

/// Runs the enrich rules of the generation over all rows of a prepare batch.
pub fn enrich_events(rows: &mut [Row], chain: &mut dyn RuleChain, tally: &mut Vec<RuleTally>) -> Result<(), Halted> {
    if rows.is_empty() { Ok(()) } else { chain.enrich_events(rows, tally) }
}
