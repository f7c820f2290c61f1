//! Keyed: what decides which alert an event belongs to. A dedupe rule's answer, else the event's own keys.

use crate::event::Fingerprint;
use crate::identity::{Algorithm, fingerprint_of_keys, fingerprint_of_rule, fingerprint_unique};
use crate::pipeline::fingerprint::fingerprint_bk_monitor;
use crate::row::{DedupeAnswer, Row};
use crate::rules::{RuleChain, RuleTally};
use crate::verdict::Halted;

/// Shards: the unit of ownership between processes; a fingerprint is always in the same one.
pub const SHARDS: usize = 64;

/// The shard of a fingerprint.
pub fn shard_of(fingerprint: Fingerprint) -> usize {
    usize::from(fingerprint.0[0]) % SHARDS
}

/// Runs the dedupe rules, then gives every row its fingerprint.
pub fn dedupe(rows: &mut [Row], chain: &mut dyn RuleChain, algorithm: Algorithm, tally: &mut Vec<RuleTally>) -> Result<(), Halted> {
    if rows.is_empty() {
        return Ok(());
    }
    chain.dedupe(rows, tally)?;
    for row in rows {
        key(row, algorithm);
    }
    Ok(())
}

fn key(row: &mut Row, algorithm: Algorithm) {
    row.fingerprint = match (&row.dedupe, algorithm) {
        (DedupeAnswer::Key(key), _) => fingerprint_of_rule(&row.event, &row.dedupe_rule, key),
        (DedupeAnswer::Unique, _) => fingerprint_unique(row.event.uid),
        (DedupeAnswer::Default, Algorithm::Keyed) => fingerprint_of_keys(&row.event),
        (DedupeAnswer::Default, Algorithm::BkMonitor) => apart(row, Fingerprint(fingerprint_bk_monitor(&row.event))),
    };
    if row.event.dedupe_md5.is_none() || algorithm == Algorithm::Keyed {
        row.event.dedupe_md5 = Some(row.fingerprint.to_hex());
    }
}

/// Upstream tells alerts apart by strategy beside the md5, which itself names none; tenants are told apart here too.
fn apart(row: &mut Row, md5: Fingerprint) -> Fingerprint {
    row.event.dedupe_md5 = Some(md5.to_hex());
    if row.event.strategy_id.is_truthy() || row.event.tenant != "system" {
        return fingerprint_of_rule(&row.event, "md5", &md5.to_hex());
    }
    md5
}
