//! Keyed: what decides which alert an event belongs to. A dedupe rule's answer, else the event's own keys.

use crate::event::{Event, Fingerprint};
use crate::identity::{Algorithm, fingerprint_of_keys, fingerprint_of_rule, fingerprint_unique};
use crate::pipeline::fingerprint::fingerprint_bk_monitor;
use crate::row::{DedupeAnswer, Row};
use crate::rules::{RuleChain, RuleTally};
use crate::value::Text;
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
    row.fingerprint = match &row.dedupe {
        DedupeAnswer::Key(key) => fingerprint_of_rule(&row.event, row.dedupe_rule.as_ref().map_or("", |rule| rule.name.as_str()), key),
        DedupeAnswer::Unique => fingerprint_unique(row.event.uid),
        DedupeAnswer::Default => return key_by_default(row, algorithm),
    };
    if row.event.dedupe_md5.is_none() || algorithm == Algorithm::Keyed {
        row.event.dedupe_md5 = Some(row.fingerprint.to_hex());
    }
}

/// Keys a row as if no rule had answered.
pub fn key_by_default(row: &mut Row, algorithm: Algorithm) {
    let (fingerprint, md5) = default_key(row, algorithm);
    row.fingerprint = fingerprint;
    row.event.dedupe_md5 = Some(md5);
    row.dedupe = DedupeAnswer::Default;
    row.dedupe_rule = None;
}

/// The fingerprint of the event's own keys, and its `dedupe_md5`.
pub fn default_key(row: &Row, algorithm: Algorithm) -> (Fingerprint, Text) {
    if algorithm == Algorithm::Keyed {
        let fingerprint = fingerprint_of_keys(&row.event);
        return (fingerprint, fingerprint.to_hex());
    }
    // Where none was sent, that of the rule's key stands.
    let is_of_rule = row.dedupe != DedupeAnswer::Default && row.event.dedupe_md5 == Some(row.fingerprint.to_hex());
    match is_of_rule {
        true => apart(&Event { dedupe_md5: None, ..row.event.clone() }),
        false => apart(&row.event),
    }
}

/// Upstream tells alerts apart by strategy beside the md5, which itself names none; tenants are told apart here too.
fn apart(event: &Event) -> (Fingerprint, Text) {
    let fingerprint = Fingerprint(fingerprint_bk_monitor(event));
    let md5 = fingerprint.to_hex();
    match event.strategy_id.is_truthy() || event.tenant != "system" {
        true => (fingerprint_of_rule(event, "md5", &md5), md5),
        false => (fingerprint, md5),
    }
}

#[cfg(test)]
mod tests;
