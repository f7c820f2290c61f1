//! The journal's records: all that changes an alert is one. Encoding and decoding of their payload, no I/O.
//!
//! The journal itself adds ordinal, received_at and a checksum; the payload here holds the rest. Layout, little endian:
//! `format u8, kind u8, ...` with texts and byte strings as `u32 length, bytes`. A reader refuses what it does not know.

use crate::command::{Action, AlertRef, Command};
use crate::item::Item;
pub use crate::letter::{Arrival, ArrivalBy, Redrive, RedrivenLetter};
pub use crate::rule_set::{RuleEntry, RuleSet};
use crate::value::Text;
use crate::verdict::Verdicts;
use crate::version_change::VersionChange;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::sync::Arc;

const FORMAT: u8 = 1;
/// The kind of records that a start looks for before it reads any.
const VERDICTS: u8 = 8;

/// Items of one record at most; a larger request becomes several records.
pub const ITEMS_PER_RECORD_MAX: usize = 10_000;

/// Which protocol the items came by; it decides how their bytes are decoded again on replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Door {
    /// `POST /api/v1/events`.
    Events = 1,
    /// `POST /am/api/v2/alerts`.
    Alertmanager = 2,
}

impl Door {
    /// Name in metrics and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Door::Events => "events",
            Door::Alertmanager => "alertmanager",
        }
    }
}

/// What a door counted of the request that a record holds (I6: received = refused + journaled + duplicates).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoorCounts {
    /// Items in the request, with those of fully refused requests since the source's last record.
    pub received: u64,
    /// Items refused.
    pub refused: u64,
    /// Repeats within the request.
    pub duplicates: u64,
}

/// The good items of a request, each with its own bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Items {
    /// Decided by the token, `system` without tokens.
    pub tenant: Text,
    /// Name of the source.
    pub source: Text,
    /// Protocol.
    pub door: Door,
    /// The request's `Idempotency-Key`.
    pub idempotency_key: Option<Text>,
    /// The door's numbers.
    pub counts: DoorCounts,
    /// One buffer for all items.
    pub heap: Arc<[u8]>,
    /// Where each item lies in `heap`, and its index in the request.
    pub spans: Vec<ItemSpan>,
}

/// One item in `Items::heap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemSpan {
    /// Its bytes.
    pub bytes: Range<u32>,
    /// Its index in the request, which an idempotency key rests on.
    pub request_index: u32,
}

impl Items {
    /// The bytes of item `i`.
    pub fn bytes(&self, i: usize) -> &[u8] {
        let span = &self.spans[i].bytes;
        &self.heap[span.start as usize..span.end as usize]
    }
}

/// One body of a source whose events a normalize rule makes: it is one item until the rule has seen it.
#[derive(Clone, Debug, PartialEq)]
pub struct RawPayload {
    /// Decided by the token, `system` without tokens.
    pub tenant: Text,
    /// Name of the source.
    pub source: Text,
    /// The request's `Idempotency-Key`.
    pub idempotency_key: Option<Text>,
    /// The door's numbers.
    pub counts: DoorCounts,
    /// As the sender said, without parameters, lower case; empty when it said nothing.
    pub content_type: Text,
    /// Those that the source's configuration names, in its order, names in lower case.
    pub headers: Vec<(Text, Text)>,
    /// Its bytes.
    pub body: Arc<[u8]>,
}

impl RawPayload {
    /// Rough bytes held, for the bound of queues.
    pub fn size_bytes(&self) -> usize {
        let of_header = |(name, value): &(Text, Text)| 2 * size_of::<Text>() + name.len() + value.len();
        size_of::<RawPayload>() + self.body.len() + self.headers.iter().map(of_header).sum::<usize>()
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordBody {
    /// Items were received.
    Items(Items),
    /// A rule-set generation begins.
    RuleSet(RuleSet),
    /// Nothing but that time went by.
    Clock,
    /// The process started.
    Start {
        /// Its version.
        version: Text,
    },
    /// An operator commands.
    Command(Command),
    /// A raw body was received.
    Payload(RawPayload),
    /// Rules did not judge rows, for reasons that a replay would not find again.
    Verdicts(Verdicts),
    /// A version of a rule came or went.
    RuleVersion(VersionChange),
    /// Dead letters are tried again.
    Redrive(Redrive),
}

/// A journal record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// 1, 2, 3, ... without a gap.
    pub ordinal: u64,
    /// Milliseconds since 1970; never less than that of the record before.
    pub received_at_ms: i64,
    /// Content.
    pub body: RecordBody,
}

/// A payload that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by another version.
    #[error("record format {0} is not known to this version; a newer one wrote it")]
    Format(u8),
    /// Of a kind that came later.
    #[error("record kind {0} is not known to this version; a newer one wrote it")]
    Kind(u8),
    /// Not a record.
    #[error("record is damaged at byte {0}")]
    Damaged(usize),
}

impl RecordBody {
    /// Items that a door took: what the ledger calls journaled.
    pub fn items(&self) -> usize {
        match self {
            RecordBody::Items(items) => items.spans.len(),
            RecordBody::Payload(_) => 1,
            RecordBody::RuleSet(_)
            | RecordBody::Clock
            | RecordBody::Start { .. }
            | RecordBody::Command(_)
            | RecordBody::Verdicts(_)
            | RecordBody::RuleVersion(_)
            | RecordBody::Redrive(_) => 0,
        }
    }

    /// The numbers of the door that it came by, if it came by one.
    pub fn counts_mut(&mut self) -> Option<&mut DoorCounts> {
        match self {
            RecordBody::Items(items) => Some(&mut items.counts),
            RecordBody::Payload(payload) => Some(&mut payload.counts),
            RecordBody::RuleSet(_)
            | RecordBody::Clock
            | RecordBody::Start { .. }
            | RecordBody::Command(_)
            | RecordBody::Verdicts(_)
            | RecordBody::RuleVersion(_)
            | RecordBody::Redrive(_) => None,
        }
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        match self {
            RecordBody::Items(items) => {
                out.push(1);
                out.push(items.door as u8);
                put(out, items.tenant.as_bytes());
                put(out, items.source.as_bytes());
                put(out, items.idempotency_key.as_deref().unwrap_or("").as_bytes());
                put_counts(out, items.counts);
                put_len(out, items.spans.len());
                for (i, span) in items.spans.iter().enumerate() {
                    out.extend_from_slice(&span.request_index.to_le_bytes());
                    put(out, items.bytes(i));
                }
            }
            RecordBody::RuleSet(set) => {
                out.push(7);
                put_json(out, set);
            }
            RecordBody::Clock => out.push(3),
            RecordBody::Start { version } => {
                out.push(4);
                put(out, version.as_bytes());
            }
            RecordBody::Command(command) => {
                out.push(5);
                out.push(command.action as u8);
                for text in [&command.tenant, &command.operator, &command.comment] {
                    put(out, text.as_bytes());
                }
                put(out, command.idempotency_key.as_deref().unwrap_or("").as_bytes());
                put_len(out, command.alerts.len());
                for alert in &command.alerts {
                    out.extend_from_slice(&alert.create_time.to_le_bytes());
                    out.extend_from_slice(&alert.seq.to_le_bytes());
                }
            }
            RecordBody::Payload(payload) => {
                out.push(6);
                put(out, payload.tenant.as_bytes());
                put(out, payload.source.as_bytes());
                put(out, payload.idempotency_key.as_deref().unwrap_or("").as_bytes());
                put_counts(out, payload.counts);
                put(out, payload.content_type.as_bytes());
                put_len(out, payload.headers.len());
                for (name, value) in &payload.headers {
                    put(out, name.as_bytes());
                    put(out, value.as_bytes());
                }
                put(out, &payload.body);
            }
            RecordBody::Verdicts(verdicts) => {
                out.push(VERDICTS);
                put_json(out, verdicts);
            }
            RecordBody::RuleVersion(change) => {
                out.push(9);
                put_json(out, change);
            }
            RecordBody::Redrive(redrive) => {
                out.push(10);
                for text in [&redrive.tenant, &redrive.operator, &redrive.comment] {
                    put(out, text.as_bytes());
                }
                put_len(out, redrive.letters.len());
                for letter in &redrive.letters {
                    out.extend_from_slice(&letter.ordinal.to_le_bytes());
                    out.extend_from_slice(&letter.index.to_le_bytes());
                    out.extend_from_slice(&letter.received_at_ms.to_le_bytes());
                    put(out, letter.source.as_bytes());
                    put_arrival(out, &letter.arrival);
                    put(out, &letter.item);
                }
            }
        }
    }

    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Result<RecordBody, RecordError> {
        let mut r = Reader { bytes: payload, at: 0 };
        match r.byte()? {
            FORMAT => {}
            other => return Err(RecordError::Format(other)),
        }
        let body = match r.byte()? {
            1 => RecordBody::Items(r.items()?),
            2 => RecordBody::RuleSet(r.rule_set_of_2()?),
            3 => RecordBody::Clock,
            4 => RecordBody::Start { version: r.text()? },
            5 => RecordBody::Command(r.command()?),
            6 => RecordBody::Payload(r.payload()?),
            7 => RecordBody::RuleSet(r.json()?),
            VERDICTS => RecordBody::Verdicts(r.json()?),
            9 => RecordBody::RuleVersion(r.json()?),
            10 => RecordBody::Redrive(r.redrive()?),
            other => return Err(RecordError::Kind(other)),
        };
        if r.at == payload.len() { Ok(body) } else { Err(RecordError::Damaged(r.at)) }
    }
}

impl Verdicts {
    /// The verdicts of an encoded record, if it is one of verdicts; no other one is decoded for it.
    pub fn of_payload(payload: &[u8]) -> Option<Verdicts> {
        if !payload.starts_with(&[FORMAT, VERDICTS]) {
            return None;
        }
        match RecordBody::decode(payload) {
            Ok(RecordBody::Verdicts(verdicts)) => Some(verdicts),
            // Whoever comes to the record itself says what is wrong with it.
            _ => None,
        }
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&(len as u32).to_le_bytes());
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Rare and growing things are JSON to the end of the payload.
fn put_json(out: &mut Vec<u8>, value: &impl Serialize) {
    // Writing texts and numbers to memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}

fn put_counts(out: &mut Vec<u8>, counts: DoorCounts) {
    for n in [counts.received, counts.refused, counts.duplicates] {
        out.extend_from_slice(&n.to_le_bytes());
    }
}

fn put_arrival(out: &mut Vec<u8>, arrival: &Arrival) {
    out.push(arrival.by as u8);
    out.extend_from_slice(&arrival.request_index.to_le_bytes());
    out.extend_from_slice(&arrival.redriven.to_le_bytes());
    put(out, arrival.idempotency_key.as_deref().unwrap_or("").as_bytes());
    put(out, arrival.content_type.as_bytes());
    put_len(out, arrival.headers.len());
    for (name, value) in &arrival.headers {
        put(out, name.as_bytes());
        put(out, value.as_bytes());
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], RecordError> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len()).ok_or(RecordError::Damaged(self.at))?;
        let slice = &self.bytes[self.at..end];
        self.at = end;
        Ok(slice)
    }
    fn byte(&mut self) -> Result<u8, RecordError> {
        Ok(self.take(1)?[0])
    }
    fn u32(&mut self) -> Result<u32, RecordError> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().unwrap_or_default()))
    }
    fn u64(&mut self) -> Result<u64, RecordError> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().unwrap_or_default()))
    }
    fn blob(&mut self) -> Result<&'a [u8], RecordError> {
        let n = self.u32()? as usize;
        self.take(n)
    }
    fn text(&mut self) -> Result<Text, RecordError> {
        let at = self.at;
        std::str::from_utf8(self.blob()?).map(Text::new).map_err(|_| RecordError::Damaged(at))
    }
    /// A count of things of at least `size` bytes each, so that a damaged one cannot ask for memory.
    fn count(&mut self, size: usize) -> Result<usize, RecordError> {
        let at = self.at;
        let n = self.u32()? as usize;
        if n <= (self.bytes.len() - self.at) / size { Ok(n) } else { Err(RecordError::Damaged(at)) }
    }
    fn counts(&mut self) -> Result<DoorCounts, RecordError> {
        Ok(DoorCounts { received: self.u64()?, refused: self.u64()?, duplicates: self.u64()? })
    }
    fn payload(&mut self) -> Result<RawPayload, RecordError> {
        let (tenant, source, key) = (self.text()?, self.text()?, self.text()?);
        let (counts, content_type) = (self.counts()?, self.text()?);
        let headers = self.headers()?;
        let body = self.blob()?.into();
        Ok(RawPayload { tenant, source, idempotency_key: (!key.is_empty()).then_some(key), counts, content_type, headers, body })
    }
    fn headers(&mut self) -> Result<Vec<(Text, Text)>, RecordError> {
        let n = self.count(8)?;
        let mut headers = Vec::with_capacity(n);
        for _ in 0..n {
            headers.push((self.text()?, self.text()?));
        }
        Ok(headers)
    }
    fn items(&mut self) -> Result<Items, RecordError> {
        let at = self.at;
        let door = match self.byte()? {
            1 => Door::Events,
            2 => Door::Alertmanager,
            _ => return Err(RecordError::Damaged(at)),
        };
        let (tenant, source, key) = (self.text()?, self.text()?, self.text()?);
        let counts = self.counts()?;
        let n = self.count(8)?;
        let mut spans = Vec::with_capacity(n);
        let mut heap = Vec::with_capacity(self.bytes.len() - self.at);
        for _ in 0..n {
            let request_index = self.u32()?;
            let bytes = self.blob()?;
            let start = heap.len() as u32;
            heap.extend_from_slice(bytes);
            spans.push(ItemSpan { bytes: start..heap.len() as u32, request_index });
        }
        let idempotency_key = (!key.is_empty()).then_some(key);
        Ok(Items { tenant, source, door, idempotency_key, counts, heap: heap.into(), spans })
    }
    fn json<T: DeserializeOwned>(&mut self) -> Result<T, RecordError> {
        let at = self.at;
        let rest = self.take(self.bytes.len() - at)?;
        serde_json::from_slice(rest).map_err(|_| RecordError::Damaged(at))
    }
    /// As it was written before a set said more than what runs.
    fn rule_set_of_2(&mut self) -> Result<RuleSet, RecordError> {
        let generation = self.u64()?;
        let n = self.count(20)?;
        let mut rules = Vec::with_capacity(n);
        for _ in 0..n {
            let (name, version, digest, config, options) = (self.text()?, self.text()?, self.text()?, self.text()?, self.text()?);
            rules.push(RuleEntry { name, version, digest, config, options, ..RuleEntry::default() });
        }
        let n = self.count(8)?;
        let mut tables = Vec::with_capacity(n);
        for _ in 0..n {
            tables.push((self.text()?, self.text()?));
        }
        Ok(RuleSet { generation, rules, tables, ..RuleSet::default() })
    }
}

impl Reader<'_> {
    fn command(&mut self) -> Result<Command, RecordError> {
        let at = self.at;
        let action = Action::of_number(self.byte()?).ok_or(RecordError::Damaged(at))?;
        let (tenant, operator, comment, key) = (self.text()?, self.text()?, self.text()?, self.text()?);
        let n = self.count(16)?;
        let mut alerts = Vec::with_capacity(n);
        for _ in 0..n {
            alerts.push(AlertRef { create_time: self.u64()? as i64, seq: self.u64()? });
        }
        Ok(Command { tenant, action, alerts, operator, comment, idempotency_key: (!key.is_empty()).then_some(key) })
    }
}

impl Reader<'_> {
    fn redrive(&mut self) -> Result<Redrive, RecordError> {
        let (tenant, operator, comment) = (self.text()?, self.text()?, self.text()?);
        let n = self.count(49)?;
        let mut letters = Vec::with_capacity(n);
        for _ in 0..n {
            let (ordinal, index, received_at_ms, source) = (self.u64()?, self.u32()?, self.u64()? as i64, self.text()?);
            let arrival = self.arrival()?;
            letters.push(RedrivenLetter { ordinal, index, received_at_ms, source, arrival, item: self.blob()?.into() });
        }
        Ok(Redrive { tenant, operator, comment, letters })
    }
    fn arrival(&mut self) -> Result<Arrival, RecordError> {
        let at = self.at;
        let by = match self.byte()? {
            1 => ArrivalBy::Events,
            2 => ArrivalBy::Alertmanager,
            3 => ArrivalBy::Payload,
            _ => return Err(RecordError::Damaged(at)),
        };
        let (request_index, redriven, key) = (self.u32()?, self.u32()?, self.text()?);
        let (content_type, headers) = (self.text()?, self.headers()?);
        Ok(Arrival { by, idempotency_key: (!key.is_empty()).then_some(key), request_index, content_type, headers, redriven })
    }
}

/// A durable record as the journal hands it to the prepare half, with the items that the door has already parsed. On
/// replay there are none, and prepare parses the bytes again by the same decoder.
#[derive(Clone, Debug)]
pub struct Journaled {
    /// The record.
    pub record: Record,
    /// Parallel to the record's items, or none.
    pub parsed: Option<Vec<Item>>,
}

impl Journaled {
    /// Rough bytes held in memory, for the bound of queues. The records of a large request share one body; each counts for
    /// its own items of it.
    pub fn size_bytes(&self) -> usize {
        let body = match &self.record.body {
            RecordBody::Items(items) => items.spans.iter().map(|span| span.bytes.len() + size_of::<ItemSpan>()).sum(),
            RecordBody::Command(command) => command.size_bytes(),
            RecordBody::Payload(payload) => payload.size_bytes(),
            RecordBody::RuleSet(set) => set.size_bytes(),
            RecordBody::Verdicts(verdicts) => verdicts.size_bytes(),
            RecordBody::RuleVersion(change) => change.size_bytes(),
            RecordBody::Redrive(redrive) => redrive.size_bytes(),
            RecordBody::Clock | RecordBody::Start { .. } => 256,
        };
        body + self.parsed.iter().flatten().map(Item::size_bytes).sum::<usize>() + size_of::<Journaled>()
    }
}

#[cfg(test)]
impl Items {
    /// The record that the door would make of these texts, of tenant `system` and source `test`; for the tests of this crate.
    pub(crate) fn of_texts(door: Door, texts: &[&str]) -> Items {
        let mut end = 0;
        let spans = texts.iter().zip(0..).map(|(text, request_index)| {
            let start = end;
            end += text.len() as u32;
            ItemSpan { bytes: start..end, request_index }
        });
        Items {
            tenant: "system".into(),
            source: "test".into(),
            door,
            idempotency_key: None,
            counts: DoorCounts { received: texts.len() as u64, ..DoorCounts::default() },
            spans: spans.collect(),
            heap: texts.concat().into_bytes().into(),
        }
    }
}

#[cfg(test)]
mod tests;
