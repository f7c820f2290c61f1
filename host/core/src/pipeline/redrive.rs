//! Dead letters that are tried again: understood as items that come now, with the identity and the times of the first time.

use super::normalize::{is_payload, understand_payload};
use super::understand::{First, Place, UnderstandConfig};
use crate::letter::{ArrivalBy, DeadLetter, Redrive, RedrivenLetter};
use crate::payload::Normalized;
use crate::record::Door;
use crate::row::Row;
use crate::value::Text;

/// What one letter became.
#[derive(Debug)]
pub struct PreparedLetter {
    /// The record in which it first came.
    pub ordinal: u64,
    /// Its place in that record.
    pub index: u32,
    /// Its source.
    pub source: Text,
    /// What a payload became: events, or 1 when it is a dead letter again.
    pub became: Option<u64>,
    /// How many of the record's rows are its.
    pub rows: usize,
    /// The places, in that record, of the record's dead letters that are its.
    pub dead: Vec<u32>,
}

/// Understands all letters of a record, appending rows and dead letters in their order. `normalized` has an answer for each
/// payload among them.
pub(super) fn understand_again<'n>(
    at: (u64, i64),
    redrive: &Redrive,
    normalized: &mut impl Iterator<Item = &'n Normalized>,
    config: &UnderstandConfig,
    rows: &mut Vec<Row>,
    dead_letters: &mut Vec<DeadLetter>,
) -> Vec<PreparedLetter> {
    let mut index = 0;
    let letters = redrive.letters.iter().map(|letter| {
        let (rows_before, dead_before) = (rows.len(), dead_letters.len());
        let place = Place { index, ..place(at, redrive, letter) };
        let became = if is_payload(letter) {
            let judged = normalized.next().unwrap_or(&Normalized::Unclaimed);
            Some(understand_payload(place, judged, config, rows, dead_letters))
        } else {
            match item(place).and_then(|item| place.event(item, config)) {
                Ok(row) => rows.push(row),
                Err(dead) => dead_letters.push(*dead),
            }
            None
        };
        index = index.saturating_add(u32::try_from(became.unwrap_or(1)).unwrap_or(u32::MAX));
        PreparedLetter {
            ordinal: letter.ordinal,
            index: letter.index,
            source: letter.source.clone(),
            became,
            rows: rows.len() - rows_before,
            dead: dead_letters[dead_before..].iter().map(|dead| dead.index).collect(),
        }
    });
    letters.collect()
}

fn place<'a>(at: (u64, i64), redrive: &'a Redrive, letter: &'a RedrivenLetter) -> Place<'a> {
    let arrival = &letter.arrival;
    Place {
        idempotency_key: arrival.idempotency_key.as_ref(),
        request_index: arrival.request_index,
        head: is_payload(letter).then_some((&arrival.content_type, &arrival.headers)),
        bytes: &letter.item,
        first: Some(First { ordinal: letter.ordinal, index: letter.index, received_at_ms: letter.received_at_ms }),
        redriven: arrival.redriven.saturating_add(1),
        ..Place::of(arrival.by, (&redrive.tenant, &letter.source), at)
    }
}

fn item(place: Place<'_>) -> Result<crate::item::Item, Box<DeadLetter>> {
    place.decoded(if place.by == ArrivalBy::Alertmanager { Door::Alertmanager } else { Door::Events })
}

#[cfg(test)]
mod tests;
