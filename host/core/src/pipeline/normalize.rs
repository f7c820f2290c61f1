//! Normalized: a raw payload becomes the events that the rules make of it, each held to what a sender of events is held to.
//! What no rule could judge is a dead letter with the payload's bytes; one bad event costs its neighbours nothing.

use super::understand::{First, Place, UnderstandConfig};
use crate::decode::decode_event;
use crate::letter::{ArrivalBy, DeadLetter, Redrive, RedrivenLetter};
use crate::payload::{NewEvent, Normalized, Payload};
use crate::record::{Journaled, RecordBody};
use crate::row::{Row, RuleFailure};
use crate::rules::{RuleChain, RuleTally};
use crate::verdict::{Halted, Hook, Policy};

/// Payloads that the rules see in one go, at most.
const PAYLOADS_MAX: usize = 32;
/// Bytes of their bodies, at most, unless one alone has more. What a rule makes of them is in memory at once.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Bytes that the rules have made of payloads when no more of them are taken into a batch: a rule may make much of little. What
/// the last call made comes on top.
pub(super) const MADE_BYTES_MAX: usize = 16 << 20;

/// What the rules make of the payloads among the records, in order, and how many of the records that is: all, or those before
/// the first whose payload has to wait because what was made is large. Where calls and batches are cut shows nowhere: a rule
/// judges each payload by itself.
pub(super) fn normalize(records: &[Journaled], chain: &mut dyn RuleChain, tallies: &mut Vec<RuleTally>) -> Result<(Vec<Normalized>, usize), Halted> {
    let numbered = |(at, journaled)| payloads(journaled).into_iter().map(move |payload| (at, payload));
    let mut payloads = records.iter().enumerate().flat_map(numbered).peekable();
    let mut normalized = Vec::new();
    let (mut bytes_made, mut last) = (0, 0);
    // A record is judged whole.
    while let Some((at, first)) = payloads.next_if(|(at, _)| bytes_made < MADE_BYTES_MAX || *at == last) {
        last = at;
        let mut bytes = first.body.len();
        let mut batch = vec![first];
        while let Some((at, next)) = payloads.next_if(|(_, next)| batch.len() < PAYLOADS_MAX && bytes + next.body.len() <= PAYLOAD_BYTES_MAX) {
            last = at;
            bytes += next.body.len();
            batch.push(next);
        }
        let mut judged = chain.normalize(&batch, tallies)?;
        judged.resize_with(batch.len(), || Normalized::Failed(no_answer()));
        bytes_made += judged.iter().map(size_bytes).sum::<usize>();
        normalized.append(&mut judged);
    }
    let taken = payloads.peek().map_or(records.len(), |(at, _)| *at);
    Ok((normalized, taken))
}

/// Bytes that an answer takes in memory, with the rows that it becomes.
fn size_bytes(normalized: &Normalized) -> usize {
    let Normalized::Events(events) = normalized else { return 0 };
    events.iter().map(|event| event.size_bytes() + size_of::<Row>()).sum()
}

/// The payloads of a record, in order.
pub(super) fn payloads(journaled: &Journaled) -> Vec<Payload> {
    let ordinal = journaled.record.ordinal;
    match &journaled.record.body {
        RecordBody::Payload(raw) => vec![Payload {
            ordinal,
            tenant: raw.tenant.clone(),
            source: raw.source.clone(),
            content_type: raw.content_type.clone(),
            headers: raw.headers.clone(),
            received_at_ms: journaled.record.received_at_ms,
            body: raw.body.clone(),
        }],
        RecordBody::Redrive(redrive) => redrive.letters.iter().filter(|letter| is_payload(letter)).map(|letter| again(ordinal, redrive, letter)).collect(),
        _ => Vec::new(),
    }
}

/// How many payloads a record has.
pub(super) fn payload_count(journaled: &Journaled) -> usize {
    match &journaled.record.body {
        RecordBody::Payload(_) => 1,
        RecordBody::Redrive(redrive) => redrive.letters.iter().filter(|letter| is_payload(letter)).count(),
        _ => 0,
    }
}

pub(super) fn is_payload(letter: &RedrivenLetter) -> bool {
    letter.arrival.by == ArrivalBy::Payload
}

/// A payload as its rule sees it when it is tried again: as it first came.
fn again(ordinal: u64, redrive: &Redrive, letter: &RedrivenLetter) -> Payload {
    Payload {
        ordinal,
        tenant: redrive.tenant.clone(),
        source: letter.source.clone(),
        content_type: letter.arrival.content_type.clone(),
        headers: letter.arrival.headers.clone(),
        received_at_ms: letter.received_at_ms,
        body: letter.item.clone(),
    }
}

/// A chain that answers for fewer payloads than it was asked about must not shift its answers to their neighbours, nor lose one.
fn no_answer() -> RuleFailure {
    let message = "the rules gave no answer for this payload".into();
    let (hook, policy) = (Hook::Normalize, Policy::DeadLetter);
    RuleFailure { rule: "?".into(), version: "?".into(), kind: "output".into(), message, hook, policy, judged_by: None }
}

/// Understands what the rules made of the payload at a place, appending rows and dead letters in the events' order. How many
/// things it became comes back: its events, or 1 when it is a dead letter itself.
pub(super) fn understand_payload(
    whole: Place<'_>,
    normalized: &Normalized,
    config: &UnderstandConfig,
    rows: &mut Vec<Row>,
    dead_letters: &mut Vec<DeadLetter>,
) -> u64 {
    let events = match normalized {
        Normalized::Events(events) => events,
        Normalized::Failed(failure) => {
            dead_letters.push(*whole.dead("normalize-failed", why(failure)));
            return 1;
        }
        Normalized::Unclaimed => {
            dead_letters.push(*whole.dead("no-normalize-rule", unclaimed(&whole)));
            return 1;
        }
    };
    for (event, at) in events.iter().zip(0..) {
        let first = whole.first.map(|first| First { index: at, ..first });
        let place = Place { index: whole.index.saturating_add(at), request_index: at, by: ArrivalBy::Events, head: None, first, ..whole };
        match understand_event(event, place, config) {
            Ok(row) => rows.push(row),
            Err(letter) => dead_letters.push(*letter),
        }
    }
    events.len() as u64
}

fn understand_event(event: &NewEvent, place: Place<'_>, config: &UnderstandConfig) -> Result<Row, Box<DeadLetter>> {
    let (bytes, item) = decode_event(event, place.tenant);
    let place = Place { bytes: &bytes, ..place };
    match item {
        Ok(item) => place.event(item, config),
        Err(refusal) => Err(place.dead("normalize-invalid", refusal.to_string())),
    }
}

fn why(failure: &RuleFailure) -> String {
    let RuleFailure { rule, version, kind, message, .. } = failure;
    format!("rule {rule} {version}: {kind}: {message}")
}

fn unclaimed(whole: &Place<'_>) -> String {
    let (source, content_type) = (whole.source, whole.head.map_or("", |(content_type, _)| content_type));
    format!("no normalize rule was for source {source} and content type {content_type:?}; give it one, and redrive the letter")
}

#[cfg(test)]
mod tests;
