//! Dead letters: items that went no further, and how they came, so that they can be tried again by a [`Redrive`] record.

use crate::ledger::Outcome;
use crate::record::Door;
use crate::value::Text;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An item that went no further, with the reason. Its place names it: there is at most one letter of a place at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeadLetter {
    /// The record in which it first came.
    pub ordinal: u64,
    /// Its place in that record.
    pub index: u32,
    /// Time of that record, milliseconds.
    pub received_at_ms: i64,
    /// Tenant.
    pub tenant: Text,
    /// Source.
    pub source: Text,
    /// Stable code, such as `clean-error` or `too-many-events`.
    pub code: Text,
    /// What was wrong, where, what to do.
    pub detail: String,
    /// The item as it was sent.
    pub item: Vec<u8>,
    /// How it came; none for what did not come by a door, and then it cannot be tried again.
    pub arrival: Option<Arrival>,
}

/// How an item came: with its bytes and its place all that is needed to understand it as the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrival {
    /// Which decoder reads it.
    pub by: ArrivalBy,
    /// The request's `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Text>,
    /// Its index in the request, which the key rests on.
    #[serde(default)]
    pub request_index: u32,
    /// Of a payload; empty when its sender said nothing.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub content_type: Text,
    /// Of a payload: those that its source's configuration named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(Text, Text)>,
    /// How often it was tried again before.
    #[serde(default)]
    pub redriven: u32,
}

impl From<Door> for ArrivalBy {
    fn from(door: Door) -> ArrivalBy {
        match door {
            Door::Events => ArrivalBy::Events,
            Door::Alertmanager => ArrivalBy::Alertmanager,
        }
    }
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum ArrivalBy {
    /// An item of `POST /api/v1/events`, or an event that a normalize rule made.
    Events = 1,
    /// An item of `POST /am/api/v2/alerts`.
    Alertmanager = 2,
    /// A raw body, of which a normalize rule makes events.
    Payload = 3,
}

impl Arrival {
    /// Of an item without key and headers.
    pub fn by(by: ArrivalBy) -> Arrival {
        Arrival { by, idempotency_key: None, request_index: 0, content_type: Text::default(), headers: Vec::new(), redriven: 0 }
    }

    fn size_bytes(&self) -> usize {
        let of_header = |(name, value): &(Text, Text)| 2 * size_of::<Text>() + name.len() + value.len();
        self.headers.iter().map(of_header).sum::<usize>() + self.idempotency_key.as_deref().map_or(0, str::len)
    }
}

impl DeadLetter {
    /// Rough bytes held, for the bound of queues.
    pub fn size_bytes(&self) -> usize {
        size_of::<DeadLetter>() + self.detail.len() + self.item.len() + self.arrival.as_ref().map_or(0, Arrival::size_bytes)
    }
}

/// An operator has dead letters tried again: they are taken out, and understood and judged by the rules that are in force now,
/// with the identity of the first time, so that nothing counts twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Redrive {
    /// Whose.
    pub tenant: Text,
    /// Who says so.
    pub operator: Text,
    /// Why; may be empty.
    pub comment: Text,
    /// The letters. A payload is alone in its record: what rules say of payloads is known by the record.
    pub letters: Vec<RedrivenLetter>,
}

/// A dead letter that is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct RedrivenLetter {
    /// The record in which it first came.
    pub ordinal: u64,
    /// Its place in that record.
    pub index: u32,
    /// Time of that record, milliseconds.
    pub received_at_ms: i64,
    /// Source.
    pub source: Text,
    /// How it came.
    pub arrival: Arrival,
    /// Its bytes.
    pub item: Arc<[u8]>,
}

impl RedrivenLetter {
    /// Rough bytes held, for the bound of queues.
    pub fn size_bytes(&self) -> usize {
        size_of::<RedrivenLetter>() + self.item.len() + self.arrival.size_bytes()
    }
}

impl Redrive {
    /// Rough bytes held, for the bound of queues.
    pub fn size_bytes(&self) -> usize {
        size_of::<Redrive>() + self.comment.len() + self.letters.iter().map(RedrivenLetter::size_bytes).sum::<usize>()
    }
}

/// What became of the letters of one redrive, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// Its record.
    pub ordinal: u64,
    /// One for each letter.
    pub letters: Vec<LetterFate>,
}

/// What became of one letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFate {
    /// The record in which it first came.
    pub ordinal: u64,
    /// Its place in that record.
    pub index: u32,
    /// Where it went, or the events of a payload, and how many each: never none.
    pub outcomes: Vec<(Outcome, u64)>,
    /// The places in that record of what of it is a dead letter again: its own, or those of events of a payload.
    pub dead: Vec<u32>,
}

impl LetterFate {
    /// So many more went there.
    pub(crate) fn add(&mut self, outcome: Outcome, n: u64) {
        match self.outcomes.iter_mut().find(|(same, _)| *same == outcome) {
            Some((_, count)) => *count += n,
            None if n > 0 => self.outcomes.push((outcome, n)),
            None => {}
        }
    }
}
